"""The how-to pages of the site run as they stand; every page is in its table of contents."""

import runpy
import shutil

import pytest
from paths import ROOT

EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
CHEAP = [
    path for path in EXAMPLES if path.stem[0] in "125"
]  # the others start processes or load transformers


@pytest.mark.slow
@pytest.mark.parametrize("path", CHEAP, ids=lambda path: path.stem)
def test_an_example_runs(path, tmp_path, monkeypatch, capsys):
    shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path / "records"))
    runpy.run_path(path.name)
    assert capsys.readouterr().out


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_has_a_title_and_explains_itself(path):
    text = path.read_text(encoding="utf-8")
    title, rule = text.splitlines()[1:3]
    assert len(title) == len(rule)
    assert set(rule) == {"="}
    assert text.count("# %%") >= 2
    compile(text, path.name, "exec")


def test_every_page_is_in_the_table_of_contents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = set(index.split())
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem == "index" or page.stem in listed, page.stem
