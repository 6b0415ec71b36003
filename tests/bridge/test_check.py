"""check_model: what it says is what the parts of the library say, and the model is left as it was."""

from __future__ import annotations

import math

import pytest
import torch
from stacks import Residual, batch, squares, stack_of
from torch import nn

from dlinear.bridge import alignment, check_model, method, step_memory
from dlinear.bridge.check import HEADER
from dlinear.errors import DomainError, HorizonError, ShapeError

T = 6


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.ModuleList(nn.Sequential(Residual(), nn.BatchNorm1d(3)) for _ in range(T)).double()


@pytest.fixture(scope="module")
def found(model):
    torch.manual_seed(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model[0][0].linear.weight.grad = torch.ones(3, 3, dtype=torch.float64)
    random = torch.get_rng_state()
    checked = check_model(model, batch(0), squares(batch(1)), rounds=1)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(model[0][0].linear.weight.grad, torch.ones(3, 3, dtype=torch.float64))
    assert all(p.grad is None for p in list(model.parameters())[1:])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    return checked


def test_angles_and_memory_are_those_of_the_library(model, found):
    arguments = (model, batch(0), squares(batch(1)))
    offers = {one.method: one for one in found.offers}
    for h, cos in zip((1, 2, 4), alignment(*arguments, [1, 2, 4]).cos, strict=True):
        assert offers[f"horizon-{h}"].rate == pytest.approx(cos**2 if cos > 0 else 0)
    anchored = alignment(*arguments, [1], anchored=True).cos[0]
    assert offers["anchored-1"].rate == pytest.approx(anchored**2 if anchored > 0 else 0)
    assert offers["backprop"].rate == offers["checkpoint"].rate == offers["backprop"].time == 1
    for name, one in offers.items():
        assert one.memory == step_memory(method(name), *arguments).activations


def test_what_serves_best_has_most_progress_within_the_memory(found):
    within = [one for one in found.offers if one.memory <= found.share * found.offers[0].memory]
    assert found.serves_best == max(within, key=lambda one: one.rate / one.time).method
    assert found.verdict.startswith(f"{found.serves_best} serves best within 50%")


def test_it_shows_itself_on_a_screen(found):
    lines = str(found).splitlines()
    assert repr(found) == str(found)
    assert len(lines) == 2 + len(found.offers) + 1
    assert max(map(len, lines)) <= 120
    html = found._repr_html_()
    assert html.count("<tr>") == 1 + len(found.offers)
    assert html.count("<td>") == len(HEADER) * len(found.offers)


def test_the_plot_shows_every_method(found):
    above, below = found.plot().axes
    assert above.lines[0].get_xdata().tolist() == [1, 2, 4]
    points = {tuple(point) for line in below.lines[:-1] for point in line.get_xydata().tolist()}
    whole = found.offers[0].memory
    assert points == {(one.memory / whole, one.progress) for one in found.offers}


def test_a_method_that_refuses_the_model_is_named():
    class Counter(Residual):
        runs = 0

        def forward(self, z):
            self.runs += 1
            return super().forward(z) * self.runs

    found = check_model(
        [Counter() for _ in range(4)], batch(0).float(), lambda z: z.square().mean(), rounds=1
    )
    assert "anchored-1" in found.refused
    assert "anchored-1 does not take this model: block" in str(found)
    assert {one.method for one in found.offers} >= {"backprop", "horizon-1", "horizon-2"}


def test_nothing_fits_and_what_is_refused():
    arguments = (stack_of(("residual",) * 4, 0), batch(0), squares(batch(1)))
    small = check_model(*arguments, horizons=[3], share=1e-9, rounds=1)
    assert (small.serves_best, small.verdict[:12]) == ("", "nothing fits")
    with pytest.raises(DomainError, match=r"share = 0: allowed is a number in \(0, 1\]"):
        check_model(*arguments, share=0)
    with pytest.raises(HorizonError, match=r"allowed is an integer in 1..3"):
        check_model(*arguments, horizons=[4])
    with pytest.raises(DomainError, match="one block"):
        check_model(arguments[0][:1], *arguments[1:])
    with pytest.raises(ShapeError, match="pass readout="):
        check_model([nn.Linear(3, 4), nn.Linear(4, 3)], batch(0).float(), lambda z: z.sum())


def test_a_gradient_that_vanishes_has_no_angle():
    still = [nn.Linear(3, 3), Residual(), Residual()]
    found = check_model(still, torch.zeros(2, 3), lambda z: 0 * z.sum(), rounds=1)
    assert math.isnan(next(one for one in found.offers if one.method == "horizon-1").rate)
    assert "undefined" in str(found)
