"""I4, I5, I8, I10: feedback alignment, direct feedback, FOTON, DRTP; what their steps conserve."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from dlinear.theory.rule_identities.nets import Case, Floats, Net, case, draw

RATE = 0.1


def matrices(rng: np.random.Generator, net: Net) -> list[Floats]:
    """B_2, ..., B_L of feedback alignment, in the shapes of the transposed layers."""
    return [rng.normal(size=w.T.shape) for w in net.weights[1:]]


def aligned(net: Net, steps: Sequence[Floats]) -> list[Floats]:
    """Feedback alignment of a linear net: delta_l = B_{l+1} delta_{l+1}, G_l = delta_l h_{l-1}^T."""
    deltas = [net.error]
    for b in reversed(steps):
        deltas.insert(0, b @ deltas[0])
    return [delta @ h.T for delta, h in zip(deltas, net.states, strict=False)]


def direct(net: Net, each: Sequence[Floats]) -> list[Floats]:
    """Direct feedback of a linear net: G_l = B_l e h_{l-1}^T, l < L; the output layer has e h_{L-1}^T."""
    h, e = net.states, net.error
    return [*(b @ e @ pre.T for b, pre in zip(each, h, strict=False)), e @ h[-2].T]


def i4_products(rng: np.random.Generator) -> Case:
    """FA is DFA with B_l = B_{l+1} ... B_L; twin: B_l = W_{l+1}^T ... W_L^T, back-propagation."""
    net = draw(rng)
    steps = matrices(rng, net)
    whole = [steps[0] @ steps[1], steps[1]]
    return case(aligned(net, steps), direct(net, whole), net.true())


def i4_inverse(rng: np.random.Generator) -> Case:
    """DFA with invertible B_l is FA with B_l B_{l+1}^{-1}; twin: B_l B_{l+1}."""
    n = int(rng.integers(3, 6))
    net = draw(rng, widths=[n + 1, n, n, n])
    b = [np.linalg.qr(rng.normal(size=(n, n)))[0] * rng.uniform(0.5, 2, size=n) for _ in range(2)]
    right = aligned(net, [b[0] @ np.linalg.inv(b[1]), b[1]])
    return case(direct(net, b), right, aligned(net, [b[0] @ b[1], b[1]]))


def foton(net: Net, clean: bool = True) -> list[Floats]:
    """(h_l - hmod_l) h_{l-1}^T of the hidden layers, hmod_0 = x - P_L^T e; or with hmod_{l-1}."""
    h, moved = net.states, net.run(net.x - net.product(0, 3).T @ net.error)
    return [(h[i] - moved[i]) @ (h if clean else moved)[i - 1].T for i in net.hidden]


def i5_any(rng: np.random.Generator) -> Case:
    """FOTON = P_l P_l^T times back-propagation; twin: back-propagation."""
    net = draw(rng)
    p, true = [net.product(0, i) for i in net.hidden], net.true()[:-1]
    return case(foton(net), [a @ a.T @ g for a, g in zip(p, true, strict=True)], true)


def i5_descent(rng: np.random.Generator) -> Case:
    """<G_l, G_l of back-propagation> = |P_l^T G_l of back-propagation|^2; twin: |G_l of it|^2."""
    net = draw(rng)
    p, true = [net.product(0, i) for i in net.hidden], net.true()[:-1]
    left = [np.sum(a * g) for a, g in zip(foton(net), true, strict=True)]
    right = [np.sum((a.T @ g) ** 2) for a, g in zip(p, true, strict=True)]
    return case(left, right, [np.sum(g**2) for g in true])


def i5_orthonormal(rng: np.random.Generator) -> Case:
    """Orthonormal rows, widths that do not grow: FOTON is back-propagation; twin: PEPITA's hmod_{l-1}."""
    net = draw(rng, widths=sorted(rng.integers(3, 7, size=4).tolist(), reverse=True))
    rows = [np.linalg.qr(w.T)[0].T for w in net.weights]
    net = Net(rows, net.x, net.y, net.activation)
    return case(net.true()[:-1], foton(net), foton(net, clean=False))


def i8_true(rng: np.random.Generator) -> Case:
    """Back-propagation: a step changes W_l W_l^T - W_{l+1}^T W_{l+1} by eta^2 (G G^T - U^T U); twin: by 0."""
    net = draw(rng)
    g = net.true()
    after = [w - RATE * step for w, step in zip(net.weights, g, strict=True)]

    def kept(w: Sequence[Floats]) -> list[Floats]:
        return [a @ a.T - b.T @ b for a, b in itertools.pairwise(w)]

    square = [RATE**2 * (a @ a.T - b.T @ b) for a, b in itertools.pairwise(g)]
    before = kept(net.weights)
    return case(kept(after), [a + b for a, b in zip(before, square, strict=True)], before)


