"""What the engine's arrays take, as measured, against what it is allowed and what it says."""

from __future__ import annotations

import math
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

import dlinear
from dlinear.engine import options
from dlinear.engine.kernels import library
from dlinear.engine.options import Engine, edge_bytes
from dlinear.engine.parallel.threads import Threads
from dlinear.engine.products import windows
from dlinear.engine.single_horizon import strategy
from dlinear.engine.single_horizon.in_memory import in_memory_bytes, inner_products_in_memory
from dlinear.errors import DomainError

MIB = 1 << 20


def peak(call):
    """Bytes of Python's and numpy's memory at most, beside what was there before."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    call()
    found = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return found


@pytest.fixture(autouse=True)
def warm():
    """What is allocated once in a process."""
    dlinear.alignment(dlinear.GaussianNetwork(depth=100, width=2), np.eye(2), [50, 99])
    for n in PHI:
        if (kernels := library.kernels_of(n)) is not None:
            kernels.compile()


PHI = {n: np.random.default_rng(n).normal(size=(n, n)) for n in (4, 5, 10)}


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 1e6, "1", True], ids=repr)
@pytest.mark.parametrize("name", ["memory", "chunk_numbers"])
def test_sizes_that_are_none_are_refused(name, value):
    with pytest.raises(DomainError, match=rf"^{name} is .*; expected an integer >= 1$"):
        Engine(**{name: value})


@pytest.mark.parametrize("value", [-1, math.nan, "1", None], ids=repr)
def test_other_options_that_are_none_are_refused(value):
    if value is not None:
        with pytest.raises(DomainError, match="fft_from"):
            Engine(fft_from=value)
        with pytest.raises(DomainError, match=r"workers is .*; expected an integer >= 1"):
            Threads(value)
    assert Engine(fft_from=None).fft_from is None
    assert Engine(memory=1, chunk_numbers=1, fft_from=0, team=Threads(1)).memory == 1
    assert Engine(fft_from=math.inf).fft_from == math.inf


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "n", "chunk"), [(3000, 10, 1 << 14), (6000, 5, 1 << 14), (4000, 5, 1 << 19)]
)
def test_what_the_way_in_memory_holds(depth, n, chunk):
    """Within a factor of 1.5 with five arrays of a chunk for each worker, at any horizon, any chunks."""
    net = dlinear.GaussianNetwork(depth=depth, width=n)
    for workers in (1, 2):
        engine = Engine(team=Threads(workers), chunk_numbers=chunk)
        layers = min(depth, engine.chunk_layers(net))
        busy = min(workers, -(-depth // layers))
        said = in_memory_bytes(net) + 5 * 8 * n**2 * layers * busy
        for m in (1, depth // 3, depth // 2 + 1, depth - 300, depth - 40, depth - 3):
            found = peak(lambda m=m, engine=engine: inner_products_in_memory(net, PHI[n], [m], engine))
            assert said / 1.6 <= found <= 1.5 * said, (workers, m, found / said)


DEPTH = 40_000
HORIZONS = {
    "near": [DEPTH - 1, DEPTH - DEPTH // 100],
    "half": [DEPTH // 2],
    "far": [DEPTH // 3],
    "short": [DEPTH // 50],
    "very short": [9],
    "all of them": [DEPTH - 3, DEPTH - DEPTH // 3, DEPTH // 3, 9],
}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("name", HORIZONS)
def test_memory_is_respected(name, workers):
    """2 MiB and 2 more a worker, and 24 MiB, where all layers in memory would take 31 MiB."""
    net = dlinear.GaussianNetwork(depth=DEPTH, width=4)
    used = []
    for memory in (2 * (1 + workers) * MIB, 24 * MIB):
        engine = Engine(team=Threads(workers), memory=memory, kernels="off")
        used.append(peak(lambda e=engine: dlinear.alignment(net, PHI[4], HORIZONS[name], engine=e)))
        assert used[-1] <= memory, used[-1] / MIB
    assert used[1] > 1.3 * used[0], "more memory is used where it is allowed"


@pytest.mark.slow
@pytest.mark.parametrize("name", HORIZONS)
def test_memory_is_respected_by_kernels(name):
    """They hold fewer arrays of a chunk: never more than is allowed."""
    net = dlinear.GaussianNetwork(depth=DEPTH, width=4)
    for workers, memory in ((1, 4 * MIB), (3, 8 * MIB), (1, 24 * MIB)):
        engine = Engine(team=Threads(workers), memory=memory)
        used = peak(lambda e=engine: dlinear.alignment(net, PHI[4], HORIZONS[name], engine=e))
        assert used <= memory, used / MIB


@pytest.mark.slow
@pytest.mark.parametrize("m", [DEPTH - 9, DEPTH - DEPTH // 50, 2 * DEPTH // 3], ids=str)
def test_layers_are_held_where_the_budget_allows_it_and_streamed_below(m):
    net = dlinear.GaussianNetwork(depth=DEPTH, width=4)
    used = []
    for memory in (40 * MIB, 100 * MIB):
        engine = Engine(team=Threads(1), memory=memory)
        used.append(peak(lambda e=engine: dlinear.alignment(net, PHI[4], [DEPTH - m], engine=e)))
        assert used[-1] <= memory, used[-1] / MIB
    assert used[1] > 20 * MIB, "every layer in memory"


def test_an_estimate_eight_times_too_small_would_break_it(monkeypatch):
    """False twin: the layers go into memory that does not suffice."""
    net = dlinear.GaussianNetwork(depth=DEPTH, width=4)
    engine = Engine(team=Threads(1), memory=8 * MIB)
    assert peak(lambda: dlinear.alignment(net, PHI[4], [DEPTH // 3], engine=engine)) <= 8 * MIB
    monkeypatch.setattr(strategy, "in_memory_bytes", lambda net: in_memory_bytes(net) // 8)
    assert peak(lambda: dlinear.alignment(net, PHI[4], [DEPTH // 3], engine=engine)) > 8 * MIB


@pytest.mark.slow
def test_all_horizons_keep_to_the_budget_and_what_they_return():
    net = dlinear.GaussianNetwork(depth=2000, width=4)
    for memory in (16 * MIB, 64 * MIB):
        engine = Engine(team=Threads(2), memory=memory, fft_from=500)
        assert peak(lambda e=engine: dlinear.alignment(net, PHI[4], "all", engine=e)) <= memory + 600 * 2000


@pytest.mark.slow
def test_memory_grows_with_depth_only_by_the_products_at_the_edges():
    """A chunk that stays the same: 48 n^2 bytes for each; one that may grow: no growth beyond the budget."""
    fixed, free, counts = [], [], []
    for depth in (6_000, 12_000):
        net = dlinear.GaussianNetwork(depth=depth, width=5)
        horizons = depth - np.array([1, 10, 100])
        engine = Engine(team=Threads(1), memory=2 * MIB, chunk_numbers=500)
        counts.append(depth // engine.chunk_layers(net))
        free.append(peak(lambda n=net, e=engine, h=horizons: dlinear.alignment(n, PHI[5], h, engine=e)))
        engine = Engine(team=Threads(1), chunk_numbers=500, memory=1)
        fixed.append(peak(lambda n=net, e=engine, h=horizons: dlinear.alignment(n, PHI[5], h, engine=e)))
    assert max(free) <= 2 * MIB
    assert counts[1] <= 1.7 * counts[0], "chunks grow where there would be too many"
    law = edge_bytes(SimpleNamespace(depth=6_000, width=5), 20)
    assert law == (48 * 25 + 1000) * 300, "six matrices, and what Python adds to them"
    assert 0.6 * law < fixed[1] - fixed[0] < 1.4 * law


def test_chunks_follow_depth_memory_and_workers():
    def layers(depth, n=10, **knobs):
        return Engine(**knobs).chunk_layers(SimpleNamespace(depth=depth, width=n))

    one, two = Threads(1), Threads(2)
    # without a budget neither workers nor depth change the chunks, so that sin^2 is the same bit for bit
    usual = (1 << 19) // 100
    assert {layers(d, team=Threads(w)) for d in (1, 10**5, 10**10) for w in (1, 2, 64)} == {usual}
    assert layers(10**8, team=two, memory=256 * MIB) == usual
    assert layers(10**5, team=two, memory=8 * MIB) == 4 * MIB // (8 * options.CHUNKS * 2) // 100
    assert layers(10**5, team=Threads(64), memory=256 * MIB) == 128 * MIB // (8 * 12 * 64) // 100
    assert layers(10**5, memory=1) == options.LEAST // 100
    assert layers(10**5, memory=1, chunk_numbers=70, n=3) == 7
    assert layers(3, n=1000) == 1
    deep = layers(2 * 10**8, team=one, memory=256 * MIB)
    assert 5800 * 2 * 10**8 / deep == pytest.approx(128 * MIB, rel=0.01)  # half of it
    assert layers(10**12, team=one, memory=256 * MIB) == 128 * MIB // (8 * options.CHUNKS) // 100
    gpu = SimpleNamespace(device="cuda")
    assert layers(10**5, backend=gpu, memory=256 * MIB, chunk_numbers=1 << 24) == (1 << 24) // 100


def test_what_is_held_is_what_workers_and_edges_leave():
    net = SimpleNamespace(depth=10**6, width=10)
    assert Engine().held(net) == Engine().budget(net) == 256 * MIB
    assert Engine().held(SimpleNamespace(depth=10, width=10, nbytes=10**9)) == 10**9
    engine = Engine(team=Threads(2), memory=64 * MIB)
    k = engine.chunk_layers(net)
    assert engine.held(net) == 64 * MIB - 2 * 8 * 12 * 100 * k - 5800 * math.ceil(10**6 / k)
    small = SimpleNamespace(depth=k // 2, width=10)  # one worker is busy, with half a chunk
    assert engine.held(small) == 64 * MIB - 8 * 12 * 100 * (k // 2) - 5800
    assert Engine(memory=1).held(net) == 0
    assert engine.most(net) == 64 * MIB
    usual = Engine(team=Threads(3))
    assert usual.most(net) == 256 * MIB + 3 * 8 * 12 * 100 * 5242 + 5800 * math.ceil(10**6 / 5242)


def test_a_map_of_many_tasks_has_few_of_them_waiting():
    done, ahead = [], []

    class Tasks:
        """Notes how far the tasks that were taken are ahead of the ones that are done."""

        def __len__(self):
            return 500

        def __iter__(self):
            for i in range(500):
                ahead.append(i - len(done))
                yield i

    def work(i):
        done.append(i)
        return i

    assert Threads(2).map(work, Tasks(), "tasks") == list(range(500))
    assert max(ahead) <= 2 * 17


@pytest.mark.parametrize("length", [0, 1, 2, 7, 40, 150, 399, 400])
def test_windows_in_groups_are_the_windows(length):
    rng = np.random.default_rng(length)
    layers = rng.normal(size=(400, 3, 3)) / 100
    want = windows(layers, length, at_once=1 << 30)
    for at_once in (1, 100, 700, 20_000):
        assert np.array_equal(windows(layers, length, at_once=at_once), want)
    if length in (2, 7):
        small = peak(lambda: windows(layers, length, at_once=100))
        assert small < peak(lambda: windows(layers, length, at_once=1 << 30))
