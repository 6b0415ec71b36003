"""The line by which the guide starts several processes opens no port to the network."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import time
from collections import defaultdict

import children
import pytest
from paths import ROOT


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


def addresses(variables, words, folder):
    """On which addresses a run of the simulation listens from its start to its end."""
    words = [*words, "--depth", "2e5", "--points", "8", "--width", "4", "--results", str(folder)]
    seen = set()
    environment = {**os.environ, **variables, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with children.running([sys.executable, *words], cwd=ROOT, env=environment) as process:
        end = time.monotonic() + 100
        while process.poll() is None and time.monotonic() < end:
            seen |= listening(process.pid)
            time.sleep(0.02)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err[-2000:]
    assert "2 processes" in out
    return seen


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("ss") and shutil.which("ps")), reason="needs ss and ps")
def test_the_guides_line_listens_on_loopback_only(tmp_path):
    variables, words = documented()
    words = shlex.split(words.replace("$(mktemp -u)", str(tmp_path / "meeting")).split("--depth")[0])
    logs = ["--log-dir", str(tmp_path / "logs")]
    at = words.index("--nproc-per-node")
    words[at:at] = logs
    assert addresses(variables, words, tmp_path / "ours") == {"127.0.0.1"}


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("ss") and shutil.which("ps")), reason="needs ss and ps")
def test_the_look_sees_a_launcher_that_listens_everywhere(tmp_path):
    words = shlex.split("-m torch.distributed.run --standalone --nproc-per-node 2")
    words += ["--log-dir", str(tmp_path / "logs"), "-m", "sims.large_depth"]
    assert addresses({}, words, tmp_path / "theirs") & {"*", "0.0.0.0", "[::]"}
