"""An experiment is computed by numpy or by compiled kernels, not by both."""

from concurrent.futures import ProcessPoolExecutor

import pytest

from dlinear.engine import options
from dlinear.errors import RecordError
from dlinear.runs import kernels, provenance, records, sweeps


def compute(cell):
    """Which way this process computes."""
    return {"compiled": ((), float(provenance.way() == "compiled"))}


CELLS = [{"seed": seed} for seed in range(3)]


def ways(sweep):
    """By what the cells of a sweep were computed, as the records say and as `compute` saw it."""
    found = [records.read(records.cells(sweep.folder) / f"{key}.npz") for key in sweep.keys]
    assert all((one.meta["kernels"] == "compiled") == bool(one.arrays["compiled"]) for one in found)
    return {one.meta["kernels"] for one in found}


@pytest.fixture
def here(monkeypatch):
    """Kernels, whether this machine has them or not; and a function that takes them away."""
    monkeypatch.delenv(options.VARIABLE, raising=False)
    if provenance.way() == "numpy":
        pytest.skip("no llvmlite, AVX2 or NEON here")
    return monkeypatch


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sweep_goes_on_as_it_began(tmp_path, here, workers):
    here.setenv(options.VARIABLE, "off")
    sweeps.run(tmp_path, CELLS[:1], compute, workers=0)
    here.delenv(options.VARIABLE)
    assert ways(sweeps.run(tmp_path, CELLS, compute, workers=workers)) == {"numpy"}
    assert options.VARIABLE not in provenance.os.environ
    assert ways(sweeps.run(tmp_path / "new", CELLS, compute, workers=workers)) == {"compiled"}


def test_records_from_before_go_on_with_numpy_and_other_executors_too(tmp_path, here):
    origin = provenance.of_this_process()
    del origin["kernels"]
    records.write(tmp_path, CELLS[0], {"compiled": ((), 0.0)}, origin=origin)
    with ProcessPoolExecutor(1) as executor:
        sweep = sweeps.run(tmp_path, CELLS, compute, executor=executor)
    found = [records.read(records.cells(tmp_path) / f"{key}.npz") for key in sweep.keys]
    assert [one.meta.get("kernels") for one in found] == [None, "numpy", "numpy"]
    assert not any(one.arrays["compiled"] for one in found)


def test_what_cannot_go_on_as_it_began_says_so(tmp_path, here):
    sweeps.run(tmp_path, CELLS[:1], compute, workers=0)
    here.setenv(options.VARIABLE, "off")
    with pytest.raises(
        RecordError, match="compiled kernels, which this process does not use: install llvmlite"
    ):
        sweeps.run(tmp_path, CELLS[:2], compute, workers=0)
    assert sweeps.run(tmp_path, CELLS[:1], compute, workers=0).resumed == 1, "nothing is missing"
    metas = [{"kernels": "compiled"}, {}]
    with pytest.raises(RecordError, match="by numpy and by compiled kernels"):
        kernels.one_way(tmp_path, compute, metas)


@pytest.mark.parametrize(("first", "then"), [("auto", "on"), ("on", "auto")])
def test_small_networks_are_computed_as_those_before(tmp_path, here, first, then):
    """ "auto" leaves small networks to numpy, "on" does not: a sweep that goes on does as it began."""
    asked = {"auto": "compiled", "on": "all compiled"}
    for value, cells in ((first, CELLS[:1]), (then, CELLS)):
        here.setenv(options.VARIABLE, value)
        sweep = sweeps.run(tmp_path, cells, compute, workers=0)
    found = [records.read(records.cells(tmp_path) / f"{key}.npz").meta["kernels"] for key in sweep.keys]
    assert found == [asked[first]] * len(CELLS)
    with pytest.raises(RecordError, match="with and without kernels for small networks"):
        kernels.one_way(tmp_path, compute, [{"kernels": word} for word in asked.values()])
