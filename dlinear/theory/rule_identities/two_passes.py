"""I1, I2, I3, I6: PEPITA, its Hebbian form, a goodness by layer, and an autoencoder's second pass."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from dlinear.theory.rule_identities.nets import (
    ACTIVATIONS,
    Array,
    Case,
    Floats,
    Net,
    case,
    derivative,
    draw,
    flat,
)

SMALL = 1e-7  # size of F, where a limit F -> 0 is meant
NONLINEAR = ("leaky ReLU", "tanh", "sigmoid")  # sigma sigma' is not sigma


class Passes(NamedTuple):
    """h and herr of a net: on x, and on x + s F e."""

    net: Net
    s: int
    f: Floats
    h: list[Array]
    err: list[Array]


def passes(rng: np.random.Generator, activation: str = "identity", size: float = 1.0) -> Passes:
    """A net, F with entries of this size and s = +1 or -1."""
    net = draw(rng, activation)
    f, s = size * rng.normal(size=(len(net.x), len(net.y))), int(rng.choice([-1, 1]))
    return Passes(net, s, f, net.states, net.run(net.x + s * f @ net.error))


def any_activation(rng: np.random.Generator) -> str:
    """One of `ACTIVATIONS`."""
    return str(rng.choice(list(ACTIVATIONS)))


def hebbian(p: Passes) -> list[Floats]:
    """h_l h_{l-1}^T - herr_l herr_{l-1}^T of the hidden layers."""
    return [p.h[i] @ p.h[i - 1].T - p.err[i] @ p.err[i - 1].T for i in p.net.hidden]


def original(p: Passes) -> list[Floats]:
    """(h_l - herr_l) herr_{l-1}^T of the hidden layers: PEPITA."""
    return [(p.h[i] - p.err[i]) @ p.err[i - 1].T for i in p.net.hidden]


def i1_feedback(rng: np.random.Generator) -> Case:
    """PEPITA = -s P_l F e (h_{l-1} + s P_{l-1} F e)^T; twin: the clean presynaptic term."""
    p = passes(rng)
    e, s = p.net.error, p.s
    back = [-s * p.net.product(0, i) @ p.f @ e for i in p.net.hidden]
    pre = [p.h[i - 1] + s * p.net.product(0, i - 1) @ p.f @ e for i in p.net.hidden]
    right = [b @ a.T for b, a in zip(back, pre, strict=True)]
    return case(original(p), right, [b @ p.h[i - 1].T for b, i in zip(back, p.net.hidden, strict=True)])


def i1_mean(rng: np.random.Generator) -> Case:
    """Whitened mean -s P_l F R P_{l-1}^T - P_l F C_e F^T P_{l-1}^T, output R P_{L-1}^T + s C_e F^T P_{L-1}^T.

    C_e = E[e e^T]. Twin: without C_e.
    """
    p = passes(rng)
    e, count, last = p.net.error, p.net.x.shape[1], len(p.net.weights)
    r, c = e @ p.net.x.T / count, e @ e.T / count
    left = [g / count for g in [*original(p), e @ p.err[-2].T]]

    def mean(c: Floats) -> list[Floats]:
        inner = -p.s * p.f @ r - p.f @ c @ p.f.T
        states = [p.net.product(0, i) for i in range(last)]
        hidden = [p.net.product(0, i) @ inner @ states[i - 1].T for i in p.net.hidden]
        return [*hidden, (r + p.s * c @ p.f.T) @ states[-1].T]

    return case(left, mean(c), mean(0 * c))


def i1_error(rng: np.random.Generator) -> Case:
    """The modulated error is (I + s P_L F) e; twin: (I - s P_L F) e."""
    p = passes(rng)
    e, moved = p.net.error, p.s * p.net.product(0, 3) @ p.f @ p.net.error
    return case([p.err[-1] - p.net.y], [e + moved], [e - moved])


def i2_split(rng: np.random.Generator) -> Case:
    """Any activation: Hebbian - PEPITA = h_l (h_{l-1} - herr_{l-1})^T; twin: herr_l in place of h_l."""
    p = passes(rng, any_activation(rng))
    apart = [b - a for a, b in zip(original(p), hebbian(p), strict=True)]
    pre = [p.h[i - 1] - p.err[i - 1] for i in p.net.hidden]
    sides = [[post[i] @ a.T for i, a in zip(p.net.hidden, pre, strict=True)] for post in (p.h, p.err)]
    return case(apart, *sides)


def i2_mean(rng: np.random.Generator) -> Case:
    """Linear, whitened: the Hebbian mean has F R + (F R)^T in place of F R; twin: F R alone."""
    p = passes(rng)
    e, count = p.net.error, p.net.x.shape[1]
    fr, fc = p.f @ e @ p.net.x.T / count, p.f @ e @ e.T @ p.f.T / count

    def mean(first: Floats) -> list[Floats]:
        inner = -p.s * first - fc
        return [p.net.product(0, i) @ inner @ p.net.product(0, i - 1).T for i in p.net.hidden]

    return case([g / count for g in hebbian(p)], mean(fr + fr.T), mean(fr))


def i2_ratio(rng: np.random.Generator) -> Case:
    """As F -> 0, |Hebbian - PEPITA|/|PEPITA| -> |h_l J_{l-1}^T|/|J_l h_{l-1}^T|, J the tangent pass; twin: 0.

    J_l is the derivative of h_l along F e: both are of the first order in F.
    """
    p = passes(rng, any_activation(rng), SMALL)
    apart = [b - a for a, b in zip(original(p), hebbian(p), strict=True)]
    along = p.f @ p.net.error / SMALL
    j = []
    for i in range(len(p.h)):

        def state(x: Array, i: int = i) -> Array:
            return p.net.run(x)[i]

        j.append(derivative(state, p.net.x, along))
    limit = np.linalg.norm(flat(p.h[i] @ j[i - 1].T for i in p.net.hidden))
    limit /= np.linalg.norm(flat(j[i] @ p.h[i - 1].T for i in p.net.hidden))
    ratio = np.linalg.norm(flat(apart)) / np.linalg.norm(flat(original(p)))
    return case([ratio], [limit], [np.zeros(1)])


def slopes(p: Passes, rng: np.random.Generator, name: str) -> tuple[list[Floats], list[Floats], list[Floats]]:
    """Hebbian steps along directions V, and the derivatives of two goodnesses along them, by layer.

    The goodness of a layer is that of the clean less that of the modulated pass: with the integral of sigma,
    and with |h|^2/2.
    """
    sigma = ACTIVATIONS[name]
    steps, matched, squares = [], [], []
    for i, step in zip(p.net.hidden, hebbian(p), strict=True):
        w, v = p.net.weights[i - 1], rng.normal(size=p.net.weights[i - 1].shape)
        steps.append(np.asarray(np.sum(v * step)))

        def goodness(w: Array, integral: bool, i: int = i) -> Array:
            sides = [
                sigma.integral(w @ h[i - 1]) if integral else sigma.value(w @ h[i - 1]) ** 2 / 2
                for h in (p.h, p.err)
            ]
            return np.asarray(np.sum(sides[0]) - np.sum(sides[1]))

        matched.append(derivative(partial(goodness, integral=True), w, v))
        squares.append(derivative(partial(goodness, integral=False), w, v))
    return steps, matched, squares


def i3_goodness(rng: np.random.Generator) -> Case:
    """Identity and ReLU: d/dW (|h|^2 - |herr|^2)/2 is the Hebbian form; twin: |h|^2 - |herr|^2."""
    name = str(rng.choice(["identity", "relu"]))
    steps, _, squares = slopes(passes(rng, name), rng, name)
    return case(steps, squares, [2 * value for value in squares])


def i3_matched(rng: np.random.Generator) -> Case:
    """Any activation: the goodness sum of int_0^a sigma; twin: |h|^2/2 where sigma sigma' is not sigma."""
    name = str(rng.choice(NONLINEAR))
    return case(*slopes(passes(rng, name), rng, name))


