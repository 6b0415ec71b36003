"""Identities of learning rules at 60 random networks of unequal widths, to rounding; each has a false twin.

The claims of `proofs/forward_rules.py`, `proofs/feedback_rules.py` and `proofs/feedback_balance.py` are about
n x n matrices; here layers are rectangular and passes are run layer by layer.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

CASES = 60


class Net:
    """Random linear layers W_1..W_L, a batch, its error and the two passes of PEPITA (s = +1)."""

    def __init__(self, seed, shrinking=False, f=None):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(2, 6, size=4)
        if shrinking:
            sizes = np.sort(sizes)[::-1]
        if f is not None:
            sizes[-1] = sizes[0]  # an autoencoder
        self.rng = rng
        self.weights = [rng.normal(size=(b, a)) for a, b in itertools.pairwise(sizes)]
        self.x = rng.normal(size=(sizes[0], 7))
        self.y = self.x if f is not None else rng.normal(size=(sizes[-1], 7))
        self.clean = self.run(self.x)
        self.error = self.clean[-1] - self.y
        self.f = rng.normal(size=(sizes[0], sizes[-1])) if f is None else f * np.eye(sizes[0])
        self.moved = self.run(self.x + self.f @ self.error)

    def run(self, x):
        states = [x]
        for w in self.weights:
            states.append(w @ states[-1])
        return states

    def product(self, first, last):
        """W_last ... W_{first+1}."""
        whole = np.eye(len(self.clean[first]))
        for w in self.weights[first:last]:
            whole = w @ whole
        return whole

    def bp(self, layer):
        return self.product(layer, 3).T @ self.error @ self.clean[layer - 1].T

    def pepita(self, layer):
        return (self.clean[layer] - self.moved[layer]) @ self.moved[layer - 1].T


def i1(net, twin):
    """PEPITA is feedback with -P_l F; the twin has the clean presynaptic term."""
    pre = net.clean if twin else net.moved
    return net.pepita(2), -net.product(0, 2) @ net.f @ net.error @ pre[1].T


def i2(net, twin):
    """Hebbian - PEPITA = h_l (h_{l-1} - herr_{l-1})^T; the twin says 0."""
    hebbian = net.clean[2] @ net.clean[1].T - net.moved[2] @ net.moved[1].T
    rest = net.clean[2] @ (net.clean[1] - net.moved[1]).T
    return hebbian, net.pepita(2) + (0 if twin else rest)


def i4(net, twin):
    """Feedback alignment, layer by layer, is direct feedback with B_2 B_3; the twin has W_2^T W_3^T."""
    b2, b3 = (net.rng.normal(size=w.T.shape) for w in net.weights[1:])
    direct = net.product(1, 3).T if twin else b2 @ b3
    return b2 @ (b3 @ net.error) @ net.x.T, direct @ net.error @ net.x.T


def foton(net, layer, clean=True):
    moved = net.run(net.x - net.product(0, 3).T @ net.error)
    return (net.clean[layer] - moved[layer]) @ (net.clean if clean else moved)[layer - 1].T


def i5(net, twin):
    """FOTON = P P^T BP for any layers; the twin forgets P P^T."""
    p = net.product(0, 2)
    return foton(net, 2), (np.eye(len(p)) if twin else p @ p.T) @ net.bp(2)


def i5_orthonormal(net, twin):
    """FOTON = BP for orthonormal rows; the twin has PEPITA's modulated presynaptic term."""
    net.weights = [np.linalg.qr(w.T)[0].T for w in net.weights]
    net.clean = net.run(net.x)
    net.error = net.clean[-1] - net.y
    return foton(net, 2, clean=not twin), net.bp(2)


def i6(net, twin):
    """LAC = -2 PEPITA(F = I); the twin says + 2 PEPITA(F = I) with the clean presynaptic term."""
    second = net.run(net.clean[-1])
    lac = 2 * (second[2] - net.clean[2]) @ second[1].T
    return lac, 2 * (second[2] - net.clean[2]) @ net.clean[1].T if twin else -2 * net.pepita(2)


def i8_feedback(net, twin):
    """One step changes W W^T - B V - (B V)^T by eta^2 G G^T; the twin leaves the square out."""
    w, v = net.weights[1], net.weights[2]
    b = net.rng.normal(size=v.T.shape)
    g, u = b @ net.error @ net.clean[1].T, net.error @ net.clean[2].T

    def kept(w, v):
        return w @ w.T - b @ v - (b @ v).T

    eta = 0.1
    return kept(w - eta * g, v - eta * u), kept(w, v) + (0 if twin else eta**2 * g @ g.T)


def i8_pepita(net, twin):
    """Clean presynaptic term: G_{l+1} = W_{l+1} G_l W_l^T; the twin has the modulated term."""
    pre = net.moved if twin else net.clean
    first, second = ((net.clean[k] - net.moved[k]) @ pre[k - 1].T for k in (1, 2))
    middle = first @ net.weights[0].T
    wrong = (net.clean[1] - net.moved[1]) @ net.clean[0].T @ net.weights[0].T
    return second, net.weights[1] @ (wrong if twin else middle)


def i10(net, twin):
    """DRTP moves the first layer by k eta B y x^T after k steps, whatever the error; the twin has k - 1."""
    b, eta, steps = net.rng.normal(size=(len(net.clean[1]), len(net.y))), 0.01, 20
    w = net.weights[0].copy()
    for _ in range(steps):
        w += eta * b @ net.y @ net.x.T
    return w, net.weights[0] + (steps - twin) * eta * b @ net.y @ net.x.T


IDENTITIES = {
    "I1": (i1, {}),
    "I2": (i2, {}),
    "I4": (i4, {}),
    "I5": (i5, {}),
    "I5, orthonormal rows": (i5_orthonormal, {"shrinking": True}),
    "I6": (i6, {"f": 1.0}),
    "I8, feedback alignment": (i8_feedback, {}),
    "I8, PEPITA": (i8_pepita, {}),
    "I10": (i10, {}),
}


def deviation(name, twin):
    """|left - right| over |left| + |right| of each case."""
    identity, kind = IDENTITIES[name]
    sides = [identity(Net(seed, **kind), twin) for seed in range(CASES)]
    return np.array([np.linalg.norm(a - b) / (np.linalg.norm(a) + np.linalg.norm(b)) for a, b in sides])


@pytest.mark.parametrize("name", IDENTITIES)
def test_identity_to_rounding_and_its_false_twin(name):
    assert deviation(name, twin=False).max() < 1e-12
    assert np.median(deviation(name, twin=True)) > 1e-3
