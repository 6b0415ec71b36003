"""The claims about mirrors, flows from zero and local rules hold at random values, and are about the matrices
of the identities that are measured."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from dlinear.certify import registry
from dlinear.certify.trusted.context import read_context
from dlinear.certify.trusted.evaluation import Model
from dlinear.certify.trusted.terms import parse
from dlinear.theory.rule_identities import goodness
from proofs import __main__ as command

CLAIMS = {claim.id: claim for claims in registry.discover(command.FOLDER).values() for claim in claims}
SEEDS = range(4)
TURN = np.array([[0.0, -1.0], [1.0, 0.0]])


def text(value):
    if isinstance(value, np.ndarray):
        return [[str(Fraction(float(v))) for v in row] for row in value]
    return str(value)


def draw(seed, count, n=2):
    """Matrices with few binary digits: floats and fractions are the same numbers."""
    return np.random.default_rng(seed).integers(-8, 9, size=(count, n, n)) / 8


def model_of(name, **values):
    """The claim at these values: its hypotheses and its conclusions hold."""
    claim = CLAIMS[name]
    context = read_context(claim.goal)
    known = {"n": 2, **values}
    model = Model(context, {k: text(known[k]) for k in (*context.symbols, *context.families)}, ())
    for line in claim.goal.get("hypotheses", []):
        assert model.decide(parse(line)) is True, line
    for line in claim.goal["conclusions"]:  # None: roots of two numbers, which no float tells apart
        assert model.decide(parse(line)) is not False, line
    return model


def matrix(model, words):
    return np.array(model.matrix(parse(words)), dtype=float)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_mean_of_a_mirror(seed):
    """Three steps by hand, B <- q B + eta X (W X)^T with X X^T = 4 I."""
    b, w = draw(seed, 2)
    q, eta = Fraction(1, 4), Fraction(3, 8)
    values = {"B": b, "W": w, "X": 2 * TURN, "Z": 2 * w.T, "q": q, "eta": eta, "z": 4}
    now = b
    for t in range(4):
        model = model_of("mirror_mean", t=t, **values)
        np.testing.assert_allclose(matrix(model, f"M({t})"), now, atol=1e-14)
        now = float(q) * now + float(eta) * (2 * TURN) @ (w @ (2 * TURN)).T


@pytest.mark.parametrize("seed", SEEDS)
def test_the_scatter_of_a_mirror(seed):
    """The constants of the claim are those of a random W and of its recursion after many steps."""
    w = draw(seed, 1)[0]
    size, square = Fraction(float(np.sum(w**2))), Fraction(float(np.sum((w @ w.T) ** 2)))
    z, lam, eta, b = Fraction(3, 2), Fraction(1, 3), Fraction(1, 4), 7
    one = z**2 * 4 * size, z**2 * (size**2 + 2 * square)
    v = one[0] - one[1] / size
    c, mean = 3 - 2 * square / size**2, (eta * z / lam) ** 2 * size
    stationary = eta**2 * v / b / (1 - (1 - lam) ** 2)
    values = {"lam": lam, "b": b, "w": size, "t": 5, "z": z, "eta": eta, "k": square, "d": 2}
    values |= {"A": one[0], "C": one[1], "V": v, "v": stationary, "m": mean, "c": c}
    model_of("mirror_variance", **values)
    assert CLAIMS["mirror_variance"].assumes
    recursion = 0.0
    for _ in range(200):
        recursion = float(1 - lam) ** 2 * recursion + float(eta**2 * v / b)
    assert recursion / float(mean) == pytest.approx(float(lam * c / ((2 - lam) * b)), rel=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_feedback_alignment_from_zero(seed):
    """A and Phi diagonal in turned bases, B orthogonal; at rest for A A^T A = 2 Phi."""
    rng = np.random.default_rng(seed)
    a, phi = (np.diag(rng.integers(1, 9, size=2) / 4) @ TURN for _ in range(2))
    for target in (phi, a @ a.T @ a / 2):
        r = a @ a.T @ a / 2 - target
        model_of("feedback_from_zero", A=a, B=TURN, Phi=target, R=r, u=Fraction(1, 8))
    assert not np.any(r)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_drift_of_random_targets(seed):
    w, b, y, x, e = draw(seed, 5)
    now = w
    for t in range(3):
        model = model_of("target_drift", W=w, B=b, Y=y, X=x, E=e, eta=Fraction(1, 4), t=t)
        np.testing.assert_allclose(matrix(model, f"M({t})"), now, atol=1e-14)
        now = now + 0.25 * b @ y @ x.T


@pytest.mark.parametrize("seed", SEEDS)
def test_the_gram_matrix_of_forward_forward(seed):
    w, v, x, s = draw(seed, 4)
    s = s + s.T
    model = model_of("goodness_gram", W=w, V=v, X=x, Q=s, M=w.T @ w, O=TURN, u=Fraction(1, 8))
    step = w - 2 / 8 * w @ s
    np.testing.assert_allclose(matrix(model, "(W - 2*u*W*Q).T*(W - 2*u*W*Q)"), step.T @ step)
    good, bad = np.random.default_rng(seed).normal(size=(2, 2, 5))
    found = goodness.weighted(w.T @ w, good, bad)
    np.testing.assert_allclose(found, found.T)
    np.testing.assert_allclose(found, goodness.weighted((TURN @ w).T @ (TURN @ w), good, bad))


def test_labels_over_pixels():
    """Two pixels, three labels, three samples in matrices of width 3; the blocks of N (C+ - C-)."""
    x = np.array([[1.0, 0.5, -1.5], [2.0, -1.0, -1.0], [0.0, 0.0, 0.0]])
    y = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    values = {"X": x, "Y": y, "J": np.ones((3, 3)), "P": np.eye(3), "r": 2, "m": 3, "n": 3}
    model_of("label_overlay", **values)
    blocks = 3 * goodness.moments(x[:2], y)
    np.testing.assert_allclose(blocks[:2, 2:], 1.5 * x[:2] @ y.T)
    np.testing.assert_allclose(blocks[2:, 2:], (3 * y @ y.T - 3 * np.eye(3)) / 2)
    np.testing.assert_allclose(blocks[:2, :2], 0, atol=1e-15)


@pytest.mark.parametrize("seed", SEEDS)
def test_ojas_step(seed):
    w = draw(seed, 1)[0]
    model_of("oja_step", W=w, X=2 * TURN, K=w @ w.T, z=4, u=Fraction(1, 8))
    at_rest = model_of("oja_step", W=TURN, X=2 * TURN, K=np.eye(2), z=4, u=Fraction(1, 8))
    assert not np.any(matrix(at_rest, "W - W*W.T*W"))


@pytest.mark.parametrize("s", ["0", "1/4", "1", "3/2"])
def test_a_singular_value_under_oja(s):
    s = Fraction(s)
    u = Fraction(1, 2) if s <= 1 else 1 / (s * (1 + s))
    model_of("oja_limit", s=s, u=u)
