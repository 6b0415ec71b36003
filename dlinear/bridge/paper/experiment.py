"""What all experiments of the paper do: run the missing cells, print a table, findings and verdicts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dlinear.bridge.paper import course
from dlinear.bridge.paper.plan import PaperRun
from dlinear.report import reproduction
from dlinear.report.reproduction import Finding
from dlinear.report.verdicts import Answer, finish, table
from dlinear.runs import sweeps
from dlinear.runs.launch import LocalRun
from dlinear.runs.records import Record
from dlinear.runs.stages import Stages

Found = Sequence[Record]


@dataclass(frozen=True)
class Reading:
    """From the records of an experiment to what is said of them.

    Attributes:
        header: of the table.
        rows: of the table.
        findings: beside the paper's statements.
        answers: what must hold of the measurement whatever the paper says.
    """

    header: Sequence[str]
    rows: Callable[[Found], list[list[str]]]
    findings: Callable[[Found], list[Finding]]
    answers: Callable[[Found], list[Answer]]


def conduct(
    name: str,
    knobs: LocalRun,
    cells: Sequence[Any],
    reading: Reading,
    compute: sweeps.Compute | None = None,
) -> int:
    """Run the cells that have no record, print everything; the exit status, 0 iff no verdict fails.

    Args:
        name: of the experiment.
        knobs: of its script, a `PaperRun` unless `compute` is given.
        cells: of the run.
        reading: what its records say.
        compute: cell -> arrays; None trains courses.
    """
    if compute is None and isinstance(knobs, PaperRun):
        place = f"{knobs.results}/{name}"
        folder, download = knobs.data_folder, knobs.download
        compute = functools.partial(course.compute, place=place, folder=folder, download=download)
    assert compute is not None
    stages = Stages(name, knobs, compute)
    found = stages.gather(cells)
    if not found:
        return stages.failed
    print(stages.finish())
    print(table(reading.header, reading.rows(found)))
    print(f"\n{reproduction.findings_table(reading.findings(found))}")
    return finish(reading.answers(found))
