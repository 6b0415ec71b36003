"""I11: linear forward-forward, one layer: the flow of its Gram matrix, and what it learns of the labels."""

from __future__ import annotations

import numpy as np

from dlinear.theory.rule_identities.nets import Array, Case, Floats, case, derivative

THETA = 1.0


def logistic(z: Array) -> Array:
    """1/(1 + exp(-z))."""
    return np.asarray(1 / (1 + np.exp(-z)))


def goodness(w: Array, x: Floats) -> Array:
    """|W x|^2 of each sample."""
    return np.asarray(np.sum((w @ x) ** 2, axis=0))


def loss(w: Array, good: Floats, bad: Floats) -> Array:
    """Mean softplus(theta - g+) + softplus(g- - theta)."""
    high, low = goodness(w, good) - THETA, goodness(w, bad) - THETA
    return np.asarray(np.mean(np.log1p(np.exp(-high)) + np.log1p(np.exp(low))))


def weighted(gram: Floats, good: Floats, bad: Floats, equal: bool = False, theta: float = THETA) -> Floats:
    """S = E[-(1 - p+) x+ x+^T + p- x- x-^T], p = logistic(x^T M x - theta), M = W^T W; equal: weights 1."""
    missed = 1 - logistic(np.sum(good * (gram @ good), axis=0) - theta)
    taken = logistic(np.sum(bad * (gram @ bad), axis=0) - theta)
    if equal:
        missed, taken = np.ones_like(missed), np.ones_like(taken)
    found: Floats = ((bad * taken) @ bad.T - (good * missed) @ good.T) / good.shape[1]
    return found


def samples(rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """W, (3, 4), and positive and negative samples, (4, 8)."""
    w = 0.5 * rng.normal(size=(3, 4))
    good, bad = rng.normal(size=(2, 4, 8))
    return w, good, bad


def i11_gradient(rng: np.random.Generator) -> Case:
    """dL/dW = 2 W S; twin: equal weights."""
    w, good, bad = samples(rng)
    units = [np.eye(1, w.size, k).reshape(w.shape) for k in range(w.size)]
    left = [derivative(lambda w: loss(w, good, bad), w, unit) for unit in units]
    sides = [2 * w @ weighted(w.T @ w, good, bad, equal) for equal in (False, True)]
    return case(left, *([side] for side in sides))


def i11_gram(rng: np.random.Generator) -> Case:
    """M = W^T W has a flow of its own: M <- (I - 2 eta S) M (I - 2 eta S), the same from O W.

    Twin: the change of the first order, M - 2 eta (S M + M S).
    """
    w, good, bad = samples(rng)
    m, twin, eta = w.T @ w, w.T @ w, 0.1
    w = np.linalg.qr(rng.normal(size=(3, 3)))[0] @ w
    for _ in range(5):
        w = w - eta * 2 * w @ weighted(w.T @ w, good, bad)
        s = weighted(m, good, bad)
        step = np.eye(4) - 2 * eta * s
        m, twin = step @ m @ step, twin - 2 * eta * (s @ twin + twin @ s)
    return case([w.T @ w], [m], [twin])


def i11_moments(rng: np.random.Generator) -> Case:
    """Equal weights: W = W_0 exp(2 t (C+ - C-)) along the flow, C = E[x x^T]; twin: exp(t (C+ - C-))."""
    from scipy.integrate import solve_ivp
    from scipy.linalg import expm

    w, good, bad = samples(rng)
    apart = (good @ good.T - bad @ bad.T) / good.shape[1]

    def flow(_: float, flat: Floats) -> Floats:
        now = flat.reshape(w.shape)
        ahead, behind = now @ good, now @ bad
        return np.asarray(2 * (ahead @ good.T - behind @ bad.T) / good.shape[1]).ravel()

    end = solve_ivp(flow, (0, 0.3), w.ravel(), rtol=1e-11, atol=1e-12, method="DOP853").y[:, -1]
    return case([end], [w @ expm(0.6 * apart)], [w @ expm(0.3 * apart)])


def labelled(rng: np.random.Generator, classes: int = 3) -> tuple[Floats, Floats]:
    """Centred pixels, (4, N), and one-hot labels, (classes, N), that are not equally frequent."""
    labels = rng.permutation(np.repeat(np.arange(classes), 2 + np.arange(classes)))
    p = rng.normal(size=(4, len(labels)))
    return p - p.mean(axis=1, keepdims=True), np.eye(classes)[:, labels]


def moments(p: Floats, y: Floats) -> Floats:
    """C+ - C- of (pixels, label), every wrong label of a sample equally often in C-."""
    k, found = len(y), np.zeros((len(p) + len(y),) * 2)
    for sample, label in zip(p.T, y.T, strict=True):
        for other in np.eye(k):
            weight = 1.0 if other @ label else -1 / (k - 1)
            x = np.concatenate([sample, other])
            found += weight * np.outer(x, x)
    found /= p.shape[1]
    return found


def i11_overlay(rng: np.random.Generator) -> Case:
    """Label overlay: C+ - C- = [[0, K/(K-1) Phi^T], [K/(K-1) Phi, diag(K f - 1)/(K - 1)]], Phi = E[u p^T].

    f are the frequencies of the classes: with equal ones the eigenvectors are the singular vectors of Phi.
    Twin: without the factor K/(K-1).
    """
    p, y = labelled(rng)
    k, phi, frequency = len(y), y @ p.T / p.shape[1], y.mean(axis=1)

    def blocks(factor: float) -> Floats:
        corner = np.diag((k * frequency - 1) / (k - 1))
        return np.block([[np.zeros((len(p),) * 2), factor * phi.T], [factor * phi, corner]])

    return case([moments(p, y)], [blocks(k / (k - 1))], [blocks(1.0)])


def i11_one_step(rng: np.random.Generator) -> Case:
    """From W^T W = I, equal weights, one small step: the goodness of a label grows at 4 x^T (C+ - C-) x.

    = 8 K/(K-1) (Phi p)_y + 4 (K f_y - 1)/(K - 1): with equal classes argmax (Phi p)_y. Twin: without f.
    """
    p, y = labelled(rng)
    k, phi, frequency, test = len(y), y @ p.T / p.shape[1], y.mean(axis=1), rng.normal(size=len(p))
    w = np.linalg.qr(rng.normal(size=(len(p) + k,) * 2))[0]
    step = 2 * w @ moments(p, y)  # downhill by equal weights
    x = np.concatenate([np.tile(test, (k, 1)).T, np.eye(k)])
    left = derivative(lambda w: goodness(w, x), w, step)
    signal = 8 * k / (k - 1) * phi @ test
    return case([left], [signal + 4 * (k * frequency - 1) / (k - 1)], [signal])


def i11_second(rng: np.random.Generator) -> Case:
    """An orthogonal second layer inherits the goodness; behind a normalised input it is constant.

    Twin: a layer that is not orthogonal.
    """
    _, good, bad = samples(rng)
    w2 = np.linalg.qr(rng.normal(size=(5, 4)))[0]
    h = np.concatenate([good, bad], axis=1)
    unit = h / np.linalg.norm(h, axis=0)
    other = rng.normal(size=(5, 4)) / np.sqrt(5)
    right = [goodness(np.eye(4), h), np.ones(h.shape[1])]
    return case([goodness(w2, h), goodness(w2, unit)], right, [goodness(other, h), goodness(other, unit)])
