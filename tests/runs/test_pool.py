"""Items over spawned processes: what dies, what cannot be sent, and how little that costs."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dlinear.runs import pool


class Unreadable(Exception):
    """Its pickle cannot be read: the constructor needs two arguments, the pickle holds one."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def work(item):
    kind, value = item
    if kind == "dies":
        os.kill(os.getpid(), value)
    if kind == "once":  # dies the first time
        mark = Path(value)
        if not mark.exists():
            mark.touch()
            os._exit(9)
    if kind == "raises":
        raise value
    if kind == "unreadable":
        raise Unreadable(1, 2)
    if kind == "unsendable":
        return lambda: value
    if kind == "exits":
        sys.exit(value)
    if kind == "large":
        return bytes(value)
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


def done(items, workers=2):
    return dict(pool.spread(work, items, workers))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_what_dies_is_tried_again_and_named(tmp_path):
    items = {
        "a": ("fine", 0),
        "b": ("dies", signal.SIGKILL),
        "c": ("once", str(tmp_path / "mark")),
        "d": ("exits", 4),
        "e": ("fine", 0),
    }
    found = done(items)
    assert str(found["b"]) == "its process died in each of 3 tries, by SIGKILL"
    assert str(found["d"]) == "its process died in each of 3 tries, with exit status 4"
    for name in "ace":
        assert found[name][0] != os.getpid()
        assert found[name][1] == "1"


def test_what_cannot_be_sent_is_an_error_of_that_item():
    items = {
        "function": ("fine", lambda: 0),
        "result": ("unsendable", 0),
        "error": ("unreadable", 0),
        "raised": ("raises", KeyError("three")),
        "large": ("large", 3_000_000),
        "fine": ("fine", 0),
    }
    found = done(items)
    assert "pickle" in str(found["function"])
    assert "cannot be sent to the parent" in str(found["result"])
    assert "Unreadable('1 and 2') cannot be sent to the parent" in str(found["error"])
    assert found["raised"].args == ("three",)
    assert len(found["large"]) == 3_000_000
    assert isinstance(found["fine"], tuple)


@pytest.mark.slow
def test_where_every_process_dies_all_is_given_up(monkeypatch):
    """For example a script that starts its work when it is imported."""
    monkeypatch.setattr(pool, "HOPELESS", 5)
    with pytest.raises(pool.ProcessDiedError, match="5 processes died, none gave a result: with exit status"):
        done({str(i): ("exits", 1) for i in range(20)})


def test_the_processes_end_with_the_generator():
    results = pool.spread(work, {str(i): ("fine", 0) for i in range(4)}, 2)
    _, (pid, _) = next(results)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_nothing_is_done_without_items():
    assert done({}) == {}


@pytest.mark.parametrize(("spec", "said"), [(None, True), ("dlinear.__main__", False)])
def test_a_script_that_is_run_again_by_its_own_processes_is_told_so(monkeypatch, spec, said):
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=spec))
    assert ('if __name__ == "__main__":' in pool._advice()) == said
