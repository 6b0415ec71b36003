"""The depth limit of a network: X' = A X, the residual R, and the mean square N of the gradient over depth.

Layers W(t) = I + A(t/T)/T. As T -> infinity the state map P_t follows X' = A X, X(0) = I; X = X(1) and
R = X - Phi. The full gradient at b = t/T is G(b) = (X X(b)^{-1})^T R X(b)^T and N = int_0^1 ||G(b)||_F^2 db.
G needs no inverse: G' = G A^T - A^T G with G(0) = X^T R, G(1) = R X^T (it stays similar to itself, and
constant where it commutes with A^T).

A path is a function s -> (n, n) on [0, 1], piecewise continuous, continuous at 1. Jumps are found by step
control; naming them (`breaks`) is faster and exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.checks import as_array, as_floats, received, shown
from dlinear.errors import DomainError, NonFiniteError, ShapeError, UndefinedAngleError

Floats = NDArray[np.float64]
MatrixPath = Callable[[float], ArrayLike]

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


def propagator(path: MatrixPath, *, breaks: Sequence[float] = ()) -> Floats:
    """X(1) of X' = A(s) X, X(0) = I: the limit of (I + A(1)/T)...(I + A(0)/T).

    Args:
        path: s -> A(s), (n, n), on [0, 1].
        breaks: where A jumps, in (0, 1); optional.

    Returns:
        (n, n), relative error about 1e-11.

    Raises:
        ShapeError, NonFiniteError: A(s) is not square, changes its shape, or is not finite.
    """
    a = as_path(path)
    n = a(1.0).shape[0]

    def rhs(s: float, flat: Floats) -> Floats:  # X' = A X
        return (a(s) @ flat.reshape(n, n)).ravel()

    return integrate(rhs, np.eye(n).ravel(), breaks).reshape(n, n)


def gradient_energy(path: MatrixPath, x: Floats, residual: Floats, *, breaks: Sequence[float] = ()) -> float:
    """N = int_0^1 ||G(b)||_F^2 db from G' = G A^T - A^T G, G(0) = X^T R (Theorem B).

    Args:
        path: s -> A(s), (n, n).
        x, residual: X = `propagator(path)` and R, (n, n).
        breaks: as in `propagator`.

    Raises:
        ShapeError, NonFiniteError: a bad path, or x and residual of another width.
    """
    a = as_path(path)
    n = a(1.0).shape[0]
    x, residual = as_matrix("x", x, n), as_matrix("residual", residual, n)

    def rhs(s: float, flat: Floats) -> Floats:
        # (G, int ||G||^2)' = (G A^T - A^T G, ||G||_F^2)
        g, at = flat[:-1].reshape(n, n), a(s).T
        return np.append((g @ at - at @ g).ravel(), np.sum(g**2))

    # The equation is linear: G(0) = X^T R is taken with norm 1, so that the tolerances are relative to it.
    start = x.T @ residual
    size = float(np.linalg.norm(start))
    if size == 0:
        return 0.0
    return size**2 * float(integrate(rhs, np.append((start / size).ravel(), 0.0), breaks)[-1])


def depth_limit(path: MatrixPath, phi: ArrayLike, *, breaks: Sequence[float] = ()) -> DepthLimit:
    """X, R, N and A(1) of layers that follow a path.

    Raises:
        ShapeError, NonFiniteError: bad path or Phi.
        UndefinedAngleError: R = X(1) - Phi is zero to rounding.
    """
    last = as_path(path)(1.0)
    target = as_matrix("phi", phi, last.shape[0])
    x = propagator(path, breaks=breaks)
    residual = _residual(x, target)
    return DepthLimit(x, residual, gradient_energy(path, x, residual, breaks=breaks), last)


def as_matrix(name: str, value: ArrayLike, n: int | None = None) -> Floats:
    """A finite square matrix (of width n), or `ShapeError`, `NonFiniteError`."""
    m: Floats = as_floats(name, value, "a matrix of real numbers", ShapeError)
    if m.ndim != 2 or m.shape[0] != m.shape[1] or m.shape[0] == 0 or (n is not None and m.shape[0] != n):
        wanted = "(n, n)" if n is None else f"({n}, {n})"
        raise ShapeError(f"{name} must be {wanted}; got {m.shape}")
    if not np.all(np.isfinite(m)):
        raise NonFiniteError(f"{name} must be finite; got {m[~np.isfinite(m)][0]}")
    return m


def _residual(x: Floats, phi: Floats) -> Floats:
    r = x - phi
    if np.linalg.norm(r) <= 1e-12 * max(np.linalg.norm(x), np.linalg.norm(phi)):
        raise UndefinedAngleError("R = X(1) - Phi is zero to rounding: g_T is zero, the angle is undefined")
    return r


def as_path(path: MatrixPath) -> Callable[[float], Floats]:
    """The path with each of its values checked."""
    if not callable(path):
        raise DomainError(f"{received('path', path)}: allowed is a function s -> (n, n) on [0, 1]")
    try:
        value = path(1.0)
    except TypeError as error:
        raise DomainError(f"path cannot be evaluated at s = 1 ({error}); allowed is s -> (n, n)") from error
    n = as_matrix("path(1)", value).shape[0]
    return lambda s: as_matrix(f"path({s:.6g})", path(s), n)


def as_breaks(breaks: Sequence[float]) -> list[float]:
    """Where a path jumps, in order; nowhere is allowed."""
    array = as_array(breaks)
    if array is not None and array.shape == (0,):
        return []
    values = as_floats("breaks", breaks, "a sequence of numbers in (0, 1)")
    if values.ndim != 1 or not ((values > 0) & (values < 1)).all():
        raise DomainError(f"breaks must lie in (0, 1); got {shown(breaks)}")
    return sorted(set(values.tolist()))


def integrate(rhs: Callable[[float, Floats], Floats], y: Floats, breaks: Sequence[float]) -> Floats:
    """The state at 1 from the state at 0; every smooth piece is integrated on its own side of a break."""
    from scipy.integrate import solve_ivp

    edges = [0.0, *as_breaks(breaks), 1.0]
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
