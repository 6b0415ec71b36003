"""Variables of records say what they are, through consolidation too; unknown ones say nothing."""

from dataclasses import dataclass

import numpy as np

from dlinear.runs import collection, meanings, sweeps


@dataclass(frozen=True)
class Cell:
    depth: int
    seed: int


def compute(cell):
    m = np.array([1, 2])
    return {"shortfall": (("shortfall",), m), "sin2": (("shortfall",), m / cell.depth), "own": ((), 1.0)}


def test_a_data_set_of_records_says_what_its_variables_are(tmp_path):
    sweeps.run(tmp_path, [Cell(10, seed) for seed in range(2)], compute, workers=0)
    import xarray

    with xarray.open_dataset(collection.consolidate(tmp_path), engine="h5netcdf") as kept:
        for data in (collection.load(tmp_path), kept):
            assert data["sin2"].attrs == {
                "long_name": "sin^2 of the angle between g_h and g_T",
                "units": "1",
            }
            assert data["shortfall"].attrs["units"] == "layers"
            assert not data["own"].attrs


def test_every_line_has_a_name_for_people():
    for name, (said, unit) in meanings.MEANINGS.items():
        assert len(said) >= 4, name
        assert meanings.attributes_of(name).get("units", "") == unit
    assert meanings.attributes_of("nothing known") == {}


def test_a_run_describes_itself_for_a_caption(tmp_path):
    @dataclass(frozen=True)
    class Named(Cell):
        data: str = "digits"
        digest: str = "4e28102f"
        sigma: float = 1.5

    cells = [Named(depth, seed) for depth in (10, 20) for seed in range(2)]
    sweeps.run(tmp_path, cells, compute, workers=0, whole=True, changed="")
    assert collection.run_of(tmp_path).described() == "data digits; T 10, 20; 2 seeds; sigma 1.5"
