"""Stages of cells: each needs the records of those before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from dlinear.runs import collection, dataset, records, sweeps
from dlinear.runs.computation import OneProcessEach
from dlinear.runs.launch import LocalRun


class Stages:
    """The stages of one experiment that have been run."""

    def __init__(self, name: str, run: LocalRun, compute: sweeps.Compute) -> None:
        """Records go to <results>/<name>; `run` says where cells are computed."""
        self.name, self.run, self.compute = name, run, compute
        self.cells: list[Any] = []
        self.computed, self.failed = 0, False

    def gather(self, cells: Sequence[Any], alone: bool = False, apart: bool = False) -> list[records.Record]:
        """The records of a stage in the order of its cells; none when some are missing, which is said.

        Args:
            cells: of the stage.
            alone: one after the other while no worker runs, as timings need it.
            apart: with `alone`, each in a process of its own, as memory needs it; else all in this one.
        """
        if alone:
            executor, folder = OneProcessEach() if apart else None, self.run.folder(self.name)
            sweep = sweeps.run(folder, cells, self.compute, workers=0, executor=executor, whole=False)
        else:
            sweep = self.run.sweep(self.name, cells, self.compute, whole=False)
        found = {record.key: record for record in collection.scan(sweep.folder, map(records.key, cells))}
        self.cells += cells
        self.computed += sweep.computed
        if len(found) < len(cells):
            self.failed = bool(sweep.failed or sweep.lost)
            print(f"{sweep}\nno verdict: {sweep.waiting or 'cells of other shards are missing'}")
            return []
        dataset.check_alike(found.values())
        return [found[records.key(cell)] for cell in cells]

    def finish(self) -> sweeps.Sweep:
        """Mark the cells of all stages as one run."""
        sweep = self.run.sweep(self.name, self.cells, self.compute)
        return dataclasses.replace(sweep, computed=self.computed, resumed=len(self.cells) - self.computed)
