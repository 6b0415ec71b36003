"""Tables that scripts write into pages, between marks that the page holds.

<!-- table: NAME -->
...
<!-- end of table: NAME -->
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dlinear.errors import RecordError
from dlinear.storage import write_text
from dlinear.storage.reading import reading


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table; what would be markup in a cell is escaped."""
    every = [header, ["---"] * len(header), *rows]
    cells = [
        [cell.replace("|", "\\|").replace("<", "\\<").replace("\n", " ") for cell in row] for row in every
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def marks(name: str) -> tuple[str, str]:
    """The lines before and after a table."""
    return f"<!-- table: {name} -->", f"<!-- end of table: {name} -->"


def block(text: str, name: str, page: str = "the page") -> str:
    """What stands between the marks of a table, "" for nothing; `page` is its name in messages.

    Raises:
        RecordError: a text that does not hold both marks once, in this order.
    """
    first, last = marks(name)
    before, _, rest = text.partition(first)
    inside, found, after = rest.partition(last)
    if not found or first in rest or last in before + after:
        raise RecordError(f"{page} must hold {first} and then {last}, each once")
    return inside.strip("\n")


def write_block(path: Path, name: str, table: str) -> None:
    """Write a table between its marks; the rest of the page stays as it is.

    Raises:
        RecordError: a page that cannot be read or written, or that does not hold the marks.
    """
    with reading(path, RecordError) as stream:
        text = stream.read().decode("utf-8")
    block(text, name, str(path))
    first, last = marks(name)
    before, _, rest = text.partition(first)
    _, _, after = rest.partition(last)
    write_text(path, f"{before}{first}\n\n{table}\n\n{last}{after}")
