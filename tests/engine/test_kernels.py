"""Compiled kernels against numpy: every scan, every strategy; what they refuse, and the objects on disk."""

from __future__ import annotations

import dataclasses
import math
import os
import stat
import sys

import children
import mpmath
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT

import dlinear
from dlinear.engine import options
from dlinear.engine.backends import backend_for
from dlinear.engine.kernels import expansion, host, library, object_cache
from dlinear.engine.kernels.chunk import CompiledChunk
from dlinear.engine.options import Engine
from dlinear.engine.parallel.threads import Threads
from dlinear.engine.products import Chunk
from dlinear.engine.single_horizon import once
from dlinear.errors import DomainError, NonFiniteError
from dlinear.networks import philox

CLOSE = 4e-15  # absolute, or over the largest entry where that is above 1
RELATIVE = 4e-14  # over the largest entry, however small: rounding of up to 150 layers
WIDTHS = (1, 2, 3, 4, 5, 7, 10, 13, 16, 21, 40)

pytestmark = pytest.mark.skipif(library.kernels_of(2) is None, reason="no llvmlite, AVX2 or NEON here")


def layers_of(k, n, size, seed=0):
    """Deviations of about the spectral norm `size`; below -0.5 they contract strongly."""
    rng = np.random.default_rng(seed)
    if size < 0:
        return size * np.eye(n) + 1e-3 * rng.normal(size=(k, n, n))
    return size * rng.normal(size=(k, n, n)) / (2 * math.sqrt(n))


def assert_close(got, want, name=""):
    assert got.shape == want.shape, name
    largest = np.abs(want).max(initial=1e-300)
    error = np.abs(got - want).max(initial=0.0)
    assert error <= min(CLOSE * max(1.0, largest), RELATIVE * largest), (name, error, largest)


@pytest.mark.parametrize("n", WIDTHS)
@settings(max_examples=6)
@given(st.integers(1, 150), st.sampled_from([1e-7, 0.02, 0.1, -0.7]), st.integers(0, 99))
def test_every_scan_is_numpys(n, k, size, seed):
    layers, kernels = layers_of(k, n, size, seed), library.kernels_of(n)
    rng = np.random.default_rng(seed)
    start, end = rng.normal(size=(2, n, n)) / (2 * math.sqrt(n))  # of norm 1
    small = 1e-3 * start
    want, got = Chunk(layers), CompiledChunk(layers, kernels)
    assert_close(got.states(start), want.states(start), "states")
    assert_close(got.costates(end), want.costates(end), "costates")
    assert_close(got.prefix_deviations(small), want.prefix_deviations(small), "prefixes")
    assert_close(got.suffix_deviations(small), want.suffix_deviations(small), "suffixes")
    assert_close(got.total_deviation(), want.total_deviation(), "total deviation")
    assert_close(got.final_state(start), want.final_state(start), "final state")
    gradients = want.costates(end)[1:] @ want.states(start)[:-1].mT
    norms, states, turned = got.gradients(start, end)
    assert_close(turned.mT, gradients, "gradients")
    assert_close(states, want.states(start)[:-1], "states kept")
    assert_close(norms, np.einsum("tij,tij->t", gradients, gradients), "norms")
    assert got.gradient_norm(start, end) == pytest.approx(norms.sum(), rel=CLOSE)


@pytest.mark.parametrize("n", [1, 3, 6, 10, 17])
@pytest.mark.parametrize("case", ["near", "plain", "anchored"])
def test_signals_and_sums_are_their_formulas(n, case):
    k, kernels = 37, library.kernels_of(n)
    layers, rng = layers_of(k, n, 0.05), np.random.default_rng(n)
    tail, before, turn, constant = (0.1 * rng.normal(size=(n, n)) for _ in range(4))
    chunk, numpy = CompiledChunk(layers, kernels), Chunk(layers)
    e = numpy.suffix_deviations(tail)[:-1]
    p = (numpy.prefix_deviations(before) if case == "near" else numpy.states(before))[:-1]
    y = e.mT @ constant
    if case == "near":
        y = e - e.mT + y
    if case != "anchored":
        y = y + e @ p
    assert_close(chunk.signals(case, tail, before, constant, None), y, "Y")
    z = numpy.states(turn)[:-1].mT @ y
    assert_close(chunk.signals(case, tail, before, constant, turn), z, "Z")
    states, left, gradients = (rng.normal(size=(k, n, n)) for _ in range(3))
    minus_delta = left.mT @ z @ states.mT
    found = library.delta_sums(kernels, [k, 5, 0], [z, z[:5], z[:0]], (states, left, gradients))
    for i, count in enumerate((k, 5, 0)):
        some, g = minus_delta[:count], gradients.mT[:count]
        want = (some * g).sum(), (some * some).sum()
        assert found[i] == pytest.approx(want, rel=1e-13, abs=1e-13), count


