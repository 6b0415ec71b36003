"""Sweeps on a Dask cluster of this machine: a scheduler and two workers, all on the loopback interface."""

import contextlib
import dataclasses
import hashlib
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import children
import numpy as np
import pytest
from paths import ROOT

from dlinear.errors import DomainError, MissingDependencyError
from dlinear.runs import collection, dask_cluster, launch, pool, records, sweeps
from dlinear.runs.computation import Computed

pytest.importorskip("distributed")
psutil = pytest.importorskip("psutil")

LOOPBACK = ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]  # as in the docs
ANSWER = 30.0  # seconds; a loaded machine may be slow to answer
WAITS = "no worker at "  # said when a worker of a loaded machine is slow to start


@dataclasses.dataclass(frozen=True)
class Cell:
    seed: int
    trace: str  # a folder in which every computation leaves a file
    mode: str = "fine"


def numbers(cell):
    return np.random.default_rng(cell.seed).normal(size=(4, 4)) @ np.ones(4)


def compute(cell):
    """Also its helper and its class travel: the folder of the tests is not importable on the workers."""
    mark = Path(cell.trace, f"{cell.seed:02}-{os.getpid()}-{time.monotonic_ns()}")
    mark.touch()
    if cell.mode == "dies":
        os._exit(3)
    if cell.mode == "raises":
        raise ZeroDivisionError("two\nlines")
    time.sleep(0.15 if cell.mode == "fine" else 0.0)
    values = numbers(cell)
    mark.write_text(hashlib.sha256(values.tobytes()).hexdigest())
    from threadpoolctl import threadpool_info

    threads = max([1, *(library["num_threads"] for library in threadpool_info())])
    return {
        "i": (["i"], np.arange(4)),
        "x": (["i"], values),
        "threads": ([], threads),
        "pid": ([], os.getpid()),
    }


def cells(trace, count, **modes):
    return [Cell(seed, str(trace), modes.get(f"s{seed}", "fine")) for seed in range(count)]


@pytest.fixture
def trace(tmp_path):
    (tmp_path / "trace").mkdir()
    return tmp_path / "trace"


def computed(trace):
    """Seed -> how often it was begun."""
    seeds = [int(path.name[:2]) for path in trace.iterdir()]
    return {seed: seeds.count(seed) for seed in seeds}


