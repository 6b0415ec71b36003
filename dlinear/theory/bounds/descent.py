"""Stochastic gradient descent along a truncated gradient: Theorem C.8."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlinear.checks import POSITIVE, as_integral, as_real, elementwise, is_plain, received
from dlinear.errors import DomainError


@elementwise
def sgd_largest_step(smoothness: Any, mu: Any, mu_g: Any, noise_slope: Any) -> Any:
    """The largest step that Theorem C.8 allows: mu / (L (M_V + mu_G^2)).

    Args:
        smoothness: L > 0.
        mu: least alignment, eq. (62a), 0 < mu <= mu_G.
        mu_g: largest relative mean, eq. (62b).
        noise_slope: M_V >= 0, eq. (62c).

    Raises:
        DomainError: an argument outside its domain.
    """
    smoothness = as_real("smoothness", smoothness, POSITIVE, strict=True)
    mu = as_real("mu", mu, POSITIVE, strict=True)
    mu_g, noise_slope = as_real("mu_g", mu_g), as_real("noise_slope", noise_slope)
    if is_plain(mu) and is_plain(mu_g) and np.any(np.asarray(mu) > mu_g):
        raise DomainError(f"{received('mu', mu)}, {received('mu_g', mu_g)}: allowed is mu <= mu_g")
    return mu / (smoothness * (noise_slope + mu_g**2))


@elementwise
def sgd_floor(step: Any, convexity: Any, smoothness: Any, mu: Any, noise: Any) -> Any:
    """K of Theorem C.8 (repaired): the level that the expected gap approaches, eta L M/(2 c mu).

    Args:
        step: eta > 0.
        convexity: c > 0 of strong convexity, eq. (61a).
        smoothness: L >= c, eq. (61b).
        mu: least alignment, eq. (62a), > 0.
        noise: M >= 0, eq. (62c).

    Raises:
        DomainError: an argument outside its domain.
    """
    step, convexity = as_real("step", step, POSITIVE, True), as_real("convexity", convexity, POSITIVE, True)
    smoothness, mu = as_real("smoothness", smoothness, POSITIVE, True), as_real("mu", mu, POSITIVE, True)
    return step * smoothness * as_real("noise", noise) / (2 * convexity * mu)


@elementwise
def sgd_gap(steps: Any, gap: Any, step: Any, convexity: Any, smoothness: Any, mu: Any, noise: Any) -> Any:
    """Theorem C.8, eq. (63), repaired: a bound on E J(u^tau) - J* after tau steps from u^0.

    K + (1 - eta c mu)^tau (J(u^0) - J* - K), K = `sgd_floor`. Valid for steps up to `sgd_largest_step`. The
    exponent counts the steps taken: tau - 1 belongs to a sequence that starts at u^1, and from u^0 it fails
    where J(u^0) - J* < K.

    Args:
        steps: tau >= 0, an integer or array.
        gap: J(u^0) - J* >= 0.
        step: eta > 0.
        convexity: c > 0, eq. (61a).
        smoothness: L >= c, eq. (61b).
        mu: least alignment, eq. (62a), > 0.
        noise: M >= 0, eq. (62c).

    Raises:
        DomainError: an argument outside its domain, or eta c mu > 1 (a step that no hypothesis allows).
    """
    steps = as_integral("steps", steps, 0, None, DomainError)
    gap, floor = as_real("gap", gap), sgd_floor(step, convexity, smoothness, mu, noise)
    contraction = 1 - step * convexity * mu
    if is_plain(contraction) and np.any(np.asarray(contraction) < 0):
        raise DomainError(f"{received('step * convexity * mu', 1 - contraction)}: allowed is at most 1")
    if is_plain(floor) and not np.all(finite := np.isfinite(floor)):
        what = received("the floor", floor, np.asarray(floor), finite)
        raise DomainError(f"{what}: allowed are arguments that keep it within float64")
    return floor + contraction**steps * (gap - floor)
