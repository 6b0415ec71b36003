"""Stages of cells: each is handed the records of those before it, and all of them are one run at the end."""

import os
from dataclasses import dataclass

import pytest

from dlinear.runs import collection
from dlinear.runs.knobs import filled
from dlinear.runs.launch import LocalRun
from dlinear.runs.stages import Stages


@dataclass(frozen=True)
class Cell:
    value: int


def square(cell):
    if cell.value < 0:
        raise ValueError("negative")
    return {"square": ((), cell.value**2)}


@pytest.fixture
def stages(tmp_path):
    return Stages("squares", LocalRun(results=str(tmp_path), workers=0), square)


def test_a_stage_depends_on_the_records_of_the_one_before(stages):
    first = stages.gather([Cell(3), Cell(1), Cell(2)], alone=True)
    assert [int(one.arrays["square"]) for one in first] == [9, 1, 4], "in the order of the cells"
    second = stages.gather([Cell(int(one.arrays["square"])) for one in first if one.knobs["value"] > 1])
    assert [int(one.arrays["square"]) for one in second] == [81, 16]
    assert not stages.failed
    sweep = stages.finish()
    assert (sweep.computed, sweep.resumed) == (5, 0)
    assert len(collection.latest(sweep.folder)) == 5
    again = Stages("squares", stages.run, square)
    again.gather([Cell(3), Cell(5)])
    assert (again.finish().computed, again.finish().resumed) == (1, 1)


def process_of(cell):
    return {"process": ((), os.getpid())}


def test_cells_apart_have_a_process_each(tmp_path):
    stages = Stages("processes", LocalRun(results=str(tmp_path), workers=0), process_of)
    found = stages.gather([Cell(1), Cell(2)], alone=True, apart=True)
    processes = {int(one.arrays["process"]) for one in found}
    assert len(processes) == 2
    assert os.getpid() not in processes
    (here,) = stages.gather([Cell(3)], alone=True)
    assert int(here.arrays["process"]) == os.getpid()


def test_a_stage_with_a_missing_cell_ends_the_run_and_says_so(stages, capsys):
    assert stages.gather([Cell(1), Cell(-1)]) == []
    assert stages.failed
    said = capsys.readouterr()
    assert "no verdict: 1 of 2 cells are missing; run the same command again" in said.out
    assert "ValueError: negative" in said.err


@dataclass(frozen=True)
class Knobs:
    model: str = "mlp"
    depth: int | None = None
    data: str = "auto"
    rates: tuple[float, ...] | None = (0.1,)


def test_open_knobs_are_filled_and_no_others():
    table = {"depth": 4, "data": "digits", "rates": (0.3,), "model": "other"}
    assert filled(Knobs(), table) == Knobs("mlp", 4, "digits", (0.1,))
    assert filled(Knobs(depth=0, data="mnist", rates=None), table) == Knobs("mlp", 0, "mnist", (0.3,))
    assert filled(Knobs(), {}) == Knobs()
