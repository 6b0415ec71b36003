r"""The depth limit: propagator, Theorem B (smooth layers), Theorem C (rough layers), and the law of decay.

Layers W(t) = I + D(t), D(t) = A(t/T)/T + rho Xi_t. As T -> infinity the state map follows X' = A X, X(0) = I;
X = X(1), R = X - Phi. With m = T - h and S_p(m) = 1^p + ... + m^p, every limit below is stated as one pair
(quadratic q, cubic C) in the convention that `decay_law` alone holds:

    sin^2(theta_h) ~ q 2 S_1(m)/T^2 + C 3 S_2(m)/T^3       (q eps^2 + C eps^3 for large m, eps = m/T).

Both theorems rest on one linear map, the response of the gradient to a last layer M (`response`),

    B(M) = X^T (M X + M^T R),

and on N = int_0^1 ||G(b)||_F^2 db, G(b) = (X X(b)^{-1})^T R X(b)^T, the mean square of g_T over depth. G
needs no inverse: G' = G A^T - A^T G with G(0) = X^T R, G(1) = R X^T (it stays similar to itself, and
constant where it commutes with A^T).

A path is a function s -> (n, n) on [0, 1], piecewise continuous, continuous at 1. Jumps are found by step
control; naming them (`breaks`) is faster and exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.checks import as_depth, as_floats, as_number, is_plain, received
from dlinear.errors import DomainError, NonFiniteError, ShapeError, UndefinedAngleError
from dlinear.theory.decay_law import DecayConstants, crossover, decay_law, faulhaber

__all__ = [
    "DecayConstants",
    "DepthLimit",
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
]

Floats = NDArray[np.float64]
Path = Callable[[float], ArrayLike]

_RTOL, _ATOL = 1e-12, 1e-14  # of DOP853; the constants come out to about 1e-11
_MAX_STEP = 1 / 32  # no feature of a path wider than this is stepped over


@dataclass(frozen=True)
class DepthLimit:
    """The depth limit of layers W(t) = I + A(t/T)/T against a target.

    Attributes:
        x: X(1), (n, n).
        residual: R = X(1) - Phi, (n, n).
        energy: N = int ||G(b)||_F^2 db.
        last: A(1), (n, n), the layers that a truncated gradient misses.
    """

    x: Floats
    residual: Floats
    energy: float
    last: Floats


# ---------------------------------------------------------------- the law of decay


# ---------------------------------------------------------------- pure maps


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
    xx, rr = np.sum(x**2), np.sum(residual**2)
    return (xx**2 + xx * rr + 2 * np.trace(x.T @ x @ x.T @ residual)) / len(x)


# ---------------------------------------------------------------- depth limit


def propagator(path: Path, *, breaks: Sequence[float] = ()) -> Floats:
    """X(1) of X' = A(s) X, X(0) = I: the limit of (I + A(1)/T)...(I + A(0)/T).

    Args:
        path: s -> A(s), (n, n), on [0, 1].
        breaks: where A jumps, in (0, 1); optional.

    Returns:
        (n, n), relative error about 1e-11.

    Raises:
        ShapeError, NonFiniteError: A(s) is not square, changes its shape, or is not finite.
    """
    a = _checked(path)
    n = a(1.0).shape[0]

    def rhs(s: float, flat: Floats) -> Floats:
        return (a(s) @ flat.reshape(n, n)).ravel()

    return _integrate(rhs, np.eye(n).ravel(), breaks).reshape(n, n)


def gradient_energy(path: Path, x: Floats, residual: Floats, *, breaks: Sequence[float] = ()) -> float:
    """N = int_0^1 ||G(b)||_F^2 db from G' = G A^T - A^T G, G(0) = X^T R (Theorem B).

    Args:
        path: s -> A(s), (n, n).
        x, residual: X = `propagator(path)` and R, (n, n).
        breaks: as in `propagator`.

    Raises:
        ShapeError, NonFiniteError: a bad path, or x and residual of another width.
    """
    a = _checked(path)
    n = a(1.0).shape[0]
    x, residual = _matrix("x", x, n), _matrix("residual", residual, n)

    def rhs(s: float, flat: Floats) -> Floats:
        g, at = flat[:-1].reshape(n, n), a(s).T
        return np.append((g @ at - at @ g).ravel(), np.sum(g**2))

    start = x.T @ residual
    size = float(np.linalg.norm(start))
    if size == 0:
        return 0.0
    return size**2 * float(_integrate(rhs, np.append((start / size).ravel(), 0.0), breaks)[-1])


def depth_limit(path: Path, phi: ArrayLike, *, breaks: Sequence[float] = ()) -> DepthLimit:
    """X, R, N and A(1) of layers that follow a path.

    Raises:
        ShapeError, NonFiniteError: bad path or Phi.
        UndefinedAngleError: R = X(1) - Phi is zero to rounding.
    """
    last = _checked(path)(1.0)
    target = _matrix("phi", phi, last.shape[0])
    x = propagator(path, breaks=breaks)
    residual = _residual(x, target)
    return DepthLimit(x, residual, gradient_energy(path, x, residual, breaks=breaks), last)


def cubic_constant(path: Path, phi: ArrayLike, *, breaks: Sequence[float] = ()) -> float:
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


def rough_constants(
    mean: ArrayLike | Path | None, sigma: float, phi: ArrayLike, depth: int, *, breaks: Sequence[float] = ()
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
    target = _matrix("phi", phi)
    n = target.shape[0]
    sigma, depth = as_number("sigma", sigma), as_depth(depth)
    if callable(mean):
        limit = depth_limit(mean, target, breaks=breaks)
    else:
        a = np.zeros((n, n)) if mean is None else _matrix("mean", mean, n)
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
    state = _matrix("x", x)
    rest = _matrix("residual", residual, state.shape[0])
    sigma, energy = as_number("sigma", sigma), as_number("energy N", energy)
    if energy == 0:
        raise UndefinedAngleError("energy N = 0: g_T is zero, the angle is undefined")
    last = np.zeros_like(state) if mean is None else _matrix("mean", mean, state.shape[0])
    return constants_of(DepthLimit(state, rest, energy, last), sigma)


def constants_of(limit: DepthLimit, rho: float = 0.0) -> DecayConstants:
    """Theorems B and C: q = rho^2 v/(2N), C = ||B(A(1))||_F^2/(3N).

    Args:
        limit: X, R, N and A(1).
        rho: of the random part rho Xi_t/sqrt(T) of a layer, entries of Xi_t of variance 1/n.
    """
    x, r, energy = limit.x, limit.residual, limit.energy
    quadratic = float(rho) ** 2 * float(response_variance(x, r)) / (2 * energy)
    return DecayConstants(quadratic, float(np.sum(response(x, r, limit.last) ** 2)) / (3 * energy))


# ---------------------------------------------------------------- validation and integration


def _matrix(name: str, value: ArrayLike, n: int | None = None) -> Floats:
    m: Floats = as_floats(name, value, "a matrix of real numbers", ShapeError)
    if m.ndim != 2 or m.shape[0] != m.shape[1] or m.shape[0] == 0 or (n is not None and m.shape[0] != n):
        wanted = "(n, n)" if n is None else f"({n}, {n})"
        raise ShapeError(f"{name} must be {wanted}; got {m.shape}")
    if not np.all(np.isfinite(m)):
        raise NonFiniteError(f"{name} must be finite; got {m[~np.isfinite(m)][0]}")
    return m


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


def _residual(x: Floats, phi: Floats) -> Floats:
    r = x - phi
    if np.linalg.norm(r) <= 1e-12 * max(np.linalg.norm(x), np.linalg.norm(phi)):
        raise UndefinedAngleError("R = X(1) - Phi is zero to rounding: g_T is zero, the angle is undefined")
    return r


def _checked(path: Path) -> Callable[[float], Floats]:
    if not callable(path):
        raise DomainError(f"{received('path', path)}: allowed is a function s -> (n, n) on [0, 1]")
    n = _matrix("path(1)", path(1.0)).shape[0]
    return lambda s: _matrix(f"path({s:.6g})", path(s), n)


def _integrate(rhs: Callable[[float, Floats], Floats], y: Floats, breaks: Sequence[float]) -> Floats:
    """The state at 1 from the state at 0; every smooth piece is integrated on its own side of a break."""
    from scipy.integrate import solve_ivp

    edges = [0.0, *sorted(set(as_floats("breaks", breaks, "numbers in (0, 1)").ravel().tolist())), 1.0]
    if any(not 0 < b < 1 for b in edges[1:-1]):
        raise DomainError(f"breaks must lie in (0, 1); got {list(breaks)}")
    for a, b in pairwise(edges):
        first = np.nextafter(a, 1.0) if a > 0 else a  # from inside: either convention at a jump
        last = np.nextafter(b, 0.0) if b < 1 else b
        run = solve_ivp(
            lambda s, v, lo=first, hi=last: rhs(min(max(s, lo), hi), v),
            (a, b),
            y,
            method="DOP853",
            rtol=_RTOL,
            atol=_ATOL,
            max_step=_MAX_STEP,
        )
        if not run.success or not np.all(np.isfinite(run.y[:, -1])):
            raise NonFiniteError(f"X' = A X could not be integrated to s = 1: {run.message}")
        y = run.y[:, -1]
    return y