class Dask:
    """A scheduler and workers as subprocesses; every one of them has ended when the context ends."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.started = []

    def start(self, name, *words):
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
            "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__DISK": "False",
            "DASK_TEMPORARY_DIRECTORY": str(self.folder / "space"),
        }
        for variable in pool.THREADS:  # the task itself has to pin them
            environment.pop(variable, None)
        with (self.folder / f"{name}-{len(self.started)}.log").open("wb") as log:
            command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *words]
            process = children.start(
                [*command, *LOOPBACK, "--scheduler-file", str(self.file)],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
            )
        self.started.append(process)
        return process

    def scheduler(self, port=0):
        return self.start("scheduler", "--port", str(port))

    def worker(self, *words):
        where = ["--local-directory", str(self.folder / "space")]
        return self.start("worker", "--nworkers", "1", "--nthreads", "1", *where, *words)

    def client(self, **words):
        given = {"scheduler_file": self.file, "answer": ANSWER, "patience": 60.0, **words}
        return dask_cluster.Cluster(**given)

    def processes(self):
        found = []
        for process in self.started:
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = psutil.Process(process.pid)
                found += [parent, *parent.children(recursive=True)]
        return found

    def close(self):
        everyone = self.processes()
        for process in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for process in self.started:
            process.wait(30)
        _, alive = psutil.wait_procs(everyone, timeout=30)
        assert not alive


@pytest.fixture
def dask(tmp_path):
    (tmp_path / "dask").mkdir()
    with contextlib.closing(Dask(tmp_path / "dask")) as machines:
        yield machines


def eventually(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {seconds:g} s"
        time.sleep(0.02)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def in_background(action):
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def same_as_here(folder, asked, place):
    """The records equal those of a plain run of the same cells, bit by bit."""
    sweeps.run(place, asked, compute, workers=0)
    for record in collection.scan(place):
        other = records.read(records.cells(folder) / f"{record.key}.npz")
        assert np.array_equal(record.arrays["x"], other.arrays["x"])


@pytest.mark.slow
@pytest.mark.parametrize("nanny", ["--nanny", "--no-nanny"])
def test_a_killed_worker_loses_no_cell(tmp_path, trace, dask, nanny):
    """kill -9 in the middle; with a nanny another worker takes its place, without the other one goes on."""
    dask.scheduler()
    dask.worker(nanny)
    dask.worker(nanny)
    folder, asked = tmp_path / "exp", cells(trace, 30)
    killed = []

    def kill_in_the_middle():
        eventually(lambda: len(list((folder / "cells").glob("*.npz"))) >= 8)
        busy = {int(path.name.split("-")[1]) for path in trace.iterdir() if not path.read_text()}
        # of those that have a record: a worker of a loaded machine may only just have begun
        known = {int(record.arrays["pid"]) for record in collection.scan(folder)}
        known &= {process.pid for process in dask.processes()}
        killed.append(min(known & busy or known))
        os.kill(killed[0], signal.SIGKILL)

    killer = in_background(kill_in_the_middle)
    sweep = sweeps.run(folder, asked, compute, executor=dask.client())
    killer.join(60)
    assert killed
    assert not psutil.pid_exists(killed[0]) or psutil.Process(killed[0]).status() == psutil.STATUS_ZOMBIE
    assert (sweep.computed, sweep.resumed, dict(sweep.failed), sweep.lost) == (30, 0, {}, ())
    assert "30 computed, 0 resumed, 0 lost" in str(sweep)
    assert {path.stem for path in records.cells(folder).iterdir()} == set(sweep.keys)
    begun = computed(trace)
    assert sorted(begun) == list(range(30))
    for seed in begun:  # a cell begun twice found the same numbers, where it came to any
        found = {path.read_text() for path in trace.glob(f"{seed:02}-*")} - {""}
        assert len(found) == 1
    data = collection.load(folder)
    assert data["pid"].values.min() > 0
    assert killed[0] in data["pid"].values
    assert (data["threads"] == 1).all()
    same_as_here(folder, asked, tmp_path / "here")

    before = computed(trace)
    again = sweeps.run(folder, asked, compute, executor=dask.client())
    assert (again.computed, again.resumed, again.lost) == (0, 30, ())
    assert computed(trace) == before
    outside = [
        connection.laddr.ip
        for process in dask.processes()
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.ip != "127.0.0.1"
    ]
    assert outside == []


@pytest.mark.slow
def test_a_cell_that_kills_every_worker_is_reported_and_the_rest_complete(tmp_path, trace, dask, capsys):
    dask.scheduler()
    dask.worker()
    dask.worker()
    asked = cells(trace, 12, s1="dies", s5="raises")
    sweep = sweeps.run(tmp_path / "exp", asked, compute, executor=dask.client())
    assert sorted(sweep.failed) == sorted(records.key(asked[i]) for i in (1, 5))
    assert "its worker died in each of 2 tries" in sweep.failed[records.key(asked[1])]
    assert sweep.failed[records.key(asked[5])] == "ZeroDivisionError: two lines"
    assert (sweep.computed, sweep.lost) == (10, ())
    assert "2 of 12 cells are missing" in sweep.waiting
    assert "2 FAILED" in str(sweep)
    assert "died in each of 2 tries" in capsys.readouterr().err
    assert sorted(collection.load(tmp_path / "exp")["seed"].values) == [
        i for i in range(12) if i not in (1, 5)
    ]


@pytest.mark.slow
def test_when_no_worker_is_left_the_sweep_stops_in_time(tmp_path, trace, dask, capsys):
    dask.scheduler()
    worker = dask.worker("--no-nanny")
    asked = cells(trace, 2, s0="quick", s1="dies")
    with pytest.raises(dask_cluster.ClusterError, match=r"no worker has been connected to tcp.* for 2 s"):
        sweeps.run(tmp_path / "exp", asked, compute, executor=dask.client(patience=2.0))
    assert worker.wait(10) == 3
    said = capsys.readouterr().err
    assert "waiting up to 2 s" in said


@pytest.mark.slow
def test_the_scheduler_may_come_back_but_not_stay_away(tmp_path, trace, dask, capsys):
    port = free_port()
    scheduler = dask.scheduler(port)
    dask.worker()
    folder, asked = tmp_path / "exp", cells(trace, 12)
    killed = []

    def kill_in_the_middle():
        eventually(lambda: len(list((folder / "cells").glob("*.npz"))) >= 3)
        scheduler.kill()
        killed.append(scheduler.wait(30))

    eventually(dask.file.exists)  # a busy machine may need longer for it than the client is to wait below
    killer = in_background(kill_in_the_middle)
    with pytest.raises(dask_cluster.ClusterError, match=r"scheduler at tcp.* is gone \(waited 5 s\)"):
        sweeps.run(folder, asked, compute, executor=dask.client(answer=5.0))
    killer.join(60)
    assert killed
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(WAITS)]
    assert len(said) == 1
    assert "of 12 cells are kept" in said[0]
    kept = len(collection.scan(folder))
    assert kept >= 3

    dask.scheduler(port)
    dask.worker()
    again = sweeps.run(folder, asked, compute, executor=dask.client())
    assert (again.computed, again.resumed, again.lost) == (12 - kept, kept, ())


@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False], ids=["same-port", "other-port"])
def test_a_sweep_goes_on_with_a_restarted_scheduler(tmp_path, trace, dask, same, capsys):
    """Its workers end with the old one and are started again too; the file tells another port."""
    port = free_port()
    scheduler = dask.scheduler(port)
    worker = dask.worker("--no-nanny")
    folder, asked = tmp_path / "exp", cells(trace, 20)
    where = {"scheduler": f"tcp://127.0.0.1:{port}", "scheduler_file": None} if same else {}

    def restart_in_the_middle():
        eventually(lambda: len(list((folder / "cells").glob("*.npz"))) >= 3)
        scheduler.kill()
        scheduler.wait(30)
        dask.file.unlink()
        dask.scheduler(port if same else 0)
        eventually(dask.file.exists)
        dask.worker("--no-nanny")

    restarter = in_background(restart_in_the_middle)
    eventually(dask.file.exists)
    sweep = sweeps.run(folder, asked, compute, executor=dask.client(**where))
    restarter.join(60)
    assert len(dask.started) == 4
    assert (sweep.computed, sweep.resumed, dict(sweep.failed), sweep.lost) == (20, 0, {}, ())
    assert all(line.startswith(WAITS) for line in capsys.readouterr().err.splitlines())
    same_as_here(folder, asked, tmp_path / "here")
    assert worker.wait(60) is not None, "a worker whose scheduler is gone ends by itself"


def test_a_scheduler_that_is_lost_again_and_again_is_given_up(tmp_path, monkeypatch):
    class Gone:
        address, client, renewed = "tcp://there:1", None, 0

        def workers(self):
            return None

        def renew(self):
            self.renewed += 1

    monkeypatch.setattr(dask_cluster, "POLL", 0.001)
    dispatch = dask_cluster._Dispatch(Gone(), {"a": 1}, compute, 5.0)
    monkeypatch.setattr(dispatch, "_submit", lambda: None)
    with pytest.raises(dask_cluster.ClusterError, match=r"there:1 was lost 3 times without a result"):
        list(dispatch.results())
    assert dispatch._connection.renewed == 3


class Ended:
    """A future of Dask, as its executor sees it."""

    def __init__(self, status, result):
        self.status, self._found = status, result

    async def _result(self, raiseit):
        return self._found


def through_the_executor(status, result):
    from distributed.cfexecutor import _cascade_future
    from tornado.ioloop import IOLoop

    future = Future()
    loop = IOLoop(make_current=False)
    loop.run_sync(lambda: _cascade_future(Ended(status, result), future))
    loop.close(all_fds=True)
    return future


def error_with_frames():
    try:
        return computed(None)
    except AttributeError as error:
        return AttributeError, error, error.__traceback__


@pytest.mark.parametrize("losses", [1, 2, 3])
def test_a_result_whose_worker_dies_while_it_is_fetched_is_computed_again(monkeypatch, losses):
    """Dask's executor then says that the cell has failed, with an error of its own."""

    class There:
        address = "tcp://there:1"

        def workers(self):
            return [1]

        def lives(self):
            return True

    found = Computed({"a": ([], 1.0)}, 0.1, {})
    answers = [through_the_executor("lost", found) for _ in range(losses)]
    answers.append(through_the_executor("finished", found))
    assert isinstance(answers[0].exception(), AttributeError)
    dispatch = dask_cluster._Dispatch(There(), {"a": 1}, compute, 5.0)

    def submit():
        if dispatch._waiting:
            future = answers.pop(0)
            dispatch._submitted[future] = dispatch._waiting.popleft()
            dispatch._arrived.put(future)

    monkeypatch.setattr(dispatch, "_submit", submit)
    ((key, result),) = dispatch.results()
    assert key == "a"
    if losses < dask_cluster.TRIES:
        assert result == found
    else:
        assert isinstance(result, dask_cluster.ClusterError)
        assert str(result) == "the cluster lost it in each of 3 tries"


