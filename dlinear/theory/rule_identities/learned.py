"""I7, I9, I12: what feedback and weights become: mirrors, feedback alignment from zero, Oja's rule."""

from __future__ import annotations

import itertools

import numpy as np

from dlinear.theory.rule_identities.nets import ACTIVATIONS, Array, Case, Floats, case, whitened

NODES = 48  # of the quadrature over Gaussian noise; 2 NODES - 1 is the degree that it integrates exactly


def layer(rng: np.random.Generator, spread: float = 1.0) -> Floats:
    """W, 3 to 5 outputs and as many inputs."""
    n, m = rng.integers(3, 6, size=2)
    found: Floats = spread * rng.normal(size=(n, m)) / np.sqrt(m)
    return found


def grid(size: int, s: float, nodes: int = NODES) -> tuple[Floats, Floats]:
    """Points (size, count) and weights of a product rule for N(0, s^2 I)."""
    at, weight = np.polynomial.hermite_e.hermegauss(nodes)
    points = np.array(list(itertools.product(at, repeat=size))).T * s
    shares = np.prod(list(itertools.product(weight / weight.sum(), repeat=size)), axis=1)
    return points, shares


def i7_mean(rng: np.random.Generator) -> Case:
    """k steps: E B_k = (1-lam)^k B_0 + (1 - (1-lam)^k)(eta s^2/lam) W^T; twin: without s^2.

    The noise of each step has the second moment s^2 I exactly, so that the mean is what is computed.
    """
    w, steps = layer(rng), 12
    eta, lam, s = rng.uniform(0.05, 0.3), rng.uniform(0.05, 0.5), rng.uniform(0.3, 0.8)
    start = b = rng.normal(size=w.T.shape)
    for _ in range(steps):
        xi = s * whitened(rng, w.shape[1], 8)
        b = (1 - lam) * b + eta * xi @ (w @ xi).T / 8
    left = (1 - lam) ** steps
    sides = [left * start + (1 - left) * eta * size / lam * w.T for size in (s**2, 1.0)]
    return case([b], *([side] for side in sides))


def i7_relu(rng: np.random.Generator) -> Case:
    """ReLU: E[xi sigma(W xi)^T] = (s^2/2) W^T for every symmetric noise; twin: s^2 W^T."""
    w, s = layer(rng), rng.uniform(0.3, 2.0)
    half = s * whitened(rng, w.shape[1], 8)
    xi = np.concatenate([half, -half], axis=1)
    left = xi @ np.maximum(w @ xi, 0).T / 16
    return case([left], [s**2 / 2 * w.T], [s**2 * w.T])


def i7_slopes(rng: np.random.Generator) -> Case:
    """Stein: E[xi sigma(W xi)^T] = s^2 W^T diag(E sigma'(W xi)); twin: one factor for all units."""
    w, s = rng.normal(size=(3, 2)), rng.uniform(0.4, 0.6)
    w *= np.array([[0.2], [0.6], [1.2]]) / np.linalg.norm(w, axis=1, keepdims=True)
    sigma = ACTIVATIONS[str(rng.choice(["tanh", "sigmoid"]))]
    xi, share = grid(2, s)
    left = (xi * share) @ sigma.value(w @ xi).T
    at, one = grid(1, s)
    slope = sigma.slope(np.linalg.norm(w, axis=1)[:, None] * at) @ one  # w_i xi ~ N(0, s^2 |w_i|^2)
    twin = np.mean(sigma.slope(w @ xi) @ share)
    return case([left], [s**2 * w.T * slope], [s**2 * w.T * twin])


def softmax(z: Array) -> Array:
    """exp z_k/sum of exp z_j, over the first axis."""
    p = np.exp(z - z.max(axis=0))
    return np.asarray(p / p.sum(axis=0))


def i7_softmax(rng: np.random.Generator) -> Case:
    """Through a softmax: E[xi p^T] = s^2 W^T E[diag(p) - p p^T]; twin: s^2 W^T (I - 11^T/K)/K, W s of size 1.

    The twin is the limit for small s W (`i7_centred`) and not the law.
    """
    w, s = rng.normal(size=(4, 2)), rng.uniform(0.5, 0.6)
    xi, share = grid(2, s)
    p = softmax(w @ xi)
    slope = np.diag(p @ share) - (p * share) @ p.T
    return case([(xi * share) @ p.T], [s**2 * w.T @ slope], [s**2 * w.T @ centring(4) / 4])


def centring(k: int) -> Floats:
    """I - 11^T/k."""
    return np.eye(k) - 1 / k


def i7_centred(rng: np.random.Generator) -> Case:
    """Small noise: E[xi p^T]/s^2 -> W^T (I - 11^T/K)/K, the column-centred W^T; twin: W^T/K."""
    w, s = rng.normal(size=(4, 2)), 1e-5
    xi, share = grid(2, s, 6)
    p = softmax(w @ xi)
    return case([(xi * share) @ (p - 0.25).T / s**2], [w.T @ centring(4) / 4], [w.T / 4])


