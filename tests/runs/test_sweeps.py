import dataclasses
import errno
import os
import re
import signal
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import children
import numpy as np
import pytest

from dlinear.errors import DomainError, RecordError
from dlinear.runs import collection, provenance, records, sweeps


@dataclasses.dataclass(frozen=True)
class Cell:
    seed: int
    trace: str  # a folder in which every computation leaves a file
    mode: str = "fine"


def compute(cell):
    count = len(list(Path(cell.trace).glob(f"{cell.seed}.*")))
    Path(cell.trace, f"{cell.seed}.{count}").touch()
    if cell.mode == "raises":
        raise ZeroDivisionError("two\nlines")
    if cell.mode == "dies":
        os._exit(3)
    if cell.mode == "slow":
        time.sleep(0.3)
    threads = float(os.environ.get("OPENBLAS_NUM_THREADS", "0"))
    return {"square": ([], cell.seed**2), "threads": ([], threads), "process": ([], os.getpid())}


@pytest.fixture
def trace(tmp_path):
    (tmp_path / "trace").mkdir()
    return tmp_path / "trace"


def computed(trace):
    return sorted(path.name for path in trace.iterdir())


def cells(trace, count, **modes):
    return [Cell(seed, str(trace), modes.get(f"s{seed}", "fine")) for seed in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_computes_once_and_resumes_with_nothing(tmp_path, trace, workers, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    folder, asked = tmp_path / "exp", cells(trace, 4)
    sweep = sweeps.run(folder, asked, compute, workers=workers)
    assert (sweep.computed, sweep.resumed, dict(sweep.failed)) == (4, 0, {})
    data = collection.load(folder)
    assert data["square"].values.ravel().tolist() == [0, 1, 4, 9]
    again = sweeps.run(folder, [*asked, asked[0]], compute, workers=workers)
    assert (again.computed, again.resumed) == (0, 4)
    assert computed(trace) == ["0.0", "1.0", "2.0", "3.0"]
    assert collection.latest(folder) == list(sweep.keys) == list(again.keys)
    assert "4 resumed" in str(again)
    assert "FAILED" not in str(again)
    if workers == 2:
        assert (data["threads"] == 1).all()  # in the processes; this one is left alone
        assert os.getpid() not in data["process"].values


@pytest.mark.slow
def test_the_environment_is_left_as_it_was(tmp_path, trace, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = dict(os.environ)
    sweeps.run(tmp_path / "exp", cells(trace, 2), compute, workers=2)
    assert dict(os.environ) == before


def test_any_executor_can_be_passed(tmp_path, trace):
    with ThreadPoolExecutor(2) as executor:
        sweep = sweeps.run(tmp_path / "exp", cells(trace, 3), compute, executor=executor)
    assert sweep.computed == 3
    assert (collection.load(tmp_path / "exp")["process"] == os.getpid()).all()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_failing_cell_is_reported_and_the_rest_complete(tmp_path, trace, workers, capsys):
    asked = cells(trace, 4, s1="raises")
    sweep = sweeps.run(tmp_path / "exp", asked, compute, workers=workers)
    assert sweep.computed == 3
    assert dict(sweep.failed) == {records.key(asked[1]): "ZeroDivisionError: two lines"}
    assert "ZeroDivisionError: two lines" in capsys.readouterr().err
    assert "1 FAILED" in str(sweep)
    with pytest.raises(RecordError, match="no run has been completed"):
        collection.latest(tmp_path / "exp")


@pytest.mark.slow
def test_a_dying_process_costs_only_its_own_cell(tmp_path, trace, capsys):
    """The others, running or waiting when it dies, are tried again."""
    asked = cells(trace, 4, s0="slow", s1="dies", s2="slow", s3="slow")
    sweep = sweeps.run(tmp_path / "exp", asked, compute, workers=2)
    assert list(sweep.failed) == [records.key(asked[1])]
    said = "ProcessDiedError: its process died in each of 3 tries, with exit status 3"
    assert dict(sweep.failed) == {records.key(asked[1]): said}
    assert said in capsys.readouterr().err
    assert sorted(collection.load(tmp_path / "exp")["seed"].values.tolist()) == [0, 2, 3]
    assert computed(trace) == ["0.0", "1.0", "1.1", "1.2", "2.0", "3.0"], "the others are computed once"


def test_a_damaged_record_is_computed_again(tmp_path, trace):
    folder, asked = tmp_path / "exp", cells(trace, 2)
    sweep = sweeps.run(folder, asked, compute, workers=0)
    path = records.cells(folder) / f"{sweep.keys[1]}.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(collection.RecordWarning, match=f"computed again: .*{sweep.keys[1]}"):
        again = sweeps.run(folder, asked, compute, workers=0)
    assert (again.computed, again.resumed) == (1, 1)
    assert computed(trace) == ["0.0", "1.0", "1.1"]
    assert len(collection.scan(folder)) == 2


def test_a_folder_in_place_of_a_record_is_not_counted_as_kept(tmp_path, trace, capsys):
    folder, asked = tmp_path / "exp", cells(trace, 3)
    sweep = sweeps.run(folder, asked, compute, workers=0)
    path = records.cells(folder) / f"{sweep.keys[1]}.npz"
    path.unlink()
    path.mkdir()
    before = computed(trace)
    with pytest.raises(RecordError, match=f"{path} is a folder, not a record: move it away"):
        sweeps.run(folder, asked, compute, workers=0)
    assert "stopped: 2 of 3 cells are kept" in capsys.readouterr().err
    assert computed(trace) == before, "refused before any work"


@pytest.mark.skipif(os.name != "posix", reason="named pipes and links")
def test_a_pipe_in_place_of_a_record_is_refused_and_a_link_to_nothing_replaced(tmp_path, trace):
    folder, asked = tmp_path / "exp", cells(trace, 2)
    keys = [records.key(cell) for cell in asked]
    records.cells(folder).mkdir(parents=True)
    path, link = (records.cells(folder) / f"{key}.npz" for key in keys)
    os.mkfifo(path)
    with pytest.raises(RecordError, match=f"{path} is a named pipe, not a record: move it away"):
        sweeps.run(folder, asked, compute, workers=0)
    assert computed(trace) == []
    path.unlink()
    link.symlink_to(tmp_path / "nothing")
    assert sweeps.run(folder, asked, compute, workers=0).computed == 2
    assert not link.is_symlink()
    assert not (tmp_path / "nothing").exists()


def test_what_killed_writers_left_is_removed_at_the_start(tmp_path, trace):
    from dlinear.storage import writing

    folder, asked = tmp_path / "exp", cells(trace, 2)
    elsewhere = tmp_path / "scratch"  # the records lie on another disk
    elsewhere.mkdir()
    folder.mkdir()
    records.cells(folder).symlink_to(elsewhere)
    for place in (elsewhere, folder):
        (place / f"{writing.temporary_name(place / 'a.npz').name}").write_text("left")
    sweeps.run(folder, asked, compute, workers=0)
    assert sorted(os.listdir(folder)) == ["cells", "latest.json"]
    assert all(name.endswith(".npz") for name in os.listdir(elsewhere))


def test_records_of_another_revision_are_kept_and_said(tmp_path, trace, capsys, monkeypatch):
    folder, asked = tmp_path / "exp", cells(trace, 3)
    monkeypatch.setattr(provenance, "revision", lambda: "a" * 40)
    sweeps.run(folder, asked[:2], compute, workers=0)
    monkeypatch.setattr(provenance, "revision", lambda: "b" * 40 + "+changes")
    sweep = sweeps.run(folder, asked, compute, workers=0)
    assert (sweep.computed, sweep.resumed) == (1, 2)
    assert capsys.readouterr().err == (
        f"note: 2 of 2 records in {records.cells(folder)} are kept that were computed by revision "
        "aaaaaaaaaa, not by revision bbbbbbbbbb+changes: move them away to compute them again\n"
    )
    monkeypatch.setattr(provenance, "revision", lambda: None)
    sweeps.run(folder, asked, compute, workers=0)
    assert re.search(
        r"note: 3 of 3 .* revision aaaaaaaaaa, revision bbbbbbbbbb\+changes, not by dlinear \d",
        capsys.readouterr().err,
    )


def test_what_computes_a_cell_says_with_what(tmp_path, trace):
    """The process that computes, not the one that writes."""
    sweep = sweeps.run(tmp_path / "exp", cells(trace, 2), compute, workers=2)
    meta = [record.meta for record in collection.scan(sweep.folder)]
    assert all(set(one) == {"versions", "revision", "machine", "kernels", "seconds"} for one in meta)
    assert "torch" not in meta[0]["versions"]
    assert all(threads == 1 for threads in meta[0]["machine"]["threads"].values())


def test_a_part_of_a_run_is_not_the_latest_one(tmp_path, trace):
    folder, asked = tmp_path / "exp", cells(trace, 3)
    sweeps.run(folder, asked[:1], compute, workers=0, whole=False)
    assert not (folder / "latest.json").exists()
    sweep = sweeps.run(folder, asked, compute, workers=0, changed="--seeds 3")
    run = collection.run_of(folder)
    assert (run.keys, run.changed) == (sweep.keys, "--seeds 3")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_worker_costs_little_and_nothing_is_left(tmp_path):
    """Half of the workers are killed in the middle; the rest is not computed serially."""
    code = """
import os, signal, sys, threading, time
from multiprocessing import active_children
from dlinear.runs import sweeps
from pathlib import Path

def compute(cell):
    time.sleep(0.05)
    return {"a": ([], cell["i"])}

def kill():
    while len(list(Path(folder, "cells").glob("*.npz"))) < 10:
        time.sleep(0.01)
    os.kill(active_children()[0].pid, signal.SIGKILL)

if __name__ == "__main__":
    folder = sys.argv[1]
    threading.Thread(target=kill).start()
    start = time.perf_counter()
    print(sweeps.run(folder, [{"i": i} for i in range(60)], compute, workers=2))
    print(time.perf_counter() - start)
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    done = children.run([sys.executable, str(script), str(tmp_path / "exp")], check=True)
    assert "60 computed, 0 resumed, 0 lost" in done.stdout
    assert "FAILED" not in done.stdout
    assert sorted(collection.load(tmp_path / "exp")["a"].values.ravel().tolist()) == list(range(60))
    assert sorted(os.listdir(tmp_path / "exp")) == ["cells", "latest.json"]
    assert len(os.listdir(tmp_path / "exp" / "cells")) == 60


def test_a_newer_record_is_not_replaced(tmp_path, trace, monkeypatch):
    folder, asked = tmp_path / "exp", cells(trace, 2)
    monkeypatch.setattr(records, "VERSION", records.VERSION + 1)
    sweeps.run(folder, asked[:1], compute, workers=0)
    monkeypatch.undo()
    before = {path: path.read_bytes() for path in records.cells(folder).iterdir()}
    with pytest.raises(records.NewerRecordError, match="move it away"):
        sweeps.run(folder, asked, compute, workers=0)
    assert {path: path.read_bytes() for path in records.cells(folder).iterdir()} == before


def test_a_full_disk_stops_the_sweep_and_says_how_to_go_on(tmp_path, trace, monkeypatch, capsys):
    folder, asked = tmp_path / "exp", cells(trace, 4)
    sync, left = os.fsync, iter(range(4))  # two syncs a record: the third record fails

    def full(handle):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordError, match="No space left"):
        sweeps.run(folder, asked, compute, workers=0)
    monkeypatch.undo()
    assert "stopped: 2 of 4 cells are kept" in capsys.readouterr().err
    assert len(collection.scan(folder)) == 2
    assert sweeps.run(folder, asked, compute, workers=0).computed == 2


def test_ctrl_c_keeps_what_is_finished(tmp_path, trace, capsys):
    folder, asked = tmp_path / "exp", cells(trace, 5)

    def interrupted(cell):
        if cell.seed == 3:
            raise KeyboardInterrupt
        return compute(cell)

    with pytest.raises(KeyboardInterrupt):
        sweeps.run(folder, asked, interrupted, workers=0)
    assert "interrupted: 3 of 5 cells are kept" in capsys.readouterr().err
    again = sweeps.run(folder, asked, compute, workers=0)
    assert (again.computed, again.resumed) == (2, 3)
    assert computed(trace) == [f"{seed}.0" for seed in range(5)]


SCRIPT = """
import os, sys, time
from pathlib import Path
from dlinear.runs import sweeps

def compute(cell):
    if cell["seed"] >= 2:
        Path(cell["trace"], str(cell["seed"])).write_text(str(os.getpid()))
        time.sleep(float(cell["seconds"]))
    return {"a": ([], cell["seed"])}

if __name__ == "__main__":
    folder, trace = sys.argv[1:3]
    asked = [{"seed": seed, "trace": trace, "seconds": 600} for seed in range(4)]
    try:
        sweeps.run(folder, asked, compute, workers=2)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals to a process group")
def test_ctrl_c_in_a_terminal_ends_the_processes_at_once(tmp_path, trace):
    """The signal goes to the whole group, as from a terminal, while two cells would sleep ten minutes."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, str(script), str(tmp_path / "exp"), str(trace)]
    running = children.start(command)
    deadline = time.monotonic() + 60
    kept = tmp_path / "exp" / "cells"
    while len(computed(trace)) + len(list(kept.glob("*.npz"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted: 2 of 4 cells are kept" in said
    assert "Traceback" not in said
    assert sorted(collection.load(tmp_path / "exp")["seed"].values.tolist()) == [0, 1]


def alive(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_the_sweep(tmp_path, trace, number):
    """The signal goes to the parent alone, while two cells would sleep ten minutes."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, str(script), str(tmp_path / "exp"), str(trace)]
    running = children.start(command)
    deadline = time.monotonic() + 60
    kept = tmp_path / "exp" / "cells"
    pids = [0]
    while 0 in pids or len(pids) + len(list(kept.glob("*.npz"))) < 4:
        pids = [int(path.read_text() or 0) for path in trace.iterdir()]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert all(map(alive, pids))
    running.send_signal(number)
    _, said = running.communicate(timeout=60)  # the workers hold stderr: its end is theirs
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))
    if number == signal.SIGTERM:
        assert running.returncode == 130
        assert "interrupted: 2 of 4 cells are kept" in said
        assert "Traceback" not in said


def test_a_sweep_leaves_the_handler_of_sigterm_alone(tmp_path, trace):
    before = signal.getsignal(signal.SIGTERM)
    sweeps.run(tmp_path / "exp", cells(trace, 1), compute, workers=0)
    assert signal.getsignal(signal.SIGTERM) is before


def test_workers_must_not_be_negative(tmp_path):
    with pytest.raises(DomainError, match="-1"):
        sweeps.run(tmp_path, [], compute, workers=-1)


def test_no_cells_is_no_work(tmp_path):
    assert sweeps.run(tmp_path, [], compute).keys == ()


@pytest.mark.slow
def test_numbers_survive_the_way_through_a_process(tmp_path, trace):
    a = sweeps.run(tmp_path / "a", cells(trace, 2), compute, workers=2)
    b = sweeps.run(tmp_path / "b", cells(trace, 2), compute, workers=0)
    assert a.keys == b.keys
    assert np.array_equal(
        collection.load(tmp_path / "a")["square"], collection.load(tmp_path / "b")["square"]
    )
