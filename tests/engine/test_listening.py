"""The line by which the guide starts several processes: the numbers of one, no port to the network."""

from __future__ import annotations

import functools
import importlib
import os
import re
import shlex
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import children
import numpy as np
import pytest
import tyro
from paths import ROOT

from dlinear.runs import collection

WORDS = "--data random --width 4 --depth 2e4 3e4 --points 8"
ARRAYS = ("shortfall", "sin2", "cos", "norm_ratio", "predicted_quadratic")
needs_ss = pytest.mark.skipif(not (shutil.which("ss") and shutil.which("ps")), reason="needs ss and ps")


class Run(NamedTuple):
    """What a run of two processes said, and on which addresses it listened from its start to its end."""

    status: int
    said: str
    complaint: str
    listened: set[str]


def documented():
    """The variables and the words of the line, by the guide."""
    found = re.search(
        r"^(TORCH\S*=\S+) python (-m torch\.distributed\.run .*\\\n.*)$", _guide(), re.MULTILINE
    )
    name, value = found[1].split("=")
    return {name: value}, found[2].replace("\\\n", " ")


def _guide():
    return (ROOT / "docs" / "guide.md").read_text()


def family(root):
    """A process and its descendants; torch starts the ranks in sessions of their own."""
    below = defaultdict(list)
    for line in children.run(["ps", "-eo", "pid=,ppid="], check=True).stdout.splitlines():
        pid, parent = map(int, line.split())
        below[parent].append(pid)
    found = [root]
    for pid in found:
        found.extend(below[pid])
    return set(found)


def listening(root):
    """The addresses on which these processes listen."""
    ours = family(root)
    lines = children.run(["ss", "-Hltnp"], check=True).stdout.splitlines()
    return {
        line.split()[3].rpartition(":")[0]
        for line in lines
        if ours & set(map(int, re.findall(r"pid=(\d+)", line)))
    }


def sockets():
    """All that listens on this machine, by the kernel's tables: to see cheaply that something is new."""
    tables = [Path(f"/proc/net/tcp{six}") for six in ("", "6")]
    rows = [line.split() for path in tables if path.exists() for line in path.read_text().splitlines()[1:]]
    return {(row[1], row[9]) for row in rows if row[3] == "0A"}


def watched(variables, words, look):
    """A run of two processes, looked at whenever a socket of the machine begins to listen."""
    environment = {**os.environ, **variables, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    seen, known = set(), set()
    with children.running([sys.executable, *words], cwd=ROOT, env=environment) as process:
        end = time.monotonic() + 100
        while process.poll() is None and time.monotonic() < end:
            if look and (now := sockets()) - known:
                known = now
                seen |= listening(process.pid)
            time.sleep(0.02)
        said, complaint = process.communicate(timeout=30)
    return Run(process.returncode, said, complaint, seen)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Two runs of two processes with the same results folder: by the guide's line, then by torch's own."""
    folder = tmp_path_factory.mktemp("two")
    look = bool(shutil.which("ss") and shutil.which("ps"))
    logs = ["--log-dir", str(folder / "logs")]

    @functools.cache
    def run(line):
        if line == "guide":
            variables, words = documented()
            words = shlex.split(words.replace("$(mktemp -u)", str(folder / "meeting")).split("--depth")[0])
        else:
            variables, words = {}, shlex.split("-m torch.distributed.run --standalone --nproc-per-node 2")
            words += ["-m", "sims.large_depth"]
            run("guide")
        words[(at := words.index("--nproc-per-node")) : at] = logs
        return watched(variables, [*words, *WORDS.split(), "--results", str(folder)], look)

    run.folder = folder
    return run


def numbers(folder):
    return collection.load_latest(folder / "large_depth").squeeze()


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one_and_resume(start, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT)
    sim = importlib.import_module("sims.large_depth")
    sim.main(tyro.cli(sim.Knobs, args=[*WORDS.split(), "--results", str(tmp_path)]))
    alone = capsys.readouterr().out
    for line, count in (("guide", "2 computed, 0 resumed"), ("standalone", "0 computed, 2 resumed")):
        run = start(line)
        assert run.status in (0, 1), run.complaint  # 1 where a verdict does not hold
        assert run.said.count("cells in") == 1, "only the first rank speaks"
        assert "2 processes" in run.said
        assert count in run.said.splitlines()[0]
    a, b = numbers(tmp_path), numbers(start.folder)
    assert set(b["ranks"].values.ravel().tolist()) >= {2.0}
    for name in ARRAYS:
        assert np.allclose(a[name], b[name], rtol=1e-12, atol=0, equal_nan=True), name
    tables = [[line for line in text.splitlines() if line[:1].isdigit()] for text in (alone, run.said)]
    assert tables[0] == tables[1]


@pytest.mark.slow
@needs_ss
def test_the_guides_line_listens_on_loopback_only(start):
    assert start("guide").listened == {"127.0.0.1"}


@pytest.mark.slow
@needs_ss
def test_the_look_sees_a_launcher_that_listens_everywhere(start):
    assert start("standalone").listened & {"*", "0.0.0.0", "[::]"}
