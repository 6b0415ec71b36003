"""Several processes give the numbers of one; one that is missing, dies or fails is named; no hang."""

import itertools
import json
import os
import socket
import sys
import textwrap

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

    def meet(folder, count):
        import torch.distributed  # before the clock runs: a short timeout is not about a slow start

        open(f"{folder}/here{os.environ['RANK']}", "w").close()
        while sum(name.startswith("here") for name in os.listdir(folder)) < count:
            time.sleep(0.01)
"""


def script(folder, body):
    path = folder / "script.py"
    path.write_text(textwrap.dedent(HEAD) + textwrap.dedent(body))
    return path


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TIMEOUT": "60", **more}


def torchrun(path, ranks=2, **more):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    logs = ["--log-dir", str(path.parent / "logs")]  # else in the folder of temporary files, for ever
    return children.run([*command, *logs, str(path)], env=environment(**more), timeout=120)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def start(path, rank, world, port, **more):
    """One rank without torchrun, so that the others may be missing."""
    names = environment(RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", **more)
    names["MASTER_PORT"] = str(port)
    return children.start([sys.executable, str(path)], env=names)


@pytest.mark.slow
def test_the_store_holds_no_more_after_many_maps_than_after_one(tmp_path):
    path = script(
        tmp_path,
        f"""
        held = []
        with distributed.from_environment(timeout) as team:
            for number in range(12):
                found = team.map(lambda i: np.full(1_100_000, 1.0 * i), range(2), "large")  # 8.8 MB: 3 pieces
                assert [part[-1] for part in found] == [0.0, 1.0]
                assert team.agree(number) == number
                held.append(team._heartbeat.store.num_keys())
            rank = team.rank
        open(f"{tmp_path}/{{rank}}.json", "w").write(json.dumps(held))
        """,
    )
    done = torchrun(path)
    assert done.returncode == 0, done.stderr[-2000:]
    for rank in range(2):
        held = json.loads((tmp_path / f"{rank}.json").read_text())
        assert max(held[2:]) <= held[0] + 8  # a rank may have shown a round that the other has not


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one_and_share_what_a_task_raises(tmp_path):
    path = script(
        tmp_path,
        f"""
        phi = np.random.default_rng(1).normal(size=({WIDTH}, {WIDTH}))
        net = dlinear.GaussianNetwork(depth={DEPTH}, width={WIDTH}, sigma=2.0, seed=3)
        said = {{}}

        def fails(error):
            def task(i):
                if i == 3:
                    raise error
                return float(i)
            return task

        with distributed.from_environment(timeout) as team:
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
            said["rank"] = team.rank
        open(f"{tmp_path}/{{said['rank']}}.json", "w").write(json.dumps(said))
        """,
    )
    done = torchrun(path)
    assert done.returncode == 0, done.stderr[-2000:]
    alone = dlinear.alignment(NET, PHI, DEPTH - np.array(M), engine=Engine(**ENGINE))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    for said in (first, second):
        assert np.allclose(said["sin2"], alone.sin2, rtol=1e-12, atol=0)
        assert np.allclose(said["cos"], alone.cos, rtol=1e-12, atol=0)
        assert said["DomainError"] == "three is odd"
        assert "ranks are in different maps" in said["apart"]
    assert first["DistributedError"] == "rank 1: KeyError: 'three'"
    assert second["KeyError"] == "'three'"


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


@pytest.mark.slow
def test_a_rank_that_never_comes_is_named(tmp_path):
    path = script(tmp_path, WAITS)
    port, other = free_port(), free_port()
    ranks = [
        start(path, 0, 3, port, TIMEOUT="6", COME="1"),  # serves; ranks 1 and 2 do not come
        start(path, 1, 2, other, TIMEOUT="6", COME="1"),  # the one that serves does not come
    ]
    (_, serves), (_, alone) = (rank.communicate(timeout=50) for rank in ranks)
    assert [rank.returncode for rank in ranks] == [1, 1]
    expected = f"no heartbeat from ranks 1, 2 of 3 for 6 s; waited for the ranks to meet at 127.0.0.1:{port}"
    assert serves.strip() == expected
    assert len(alone.strip().splitlines()) == 1
    assert f"rank 1 of 2 could not reach, for 6 s, the meeting place 127.0.0.1:{other}" in alone


@pytest.mark.slow
def test_a_rank_that_dies_is_named(tmp_path):
    path, port = script(tmp_path, WAITS), free_port()
    ranks = [start(path, rank, 2, port, TIMEOUT="8", COME="2") for rank in range(2)]
    said = [rank.communicate(timeout=50)[1].strip() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [1, 9]
    assert (
        said[0].splitlines()[0]
        == "no heartbeat from rank 1 of 2 for 8 s; waited for their part of 'the sums'"
    )


@pytest.mark.slow
def test_a_rank_that_leaves_is_noticed_at_once_and_a_slow_one_is_waited_for(tmp_path):
    path = script(
        tmp_path,
        """
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
        """,
    )
    port = free_port()
    ranks = [start(path, rank, 2, port, TIMEOUT="8") for rank in range(2)]
    said = [rank.communicate(timeout=50)[0].splitlines() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 7], said
    assert [lines[0] for lines in said] == ["[0.0, 1.0, 2.0, 3.0]"] * 2
    assert said[0][1] == "rank 1 of 2 has left; waited for their part of 'the rest'"


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