def test_an_error_of_the_cell_itself_is_reported():
    future = through_the_executor("error", error_with_frames())
    assert isinstance(future.exception(), AttributeError)
    assert not dask_cluster._was_lost(future)
    assert isinstance(dask_cluster._result_of(future), AttributeError)
    assert not dask_cluster._was_lost(through_the_executor("finished", 3))


@pytest.mark.slow
def test_no_scheduler_is_one_line_in_time(tmp_path, trace):
    asked = cells(trace, 1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        closed = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(dask_cluster.ClusterError, match=f"no Dask scheduler at {closed} within 1 s"):
            sweeps.run(tmp_path / "e", asked, compute, executor=dask_cluster.Cluster(closed, answer=1.0))
    for address in (closed, "nonsense://x:1", "tcp://127.0.0.1:port"):
        with pytest.raises(dask_cluster.ClusterError, match="no Dask scheduler at"):
            sweeps.run(tmp_path / "e", asked, compute, executor=dask_cluster.Cluster(address, answer=1.0))
    file = tmp_path / "scheduler.json"
    for content, words in ((None, "does not exist"), ("[1]", "names no address"), ('{"addr', "no address")):
        if content is not None:
            file.write_text(content)
        with pytest.raises(dask_cluster.ClusterError, match=words):
            sweeps.run(
                tmp_path / "e", asked, compute, executor=dask_cluster.Cluster(scheduler_file=file, answer=0.3)
            )


def test_a_finished_run_needs_no_cluster(tmp_path, trace):
    asked = cells(trace, 3)
    sweeps.run(tmp_path / "e", asked, compute, workers=0)
    again = sweeps.run(tmp_path / "e", asked, compute, executor=dask_cluster.Cluster("tcp://127.0.0.1:1"))
    assert (again.computed, again.resumed) == (0, 3)


def test_without_distributed_the_command_is_named(tmp_path, trace, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match="pip install distributed"):
        sweeps.run(
            tmp_path / "e", cells(trace, 1), compute, executor=dask_cluster.Cluster("tcp://127.0.0.1:1")
        )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"scheduler": "tcp://127.0.0.1:1", "scheduler_file": "f"}, "one of the two"),
        ({"scheduler": "tcp://127.0.0.1:1", "workers": 2}, "--workers"),
        ({"scheduler": "tcp://127.0.0.1:1", "patience": 0.0}, "patience must be a positive"),
        ({"scheduler": "tcp://127.0.0.1:1", "answer": float("nan")}, "answer must be a positive"),
        *[
            ({"shard": bad}, "shard must be i/N")
            for bad in ("0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3", "")
        ],
    ],
)
def test_refused_knobs_are_one_line(tmp_path, trace, words, said):
    with pytest.raises(DomainError, match=said) as caught:
        launch.Launch(results=str(tmp_path / "r"), **words).sweep("e", cells(trace, 1), compute)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 9])
