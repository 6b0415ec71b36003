"""The benchmark of profiles: a toy run, what is counted, and the page that is written from its record."""

import json
import sys

import numpy as np
from paths import ROOT

sys.path.insert(0, str(ROOT))
from benchmarks import machine, roofline
from dlinear.report import blocks


def test_a_toy_run_measures_the_ways_side_by_side(capsys, monkeypatch, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n{}\nold\n{}\nafter\n".format(*blocks.marks(roofline.BLOCK)), encoding="utf-8")
    monkeypatch.setattr(roofline, "PAGE", page)
    monkeypatch.setattr(machine, "peak", lambda: 1e10)
    monkeypatch.setattr(machine, "bandwidth", lambda: 1e10)
    words = {"widths": (3,), "fractions": (10,), "numbers": 140_000, "rounds": 1}
    assert roofline.main(roofline.Knobs(**words, record=str(tmp_path / "record.json"))) == 0
    said = capsys.readouterr().out
    assert "one core: 10.0 GFLOP/s in registers, 10.0 GB/s from memory" in said
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| 3 | 1.6e+04 | T/10 |" in text
    assert "old" not in text


def test_ratios_and_shares_are_medians_of_what_was_counted():
    # four products of 100 layers, seven of the last 10, two of 1 + 10 missed ones, of 2 n^3 operations each
    assert roofline.operations(100, 2, np.array([1, 10])) == 16 * (400 + 70 + 22)
    row = roofline.Row(2, 100, 10, 8e9, {"five": [1, 2, 9], "off": [4, 4, 4], "on": [2.0, 1.0, 2.0]})
    assert row.ratio("five", "on") == 2
    assert row.ratio("off", "on") == 2
    assert row.of_peak(8e9) == 0.5
    assert row.of_peak(None) is None


def test_the_table_of_the_page_is_that_of_the_record():
    record = json.loads((ROOT / "docs" / "roofline.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert blocks.block(text, roofline.BLOCK) == roofline.block(record)
