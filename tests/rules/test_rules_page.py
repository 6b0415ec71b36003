"""The tables of docs/rules.md: they are those of the extracts, and a run writes both."""

from __future__ import annotations

import json
import shutil

import pytest
from paths import ROOT

from dlinear.errors import RecordError
from dlinear.report import blocks
from dlinear.rules.compared import page

DOCS = ROOT / "docs"
BEGIN, END = blocks.marks(page.BLOCK)
EXTRACT = {
    "name": "mlp_digits",
    "command": "python -m sims.rules",
    "size": "60 training images, 2 seeds; one core of a processor a run",
    "rows": [
        {
            "rule": "pepita",
            "published": "98.01 (recalled)",
            "ours": "90.00 [89.00, 91.00]",
            "gap": "-8.01",
            "why": "2 of 100 epochs",
            "epochs": "2 of 100",
            "degrees": "89.0, 80.0, 70.0",
            "ratio": 2.5,
            "activations": 1.25,
        }
    ],
    "system": [["pepita", "training", "1e+04", "1.00", "50%", "400", *["not measurable here"] * 5]],
}


def test_the_tables_are_those_of_the_extracts():
    text = (DOCS / page.PAGE).read_text(encoding="utf-8")
    assert blocks.block(text, page.BLOCK) == page.section(DOCS / page.FOLDER)


def test_a_run_writes_its_extract_and_the_page(tmp_path):
    shutil.copy(DOCS / page.PAGE, tmp_path)
    before, _, rest = (tmp_path / page.PAGE).read_text().partition(BEGIN)
    assert page.write(tmp_path, EXTRACT) == "rules_measured/mlp_digits.json"
    text = (tmp_path / page.PAGE).read_text()
    assert text.startswith(before)
    assert text.endswith(rest.partition(END)[2])
    row = "| pepita | 98.01 (recalled) | 90.00 [89.00, 91.00] | -8.01 | 2 of 100 epochs | 2 of 100 |"
    assert f"{row} 89.0, 80.0, 70.0 | 2.50 | 1.25 |" in text
    assert "| pepita | training | 1e+04 | 1.00 | 50% | 400 |" in text
    assert "Not measurable here: J CPU, J GPU, W GPU, GPU busy, GPU MB." in text
    page.update(tmp_path)
    assert (tmp_path / page.PAGE).read_text() == text


def test_runs_without_costs_have_no_columns_of_them(tmp_path):
    (tmp_path / page.PAGE).write_text(f"{BEGIN}\n{END}")
    row = {**EXTRACT["rows"][0], "ratio": None, "activations": None}
    page.write(tmp_path, {**EXTRACT, "rows": [row], "system": []})
    text = (tmp_path / page.PAGE).read_text()
    assert "step time" not in text
    assert "None" not in text
    assert "not measurable" not in text


def test_a_machine_with_other_work_is_not_shown(tmp_path):
    (tmp_path / page.PAGE).write_text(f"{BEGIN}\n{END}")
    page.write(tmp_path, {**EXTRACT, "busy": "the machine had other work"})
    text = (tmp_path / page.PAGE).read_text()
    assert "The machine itself is not shown: the machine had other work." in text
    assert "samples/s" not in text


@pytest.mark.parametrize("text", ["", "no marks", BEGIN, f"{END} {BEGIN}"])
def test_a_page_without_its_marks_is_refused(text, tmp_path):
    (tmp_path / page.PAGE).write_text(text)
    with pytest.raises(RecordError, match="must hold"):
        page.write(tmp_path, EXTRACT)


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(RecordError, match=r"rules\.md"):
        page.update(tmp_path)
    (tmp_path / page.FOLDER).mkdir()
    (tmp_path / page.FOLDER / "x.json").write_text(json.dumps({"command": "x"}))
    with pytest.raises(RecordError, match=r"x\.json is damaged: KeyError.*run the command again"):
        page.section(tmp_path / page.FOLDER)
