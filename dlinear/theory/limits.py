r"""Theorem B (smooth layers) and Theorem C (rough layers): the constants of decay in the depth limit.

Layers W(t) = I + D(t), D(t) = A(t/T)/T + rho Xi_t. As T -> infinity the state map follows X' = A X, X(0) = I;
X = X(1), R = X - Phi. With m = T - h and S_p(m) = 1^p + ... + m^p, every limit below is stated as one pair
(quadratic q, cubic C) in the convention that `decay_law` alone holds:

    sin^2(theta_h) ~ q 2 S_1(m)/T^2 + C 3 S_2(m)/T^3       (q eps^2 + C eps^3 for large m, eps = m/T).

Both theorems rest on one linear map, the response of the gradient to a last layer M (`response`),

    B(M) = X^T (M X + M^T R),

and on N, the mean square of g_T over depth (`propagation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dlinear.checks import as_depth, as_floats, as_integer, as_integral, as_number, is_plain, received
from dlinear.errors import DomainError, HorizonError, NonFiniteError, ShapeError, UndefinedAngleError
from dlinear.theory.bounds.anchored import pair_count
from dlinear.theory.decay_law import DecayConstants, crossover, decay_law, faulhaber
from dlinear.theory.propagation import (
    DepthLimit,
    MatrixPath,
    as_breaks,
    as_matrix,
    depth_limit,
    gradient_energy,
    propagator,
)

__all__ = [
    "DecayConstants",
    "DepthLimit",
    "anchored_constant",
    "constants_of",
    "crossover",
    "cubic_constant",
    "decay_law",
    "depth_limit",
    "faulhaber",
    "gradient_energy",
    "propagator",
    "realised_constants",
    "response",
    "response_variance",
    "rough_constants",
    "smooth_law",
]


def response(x: Any, residual: Any, layer: Any) -> Any:
    """B(M) = X^T (M X + M^T R): minus the first-order change of X^T R when the horizon misses a last layer M.

    Runs on arrays of any real numbers and on sympy's matrices. Stacks of layers: on the last two axes, arrays
    only.

    Args:
        x, residual: X and R, (n, n).
        layer: M, (..., n, n).

    Raises:
        ShapeError, NonFiniteError: no matrices of one width, or NaN or infinity.
    """
    x = _any_matrix("x", x)
    residual, layer = _any_matrix("residual", residual, x), _any_matrix("layer", layer, x, stack=True)
    flipped = np.swapaxes(layer, -1, -2) if isinstance(layer, np.ndarray) else layer.T
    return x.T @ (layer @ x + flipped @ residual)


def response_variance(x: Any, residual: Any) -> Any:
    """v = E||B(Xi)||_F^2 for i.i.d. entries of mean 0, variance 1/n; Theorem C.

    (||X||^4 + ||X||^2 ||R||^2 + 2 tr(X^T X X^T R))/n, Frobenius norms. Arrays of any real numbers.

    Args:
        x, residual: X and R, (n, n).

    Raises:
        ShapeError, NonFiniteError: as `response`.
    """
    x = _any_matrix("x", x)
    residual = _any_matrix("residual", residual, x)
    xx, rr = np.sum(x**2), np.sum(residual**2)  # ||X||_F^2, ||R||_F^2
    return (xx**2 + xx * rr + 2 * np.trace(x.T @ x @ x.T @ residual)) / len(x)


def cubic_constant(path: MatrixPath, phi: ArrayLike, *, breaks: Sequence[float] = ()) -> float:
    """Theorem B: lim sin^2(theta_h)/(1 - h/T)^3 = ||B(A(1))||_F^2/(3N) for layers smooth in depth.

    Zero iff A(1) X + A(1)^T R = 0 (X is invertible); then the decay is of higher order. For n = 1 it is
    K(c, y) of Lemma C.5; in the commuting case `dlinear.scalar.constant_commuting`.

    Args:
        path: s -> A(s), (n, n), on [0, 1].
        phi: Phi, (n, n).
        breaks: where A jumps, in (0, 1); optional.

    Raises:
        ShapeError, NonFiniteError: bad path or Phi.
        UndefinedAngleError: R = 0.
    """
    return constants_of(depth_limit(path, phi, breaks=breaks)).cubic


def anchored_constant(path: MatrixPath, phi: ArrayLike, *, breaks: Sequence[float] = ()) -> float:
    """Theorem E1, smooth layers: lim sin^2/(1 - h/T)^3 = ||X^T A(1)^T R||_F^2/(3N) of the anchored horizon.

    `cubic_constant` without the term A X: numerator and N both fall as ||R||^2, so that the constant stays
    bounded while a network is trained.

    Args:
        path, phi, breaks: as in `cubic_constant`.

    Raises:
        ShapeError, NonFiniteError, UndefinedAngleError: as `cubic_constant`.
    """
    limit = depth_limit(path, phi, breaks=breaks)
    change = limit.x.T @ limit.last.T @ limit.residual
    return float(np.sum(change**2)) / (3 * limit.energy)


def rough_constants(
    mean: ArrayLike | MatrixPath | None,
    sigma: float,
    phi: ArrayLike,
    depth: int,
    *,
    breaks: Sequence[float] = (),
) -> DecayConstants:
    """Theorem C, scale "1/T", D(t) = A/T + sigma Xi_t/T: q = sigma^2 v/(2TN), C = ||B(A(1))||_F^2/(3N).

    The pair of the expected sin^2.

    Args:
        mean: A: None (zero), an (n, n) matrix, or a path s -> (n, n).
        sigma: standard deviation; the entries of Xi_t have variance 1/n.
        phi: Phi, (n, n).
        depth: T.
        breaks: where the path jumps.

    Raises:
        DomainError: sigma < 0 or T < 1.
        ShapeError, NonFiniteError, UndefinedAngleError: as `cubic_constant`.
    """
    target = as_matrix("phi", phi)
    n = target.shape[0]
    sigma, depth = as_number("sigma", sigma), as_depth(depth)
    if callable(mean):
        limit = depth_limit(mean, target, breaks=breaks)
    else:
        as_breaks(breaks)
        a = np.zeros((n, n)) if mean is None else as_matrix("mean", mean, n)
        limit = depth_limit(lambda s: a, target)
    return constants_of(limit, sigma / np.sqrt(depth))


def realised_constants(
    x: ArrayLike, residual: ArrayLike, energy: float, sigma: float, mean: ArrayLike | None = None
) -> DecayConstants:
    """Theorem C, scale "1/sqrt(T)", D(t) = A/T + sigma Xi_t/sqrt(T), one realised net: q = sigma^2 v/(2N).

    The expectation is over the last layers only; X, R and N are those of the net at hand.

    Args:
        x: P_T, (n, n).
        residual: R = P_T - Phi, (n, n).
        energy: N = (1/T) sum_t ||g_T(t)||_F^2 > 0.
        sigma: standard deviation; the entries of Xi_t have variance 1/n.
        mean: A(1), (n, n), or None for zero.

    Raises:
        ShapeError, NonFiniteError, DomainError: as the messages say.
        UndefinedAngleError: energy = 0.
    """
    state = as_matrix("x", x)
    rest = as_matrix("residual", residual, state.shape[0])
    sigma, energy = as_number("sigma", sigma), as_number("energy N", energy)
    if energy == 0:
        raise UndefinedAngleError("energy N = 0: g_T is zero, the angle is undefined")
    last = np.zeros_like(state) if mean is None else as_matrix("mean", mean, state.shape[0])
    return constants_of(DepthLimit(state, rest, energy, last), sigma)


def constants_of(limit: DepthLimit, rho: float = 0.0) -> DecayConstants:
    """Theorems B and C: q = rho^2 v/(2N), C = ||B(A(1))||_F^2/(3N).

    Args:
        limit: X, R, N and A(1).
        rho: of the random part rho Xi_t/sqrt(T) of a layer, entries of Xi_t of variance 1/n.

    Raises:
        DomainError: no `DepthLimit`, or rho < 0.
    """
    if not isinstance(limit, DepthLimit):
        raise DomainError(f"{received('limit', limit)}: allowed is what depth_limit returns")
    x, r, energy = limit.x, limit.residual, limit.energy  # X, R, N
    quadratic = as_number("rho", rho) ** 2 * float(response_variance(x, r)) / (2 * energy)
    return DecayConstants(quadratic, float(np.sum(response(x, r, limit.last) ** 2)) / (3 * energy))


def smooth_law(
    limit: DepthLimit, depth: int, horizons: ArrayLike, anchored: bool = False, runs: int = 0, stride: int = 1
) -> np.ndarray:
    """sin^2 of any horizon rule over smooth layers, to leading order in 1 - h/T (Theorems B, E1, E3, F2).

        ||B(A)||^2 sum_j k_j^2/(T^3 N)              no runs
        ||B(A^2)||^2 sum_j pi_q(k_j)^2/(T^5 N)    averages over q runs of the unseen layers

    over the blind layers j = 1..m with k_j = stride floor(j/stride) layers unseen. B is `response`; anchored,
    its term M X is absent.

    Args:
        limit: X, R, N and A(1), of the limit or of the network at hand (P_T, its R and N, T D(T-1)).
        depth: T.
        horizons: h, integers in 1..T.
        anchored, runs, stride: of the rule, as in `HorizonRule`.

    Raises:
        DomainError, HorizonError: an argument outside its domain.
    """
    depth, runs, stride = as_depth(depth), as_integer("runs", runs, 0), as_integer("stride", stride)
    asked = as_integral("horizons", horizons, 1, depth, HorizonError)
    shortfalls = depth - np.atleast_1d(np.asarray(asked, dtype=np.int64))
    unseen = np.arange(1, int(shortfalls.max(initial=0)) + 1) // stride * stride
    terms = unseen**2 / depth**2 if not runs else pair_count(unseen, runs) ** 2 / depth**4
    sums = np.concatenate([[0.0], np.cumsum(terms)])[shortfalls]
    layer = limit.last if not runs else limit.last @ limit.last
    full = response(limit.x, limit.residual, layer)
    size = np.sum((limit.x.T @ layer.T @ limit.residual if anchored else full) ** 2)
    law: np.ndarray = size * sums / (depth * limit.energy)
    return law


def _any_matrix(name: str, value: Any, like: Any = None, stack: bool = False) -> Any:
    """A matrix (or a stack of them) of any real numbers, of the width of another; lists become arrays."""
    if not is_plain(value):
        return value
    if isinstance(value, np.ndarray) and value.dtype == object and not all(map(is_plain, value.flat)):
        given, floats = value, np.zeros(())  # symbols have no float
    else:
        floats = as_floats(name, value, "a matrix of real numbers", ShapeError)
        given = np.asarray(value)
    width = None if like is None or np.ndim(like) < 2 else len(like)
    n = given.shape[-1] if given.ndim else 0
    flat = given.ndim == 2 or (stack and given.ndim > 2)
    if not flat or given.shape[-2] != n or n == 0 or (width is not None and n != width):
        wanted = f"{'(..., ' if stack else '('}{width or 'n'}, {width or 'n'})"
        raise ShapeError(f"{name} must be {wanted}; got {given.shape}")
    if not np.isfinite(floats).all():
        raise NonFiniteError(f"{name} must be finite; got {floats[~np.isfinite(floats)][0]}")
    return given
