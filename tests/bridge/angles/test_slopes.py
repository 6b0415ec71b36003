"""The probe of slopes, and what seeds say of a prediction."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import dlinear
from dlinear.bridge import alignment
from dlinear.bridge.angles import theorem_d
from dlinear.bridge.angles.slopes import Slope, SlopeProbe, odds
from dlinear.bridge.data import load
from dlinear.bridge.data.losses import Supervised, criterion_of
from dlinear.bridge.data.whitened import whitened
from dlinear.bridge.methods import method
from dlinear.bridge.models import TaskShape, model
from dlinear.bridge.training.trainer import Training, train
from dlinear.theory import limits

SHORTFALLS = np.array([1, 2, 3])


def deep(split, **knobs):
    width = split.x_train.shape[1]
    return model("deep", TaskShape((width,), width), 0, depth=12, width=width, dtype=torch.float64, **knobs)


def test_the_probe_sees_what_its_parts_see_and_the_residual():
    split = whitened("linear", 30, 3)
    stack = deep(split, activation="identity", layers="smooth")
    loss = Supervised(nn.functional.mse_loss, split.y_train)
    found = SlopeProbe(SHORTFALLS, 30, 1)(1, stack, split)
    profile = alignment(stack.blocks, split.x_train, loss, 12 - SHORTFALLS)
    assert np.array_equal(found["sin2"], profile.sin2)
    law = theorem_d.realised_law(stack.blocks, split.x_train, loss, last=1)
    assert (found["predicted_quadratic"], found["predicted_cubic"]) == tuple(law)
    energy = theorem_d.gradient_square(stack.blocks, split.x_train, loss) / 12
    assert found["energy"] == pytest.approx(energy, rel=1e-12)
    final = np.eye(3)
    for layer in stack.deviations():
        final = final + layer @ final
    phi = (split.y_train.T @ split.x_train / 30).numpy()
    assert found["residual"] == pytest.approx(np.sum((final - phi) ** 2), rel=1e-10)
    assert found["batch_loss"] == pytest.approx(float(loss(stack(split.x_train)).detach()), rel=1e-12)


def test_the_probe_predicts_from_the_law_of_the_layers_at_the_start_alone():
    split = whitened("linear", 30, 3)
    stack = deep(split, activation="relu", layers="rough")
    probe = SlopeProbe(SHORTFALLS, 30, 4, first=2, draws=8, seed=5)
    loss = Supervised(nn.functional.mse_loss, split.y_train)
    start, later = probe(0, stack, split), probe(1, stack, split)
    law = theorem_d.initial_law(stack, split.x_train, loss, draws=8, first=2, seed=5)
    assert (start["predicted_quadratic"], start["predicted_cubic"]) == tuple(law)
    law = theorem_d.realised_law(stack.blocks, split.x_train, loss, last=4, first=2)
    assert (later["predicted_quadratic"], later["predicted_cubic"]) == tuple(law)
    assert math.isnan(later["residual"])


@pytest.mark.slow
def test_training_follows_theorem_d():
    """sin^2 at one horizon over training, as the residual falls: the prediction goes with it."""
    split = whitened("linear", 30, 3)
    stack = model("deep", TaskShape((3,), 3), 1, depth=40, width=3, activation="tanh", layers="smooth")
    stack.double()
    run = train(
        stack,
        split,
        method("backprop"),
        Training(0.3 * 40, 30, 20, device="cpu"),
        probe=SlopeProbe(np.array([1]), 30, 1),
        probe_at=[0, 5, 20],
        progress=False,
    )
    for probe in run.probes.values():
        law = limits.decay_law(probe["predicted_quadratic"], probe["predicted_cubic"], 1, 40)
        assert float(probe["sin2"][0]) == pytest.approx(float(law), rel=0.15)
    energies = [float(probe["energy"]) for probe in run.probes.values()]
    assert energies[-1] < energies[0] / 2


def test_resnet_is_measured_and_predicted_and_left_as_it_was():
    split = load("digits", samples=12, test_samples=4)
    images = type(split)(
        "digits",
        split.x_train.repeat(1, 3, 1, 1),
        split.y_train,
        split.x_test.repeat(1, 3, 1, 1),
        split.y_test,
        split.classes,
        split.digest,
    )
    stack = model("resnet62", images.task, 0, depth_per_stage=3, base_channels=4)
    before = {name: value.clone() for name, value in stack.state_dict().items()}
    found = SlopeProbe(SHORTFALLS, 8, 2)(0, stack, images)
    assert 0 < found["sin2"][0] < 1
    assert found["predicted_quadratic"] > 0
    assert all(torch.equal(value, before[name]) for name, value in stack.state_dict().items())
    nothing = SlopeProbe(SHORTFALLS, 8, 0)(0, stack, images)
    assert math.isnan(nothing["predicted_cubic"])


def profile_of(sin2, depth=400, m=(1, 2, 4, 8, 16)):
    m = np.array(m)
    sin2 = np.asarray(sin2, dtype=np.float64)
    return dlinear.AlignmentProfile(
        depth, depth - m, m, sin2, np.sqrt(1 - sin2), sin2 * 0 + 1, ("",) * len(m)
    )


def test_a_slope_compares_profiles_with_laws():
    m, laws = np.array([1, 2, 4, 8, 16]), [limits.DecayConstants(q, 3.0) for q in (0.02, 0.03, 0.04)]
    found = [profile_of(1.25 * (1 - 2 * m / 400) * limits.decay_law(*law, m, 400)) for law in laws]
    slope = Slope(found, laws)
    assert slope.depth == 400
    assert tuple(slope.law) == pytest.approx((0.03, 3.0))
    assert tuple(slope.ratio()) == pytest.approx((1.25, 1.25, 1.25))  # the next order in m/T is taken out
    assert 2 < slope.expected < 3
    assert slope.fit.order == pytest.approx(slope.expected, abs=0.05)


def test_odds():
    assert np.allclose(odds(profile_of([0.1, 0.2, 0.5, 0.75, 0.9])).sin2, [1 / 9, 0.25, 1, 3, 9])


@pytest.mark.parametrize("loss", ["squared", "huber", "cosine", "cross_entropy"])
def test_theorem_d_holds_for_every_loss(loss):
    """The probe measures the loss that it names, and predicts its constant: sin^2 at m = 1 within 5/T."""
    split = load("digits", samples=40, test_samples=4, dtype=torch.float64)
    knobs = {"depth": 60, "width": 8, "activation": "tanh", "layers": "smooth", "readout": "shared"}
    stack = model("deep", split.task, 3, dtype=torch.float64, **knobs)
    found = SlopeProbe(np.array([1]), 40, 1, loss=loss)(1, stack, split)
    wanted = Supervised(criterion_of(loss, 10), split.y_train)
    assert found["batch_loss"] == pytest.approx(float(wanted(stack(split.x_train)).detach()), rel=1e-12)
    law = limits.decay_law(found["predicted_quadratic"], found["predicted_cubic"], 1, 60)
    assert float(found["sin2"][0]) == pytest.approx(float(law), rel=5 / 60)
