"""The claims about balance say what the library computes: their statements at random layers, beside it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import dlinear
from dlinear.certify import registry
from dlinear.certify.trusted.context import read_context
from dlinear.certify.trusted.evaluation import Model
from dlinear.certify.trusted.terms import parse
from dlinear.dynamics import descent, imbalance, imbalance_rate
from proofs import __main__ as command

CLAIMS = {claim.id: claim for claims in registry.discover(command.FOLDER).values() for claim in claims}


def layers_of(seed, depth=5, n=2):
    """Layers and a target with few binary digits: floats and fractions are the same numbers."""
    rng = np.random.default_rng(seed)
    layers = rng.integers(-8, 9, size=(depth, n, n)) / 64
    return layers, rng.integers(-8, 9, size=(n, n)) / 8


def text(matrix):
    return [[str(Fraction(v)) for v in row] for row in matrix]


def holds(name, layers, **values):
    """The claim at these layers: its hypotheses hold, no conclusion is violated."""
    context = read_context(CLAIMS[name].goal)
    family = {str(t): text(layer) for t, layer in enumerate(layers)}
    known = {"T": str(len(layers)), "n": str(layers.shape[-1]), "D": family, **values}
    names = {*context.symbols, *context.families}
    model = Model(context, {key: value for key, value in known.items() if key in names}, ())
    for line in CLAIMS[name].goal["hypotheses"]:
        assert model.decide(parse(line)) is True, line
    for line in CLAIMS[name].goal["conclusions"]:
        assert model.decide(parse(line)) is not False, line
    return model


def matrix(model, words):
    return np.array(model.matrix(parse(words)), dtype=float)


@pytest.mark.parametrize("seed", range(3))
def test_layers_of_a_stage_and_their_steps(seed):
    """g(t) of the claim is the library's in a stage; the second order is what `descent` records."""
    layers, phi = layers_of(seed)
    net, rule = dlinear.DenseNetwork(layers), dlinear.HorizonRule(stride=3)
    gradient = dlinear.horizon_gradients(net, phi, 1, rule)
    state = layers[1] + layers[0] + layers[1] @ layers[0] + np.eye(2)  # P_2: ends are 2 for t = 0, 1
    model = holds("balance_stage", layers, t="0", e="2", V=text(state - phi), eta="1/16")
    assert list(rule.ends(5, 1, np.arange(5))) == [2, 2, 5, 5, 5]
    for t in (0, 1):
        np.testing.assert_allclose(matrix(model, f"g({t})"), gradient[t], rtol=1e-12, atol=1e-14)
    assert (imbalance_rate(net, phi, 1, rule)[0] == 0).all()
    path = descent(net, phi, 1, step=1 / 16, steps=1, rule=rule)
    squares = gradient[1].T @ gradient[1] - gradient[0] @ gradient[0].T
    np.testing.assert_allclose(path.drift[1, 0, 0, 0], np.linalg.norm(squares) / 256, rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_any_step_changes_the_balance_as_stated(seed):
    layers, phi = layers_of(seed)
    net = dlinear.DenseNetwork(layers)
    gradient = dlinear.horizon_gradients(net, phi, 2)
    rounded = np.round(gradient * 256) / 256
    model = holds("balance_steps", layers, t="1", U=text(rounded[1]), V=text(rounded[2]), eta="1/16")
    before = matrix(model, "(I + D(2)).T*(I + D(2)) - (I + D(1))*(I + D(1)).T")
    np.testing.assert_allclose(imbalance(net)[1], before, atol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_the_anchored_rate_and_its_bound(seed):
    layers, phi = layers_of(seed)
    net, rule = dlinear.DenseNetwork(layers), dlinear.HorizonRule(anchored=True)
    c = Fraction(int(5 * np.linalg.norm(layers, 2, axis=(1, 2)).max() * 64) + 1, 64)
    for t in range(3):
        values = {"c": str(c), "a": str(1 + c / 5), "h": "1", "t": str(t), "Phi": text(phi)}
        model = holds("balance_rate", layers, **values)
        words = f"(I + D({t + 1})).T*gh({t + 1}) - gh({t})*(I + D({t})).T"
        stated = matrix(model, words)
        found = imbalance_rate(net, phi, 1, rule)[t]
        np.testing.assert_allclose(-(stated + stated.T), found, rtol=1e-11, atol=1e-13)
        bound = dlinear.bounds.balance_drift(5, float(c), np.linalg.norm(matrix(model, "W(0, 5) - Phi")))
        assert np.linalg.norm(found) <= bound


def test_the_sum_over_steps():
    holds("balance_path", np.zeros((2, 1, 1)), i="7", c="1", r="3/2", a="3/2", eta="1/8", q="3/4")
