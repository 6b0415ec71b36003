"""Tables that are written into pages: between their marks, and nowhere else."""

import pytest

from dlinear.errors import RecordError
from dlinear.report import blocks

PAGE = "# Page\n\n<!-- table: one -->\nold\n<!-- end of table: one -->\n\nafter\n"


def test_a_table_replaces_what_stands_between_its_marks(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")
    table = blocks.markdown_table(("a", "b"), [["|x| < 1", "two\nlines"]])
    assert table == "| a | b |\n| --- | --- |\n| \\|x\\| \\< 1 | two lines |"
    for _ in range(2):  # the second time changes nothing
        blocks.write_block(path, "one", table)
        text = path.read_text(encoding="utf-8")
        assert blocks.block(text, "one") == table
        assert text.startswith("# Page\n\n<!-- table: one -->\n")
        assert text.endswith("<!-- end of table: one -->\n\nafter\n")
        assert "old" not in text


@pytest.mark.parametrize("text", ["", PAGE + PAGE, PAGE.replace("end of ", ""), PAGE.replace("one", "two")])
def test_a_page_without_the_marks_stays_as_it_is(tmp_path, text):
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=r"page\.md must hold <!-- table: one --> and then"):
        blocks.write_block(path, "one", "new")
    assert path.read_text(encoding="utf-8") == text


def test_a_page_that_cannot_be_read(tmp_path):
    with pytest.raises(RecordError, match="cannot read"):
        blocks.write_block(tmp_path / "none.md", "one", "new")
