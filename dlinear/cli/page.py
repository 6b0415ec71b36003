"""`dlinear report`: the page of what lies in a folder of results."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from dlinear.certify.registry import discover
from dlinear.cli import folders, information
from dlinear.report import html
from dlinear.storage import write_text


@dataclass(frozen=True)
class Knobs:
    """What the page shows."""

    results: str = "results"  # folder with statements.json and steps/, as dlinear reproduce leaves it
    figures: str = "figures"  # folder of the drawn figures
    output: str = ""  # file to write; by default report.html in the folder of results


def main(knobs: Knobs) -> int:
    """Write one self-contained HTML page of statements, numbers and figures; nothing is computed again.

    The verdicts are those of `dlinear prove --json results/statements.json`, the numbers those of
    `dlinear reproduce`.
    """
    results = Path(knobs.results)
    folders.importable()
    registry = discover(folders.home() / "proofs")
    found = html.Findings(
        claims=[claim for claims in registry.values() for claim in claims],
        rows=html.read_rows(results / "statements.json"),
        figures=_figures(Path(knobs.figures)),
        steps=_steps(results / "steps"),
        environment=information.lines(information.collect()),
    )
    path = Path(knobs.output) if knobs.output else results / "report.html"
    write_text(path, html.page(found))
    counts = f"{len(found.rows)} statements, {len(found.steps)} simulations, {len(found.figures)} figures"
    print(f"{path}: {counts}, {path.stat().st_size / 2**20:.1f} MiB")
    if not (found.rows or found.steps):
        print(
            f"nothing has been decided or simulated in {results}: run dlinear reproduce, or give --results",
            file=sys.stderr,
        )
    return 0


def _figures(folder: Path) -> list[html.Figure]:
    """The drawn figures with their captions: the file beside them, or what the script says that it draws."""
    known, found = set(folders.names("paper_figs")), []
    for path in sorted(folder.glob("*.png")):
        if path.stem in known:
            caption = path.with_suffix(".txt")
            said = (
                caption.read_text(encoding="utf-8").strip()
                if caption.is_file()
                else folders.question("paper_figs", path.stem)
            )
            found.append(html.Figure(path.stem, path, _untex(said)))
    return found


def _untex(text: str) -> str:
    """A caption for people who read no TeX: commands by their names, without braces."""
    text = re.sub(r"\\(?:mathrm|text|hat|tilde|bar|frac)\b|[${}]", "", text)
    return re.sub(r"\\([A-Za-z]+) ?", r"\1 ", text).replace("\\|", "||").replace("\\", "")


def _steps(folder: Path) -> list[html.Step]:
    """What the simulations have said.

    Raises:
        RecordError: a file cannot be read.
    """
    return [html.read_step(path) for path in sorted(folder.glob("*.json"))]
