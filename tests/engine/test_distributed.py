"""Several processes give the numbers of one; one that is missing, dies or fails is named; no hang."""

import itertools
import json
import os
import socket
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import children
import numpy as np
import pytest
from paths import ROOT

import dlinear
from dlinear.engine.options import Engine
from dlinear.engine.parallel import distributed
from dlinear.errors import DistributedError

DEPTH, WIDTH, M = 3000, 4, [0, 1, 7, 30, 1000, 2200]
PHI = np.random.default_rng(1).normal(size=(WIDTH, WIDTH))
NET = dlinear.GaussianNetwork(depth=DEPTH, width=WIDTH, sigma=2.0, seed=3)
ENGINE = {"chunk_numbers": 2000}

HEAD = """
    import json, os, sys, time
    import numpy as np
    import dlinear
    from dlinear.engine.parallel import distributed
    from dlinear.engine.options import Engine
    timeout = float(os.environ["TIMEOUT"])

    def meet(folder, count):  # before the clock runs: a short timeout is not about a slow start
        open(f"{folder}/here{os.environ['RANK']}", "w").close()
        while sum(name.startswith("here") for name in os.listdir(folder)) < count:
            time.sleep(0.01)
"""

# The store after many maps, numbers, and what a task raises; each rank leaves its part in a file.
NUMBERS = f"""
    phi = np.random.default_rng(1).normal(size=({WIDTH}, {WIDTH}))
    net = dlinear.GaussianNetwork(depth={DEPTH}, width={WIDTH}, sigma=2.0, seed=3)
    said = {{"held": []}}

    def fails(error):
        def task(i):
            if i == 3:
                raise error
            return float(i)
        return task

    with distributed.from_environment(timeout) as team:
        for number in range(12):
            found = team.map(lambda i: np.full(1_100_000, 1.0 * i), range(2), "large")  # 8.8 MB: 3 pieces
            assert [part[-1] for part in found] == [0.0, 1.0]
            assert team.agree(number) == number
            said["held"].append(team._heartbeat.store.num_keys())
        engine = Engine(team=team, **{ENGINE})
        profile = dlinear.alignment(net, phi, {DEPTH} - np.array({M}), engine=engine)
        said["sin2"], said["cos"] = profile.sin2.tolist(), profile.cos.tolist()
        for error in (dlinear.errors.DomainError("three is odd"), KeyError("three")):
            try:
                team.map(fails(error), range(4), "a task that fails")
            except Exception as error:
                said[type(error).__name__] = str(error)
        try:
            team.map(fails(None), range(3 + team.rank), f"of rank {{team.rank}}")
        except distributed.DistributedError as error:
            said["apart"] = str(error)
        rank = team.rank
    open(f"{{os.path.dirname(__file__)}}/{{rank}}.json", "w").write(json.dumps(said))
"""

WAITS = """
    meet(os.path.dirname(__file__), int(os.environ["COME"]))
    try:
        with distributed.from_environment(timeout) as team:
            if team.rank == 1:
                os._exit(9)  # as if killed
            team.map(float, range(4), "the sums")
    except distributed.DistributedError as error:
        sys.exit(str(error))
"""

LEAVES = """
    meet(os.path.dirname(__file__), 2)
    with distributed.from_environment(timeout) as team:
        if team.rank == 1:
            time.sleep(11)  # longer than the timeout, but alive
        print(team.map(float, range(4), "slow work"), flush=True)
        if team.rank == 1:
            sys.exit(7)
        try:
            team.map(float, range(4), "the rest")
        except distributed.DistributedError as error:
            print(error)
"""

# A process for each rank, all at once, forked from one that has imported what they need and done nothing.
HOST = """
    import json, os, runpy, signal, sys
    import torch.distributed
    import dlinear, dlinear.engine.parallel.distributed

    plan, started = json.load(open(sys.argv[1])), {}
    for name, (path, environment) in plan.items():
        started[name] = os.fork()
        if not started[name]:
            signal.alarm(90)  # one that hangs fails its own test alone
            os.environ.update(environment)
            for number, stream in ((1, "out"), (2, "err")):
                os.dup2(os.open(f"{path}.{name}.{stream}", os.O_CREAT | os.O_WRONLY), number)
            runpy.run_path(path, run_name="__main__")
            sys.exit()
    codes = {name: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for name, pid in started.items()}
    print(json.dumps(codes))
"""


