"""Are PEPITA, FA, DFA, FOTON, FF, LAC, mirrors, Oja to each other what identities I1 to I13 say, to rounding?

    python -m sims.rule_identities                       # 60 random nets for each, seconds
    python -m sims.rule_identities --cases 1000 --seed 7
    python -m sims.rule_identities --page docs/rules.md  # and write the table into the page
    python -m sims.rule_identities --workers 0

One row for each identity (`dlinear.theory.rule_identities`): the worst deviation of its two sides, which are
computed apart, over random nets; beside it the smallest deviation of a false twin, a slightly wrong
statement, at the same nets. An identity is supported where the first is rounding and the second is not; what
is proved for all nets is named. A cell is an identity; records go to results/rule_identities.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlinear import report
from dlinear.report import blocks
from dlinear.runs import script, sweeps
from dlinear.runs.knobs import at_least, cell_from, check
from dlinear.runs.launch import LocalRun
from dlinear.theory.rule_identities import IDENTITIES, measure

APART = 1e-3  # what a false twin has to deviate by, relative to the largest entry
HEADER = ("identity", "what", "worst", "false twin", "its least", "verdict", "proved")
TOY = "--cases 3"  # a second, for the tests


@dataclass(frozen=True)
class Knobs(LocalRun):
    """What to run."""

    cases: int = 60  # random nets for each identity; a wrong statement is wrong for each of them
    seed: int = 0  # seed of the nets; other seeds say the same
    page: str | None = None  # a Markdown file with the marks of the table, into which it is written


@dataclass(frozen=True)
class Cell:
    """One identity."""

    identity: str
    cases: int
    seed: int
    edition: int = 2  # raise it when the meaning of a cell changes


def compute(cell: Cell) -> sweeps.Arrays:
    """The deviations of the identity and of its twin, by net."""
    deviations, twins = measure(cell.identity, cell.cases, cell.seed)
    labels = np.arange(cell.cases)
    return {"net": (("net",), labels), "deviation": (("net",), deviations), "twin": (("net",), twins)}


def verdict(name: str, worst: float, least: float) -> str:
    """Supported, or what speaks against it."""
    if worst >= IDENTITIES[name].tolerance:
        return "NOT SUPPORTED"
    return "supported" if least > APART else "the twin holds too"


def rows(data: Any) -> list[list[str]]:
    """One row for each identity, from the records alone."""
    found = []
    for name, one in IDENTITIES.items():
        part = data.sel(identity=name)
        worst, least = float(part["deviation"].max()), float(part["twin"].min())
        said = verdict(name, worst, least)
        found.append([name, one.statement, f"{worst:.0e}", one.twin, f"{least:.0e}", said, one.claims])
    return found


def judge(table: list[list[str]]) -> list[report.Answer]:
    """One answer for each number, I1 to I13 and those of depth."""
    answers = []
    for number in dict.fromkeys(row[0].partition(" ")[0] for row in table):
        part = [row for row in table if row[0].partition(" ")[0] == number]
        wrong = [row[0] for row in part if row[5] != "supported"]
        worst, least = max(float(row[2]) for row in part), min(float(row[4]) for row in part)
        question = f"{number}: identities to rounding, false twins apart (rows: {len(part)})"
        numbers = f"worst deviation {worst:.0e}, least of a false twin {least:.0e}"
        answers.append(report.Answer(question, not wrong, "; ".join([numbers, *wrong])))
    return answers


def main(knobs: Knobs) -> int:
    """Compute what is missing, print the table and the verdicts; 0 iff none fails."""
    check(knobs, cases=at_least(1), seed=at_least(0))
    cells = [cell_from(Cell, knobs, identity=name) for name in IDENTITIES]
    sweep, data = knobs.gather("rule_identities", cells, compute)
    if data is None:
        return bool(sweep.failed or sweep.lost)
    table = rows(data.squeeze("seed"))
    print(f"{knobs.cases} random nets for each identity; {sweep}")
    print(report.table(HEADER, table, widest=84))
    if knobs.page is not None:
        blocks.write_block(Path(knobs.page), "identities", blocks.markdown_table(HEADER, table))
    return report.finish(judge(table))


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