def i7_angle(rng: np.random.Generator) -> Case:
    """Stationary E|B across W^T|^2/|E B|^2 = lam c/((2 - lam) b), c = n + 1 - 2 |W W^T|^2/|W|^4; twin: c - 1.

    Fourth moments by a quadrature that is exact for them; the variance by its recursion.
    """
    w, s = rng.normal(size=(3, 3)), rng.uniform(0.3, 2.0)
    eta, lam, b = rng.uniform(0.05, 0.3), rng.uniform(0.1, 0.5), 20
    xi, share = grid(3, s, 3)
    products = xi[:, None, :] * (w @ xi)[None, :, :]
    along = np.einsum("ijk,ij->k", products, w.T) / np.linalg.norm(w)
    across = (np.sum(products**2, axis=(0, 1)) - along**2) @ share  # W^T is along: the mean has none
    variance = 0.0
    for _ in range(500):
        variance = (1 - lam) ** 2 * variance + eta**2 * across / b
    mean = eta * s**2 / lam
    c = w.shape[1] + 1 - 2 * np.sum((w @ w.T) ** 2) / np.sum(w**2) ** 2
    sides = [[lam * one / ((2 - lam) * b)] for one in (c, c - 1)]
    return case([variance / (mean**2 * np.sum(w**2))], *sides)


def i9_from_zero(rng: np.random.Generator) -> Case:
    """Two layers from zero, B^T B = I: W_1 -> (2 phi)^{1/3}, W_2 -> (2 phi)^{2/3}/2, cos(B, W_2^T) as said.

    cos(B, W_2^T) -> sum s_i/(sqrt(n_2) |s|), s those of W_2. Twin: balanced layers, phi^{1/2} each, cos 1.
    """
    from scipy.integrate import solve_ivp

    n2 = 2
    n0, n1 = n2 + int(rng.integers(2)), n2 + int(rng.integers(2))
    b = np.linalg.qr(rng.normal(size=(n1, n2)))[0]
    values = np.sort(rng.uniform(0.7, 2.0, size=n2))[::-1]
    u, v = (np.linalg.qr(rng.normal(size=(n, n2)))[0] for n in (n2, n0))
    phi = u @ np.diag(values) @ v.T

    def flow(_: float, layers: Floats) -> Floats:
        w1, w2 = layers[: n1 * n0].reshape(n1, n0), layers[n1 * n0 :].reshape(n2, n1)
        r = w2 @ w1 - phi
        return -np.concatenate([(b @ r).ravel(), (r @ w1.T).ravel()])

    end = solve_ivp(flow, (0, 14), np.zeros(n1 * (n0 + n2)), rtol=1e-9, atol=1e-10, method="LSODA").y[:, -1]
    w1, w2 = end[: n1 * n0].reshape(n1, n0), end[n1 * n0 :].reshape(n2, n1)

    def sides(first: Floats, second: Floats) -> list[Floats]:
        return [first, second, np.array(second.sum() / (np.sqrt(n2) * np.linalg.norm(second)))]

    found = [np.linalg.svd(w, compute_uv=False)[:n2] for w in (w1, w2)]
    cosine = np.sum(b * w2.T) / (np.linalg.norm(b) * np.linalg.norm(w2))
    law = sides((2 * values) ** (1 / 3), (2 * values) ** (2 / 3) / 2)
    return case([*found, np.array(cosine)], law, sides(np.sqrt(values), np.sqrt(values)))


def i12_step(rng: np.random.Generator) -> Case:
    """Oja, W + eta E[y x^T - y y^T W], whitened: singular values s + eta (s - s^3).

    Twin: s + eta (s - s^2).
    """
    w, eta = layer(rng), rng.uniform(0.05, 0.3)
    x = whitened(rng, w.shape[1], 9)
    y = w @ x
    after = w + eta * (y @ x.T - y @ y.T @ w) / 9
    u, s, vt = np.linalg.svd(w, full_matrices=False)
    sides = [u @ np.diag(s + eta * (s - s**power)) @ vt for power in (3, 2)]
    return case([after], *([side] for side in sides))


def i12_orthonormal(rng: np.random.Generator) -> Case:
    """No more outputs than inputs: the rows of W become orthonormal; twin: of size 1 each, not orthogonal."""
    n = int(rng.integers(2, 5))
    u, _, vt = np.linalg.svd(rng.normal(size=(n, n + 1)), full_matrices=False)
    start = w = u @ np.diag(rng.uniform(0.2, 1.3, size=n)) @ vt
    for _ in range(120):
        w = w + 0.3 * (w - w @ w.T @ w)
    rows = start / np.linalg.norm(start, axis=1, keepdims=True)
    return case([w @ w.T], [np.eye(n)], [rows @ rows.T])