def test_shards_are_disjoint_complete_and_the_same_again(tmp_path, trace, count):
    asked = cells(trace, 7, **{f"s{seed}": "quick" for seed in range(7)})
    every = [records.key(cell) for cell in asked]
    parts = []
    for i in range(1, count + 1):
        where = launch.Launch(results=str(tmp_path), workers=0, shard=f"{i}/{count}")
        part = where.sweep("e", asked, compute)
        assert part.keys == where.sweep("e", asked, compute).keys
        assert part.computed == len(part.keys)
        assert "without --shard" in part.waiting
        parts.append(part.keys)
        assert not (tmp_path / "e" / "latest.json").exists()
    assert sorted(key for part in parts for key in part) == sorted(every)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    whole = launch.Launch(results=str(tmp_path), workers=0).sweep("e", asked, compute)
    assert (whole.computed, whole.resumed, whole.waiting) == (0, 7, "")
    assert collection.latest(tmp_path / "e") == every
    assert set(computed(trace).values()) == {1}


def test_dask_is_loaded_only_where_it_is_used():
    code = "import sys, dlinear.runs.launch; print([m for m in ('distributed', 'dask') if m in sys.modules])"
    done = children.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


SIM = "--data random --width 3 --depths 300 1000 --seeds 4 --points 8 --largest 30"


