"""Draw the figures of the paper from records.

    python -m paper_figs                        # all of them, each from the latest run of its simulation
    python -m paper_figs decay k_map            # some
    python -m paper_figs decay --run default    # from the latest run with all knobs at their defaults
    python -m paper_figs decay --title          # with the headline inside the picture
    python -m paper_figs --results results --figures figures
    python -m paper_figs --reproduction         # docs/records and docs/reproduction.md in place of figures

Each figure has its caption in a text file of its name: what it says, of which data, T, n and seeds. --title
writes the headline above the axes too. Nothing is computed here beyond closed forms: a figure whose records
are missing names the command that makes them, and one drawn from a run that is not the default one says so.
Exit status 0 iff every figure asked for was drawn.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

from dlinear.checks import as_known
from dlinear.errors import RecordError
from dlinear.runs import collection, script
from dlinear.runs.command_line import as_typed
from dlinear.storage import WriteError, remove_leftovers, write_text

with script.imports():
    import tyro

    from dlinear.report import plotting

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


@dataclass(frozen=True)
class Knobs:
    """What to draw."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()  # figures by name; none stands for all
    run: Literal["latest", "default"] = "latest"  # run that is drawn; default: the latest without options
    results: str = "results"  # folder of the simulations' records
    figures: str = "figures"  # folder that PDF and PNG are written to
    title: bool = False  # write the caption above the axes too
    reproduction: bool = False  # write what the runs say of the paper's statements, and draw nothing
    docs: str = str(Path(__file__).parents[1] / "docs")  # folder of reproduction.md and records


def warn(name: str, figure: ModuleType, knobs: Knobs) -> None:
    """Say on stderr that a figure does not show the default run of its simulation."""
    if not figure.NEEDS:
        return
    folder = Path(knobs.results) / figure.NEEDS.rpartition(".")[2]
    if options := collection.run_of(folder, knobs.run).changed:
        there = (folder / "default.json").exists()
        advice = f"python -m paper_figs {name} --run default" if there else figure.NEEDS
        print(
            as_typed(f"{name}: drawn from a run with {options}; the default one: {advice}"), file=sys.stderr
        )


def complete_caption(path: Path, figure: ModuleType, knobs: Knobs) -> None:
    """Add the data, T, n and the number of seeds of the run, and the command that made it."""
    if figure.NEEDS:
        run = collection.run_of(Path(knobs.results) / figure.NEEDS.rpartition(".")[2], knobs.run)
        said = path.read_text(encoding="utf-8").strip().removesuffix(".")
        text = f"{said}. {run.described()}. Run by: {figure.NEEDS} {run.changed}".rstrip()
        write_text(path, as_typed(text) + "\n")


def write_reproduction(knobs: Knobs) -> int:
    """Renew the extracts of the experiments that have run here, keep the others, and write the page."""
    from dlinear.bridge.paper import extracts

    renewed = extracts.update(knobs.results, Path(knobs.docs), knobs.run)
    said = (
        f"from {', '.join(renewed)}" if renewed else f"no experiment of the paper has run in {knobs.results}"
    )
    print(f"{Path(knobs.docs) / 'reproduction.md'}: {said}")
    return 0


def main(knobs: Knobs) -> int:
    """Draw, say what was written and what is missing."""
    for name in knobs.names:
        as_known("figure", name, NAMES)
    if knobs.reproduction:
        return write_reproduction(knobs)
    remove_leftovers(Path(knobs.figures))
    missing = 0
    for name in knobs.names or NAMES:
        figure = importlib.import_module(f"paper_figs.{name}")
        start = time.perf_counter()
        try:
            with plotting.titled() if knobs.title else contextlib.nullcontext():
                paths = figure.draw(knobs.results, knobs.figures, knobs.run)
            complete_caption(paths[0].with_suffix(".txt"), figure, knobs)
            warn(name, figure, knobs)
        except RecordError as error:
            missing += 1
            advice = "" if isinstance(error, WriteError) or not figure.NEEDS else f"; run: {figure.NEEDS}"
            print(as_typed(f"{name}: not drawn: {error}{advice}"), file=sys.stderr)
            continue
        print(f"{name}: {', '.join(map(str, paths))} ({time.perf_counter() - start:.1f} s)")
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