def i3_logistic(rng: np.random.Generator) -> Case:
    """softplus(theta - g+) + softplus(g- - theta): factors 1 - p+ and p-, p = logistic(g - theta); twin: 1.

    g = |h|^2/2 of each sample, ReLU; the modulated pass is the positive one.
    """
    p = passes(rng, "relu")
    theta = 1.0
    left: list[Floats] = []
    right: list[float] = []
    twin: list[float] = []
    for i in p.net.hidden:
        w, v = p.net.weights[i - 1], rng.normal(size=p.net.weights[i - 1].shape)
        good, bad = p.err[i - 1], p.h[i - 1]

        def goodness(w: Array, h: Array) -> Array:
            return np.asarray(np.sum(p.net.sigma.value(w @ h) ** 2, axis=0) / 2)

        def loss(w: Array, good: Array = good, bad: Array = bad) -> Array:
            high, low = goodness(w, good) - theta, goodness(w, bad) - theta
            return np.asarray(np.sum(np.log1p(np.exp(-high)) + np.log1p(np.exp(low))))

        left.append(derivative(loss, w, v))
        missed = 1 / (1 + np.exp(goodness(w, good) - theta))  # 1 - p+
        taken = 1 / (1 + np.exp(theta - goodness(w, bad)))  # p-
        for found, high, low in ((right, missed, taken), (twin, 1.0, 1.0)):
            step = (low * p.h[i]) @ bad.T - (high * p.err[i]) @ good.T
            found.append(np.sum(v * step))
    return case(left, right, twin)


def autoencoder(rng: np.random.Generator) -> tuple[Net, list[Array], list[Array], list[Array]]:
    """A linear autoencoder, target x: the passes on x, on its output x + e, and on x - e."""
    net = draw(rng, widths=[5, 4, 3, 5])
    net = Net(net.weights, net.x, net.x, net.activation)
    return net, net.states, net.run(net.states[-1]), net.run(net.x - net.error)


def i6_contrast(rng: np.random.Generator) -> Case:
    """LAC, 2 (h2_l - h1_l) h2_{l-1}^T, is -2 PEPITA with F = I, s = 1; twin: 2 PEPITA with F = -I."""
    net, h, second, minus = autoencoder(rng)
    e = net.error
    left = [2 * (second[i] - h[i]) @ second[i - 1].T for i in net.hidden]
    moved = net.run(net.x + e)
    right = [-2 * (h[i] - moved[i]) @ moved[i - 1].T for i in net.hidden]
    return case(left, right, [2 * (h[i] - minus[i]) @ minus[i - 1].T for i in net.hidden])


def i6_clean(rng: np.random.Generator) -> Case:
    """With the clean presynaptic term LAC is 2 PEPITA with F = -I; twin: the modulated one in both."""
    net, h, second, minus = autoencoder(rng)
    left = [2 * (second[i] - h[i]) @ h[i - 1].T for i in net.hidden]
    right = [2 * (h[i] - minus[i]) @ h[i - 1].T for i in net.hidden]
    return case(left, right, [2 * (h[i] - minus[i]) @ minus[i - 1].T for i in net.hidden])
