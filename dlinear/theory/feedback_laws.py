r"""How far rules with another feedback are from back-propagation, in depth.

Whitened data, layers W(t) = I + D(t), R = P_T - Phi. A layer receives G(t) = (feedback of R) P_t^T;
back-propagation transposes the layers above it. n is the width, K = R R^T, kappa = ||K||_F^2/||R||_F^4,
1/n <= kappa <= 1. Laws are to leading order in 1/T; angles are between the stacks of all T layers.

- at the Gaussian start D = (sigma/T) Xi: `start_law`;
- feedback without the skip, random B: `random_feedback_cos2`, `random_feedback_leading`;
- smooth layers D = A(t/T)/T: `feedback_tail_constant`, `foton_head_constant`, `foton_limit`,
  `foton_antisymmetric` (the identity as a tail is the anchored horizon: `limits.anchored_constant`);
- rough layers: `rough_variance`;
- the layers that broadcast never moves uphill: `broadcast_descent`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.checks import as_choice, as_depth, as_integer, as_integers, as_number
from dlinear.errors import DomainError, ShapeError, UndefinedAngleError
from dlinear.theory.propagation import MatrixPath, as_matrix, as_path, depth_limit, integrate

Floats = NDArray[np.float64]

START_RULES = ("broadcast", "feedback", "foton", "local")
ROUGH_RULES = ("anchored", "feedback", "foton")


def start_law(rule: str, residual: ArrayLike) -> float:
    """T E sin^2/sigma^2 at the start D(t) = (sigma/T) Xi_t, entries of Xi_t i.i.d. of variance 1/n.

        broadcast   G(t) = R P_t^T                          1/2 - kappa/(3n)
        feedback    G(t) = (I+C_{t+1})...(I+C_{T-1}) R P_t^T, C of the law of D
                                                            1 - 2 kappa/(3n)
        foton       G(t) = P_{t+1} P_T^T R P_t^T            1 + 1/n - 4 kappa/(3n)
        local       G(t) = (P_{t+1} - Phi) P_t^T            v/(2||R||^2) - ||R + K||^2/(3n ||R||^4),
                                                            v = n + ||R||^2 + 2 tr R/n

    A rule of this list misses the sum of the Xi above (foton: below) a layer, so that the first term is the
    mean of ||g - g_T||^2 over depth, int b db = 1/2; the second is the part along g_T, int b^2 db = 1/3.

    Args:
        rule: one of `START_RULES`.
        residual: R, (n, n); at the start it is I - Phi to leading order.

    Raises:
        DomainError: another rule.
        ShapeError, NonFiniteError, UndefinedAngleError: no matrix, or R = 0.
    """
    as_choice("rule", rule, START_RULES)
    r, size = _residual(residual)
    n, k = len(r), r @ r.T
    kappa = float(np.sum(k**2)) / size**2
    if rule == "broadcast":
        return 0.5 - kappa / (3 * n)
    if rule == "feedback":
        return 1 - 2 * kappa / (3 * n)
    if rule == "foton":
        return 1 + 1 / n - 4 * kappa / (3 * n)
    v = n + size + 2 * float(np.trace(r)) / n
    return v / (2 * size) - float(np.sum((r + k) ** 2)) / (3 * n * size**2)


def random_feedback_leading(residual: ArrayLike, copies: int = 1, signal: ArrayLike | None = None) -> float:
    """E cos^2 of G(t) = B_t M P_t^T to leading order in 1/n: ||R M^T||^2/(n ||M||^2 ||R||^2 copies).

    kappa/(n copies) for M = R: see `random_feedback_cos2`, which is exact where W = I.

    Args, raises: as `random_feedback_cos2`.
    """
    r, m, copies = _signals(residual, signal, copies)
    return float(np.sum((r @ m.T) ** 2) / (np.sum(m**2) * np.sum(r**2) * len(r) * copies))


def random_feedback_cos2(residual: ArrayLike, copies: int = 1, signal: ArrayLike | None = None) -> float:
    r"""E cos^2 at W = I of feedback without the skip, G(t) = B_t M, B_t Gaussian: exact for every width.

    One matrix for all layers (shared direct feedback alignment, or the F of PEPITA for small F): copies = 1,
    and the angle does not depend on the depth. A fresh one for each layer: copies = T. M = R for rules that
    broadcast the error; M = Phi for DRTP, which broadcasts the target. With M M^T = U diag(mu) U^T and
    J = R M^T U (columns J_k),

        E cos^2 = sum_k ||J_k||^2/||R||^2 int_0^inf p(u)/(1 + 2 u mu_k) du,
        p(u) = prod_j (1 + 2 u mu_j)^{-n copies/2},

    from 1/Q = int e^{-uQ} du for the quadratic form Q = sum_t ||B_t M||^2. cos itself is as often negative as
    positive: half of all B start uphill.

    Args:
        residual: R, (n, n).
        copies: number of independent B, >= 1.
        signal: M, (n, n), what is broadcast; None is R.

    Raises:
        DomainError: copies < 1.
        ShapeError, NonFiniteError, UndefinedAngleError: no matrix, or R = 0 or M = 0.
    """
    from scipy.integrate import quad

    r, m, copies = _signals(residual, signal, copies)
    mu, vectors = np.linalg.eigh(m @ m.T)
    mu = np.clip(mu, 0, None) / np.sum(m**2)  # cos^2 does not depend on the size of M
    weights = np.sum((r @ m.T @ vectors) ** 2, axis=0) / (np.sum(r**2) * np.sum(m**2))
    exponent = len(r) * copies / 2

    def integrand(v: float) -> float:  # u = v/((1 - v) n copies) on (0, 1)
        u = v / (1 - v) / (2 * exponent)
        decay = np.exp(-exponent * np.sum(np.log1p(2 * u * mu)))
        return float(np.sum(weights / (1 + 2 * u * mu)) * decay / (1 - v) ** 2 / (2 * exponent))

    return float(quad(integrand, 0, 1, epsabs=0, epsrel=1e-9, limit=200)[0])


def feedback_tail_constant(
    path: MatrixPath, feedback: ArrayLike, phi: ArrayLike, *, breaks: Sequence[float] = ()
) -> float:
    """lim sin^2/(m/T)^3 = ||X^T (C(1) - A(1)^T) R||^2/(3N): exact through h layers, then B(t) = I + C(t/T)/T.

    m = T - h << T. C = 0 is the identity as feedback: `limits.anchored_constant`. C(1) = A(1)^T: 0, the decay
    is of higher order.

    Args:
        path: s -> A(s), (n, n).
        feedback: C(1), (n, n): what the feedback is near the end.
        phi: Phi, (n, n).
        breaks: where A jumps.

    Raises:
        ShapeError, NonFiniteError, UndefinedAngleError: as `limits.cubic_constant`.
    """
    limit = depth_limit(path, phi, breaks=breaks)
    c = as_matrix("feedback", feedback, len(limit.x))
    change = limit.x.T @ (c - limit.last.T) @ limit.residual
    return float(np.sum(change**2)) / (3 * limit.energy)


def foton_head_constant(path: MatrixPath, phi: ArrayLike, *, breaks: Sequence[float] = ()) -> float:
    """lim sin^2/(m/T)^3 = ||(A(0) + A(0)^T) X^T R||^2/(3N): FOTON in the first m layers, exact above them.

    The mirror image of a feedback tail: exact at the input. 0 where A(0) is antisymmetric.

    Args, raises: as `limits.cubic_constant`.
    """
    limit = depth_limit(path, phi, breaks=breaks)
    first = as_path(path)(0.0)
    return float(np.sum(((first + first.T) @ limit.x.T @ limit.residual) ** 2)) / (3 * limit.energy)


def foton_limit(path: MatrixPath, phi: ArrayLike, *, breaks: Sequence[float] = ()) -> float:
    """lim sin^2 of FOTON in every layer: that between V(b) G(b) and G(b), V = X(b) X(b)^T.

    V' = A V + V A^T, V(0) = I, and G' = G A^T - A^T G as in `propagation`. 0 for antisymmetric A, where
    `foton_antisymmetric` is the next order.

    Args, raises: as `limits.cubic_constant`.
    """
    a = as_path(path)

    def change(s: float, v: Floats) -> Floats:  # (V - I)' = A (V - I) + (V - I) A^T + A + A^T
        moved = a(s) @ v
        return moved + moved.T + a(s) + a(s).T

    gaps, along, energy = _beside_gradient(a, phi, change, breaks)
    return float((gaps - along**2 / energy) / (energy + 2 * along + gaps))


def foton_antisymmetric(path: MatrixPath, phi: ArrayLike, *, breaks: Sequence[float] = ()) -> float:
    """lim T^2 sin^2 of FOTON in every layer, for antisymmetric A(s): W W^T = I + A A^T/T^2.

    P P^T - I ~ E(b)/T with E' = A E + E A^T + A A^T, E(0) = 0; the limit is int ||E G||^2/N less its part
    along G.

    Args, raises: as `limits.cubic_constant`, and DomainError where A(s) is not antisymmetric.
    """
    a = as_path(path)

    def change(s: float, e: Floats) -> Floats:
        now = a(s)
        if np.linalg.norm(now + now.T) > 1e-12 * np.linalg.norm(now):
            raise DomainError(f"path({s:.6g}) is not antisymmetric; use foton_limit for other layers")
        return now @ e + (now @ e).T + now @ now.T

    gaps, along, energy = _beside_gradient(a, phi, change, breaks)
    return float((gaps - along**2 / energy) / energy)


def rough_variance(rule: str, x: ArrayLike, residual: ArrayLike) -> float:
    """v of E sin^2 = rho^2 v S_1(m)/(T N) for i.i.d. layers D = rho Xi, entries of Xi of variance 1/n.

        anchored    ||X||^2 ||R||^2/n                the identity hands R over m layers
        feedback    2 ||X||^2 ||R||^2/n              I + C, C an independent copy of D
        foton       (2 + 2/n) ||X^T R||^2            FOTON in the first m layers

    Args:
        rule: one of `ROUGH_RULES`.
        x, residual: X = P_T and R, (n, n).

    Raises:
        DomainError: another rule.
        ShapeError, NonFiniteError: no matrices of one width.
    """
    as_choice("rule", rule, ROUGH_RULES)
    state = as_matrix("x", x)
    r = as_matrix("residual", residual, len(state))
    n = len(state)
    if rule == "foton":
        return (2 + 2 / n) * float(np.sum((state.T @ r) ** 2))
    return (1 if rule == "anchored" else 2) * float(np.sum(state**2) * np.sum(r**2)) / n


def broadcast_descent(depth: int, c: float, above: Any) -> Any:
    """2 - (1 + c/T)^k: <G, g_T> >= this times ||G||^2 for broadcast, G(t) = R P_t^T, k layers above layer t.

    For layers with ||T D||_2 <= c. Positive for every layer if e^c <= 2: then each of them descends.

    Args:
        depth: T.
        c: >= 0.
        above: k, integers in 0..T-1.

    Raises:
        DomainError: an argument outside its domain.
    """
    depth, c = as_depth(depth), as_number("c", c)
    k = as_integers("above", above, 0, depth - 1, DomainError)
    return 1 - np.expm1(np.asarray(k) * np.log1p(c / depth))


def _residual(residual: ArrayLike, name: str = "residual") -> tuple[Floats, float]:
    """R and ||R||^2 > 0."""
    r = as_matrix(name, residual)
    size = float(np.sum(r**2))
    if size == 0:
        raise UndefinedAngleError(f"{name} is zero: there is no gradient and no angle")
    return r, size


def _signals(residual: ArrayLike, signal: ArrayLike | None, copies: int) -> tuple[Floats, Floats, int]:
    r, _ = _residual(residual)
    m, _ = (r, 0.0) if signal is None else _residual(signal, "signal")
    if m.shape != r.shape:
        raise ShapeError(f"signal must be {r.shape}, as the residual is; got {m.shape}")
    return r, m, as_integer("copies", copies, 1)


def _beside_gradient(
    a: Callable[[float], Floats],
    phi: ArrayLike,
    change: Callable[[float, Floats], Floats],
    breaks: Sequence[float],
) -> tuple[float, float, float]:
    """int ||E G||^2, int <E G, G> and int ||G||^2 over depth, for E' = change(s, E), E(0) = 0."""
    limit = depth_limit(a, phi, breaks=breaks)
    n = len(limit.x)
    start = limit.x.T @ limit.residual
    start /= np.linalg.norm(start)  # the ratios of the three do not depend on its size

    def rhs(s: float, flat: Floats) -> Floats:
        e, g = flat[: 2 * n * n].reshape(2, n, n)
        at, eg = a(s).T, e @ g
        sums = [np.sum(eg**2), np.sum(eg * g), np.sum(g**2)]
        return np.concatenate([change(s, e).ravel(), (g @ at - at @ g).ravel(), sums])

    begin = np.concatenate([np.zeros(n * n), start.ravel(), np.zeros(3)])
    gaps, along, energy = integrate(rhs, begin, breaks)[-3:].tolist()
    return gaps, along, energy
