"""The loss along a line u - s v through the weights: its slope, its curvature, its nearest minimum.

J(s) = 1/2 ||P(s) - Phi||_F^2, P(s) = prod_t (W(t) - s v(t)), is a polynomial of degree 2T in s. Value and two
derivatives of P are composed from those of its factors, pair by pair, without differences:

    (BA)' = B'A + BA',    (BA)'' = B''A + 2 B'A' + BA''.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dlinear.engine.products import compose

Floats = NDArray[np.float64]
_ROUNDS = 60  # of halving or doubling an interval; float64 has 53 digits


def derivatives(
    deviations: Floats, direction: Floats, phi: Floats, s: Floats
) -> tuple[Floats, Floats, Floats]:
    """J, J' and J'' of B networks at the points s of their lines.

    Args:
        deviations: D(t), (B, T, n, n).
        direction: v, (B, T, n, n).
        phi: (B, n, n).
        s: (B,).

    Returns:
        Three arrays (B,).
    """
    value = deviations - s[:, None, None, None] * direction
    slope, bend = -direction, np.zeros_like(direction)
    while value.shape[1] > 1:
        even = value.shape[1] // 2 * 2
        last = [part[:, even:] for part in (value, slope, bend)]
        outer = [part[:, 1:even:2] for part in (value, slope, bend)]
        inner = [part[:, :even:2] for part in (value, slope, bend)]
        pairs = _product(outer, inner)
        value, slope, bend = (np.concatenate(both, axis=1) for both in zip(pairs, last, strict=True))
    residual = value[:, 0] + (np.eye(phi.shape[-1]) - phi)
    first, second = slope[:, 0], bend[:, 0]
    return 0.5 * _dot(residual, residual), _dot(residual, first), _dot(first, first) + _dot(residual, second)


def nearest_minimum(deviations: Floats, direction: Floats, phi: Floats) -> tuple[Floats, Floats]:
    """The step s > 0 to the nearest minimum of J(s) that doubling finds, and the loss there.

    Doubling starts at half of the Newton step of s = 0 where the curvature is positive, and stops at the
    first point with J' >= 0; J' changes its sign between the last two points. Where v is no descent direction
    s = 0.

    Args:
        deviations, direction: (B, T, n, n).
        phi: (B, n, n).

    Returns:
        s and J(s), (B,) each.
    """
    zero = np.zeros(len(deviations))
    start, slope, bend = derivatives(deviations, direction, phi, zero)
    downhill = slope < 0
    scale = np.sqrt(np.sum(direction**2, axis=(1, 2, 3)))
    with np.errstate(divide="ignore", invalid="ignore"):
        newton = np.where(bend > 0, -0.5 * slope / bend, 0.01 / scale)
    low, high = zero, np.where(downhill, newton, 0.0)
    for _ in range(_ROUNDS):
        rising = ~downhill | (derivatives(deviations, direction, phi, high)[1] >= 0)
        if rising.all():
            break
        low, high = np.where(rising, low, high), np.where(rising, high, 2 * high)
    at = _zero_of_slope(deviations, direction, phi, low, high)
    loss = np.where(downhill, derivatives(deviations, direction, phi, at)[0], start)
    return at, loss


def _zero_of_slope(deviations: Floats, direction: Floats, phi: Floats, low: Floats, high: Floats) -> Floats:
    """J' = 0 between low (J' < 0) and high: Newton's steps, halved intervals where they leave it."""
    at = 0.5 * (low + high)
    for _ in range(_ROUNDS):
        _, slope, bend = derivatives(deviations, direction, phi, at)
        low, high = np.where(slope < 0, at, low), np.where(slope < 0, high, at)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = at - slope / bend
        inside = (newton > low) & (newton < high)
        new = np.where(inside, newton, 0.5 * (low + high))
        if (np.abs(new - at) <= 1e-13 * np.abs(high)).all():
            break
        at = new
    return at


def _product(outer: list[Floats], inner: list[Floats]) -> list[Floats]:
    """Value (as a deviation from I) and two derivatives of a product of two factors."""
    b, b1, b2 = outer
    a, a1, a2 = inner
    slope = b1 + b1 @ a + a1 + b @ a1
    bend = b2 + b2 @ a + 2 * (b1 @ a1) + a2 + b @ a2
    return [compose(b, a), slope, bend]


def _dot(a: Floats, b: Floats) -> Floats:
    """<a, b> of each network."""
    found: Floats = np.sum(a * b, axis=(-2, -1))
    return found