def sim(tmp_path, *words):
    command = [sys.executable, "-m", "sims.rough_layers", *SIM.split(), "--results", str(tmp_path), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return children.run(command, cwd=ROOT, env=environment)


@pytest.mark.slow
def test_a_script_on_the_cluster_and_in_shards(tmp_path, dask):
    """`compute` of a script run as a program; the workers run in a folder that holds no sims/."""
    dask.scheduler()
    dask.worker("--no-nanny")
    first = sim(tmp_path / "a", "--scheduler-file", str(dask.file), "--answer", "20")
    assert first.stderr == ""
    assert "24 cells" in first.stdout
    assert "24 computed, 0 resumed, 0 lost" in first.stdout

    half = sim(tmp_path / "b", "--shard", "1/2", "--workers", "0")
    assert (half.returncode, half.stderr) == (0, "")
    assert "12 computed, 0 resumed, 0 lost" in half.stdout
    assert "no verdict: shard 1/2 alone" in half.stdout
    both = sim(tmp_path / "b", "--workers", "0")
    assert "12 computed, 12 resumed, 0 lost" in both.stdout
    assert both.stdout.splitlines()[1:] == first.stdout.splitlines()[1:]
    a, b = (collection.load(tmp_path / place / "rough_layers") for place in "ab")
    assert a.attrs["cells"] == 24
    for name in a.data_vars:
        assert np.allclose(a[name], b[name], rtol=1e-12, atol=0, equal_nan=True)


@pytest.mark.slow
def test_a_script_without_its_scheduler_is_one_line(tmp_path):
    done = sim(tmp_path, "--scheduler", "tcp://127.0.0.1:1", "--answer", "1")
    assert done.returncode == 2
    assert done.stderr == "error: no Dask scheduler at tcp://127.0.0.1:1 within 1 s\n"