def conserved(net: Net, steps: Sequence[Floats], g: Sequence[Floats], changed: Sequence[int]) -> Case:
    """W_l W_l^T - B_{l+1} W_{l+1} - (B_{l+1} W_{l+1})^T changes by eta^2 G_l G_l^T; twin: by 0."""

    def kept(w: Sequence[Floats]) -> list[Floats]:
        return [w[i] @ w[i].T - steps[i] @ w[i + 1] - (steps[i] @ w[i + 1]).T for i in changed]

    after = kept([w - RATE * step for w, step in zip(net.weights, g, strict=True)])
    before = kept(net.weights)
    return case(after, [a + RATE**2 * g[i] @ g[i].T for a, i in zip(before, changed, strict=True)], before)


def i8_feedback(rng: np.random.Generator) -> Case:
    """FA conserves W_l W_l^T - B_{l+1} W_{l+1} - (B_{l+1} W_{l+1})^T but for eta^2 G_l G_l^T."""
    net = draw(rng)
    steps = matrices(rng, net)
    return conserved(net, steps, aligned(net, steps), range(2))


def i8_direct(rng: np.random.Generator) -> Case:
    """DFA: the same with B_l B_{l+1}^{-1}, and B_{L-1} for the last pair."""
    n = int(rng.integers(3, 6))
    net = draw(rng, widths=[n + 1, n, n, n])
    b = [np.linalg.qr(rng.normal(size=(n, n)))[0] * rng.uniform(0.5, 2, size=n) for _ in range(2)]
    return conserved(net, [b[0] @ np.linalg.inv(b[1]), b[1]], direct(net, b), range(2))


def i8_pepita(rng: np.random.Generator) -> Case:
    """PEPITA: dW_2 = W_2 dW_1 W_1^T, dW_{L-1} W_{L-1}^T = -s P_{L-1} F dW_L; twin: W_2 dW_1, and P_L F dW_L.

    With either presynaptic term, in every step.
    """
    net = draw(rng, widths=[4, 4, 4, 4])
    f, s = rng.normal(size=(4, 4)), int(rng.choice([-1, 1]))
    h, e = net.states, net.error
    moved = net.run(net.x + s * f @ e)
    pre = moved if rng.integers(2) else h
    first, second = ((h[i] - moved[i]) @ pre[i - 1].T for i in net.hidden)
    last, (w1, w2, _) = e @ pre[2].T, net.weights
    right = [w2 @ first @ w1.T, -s * net.product(0, 2) @ f @ last]
    return case([second, second @ w2.T], right, [w2 @ first, -s * net.product(0, 3) @ f @ last])


def i8_scalars(rng: np.random.Generator) -> Case:
    """PEPITA, two scalar layers: w_1 + s F w_2 stays, at steps of any size; twin: w_1 - s F w_2."""
    w1, w2, x, y, f = rng.uniform(0.3, 1, size=5) * rng.choice([-1, 1], size=5)
    s, begin = int(rng.choice([-1, 1])), (w1, w2)
    for _ in range(3):
        e = w2 * w1 * x - y
        moved = x + s * f * e
        w1, w2 = w1 - RATE * (w1 * x - w1 * moved) * moved, w2 - RATE * e * w1 * moved
    return case([w1 + s * f * w2], [begin[0] + s * f * begin[1]], [begin[0] - s * f * begin[1]])


def i10_drift(rng: np.random.Generator) -> Case:
    """DRTP: W_1(k) = W_1(0) + k eta B_1 Phi whatever the error, Phi = E[y x^T]; twin: k - 1."""
    net, steps = draw(rng), 30
    b = [rng.normal(size=(len(w), len(net.y))) for w in net.weights[:-1]]
    count = net.x.shape[1]
    start, phi = net.weights[0], net.y @ net.x.T / count
    for _ in range(steps):
        h = net.states
        post = [*(-one @ net.y for one in b), net.error]
        grads = [d @ pre.T / count for d, pre in zip(post, h, strict=False)]
        weights = [w - 0.01 * g for w, g in zip(net.weights, grads, strict=True)]
        net = Net(weights, net.x, net.y, net.activation)
    drift = 0.01 * b[0] @ phi
    return case([net.weights[0]], [start + steps * drift], [start + (steps - 1) * drift])
