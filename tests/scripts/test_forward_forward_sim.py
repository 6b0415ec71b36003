"""`sims.forward_forward`: false twins, what a hybrid is, the published error, the page."""

import importlib
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tyro
from paths import ROOT

from dlinear.errors import DataError, DomainError
from dlinear.rules.ff import measured
from dlinear.rules.ff.published import Setting

SMALL = "--nets layers --width 20 --samples 100 --test-samples 50 --epochs 1 --seeds 2"


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


@pytest.fixture
def sim():
    return importlib.import_module("sims.forward_forward")


def knobs_of(sim, words, folder):
    return tyro.cli(sim.Knobs, args=[*words.split(), "--results", str(folder), "--workers", "0"])


def test_a_net_that_stays_at_chance_is_noticed(sim, tmp_path, capsys, monkeypatch):
    """False twin: steps so long that nothing is learnt, or the weights are no numbers."""
    monkeypatch.setitem(measured.SETTINGS, "layers", Setting(width=20, rate=1e6, head_rate=1e6))
    assert sim.main(knobs_of(sim, SMALL, tmp_path)) == 1
    assert "NOT SUPPORTED: fully connected: the better prediction" in capsys.readouterr().out


def record(net="layers", error=0.0145, **knobs):
    """A run of 100 epochs on mnist."""
    arrays = {"loss": np.zeros(1), "seconds": np.ones(1), "epoch": np.array([100])}
    for name, passes in (("goodness", 10), ("head", 1)):
        arrays |= {f"error_{name}": np.array([error]), f"inference_{name}": np.array([1e-6])}
        arrays[f"passes_{name}"] = np.array(passes)
    own = {"net": net, "below": 0, "width": 0, "data": "mnist", "epochs": 100, **knobs}
    return SimpleNamespace(
        knobs=own, arrays=arrays, meta={"machine": {"cpu": "a processor", "device": "none"}}
    )


def test_the_published_error_is_met_or_not():
    met = measured.answers([record()], 60_000)
    assert [one.holds for one in met] == [True, True]
    assert "within 0.3 points of the published 1.45" in met[1].question
    assert [one.holds for one in measured.answers([record(error=0.019)], 60_000)] == [True, False]
    for reduced in ({"epochs": 20}, {"width": 100}, {"below": 1}, {"net": "conv"}, {"data": "fashion"}):
        assert len(measured.answers([record(**reduced)], 60_000)) == 1
    assert len(measured.answers([record()], 8_000)) == 1


def test_the_gap_and_what_is_not_as_published():
    row = dict(zip(measured.COLUMNS, measured.rows([record(epochs=20, error=0.03)], 60_000)[1], strict=True))
    assert (row["passes"], row["published"], row["gap"]) == ("1", "1.45", "+1.55")
    assert row["why"] == "20 of 100 epochs; 60000 images, 50000 there"
    row = measured.rows([record(width=50)], 8_000)[0]
    assert row[7] == "8000 images; layers of 50"
    lost = record()
    lost.arrays["loss"] = np.array([np.nan])
    assert measured.rows([lost], 60_000)[0][4] == "diverged"
    assert measured.answers([lost], 60_000)[0].holds is False


def test_records_are_read_where_the_device_is_not(sim, tmp_path, capsys, monkeypatch):
    sim.main(knobs_of(sim, SMALL, tmp_path))

    def absent(device):
        raise DomainError(f"{device} is not there")

    monkeypatch.setattr(sim, "device_of", absent)
    sim.main(knobs_of(sim, SMALL, tmp_path))
    assert " 0 computed" in capsys.readouterr().out
    with pytest.raises(DomainError, match="cpu is not there"):
        sim.main(knobs_of(sim, SMALL.replace("--epochs 1", "--epochs 2"), tmp_path))


def test_hybrids_and_the_page(sim, tmp_path, capsys):
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.json", "*.png"))
    words = f"{SMALL} --below 0 1 --docs {tmp_path / 'docs'}"
    sim.main(knobs_of(sim, words, tmp_path / "results"))
    assert "fully connected, hybrid-1" in capsys.readouterr().out
    page = (tmp_path / "docs" / "rules.md").read_text()
    assert "`python -m sims.forward_forward --nets layers --below 0 1 --width 20" in page
    assert "| fully connected | goodness | 10 | 1 |" in page
    assert "| fully connected, hybrid-1 | head | 1 | 1 |" in page
    setting = measured.setting_of(sim.cells_of(knobs_of(sim, words, tmp_path), "x")[2])
    assert (setting.below, setting.knobs.head, setting.width) == (1, "last", 20)


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ("--data linear", DomainError, "--data linear has no labelled images"),
        ("--data nothing", DataError, "nothing"),
        ("--epochs 0", DomainError, "--epochs must be 1 or more"),
        ("--below -1", DomainError, "--below must be 0 or more"),
    ],
)
def test_what_is_refused(sim, words, error, said, tmp_path):
    with pytest.raises(error, match=said):
        sim.main(knobs_of(sim, words, tmp_path))
