"""The toy run of each simulation, once for all tests and all workers of a test run."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import io
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

import tyro
from paths import ROOT

__all__ = ["ToyRun", "shared_folder", "toy_run"]


class ToyRun(NamedTuple):
    """A finished toy run.

    Attributes:
        folder: what `--results` was; it holds the run of this simulation alone.
        status: the exit status.
        said: standard output.
    """

    folder: Path
    status: int
    said: str


def shared_folder(base: Path) -> Path:
    """One folder for all workers, which pytest removes with its own; `base` is a worker's base folder."""
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "toys"
    folder.mkdir(exist_ok=True)
    return folder


def toy_run(name: str, base: Path) -> ToyRun:
    """Run it, or read what another test, maybe in another process, has run; a second caller waits."""
    place = shared_folder(base) / name
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = place / "done.json"
        if not done.exists():
            done.write_text(json.dumps(_run(name, place / "results")))
    return ToyRun(place / "results", **json.loads(done.read_text()))


def _run(name: str, folder: Path) -> dict[str, object]:
    sys.path.insert(0, str(ROOT))
    try:
        sim = importlib.import_module(f"sims.{name}")
        words = [*sim.TOY.split(), "--results", str(folder), "--workers", "0"]
        with contextlib.redirect_stdout(io.StringIO()) as said:
            status = sim.main(tyro.cli(sim.Knobs, args=words))
    finally:
        sys.path.remove(str(ROOT))
    return {"status": status, "said": said.getvalue()}