class Rank(NamedTuple):
    """How a rank ended, what it said, its folder and the port of its meeting place."""

    status: int
    out: str
    err: str
    folder: Path
    port: str


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Every rank of every script, by name; they run side by side, for they mostly wait."""
    base, plan = tmp_path_factory.mktemp("ranks"), {}

    def add(name, body, rank, world, port, **more):
        (folder := base / name.partition("-")[0]).mkdir(exist_ok=True)
        path = folder / "script.py"
        path.write_text(textwrap.dedent(HEAD) + textwrap.dedent(body))
        names = {"RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1"}
        plan[f"{name}{rank}"] = (str(path), names | {"MASTER_PORT": port, "TIMEOUT": "60", **more})

    add("missing-", WAITS, 0, 3, free_port(), TIMEOUT="6", COME="1")  # serves; ranks 1 and 2 do not come
    add("alone-", WAITS, 1, 2, free_port(), TIMEOUT="6", COME="1")  # the one that serves does not come
    for name, body, more in (
        ("numbers-", NUMBERS, {}),
        ("dies-", WAITS, {"TIMEOUT": "8", "COME": "2"}),
        ("leaves-", LEAVES, {"TIMEOUT": "8"}),
    ):
        port = free_port()
        for rank in range(2):
            add(name, body, rank, 2, port, **more)
    (base / "plan.json").write_text(json.dumps(plan))
    command = [sys.executable, "-c", textwrap.dedent(HOST), str(base / "plan.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    codes = json.loads(children.run(command, env=environment, check=True, timeout=120).stdout)

    def found(name):
        path, names = plan[name]
        out, err = (Path(f"{path}.{name}.{stream}").read_text() for stream in ("out", "err"))
        return Rank(codes[name], out, err.strip(), Path(path).parent, names["MASTER_PORT"])

    return {name: found(name) for name in plan}


def said(ranks):
    """What each rank of `NUMBERS` has written."""
    for number in range(2):
        assert ranks[f"numbers-{number}"].status == 0, ranks[f"numbers-{number}"].err
    folder = ranks["numbers-0"].folder
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
def test_the_store_holds_no_more_after_many_maps_than_after_one(ranks):
    for held in (part["held"] for part in said(ranks)):
        assert len(held) == 12
        assert max(held[2:]) <= held[0] + 8  # a rank may have shown a round that the other has not


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one_and_share_what_a_task_raises(ranks):
    alone = dlinear.alignment(NET, PHI, DEPTH - np.array(M), engine=Engine(**ENGINE))
    first, second = said(ranks)
    for part in (first, second):
        assert np.allclose(part["sin2"], alone.sin2, rtol=1e-12, atol=0)
        assert np.allclose(part["cos"], alone.cos, rtol=1e-12, atol=0)
        assert part["DomainError"] == "three is odd"
        assert "ranks are in different maps" in part["apart"]
    assert first["DistributedError"] == "rank 1: KeyError: 'three'"
    assert second["KeyError"] == "'three'"


@pytest.mark.slow
def test_a_rank_that_never_comes_is_named(ranks):
    serves, alone = ranks["missing-0"], ranks["alone-1"]
    assert [serves.status, alone.status] == [1, 1]
    expected = (
        f"no heartbeat from ranks 1, 2 of 3 for 6 s; waited for the ranks to meet at 127.0.0.1:{serves.port}"
    )
    assert serves.err == expected
    assert len(alone.err.splitlines()) == 1
    assert f"rank 1 of 2 could not reach, for 6 s, the meeting place 127.0.0.1:{alone.port}" in alone.err


@pytest.mark.slow
def test_a_rank_that_dies_is_named(ranks):
    one, other = ranks["dies-0"], ranks["dies-1"]
    assert [one.status, other.status] == [1, 9]
    assert (
        one.err.splitlines()[0]
        == "no heartbeat from rank 1 of 2 for 8 s; waited for their part of 'the sums'"
    )


@pytest.mark.slow
def test_a_rank_that_leaves_is_noticed_at_once_and_a_slow_one_is_waited_for(ranks):
    both = [ranks["leaves-0"], ranks["leaves-1"]]
    assert [rank.status for rank in both] == [0, 7], both
    lines = [rank.out.splitlines() for rank in both]
    assert [some[0] for some in lines] == ["[0.0, 1.0, 2.0, 3.0]"] * 2
    assert lines[0][1] == "rank 1 of 2 has left; waited for their part of 'the rest'"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_are_contiguous_whole_and_of_equal_layers(size):
    edges = [0, 10, 20, 23, 30, 40, 50, 51, 60, 70, 80]
    tasks = list(itertools.pairwise(edges))
    parts = distributed.shares(tasks, size)
    assert [i for part in parts for i in part] == list(range(len(tasks)))
    for part in parts:
        layers = sum(tasks[i][1] - tasks[i][0] for i in part)
        assert abs(layers - 80 / size) <= 10
    assert [len(part) for part in distributed.shares(range(2), 3)].count(0) == 1
    assert [len(part) for part in distributed.shares([], 3)] == [0, 0, 0]


def test_results_survive_the_wire():
    results = [(float(i), [np.full((2, 3), i / 3), np.float64(i)], [(1.0, 2.0)] * 2) for i in range(3)]
    head, numbers = distributed._pack(results)
    back = distributed._unpack(json.loads(json.dumps(head)), numbers)
    assert repr(back) == repr([(a, [b, float(c)], d) for a, (b, c), d in results])
    assert distributed._unpack(*distributed._pack([])) == []
    with pytest.raises(DistributedError, match="differ in form"):
        distributed._pack([1.0, (1.0,)])
    with pytest.raises(DistributedError, match="returned str"):
        distributed._pack(["1"])


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({}, "RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT not set: start with"),
        (
            {"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
            "RANK=2 WORLD_SIZE=2",
        ),
    ],
)
def test_wrong_variables_say_so(monkeypatch, names, words):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DistributedError, match=words), distributed.from_environment(1):
        pass
    with pytest.raises(DistributedError, match="timeout_seconds is -1"), distributed.from_environment(-1):
        pass