def both(net, phi, horizons, **knobs):
    """The profiles without and with kernels."""
    rule = knobs.pop("rule", dlinear.HorizonRule())
    return [
        dlinear.alignment(net, phi, horizons, rule=rule, engine=Engine(kernels=kernels, **knobs))
        for kernels in ("off", "on")
    ]


RULES = {
    "plain": dlinear.HorizonRule(),
    "anchored": dlinear.HorizonRule(anchored=True),
    "stride": dlinear.HorizonRule(stride=3),
    "runs": dlinear.HorizonRule(runs=2),
}
HORIZONS = {"near": [150, 173, 199, 200], "far": [3, 60, 90], "short": [1, 2, 5], "all": "all"}


@pytest.mark.parametrize("size", [0.01, 0.3])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("horizons", HORIZONS.values(), ids=HORIZONS)
def test_every_strategy_gives_numpys_angles(horizons, rule, size):
    """In chunks and in memory, one thread and two: to 4e-15, and to 1e-9 of the angle itself."""
    n, depth = 5, 200
    layers = layers_of(depth, n, size) / (1 if size > 0.1 else 10)
    net, phi = dlinear.DenseNetwork(layers), np.random.default_rng(1).normal(size=(n, n))
    for knobs in (
        {"chunk_numbers": 40 * n * n, "memory": 1},
        {"team": Threads(2), "chunk_numbers": 30 * n * n},
        {},
    ):
        off, on = both(net, phi, horizons, rule=rule, **knobs)
        for name in ("sin2", "cos"):
            got, want = getattr(on, name), getattr(off, name)
            assert np.abs(got - want).max() <= CLOSE, (name, knobs)
        assert np.allclose(on.sin2, off.sin2, rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    ("depth", "n", "size"), [(1, 2, 0.3), (9, 1, 0.2), (30, 3, 1e-9), (40, 7, 0.4), (33, 2, -0.8)]
)
def test_sixty_digits_with_kernels(depth, n, size):
    layers, phi = layers_of(depth, n, size, 3), np.random.default_rng(2).normal(size=(n, n))
    for horizon in {1, depth // 2 or 1, max(1, depth - 1)}:
        got = dlinear.alignment(dlinear.DenseNetwork(layers), phi, horizon, engine=Engine(kernels="on")).sin2[
            0
        ]
        exact = float(reference.alignment_60(layers, phi, horizon))
        assert got == pytest.approx(exact, rel=1e-11, abs=0)


def test_layers_that_are_not_finite_give_the_same_line():
    def message(layers, kernels):
        class Net:
            depth, width = layers.shape[:2]

            def deviations(self, start, stop):
                return layers[start:stop]

        with pytest.raises(NonFiniteError) as caught:
            dlinear.alignment(Net(), np.eye(3), [30], engine=Engine(kernels=kernels, chunk_numbers=90))
        return str(caught.value)

    for value in (np.nan, np.inf):
        layers = layers_of(40, 3, 0.1)
        layers[17, 1, 2] = value
        assert message(layers, "on") == message(layers, "off")
        assert "layer 17" in message(layers, "on")
    assert message(np.full((40, 3, 3), 1e9), "on") == message(np.full((40, 3, 3), 1e9), "off")


def test_the_knob_and_its_variable(monkeypatch):
    big, small = dlinear.GaussianNetwork(depth=10**6, width=4), dlinear.GaussianNetwork(depth=10, width=4)
    single = backend_for(None, "float32")
    assert Engine().compiled(big) is library.kernels_of(4)
    assert Engine().compiled(small) is None, "not worth the start"
    assert Engine(kernels="off").compiled(big) is None
    assert Engine(kernels="on").compiled(small) is not None
    assert Engine(backend=single).compiled(big) is None
    assert Engine().compiled(dlinear.GaussianNetwork(depth=10**6, width=65)) is None
    monkeypatch.setenv(options.VARIABLE, "off")
    assert Engine().compiled(big) is None
    assert Engine(kernels="on").compiled(big) is not None, "what is said in the program counts"
    monkeypatch.setenv(options.VARIABLE, "on")
    assert Engine().compiled(small) is not None
    assert Engine(backend=single).compiled(big) is None
    monkeypatch.setenv(options.VARIABLE, "fast")
    with pytest.raises(DomainError, match="DLINEAR_KERNELS is 'fast'; expected one of auto, on, off"):
        Engine().compiled(big)
    for engine in (Engine(backend=single, kernels="on"), Engine(backend=backend_for("cpu"), kernels="on")):
        with pytest.raises(
            DomainError, match=r"kernels are 'on', but there are none for width 4 here: .*float64"
        ):
            engine.compiled(big)
    with pytest.raises(DomainError, match="kernels"):
        Engine(kernels="yes")


def test_without_llvmlite_numpy_serves_and_on_says_what_to_install(monkeypatch):
    monkeypatch.setattr(host, "host", lambda: None)
    library.kernels_of.cache_clear()
    try:
        net, phi = dlinear.GaussianNetwork(depth=40_000, width=2), np.array([[1.0, 2.0], [0.0, 1.0]])
        assert dlinear.alignment(net, phi, 39_990).sin2[0] > 0
        with pytest.raises(DomainError, match=r"pip install 'dlinear\[fast\]'"):
            dlinear.alignment(net, phi, 39_990, engine=Engine(kernels="on"))
    finally:
        library.kernels_of.cache_clear()


def test_an_llvm_that_does_not_load_is_as_none(monkeypatch):
    """llvmlite imports, and says with its first call that its library cannot be loaded."""
    import llvmlite.binding

    def fails():
        raise OSError("Could not find/load shared object file")

    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", fails)
    host.host.cache_clear()
    try:
        assert host.host() is None
    finally:
        host.host.cache_clear()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of its own."""
    monkeypatch.setenv(object_cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_cache_takes_back_only_what_is_ours_and_whole(cache):
    object_cache.write("key", b"code")
    (path,) = cache.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert object_cache.read("key") == b"code"
    assert object_cache.read("another key") is None
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole + b"x", b"", bytes([whole[0] ^ 1]) + whole[1:], whole[:-1] + b"E"):
        path.write_bytes(damaged)
        assert object_cache.read("key") is None
    path.write_bytes(whole)
    assert object_cache.read("key") == b"code"
    path.chmod(0o620)  # others may have written it
    assert object_cache.read("key") is None
    path.chmod(0o600)
    cache.chmod(0o770)
    assert object_cache.read("key") is None
    cache.chmod(0o700)
    path.rename(cache.parent / "elsewhere")
    path.symlink_to(cache.parent / "elsewhere")
    assert object_cache.read("key") is None
    path.unlink()
    path.mkdir()
    assert object_cache.read("key") is None
    object_cache.write("key", b"code")  # cannot replace a folder: nothing is left over
    assert [entry.name for entry in cache.iterdir()] == [path.name]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners are POSIX's")
def test_the_cache_refuses_files_of_others(cache, monkeypatch):
    object_cache.write("key", b"code")
    someone = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: someone)
    assert object_cache.read("key") is None


def test_a_folder_that_cannot_be_used_changes_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv(object_cache.VARIABLE, str(tmp_path / "file"))
    object_cache.write("key", b"code")
    assert object_cache.read("key") is None
    assert (tmp_path / "file").read_text() == "not a folder"


SCRIPT = """
import sys, numpy as np, dlinear
assert "llvmlite" not in sys.modules
net = dlinear.GaussianNetwork(depth=300, width=2)
engine = dlinear.engine.Engine(kernels="on")
phi = np.array([[1.0, 2.0], [0.5, 1.0]])
print(dlinear.alignment(net, phi, [100, 290], engine=engine).sin2.tobytes().hex())
"""


def test_a_damaged_object_is_compiled_again_and_gives_the_same_numbers(cache):
    def run():
        return children.run([sys.executable, "-c", SCRIPT], check=True, cwd=ROOT).stdout

    first = run()
    contents = {path.name: path.read_bytes() for path in cache.iterdir()}
    assert len(contents) >= 5
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:-7])
    assert run() == first
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == contents


def test_another_host_or_version_is_another_key(cache, monkeypatch):
    text = "define void @nothing() {\n ret void\n}"
    host.compiled(text)
    assert len(list(cache.iterdir())) == 1
    here = host.host()
    monkeypatch.setattr(host, "host", lambda: dataclasses.replace(here, features=here.features + ",+64bit"))
    host._load.cache_clear()
    host.compiled(text)
    assert len(list(cache.iterdir())) == 2


def test_nothing_outside_of_an_array_is_written():
    """Rows that are no whole vectors: what follows a result stays as it is."""
    for n in (3, 5, 7, 9):
        kernels, k = library.kernels_of(n), 6
        room = np.full((k + 1) * n * n + 64, 7.0)
        out = room[: (k + 1) * n * n].reshape(k + 1, n, n)
        out[0] = np.eye(n)
        kernels.call("states", layers_of(k, n, 0.1), k, k, 1, out)
        assert (room[(k + 1) * n * n :] == 7.0).all()
        assert not (out == 7.0).any()


@pytest.mark.parametrize(("seed", "stream"), [(0, 0), (7, 1), (2**64 - 1, 2**63 + 5)])
@pytest.mark.parametrize("first", [0, 3, 2**40 + 1])
def test_the_integers_are_numpys(seed, stream, first):
    generator = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64), counter=first)
    assert np.array_equal(library.philox_words(seed, stream, first, 250).ravel(), generator.random_raw(1000))


def test_the_normals_are_numpys_to_rounding_wherever_a_chunk_begins():
    count = 1 << 16
    for seed, start in ((5, 0), (2**64 - 1, 2**42 + 4)):
        got = library.scaled_normals(seed, 1, start, start + count, 0.25)
        want = philox.standard_normals(seed, 1, start, start + count)
        assert np.abs(4 * got - want).max() <= CLOSE
        assert np.abs(want).max() > 4
        for a, b in ((0, 1), (3, 50), (1001, 1003), (255, 257), (count - 5, count)):
            part = library.scaled_normals(seed, 1, start + a, start + b, 0.25)
            assert part.tobytes() == got[a:b].tobytes(), (a, b)


def test_the_normals_are_exact_to_two_roundings():
    """Against 40 digits from the same uniforms."""
    got = library.scaled_normals(3, 0, 0, 600, 1.0)
    bits = np.random.Philox(key=np.array([3, 0], dtype=np.uint64), counter=0).random_raw(600) >> np.uint64(11)
    with mpmath.workdps(40):
        for i, (a, b) in enumerate(bits.reshape(-1, 2).tolist()):
            radius = mpmath.sqrt(-2 * mpmath.log(1 - mpmath.mpf(a) / 2**53))
            angle = 2 * mpmath.pi * (mpmath.mpf(b) / 2**53 - 0.5)
            for value, want in zip(
                got[2 * i : 2 * i + 2], (mpmath.cos(angle), mpmath.sin(angle)), strict=True
            ):
                assert abs(mpmath.mpf(float(value)) / (radius * want) - 1) <= 2 * 2.0**-52


ENSEMBLES = {
    "gaussian": dlinear.GaussianNetwork(depth=3000, width=3, seed=4),
    "with a mean": dlinear.GaussianNetwork(depth=3000, width=3, mean=np.eye(3), scale="1/sqrt(T)"),
    "orthogonal": dlinear.OrthogonalNetwork(depth=3000, width=3, sigma=2.0),
    "mixed": dlinear.MixedNetwork(lambda s: np.array([[s, 1.0], [0.0, 1.0]]), 3000),
}


@pytest.mark.parametrize("net", ENSEMBLES.values(), ids=ENSEMBLES)
@pytest.mark.parametrize("runs", [0, 2])
def test_generated_networks_give_numpys_angles(net, runs):
    phi = np.random.default_rng(0).normal(size=(net.width, net.width))
    off, on = both(net, phi, [1500, 2900, 2999], rule=dlinear.HorizonRule(runs=runs), chunk_numbers=4000)
    assert np.allclose(on.sin2, off.sin2, rtol=1e-11, atol=0)
    assert on.sin2.tobytes() != off.sin2.tobytes(), "kernels have been used"


def test_a_subclass_with_layers_of_its_own_keeps_them():
    class Twice(dlinear.GaussianNetwork):
        def deviations(self, start, stop):
            return 2 * super().deviations(start, stop)

    phi = np.array([[1.0, 2.0], [0.5, 1.0]])
    off, on = both(Twice(depth=500, width=2), phi, [400, 499])
    assert np.allclose(on.sin2, off.sin2, rtol=1e-11, atol=0)


@pytest.mark.parametrize("horizons", [[199, 150], [60], [1], "all"], ids=["near", "far", "short", "all"])
def test_a_network_may_say_its_size_in_numpys_integers(horizons):
    layers, phi = layers_of(200, 3, 0.02), np.random.default_rng(1).normal(size=(3, 3))

    class Net:
        depth, width = np.int64(200), np.int64(3)

        def deviations(self, start, stop):
            return layers[start:stop]

    library.kernels_of.cache_clear()
    off, on = both(Net(), phi, horizons, chunk_numbers=360, memory=1)
    assert np.allclose(on.sin2, off.sin2, rtol=1e-11, atol=0)


def expanded(layers, length, rng):
    """The expansion of some layers, sum ||g_T||^2 by it, exactly, and by two passes of kernels."""
    n = layers.shape[-1]
    kernels, (start, end) = library.kernels_of(n), rng.normal(size=(2, n, n))
    found = expansion.expansion(layers, length, kernels)
    exact = CompiledChunk(layers, kernels).gradient_norm(start, end)
    return found, found.square(kernels, start, end), exact


@pytest.mark.parametrize("n", [1, 2, 5, 10])
@pytest.mark.parametrize("size", [1e-7, 1e-5, 3e-4])
def test_an_expansion_is_within_its_bound_which_is_not_idle(n, size):
    """Independent layers and equal ones, blocks that do and do not divide them."""
    rng = np.random.default_rng(n)
    for k, length in ((60, 20), (61, 20), (7, 30), (40, 1), (90, 45)):
        for layers in (layers_of(k, n, size, k), np.repeat(layers_of(1, n, size, k), k, axis=0)):
            found, got, exact = expanded(layers, length, rng)
            assert abs(got / exact - 1) <= 1.01 * found.error + 1e-13, (k, length)
            assert found.error <= 30 * (length * 2 * size * n) ** 2, "of second order"
    same = np.full((50, 1, 1), size)  # scalar layers: g_T(t) is the same number but for one factor
    found, got, exact = expanded(same, 25, rng)
    assert abs(got / exact - 1) >= 0.02 * found.error - 1e-13


def test_terms_of_first_order_are_those_of_the_formula():
    """Without either of them the error is of first order."""
    rng = np.random.default_rng(0)
    layers = layers_of(40, 3, 1e-5) + 1e-6 * np.eye(3)
    found, got, exact = expanded(layers, 20, rng)
    assert abs(got / exact - 1) < 1e-8
    none = dataclasses.replace(found, sums=0 * found.sums)
    kernels, (start, end) = library.kernels_of(3), np.random.default_rng(0).normal(size=(2, 3, 3))
    assert abs(none.square(kernels, start, end) / exact - 1) > 1e-6


@pytest.mark.parametrize(("sigma", "times"), [(1e-4, 1), (1.0, 2)])
def test_layers_near_the_identity_are_read_once(monkeypatch, sigma, times):
    """All but those that a horizon misses; where the bound is too large, twice, to the same bits."""
    net, phi = dlinear.GaussianNetwork(depth=40_000, width=3, sigma=sigma), np.arange(9.0).reshape(3, 3)
    engine = Engine(kernels="on", chunk_numbers=9000)
    twice = dlinear.alignment(net, phi, [39_990, 39_900], engine=engine)
    read = []
    by = dlinear.GaussianNetwork.deviations_by

    def counted(self, normals, start, stop):
        read.append(stop - start)
        return by(self, normals, start, stop)

    monkeypatch.setattr(dlinear.GaussianNetwork, "deviations_by", counted)
    monkeypatch.setattr(once, "DEEP", 1)
    found = dlinear.alignment(net, phi, [39_990, 39_900], engine=engine)
    assert times * net.depth <= sum(read) <= times * net.depth + 3 * 100
    assert np.allclose(found.sin2, twice.sin2, rtol=1e-10 if times == 1 else 0, atol=0)
    assert (found.sin2.tobytes() == twice.sin2.tobytes()) == (times == 2)


def test_each_chunk_is_decided_on_by_itself(monkeypatch):
    """Whatever thread comes first: a chunk that fails, at its beginning or later, changes no other one."""
    monkeypatch.setattr(once, "DEEP", 1)
    layers, kernels = layers_of(4000, 3, 1e-8), library.kernels_of(3)
    net, chunks = dlinear.DenseNetwork(layers), [(start, start + 1000) for start in range(0, 4000, 1000)]
    layers[1000] *= 1e5
    layers[2999] *= 1e5
    kept = []
    for order in (chunks, chunks[::-1]):
        tried = once.Once(Engine(kernels="on", chunk_numbers=9000), net, 0)
        for chunk in order:
            tried.expanded(chunk, CompiledChunk(layers[slice(*chunk)], kernels))
        kept.append(set(tried.kept))
    assert kept == [{(0, 1000), (3000, 4000)}] * 2
