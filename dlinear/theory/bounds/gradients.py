"""Norms of gradients and their change with the horizon: Lemmas C.2, C.3, equations (37)-(39)."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlinear.checks import (
    as_depth,
    as_integral,
    as_real,
    as_width,
    elementwise,
    is_plain,
    received,
)
from dlinear.errors import DomainError
from dlinear.theory.bounds.products import (
    Interval,
    ProductBounds,
    product_frobenius_bounds,
    product_norm_bounds,
    tail_deviation,
)


def _around_loss(depth: Any, end: Any, c: Any, xp: Any) -> ProductBounds:
    """Bounds on what eq. (27') puts around the loss gradient: s - 1 layers, in W_{t+1}^s and P_t together."""
    depth = as_depth(depth)
    return product_norm_bounds(depth, as_integral("end", end, 1, depth, DomainError) - 1, c, xp)


@elementwise
def gradient_norm_bounds(depth: Any, end: Any, c: Any, loss_norm: Any, xp: Any = np) -> Interval:
    """Bounds on ||g_h(t)||_F from the norm of the loss gradient at the window's end (Lemmas C.2, C.3).

    b^{s-1} ||P_s - Phi||_F <= ||g_h(t)||_F <= a^{s-1} ||P_s - Phi||_F: the window W_{t+1}^s and the state map
    P_t have s - 1 layers together. s = t + h is Lemma C.2, s = T is Lemma C.3.

    Args:
        depth: T >= 1.
        end: s = min(t + h, T), in 1..T.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        loss_norm: ||P_s - Phi||_F >= 0.
        xp: namespace with exp.

    Raises:
        DomainError: an argument outside its domain.
    """
    around, loss_norm = _around_loss(depth, end, c, xp), as_real("loss_norm", loss_norm)
    return Interval(around.lower * loss_norm, around.upper * loss_norm)


@elementwise
def gradient_norm_upper(depth: Any, end: Any, c: Any, width: Any, phi_frobenius: Any, xp: Any = np) -> Any:
    """Upper envelope of ||g_h(t)||_F (Lemmas C.2 and C.3, eqs (29), (30), repaired).

    a^{s-1} (sqrt(n) a^s + ||Phi||_F)

    Args:
        depth: T >= 1.
        end: s = min(t + h, T), in 1..T.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        phi_frobenius: ||Phi||_F >= 0.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    around, phi_frobenius = _around_loss(depth, end, c, xp), as_real("phi_frobenius", phi_frobenius)
    return around.upper * (product_frobenius_bounds(depth, end, c, width, xp).upper + phi_frobenius)


@elementwise
def gradient_norm_lower(depth: Any, end: Any, c: Any, width: Any, phi_spectral: Any, xp: Any = np) -> Any:
    """Lower envelope of ||g_h(t)||_F (Lemmas C.2 and C.3, eqs (29), (30), repaired).

    b^{s-1} sqrt(n) max(0, b^s - ||Phi||_2): vacuous (zero) once ||Phi||_2 >= b^s.

    Args:
        depth: T >= 1.
        end: s = min(t + h, T), in 1..T.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        phi_spectral: ||Phi||_2 >= 0.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    around, phi_spectral = _around_loss(depth, end, c, xp), as_real("phi_spectral", phi_spectral)
    gap = product_norm_bounds(depth, end, c, xp).lower - phi_spectral
    return around.lower * xp.sqrt(as_width(width)) * ((gap + abs(gap)) / 2)


@elementwise
def window_change(depth: Any, start: Any, end: Any, c: Any, width: Any, xp: Any = np) -> Any:
    """Bound on ||W_t^s - W_t^T||_F (eq. (37), repaired: the factor (W_s^T - I) stands on the left of W_t^s).

    (a^{T-s} - 1) sqrt(n) a^{s-t}

    Args:
        depth: T >= 1.
        start: t in 0..T, at most `end`.
        end: s in 0..T.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    depth = as_depth(depth)
    start, end = (as_integral(k, v, 0, depth, DomainError) for k, v in (("start", start), ("end", end)))
    if is_plain(start) and is_plain(end) and np.any(np.asarray(start) > end):
        raise DomainError(f"{received('start', start)}, {received('end', end)}: allowed is start <= end")
    window = product_frobenius_bounds(depth, end - start, c, width, xp).upper
    return tail_deviation(depth, depth - end, c, xp).power * window


@elementwise
def state_change(depth: Any, end: Any, c: Any, width: Any, xp: Any = np) -> Any:
    """Bound on ||P_s - P_T||_F, the change of the loss gradient (eq. (38), repaired): eq. (37) from layer 0.

    Args:
        depth: T >= 1.
        end: s in 0..T.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    return window_change(depth, 0, end, c, width, xp)


@elementwise
def gradient_change(depth: Any, end: Any, c: Any, width: Any, residual_norm: Any, xp: Any = np) -> Any:
    """Bound on ||g_h(t) - g_T(t)||_F for a layer whose window ends at s (eq. (39), repaired).

    a^{s-1} (a^{T-s} - 1) (sqrt(n) a^s + ||R||_F); zero at s = T. It is `gradient_norm_upper` with R for Phi,
    times the deviation of the tail (Lemma C.4).

    Args:
        depth: T >= 1.
        end: s = min(t + h, T), in 1..T.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        residual_norm: ||R||_F = ||P_T - Phi||_F >= 0.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    residual_norm = as_real("residual_norm", residual_norm)
    whole = gradient_norm_upper(depth, end, c, width, residual_norm, xp)
    depth = as_depth(depth)
    tail = tail_deviation(depth, depth - as_integral("end", end, 1, depth, DomainError), c, xp)
    return tail.power * whole
