"""Theorems E1 and E2: what the true end error, and averages over the unseen layers, do to the angle.

Notation as in `bounds`: a = 1 + c/T, b = 1 - c/T > 0, m = T - h, S_p(m) = 1^p + ... + m^p. An *anchored*
horizon hands the true end error R = P_T - Phi to the end s of a block's window; a *rollout* replaces the k =
T - s unseen layers by q coarse ones,

    g(t) = (W_{t+1}^s)^T S_s^T R P_t^T                  anchored,
    g(t) = (W_{t+1}^s)^T S_s^T (S_s P_s - Phi) P_t^T    value rule (the plain horizon for S_s = I),

with S_s = (I + sum of D over run 1) ... (I + sum of D over run q), run 1 being the last. No runs: S_s = I.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dlinear.checks import (
    POSITIVE,
    as_depth,
    as_integer,
    as_integral,
    as_real,
    as_scale,
    as_width,
    elementwise,
    is_plain,
)
from dlinear.errors import DomainError, HorizonError

_AT_ONCE = 1 << 20  # terms of a sum over k that are held together


def run_edges(unseen: Any, runs: int) -> list[Any]:
    """0 = e_0 <= ... <= e_q = k: run r holds the unseen layers e_{r-1}..e_r - 1, counted from the end.

    e_r = floor(r k/q), so that lengths differ by at most 1: the only place of this convention. k may be an
    array of integers.
    """
    return [r * unseen // runs for r in range(runs + 1)]


def pair_count(unseen: Any, runs: int) -> Any:
    """pi_q(k) = sum_r j_r (j_r - 1)/2 over runs of j_r of k layers; 0 for k <= q.

    It is k (k - q)/(2q) where q divides k, and at most k^2/(2q).

    Args:
        unseen: k >= 0, an integer or an array of integers.
        runs: q >= 1.
    """
    short, longer = unseen // runs, unseen % runs  # q - longer runs of `short` layers, the others of one more
    return (runs * short * (short - 1)) // 2 + longer * short


@elementwise
def theorem_e1(depth: Any, horizon: Any, c: Any, xp: Any = np) -> Any:
    """Theorem E1: kappa^2, an upper bound on sin^2 of the anchored horizon without runs, any R, Phi and n.

    kappa^2 = sum_{k=1}^m (a^{T-1-k} (a^k - 1))^2 / (T b^{2(T-1)}). Moreover ||g - g_T|| <= kappa ||g_T||,
    hence <g, g_T> >= (1 - kappa) ||g_T||^2: a descent direction wherever kappa < 1.

    Args:
        depth: T >= 1.
        horizon: h in 1..T; integer or array of them.
        c: bound on ||W~(t)||_2, 0 <= c < T, one number. A fraction gives a fraction.
        xp: namespace; no function of it is needed.

    Raises:
        DomainError: an argument outside its domain.
        HorizonError: a horizon that is not an integer in 1..T.
    """
    depth, m, c = _arguments(depth, horizon, c, xp)
    a, b = 1 + c / depth, 1 - c / depth
    scale = a ** (2 * (depth - 1)) / (depth * b ** (2 * (depth - 1)))

    def terms(k: Any) -> Any:  # (1 - a^{-k})^2, without cancellation where c k/T is small
        return np.expm1(-k * np.log1p(c / depth)) ** 2 if is_plain(c) else (1 - 1 / a ** int(k)) ** 2

    return scale * _sums(m, terms, exact=not is_plain(c))


@elementwise
def theorem_e1_closed(depth: Any, horizon: Any, c: Any, xp: Any = np) -> Any:
    """Theorem E1 in closed form, never below `theorem_e1`: c^2 e^{2c} S_2(m)/((1 - c/T)^{2(T-1)} T^3).

    The constant of Theorem A without its ((sqrt(n) e^c + ||R||)/||R||)^2; at most (1 - h/T)^3 times it.

    Args:
        depth, horizon, c: as in `theorem_e1`; c may be an array.
        xp: namespace with exp.

    Raises:
        DomainError, HorizonError: as `theorem_e1`.
    """
    depth, m, c = _arguments(depth, horizon, c, xp, one=False)
    constant = (c * xp.exp(c) / (1 - c / depth) ** (depth - 1)) ** 2
    return constant * (m * (m + 1) * (2 * m + 1)) / (6 * depth**3)


@elementwise
def balance_drift(depth: Any, c: Any, residual_norm: Any, xp: Any = np) -> Any:
    """Theorem G5, anchored: the largest rate of ||W(t+1)^T W(t+1) - W(t) W(t)^T||_F along W' = -g_h.

    2 a^{T-1} (c/T) ||R||_F for every pair of neighbours and every h: it vanishes with the residual.

    Args:
        depth: T >= 1.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        residual_norm: ||R||_F >= 0.
        xp: namespace; no function of it is needed.

    Raises:
        DomainError: an argument outside its domain.
    """
    depth, c, residual = as_depth(depth), as_scale(c, depth, xp), as_real("residual_norm", residual_norm)
    return 2 * (1 + c / depth) ** (depth - 1) * c / depth * residual


@elementwise
def theorem_e2(
    depth: Any, horizon: Any, c: Any, runs: Any, width: Any = None, residual_norm: Any = None, xp: Any = np
) -> Any:
    """Theorem E2: an upper bound on sin^2 of a horizon that averages the unseen layers into q runs; order 5.

    anchored:    c^4 a^{2T-6}/b^{2T-2} sum_{k<=m} pi_q(k)^2/T^5
    value rule:  the same times ((sqrt(n) a^T + ||R||_F)/||R||_F)^2

    No smoothness is needed. 0 where m <= q: every unseen layer is a run of its own.

    Args:
        depth: T >= 1.
        horizon: h in 1..T; integer or array of them.
        c: bound on ||W~(t)||_2, 0 <= c < T, one number. A fraction gives a fraction (anchored).
        runs: q >= 1.
        width: n, for the value rule; without it the bound is that of the anchored rule.
        residual_norm: ||R||_F > 0, with `width`.
        xp: namespace with sqrt.

    Raises:
        DomainError: an argument outside its domain, or only one of width and residual_norm.
        HorizonError: a horizon that is not an integer in 1..T.
    """
    depth, m, c = _arguments(depth, horizon, c, xp)
    runs = as_integer("runs", runs)
    a, b = 1 + c / depth, 1 - c / depth
    bound = c**4 * a ** (2 * depth - 6) / b ** (2 * depth - 2) / depth**5
    bound = bound * _sums(m, lambda k: pair_count(k, runs) ** 2, exact=not is_plain(c))
    return bound * _value_factor(a**depth, width, residual_norm, xp)


@elementwise
def theorem_e2_closed(
    depth: Any, horizon: Any, c: Any, runs: Any, width: Any = None, residual_norm: Any = None, xp: Any = np
) -> Any:
    """Theorem E2 in closed form, never below `theorem_e2`: order 5 in 1 - h/T, and 1/q^2.

    anchored:    c^4 e^{2c}/(4 q^2 (1 - c/T)^{2T-2}) (1 - h/T)^5
    value rule:  the same times ((sqrt(n) e^c + ||R||_F)/||R||_F)^2, that is c^2/(4 q^2) K_A (1 - h/T)^5

    Args:
        depth, horizon, c, runs, width, residual_norm: as in `theorem_e2`; c may be an array.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError, HorizonError: as `theorem_e2`.
    """
    depth, m, c = _arguments(depth, horizon, c, xp, one=False)
    runs = as_integer("runs", runs)
    bound = (c**2 * xp.exp(c) / (2 * runs * (1 - c / depth) ** (depth - 1))) ** 2 * m**5 / depth**5
    return bound * _value_factor(xp.exp(c), width, residual_norm, xp)


def _value_factor(growth: Any, width: Any, residual_norm: Any, xp: Any) -> Any:
    """((sqrt(n) growth + ||R||)/||R||)^2 of the value rule; 1 for the anchored one."""
    if width is None and residual_norm is None:
        return 1
    if width is None or residual_norm is None:
        raise DomainError("the value rule needs both width and residual_norm; the anchored one neither")
    residual_norm = as_real("residual_norm", residual_norm, POSITIVE, strict=True)
    return ((xp.sqrt(as_width(width)) * growth + residual_norm) / residual_norm) ** 2


def _arguments(depth: Any, horizon: Any, c: Any, xp: Any, one: bool = True) -> tuple[Any, Any, Any]:
    """T, m = T - h and c, which may have to be one number."""
    depth = as_depth(depth)
    c = as_scale(c, depth, xp)
    if one and isinstance(c, np.ndarray):
        raise DomainError(f"c is an array of {c.size}: allowed is one number")
    return depth, depth - as_integral("horizon", horizon, 1, depth, HorizonError), c


def _sums(shortfalls: Any, terms: Callable[[Any], Any], exact: bool) -> Any:
    """sum_{k=1}^m terms(k) at each m, for exact numbers one term after another."""
    if exact and not isinstance(shortfalls, np.ndarray):
        return sum((terms(k) for k in range(1, int(shortfalls) + 1)), start=0)
    asked = np.asarray(shortfalls, dtype=np.int64)
    wanted, back = np.unique(asked, return_inverse=True)
    found, before = np.zeros(len(wanted)), 0.0
    for low in range(0, int(wanted[-1]), _AT_ONCE):
        k = np.arange(low + 1, min(low + _AT_ONCE, int(wanted[-1])) + 1)
        sums = before + np.cumsum(terms(k.astype(np.float64)))
        here = (wanted > low) & (wanted <= low + len(k))
        found[here] = sums[wanted[here] - low - 1]
        before = float(sums[-1])
    return found[back].reshape(asked.shape)[()]
