"""The claims about rules with another feedback, at random networks: they hold, they are what the library
computes, and their twins fail there."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from dlinear.certify import registry
from dlinear.certify.trusted.context import read_context
from dlinear.certify.trusted.evaluation import Model
from dlinear.certify.trusted.terms import parse
from dlinear.engine import feedback_gradients as rules
from dlinear.theory import feedback_laws
from proofs import __main__ as command

CLAIMS = {claim.id: claim for claims in registry.discover(command.FOLDER).values() for claim in claims}
SEEDS = range(4)


def text(matrix):
    return [[str(Fraction(float(v))) for v in row] for row in matrix]


def draw(seed, *count, n=2):
    """Matrices with few binary digits: floats and fractions are the same numbers."""
    return np.random.default_rng(seed).integers(-8, 9, size=(*count, n, n)) / 8


def model_of(name, layers=None, **values):
    """The claim at these values, its hypotheses checked and every conclusion."""
    context = read_context(CLAIMS[name].goal)
    known = {k: text(v) if isinstance(v, np.ndarray) else str(v) for k, v in values.items()}
    if layers is not None:
        family = {str(t): text(layer) for t, layer in enumerate(layers)}
        known |= {"T": str(len(layers)), "n": str(layers.shape[-1]), "D": family}
    names = {*context.symbols, *context.families}
    model = Model(context, {k: v for k, v in {"n": "2", **known}.items() if k in names}, ())
    for line in CLAIMS[name].goal.get("hypotheses", []):
        assert model.decide(parse(line)) is True, line
    for line in CLAIMS[name].goal["conclusions"]:
        assert model.decide(parse(line)) is not False, line
    return model


def matrix(model, words):
    return np.array(model.matrix(parse(words)), dtype=float)


def network(seed, depth=4):
    """Layers, Phi and the error E = P_T - Phi of the whitened samples X = I."""
    layers, phi = draw(seed, depth) / 4, draw(seed + 100, 1)[0]
    return layers, phi, rules.passes(layers, phi)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sign", [1, -1])
def test_pepita_is_feedback(seed, sign):
    layers, phi, p = network(seed)
    f = draw(seed + 1, 1)[0]
    found = rules.pepita_gradients(p, f, sign)
    values = {"X": np.eye(2), "E": p.residual, "Z": f, "R": p.residual, "Y": phi, "s": sign}
    for t in range(4):
        model = model_of("pepita_feedback", layers, t=t, **values)
        step = CLAIMS["pepita_feedback"].goal["conclusions"][0].partition("==")[0]
        np.testing.assert_allclose(matrix(model, step), found[t], atol=1e-12)
        model_of("pepita_hebbian", layers, t=t, **values)
        model_of("autoencoder_pepita", layers, t=t, **values)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_clean_presynaptic_term_and_its_balance(seed):
    layers, _, p = network(seed)
    f = draw(seed + 1, 1)[0]
    found = rules.pepita_gradients(p, f, 1, modulated=False)
    for t in range(3):
        model = model_of("balance_pepita", layers, t=t, s=1, X=np.eye(2), E=p.residual, Z=f)
        np.testing.assert_allclose(matrix(model, f"g({t})"), found[t], atol=1e-12)
        weight = np.eye(2) + layers[t + 1], np.eye(2) + layers[t]
        np.testing.assert_allclose(found[t + 1], weight[0] @ found[t] @ weight[1].T, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_foton_of_the_claim_is_that_of_the_library(seed):
    layers, _, p = network(seed)
    found = p.true + rules.foton_gap(p)
    for t in range(4):
        model = model_of("foton_gradient", layers, t=t, X=np.eye(2), E=p.residual, H=p.states[t])
        np.testing.assert_allclose(matrix(model, f"g({t})"), found[t], atol=1e-12)
        np.testing.assert_allclose(matrix(model, "W(t+1, T).T*E*H.T"), p.true[t], atol=1e-12)
        assert np.sum(found[t] * p.true[t]) >= 0


def test_orthonormal_rows_are_enough_and_columns_are_not():
    """2 of 3 units before an expanding layer: P^T P = I on them, and the step is another one."""
    turn = np.array([[0.0, -1.0], [1.0, 0.0]]) - np.eye(2)
    layers = np.array([turn, turn])
    p = rules.passes(layers, draw(3, 1)[0])
    for t in range(2):
        model_of("foton_orthonormal", layers, t=t, X=np.eye(2), E=p.residual, H=p.states[t])
    assert np.abs(rules.foton_gap(p)).max() < 1e-14
    wide = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])  # 2 -> 3 units, filled up
    e = np.array([[1.0], [2.0], [3.0]])
    assert np.abs(wide @ wide.T @ e - e).max() == 3


@pytest.mark.parametrize("seed", SEEDS)
def test_feedback_alignment_as_direct_feedback(seed):
    """The windows of the claim are the products by which the library hands the error down."""
    _, _, p = network(seed)
    c = draw(seed + 2, 4) / 4
    found = p.true + rules.feedback_gap(p, c.mT)
    triangle = np.array([[2.0, 1.0], [0.0, 0.5]])
    inverse = np.array([[0.5, -1.0], [0.0, 2.0]])
    for t in range(3):
        values = {"E": p.residual, "J": draw(seed, 1)[0], "K": inverse, "L": triangle}
        model = model_of("feedback_direct", c, t=t, **values)
        handed = matrix(model, f"W({t + 1}, 4).T*E")
        np.testing.assert_allclose(handed @ p.states[t].T, found[t], atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_neighbours_under_feedback_alignment(seed):
    w, v, b, e, h = draw(seed, 5)
    model_of("balance_feedback", W=w, V=v, B=b, E=e, H=h, G=b @ e @ h.T, U=e @ (w @ h).T, eta="1/8")
    layers, _, p = network(seed)
    c = draw(seed + 2, 4) / 4
    found = p.true + rules.feedback_gap(p, c)
    for t in range(3):  # G(t) W(t)^T = B(t+1) G(t+1), B = I + C
        left = found[t] @ (np.eye(2) + layers[t]).T
        np.testing.assert_allclose(left, (np.eye(2) + c[t + 1]) @ found[t + 1], atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_broadcast_descends(seed):
    layers, _, p = network(seed)
    layers = layers / 8
    p = rules.passes(layers, draw(seed + 100, 1)[0])
    c = Fraction(int(4 * np.linalg.norm(layers, 2, axis=(1, 2)).max() * 64) + 1, 64)
    broadcast = p.true + rules.broadcast_gap(p)
    for t in range(4):
        given = np.round(broadcast[t] * 64) / 64
        model_of("broadcast_descent", layers, t=t, c=c, a=1 + c / 4, G=given)
        factor = feedback_laws.broadcast_descent(4, float(c), 3 - t)
        assert np.sum(broadcast[t] * p.true[t]) >= factor * np.sum(broadcast[t] ** 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_hebbian_variant_and_its_goodness(seed):
    a, m, c, k, v = draw(seed, 5)
    model_of("pepita_split", A=a, M=m, C=c, K=k)
    model_of("goodness_linear", W=a, V=v, C=c, K=k, u="1/8")
    for value in draw(seed, 3).ravel():
        for change in (-1.5, -0.25, 0.0, 0.5, 2.0):
            model_of("goodness_relu", a=Fraction(value), u=Fraction(change))


ACTIVATIONS = {
    "identity": (lambda a: a, lambda a: a**2 / 2, True),
    "relu": (lambda a: np.maximum(a, 0), lambda a: np.maximum(a, 0) ** 2 / 2, True),
    "tanh": (np.tanh, lambda a: np.log(np.cosh(a)), False),
    "leaky": (
        lambda a: np.where(a > 0, a, 0.2 * a), lambda a: np.where(a > 0, a**2, 0.2 * a**2) / 2, False
    ),
}  # fmt: skip


def off(sigma, goodness):
    """How far the derivative of a layer's goodness is from the Hebbian step sigma(a) h^T, at 60 layers."""
    rng, found, step = np.random.default_rng(4), [], 1e-5
    for _ in range(60):
        (w, v), h = rng.normal(size=(2, 3, 4)), rng.normal(size=4)
        ahead, behind = (np.sum(goodness((w + sign * step * v) @ h)) for sign in (1, -1))
        wanted = np.sum(v * np.outer(sigma(w @ h), h))
        found.append(abs((ahead - behind) / (2 * step) - wanted) / (np.linalg.norm(v) * (h @ h)))
    return max(found)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_matched_goodness_gives_the_hebbian_step_for_any_activation(name):
    """d/dW of the sum of int_0^a sigma is sigma(a) h^T; of |h|^2/2 it is so for identity and ReLU alone."""
    sigma, matched, same = ACTIVATIONS[name]
    assert off(sigma, matched) < 1e-8
    squares = off(sigma, lambda a: sigma(a) ** 2 / 2)
    assert squares < 1e-8 if same else squares > 0.05
