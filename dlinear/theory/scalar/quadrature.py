"""The integrals of Lemma C.5 by Gauss-Legendre panels, without cancellation.

phi = G + psi with psi(u) = phi(1 - u) - G, which is 0 at u = 0. With <.> the mean over the window
u in [0, eps] and the eigenvalues as coordinates, the numerator of sin^2 is the variance of a function that
is psi on a set of measure eps and 0 elsewhere, its component along g_T centred:

    I2 - I1^2/|G|^2 = eps ( <|psi - e <e.psi>|^2> + alpha <e.psi>^2 ),   I2 = eps <|G + psi|^2> + alpha |G|^2,

e = G/|G|, alpha = 1 - eps: sums of squares only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dlinear.theory.scalar.degenerate import scaled
from dlinear.theory.scalar.inputs import Floats

_NODES = 16  # Gauss-Legendre nodes a panel
_PANEL = 16.0  # largest 4 |c| du of a panel: 16 nodes then integrate e^{4 c u} to rounding


class _Window(NamedTuple):
    """psi and G over the window u in [0, eps], in units of e^scale (one unit for all eigenvalues)."""

    psi: Callable[[float], Floats]
    full: Floats
    unit: Floats
    rule: list[tuple[float, float]]
    scale: Floats


def _window(eps: Floats, cs: Floats, ys: Floats) -> _Window:
    """The eigenvalues are on the last axis: eps (...), cs and ys (..., n).

    psi(u) = e^c (w - 1)(e^c (w - 1) + 2e^c - y), w = e^{-cu}; for c < 0, w - 1 = e^{|c| eps} b, 0 <= b <= 1.
    """
    wide = eps[..., None]
    parts = scaled(cs, ys)
    # logarithms: growth of w = e^{-cu} over the window, then of the larger of psi's two terms
    growth = np.maximum(-cs, 0.0) * wide
    lift = np.maximum(cs - parts.log_m + growth, 0.0)
    size = cs + parts.log_m + growth + lift  # log of the size of phi, for each eigenvalue
    scale = size.max(axis=-1, keepdims=True)
    # psi = quad b^2 + line b and G = full, where over e^scale these are the coefficients
    # e^{2c} e^{2 growth}, e^c e^growth (2e^c - y) and e^c (e^c - y)
    quad = np.exp(cs - parts.log_m + growth - lift + size - scale)
    line = parts.double * np.exp(size - scale - lift)
    full = parts.gap * np.exp(size - scale - growth - lift)
    log_full = cs + parts.log_m
    unit = parts.gap * np.exp(log_full - log_full.max(axis=-1, keepdims=True))
    unit = unit / np.sqrt(np.sum(unit**2, axis=-1, keepdims=True))  # e = G/|G|, the direction of g_T

    def psi(fraction: float) -> Floats:
        x = np.abs(cs) * wide * fraction  # |c| u
        b = np.where(cs < 0, -np.expm1(-x) * np.exp(np.minimum(x - growth, 0.0)), np.expm1(-x))
        values: Floats = b * (quad * b + line)
        return values

    rule = _panel_rule(float(np.max(np.abs(cs) * wide)))
    return _Window(psi, full, unit, rule, scale[..., 0])


def sin2_by_quadrature(eps: Floats, cs: Floats, ys: Floats) -> Floats:
    """sin^2 with the eigenvalues on the last axis, by the two sums above."""
    if eps.size == 0:
        return np.zeros(eps.shape)
    psi, full, unit, rule, _ = _window(eps, cs, ys)
    alpha = 1.0 - eps
    mean, energy, spread = np.zeros(eps.shape), np.zeros(eps.shape), np.zeros(eps.shape)
    for fraction, weight in rule:  # <e.psi> and <|G + psi|^2>
        value = psi(fraction)
        mean += weight * np.sum(unit * value, axis=-1)
        energy += weight * np.sum((full + value) ** 2, axis=-1)
    for fraction, weight in rule:  # <|psi - e <e.psi>|^2>, along e and across it
        value = psi(fraction)
        along = np.sum(unit * value, axis=-1)
        across = value - unit * along[..., None]
        spread += weight * ((along - mean) ** 2 + np.sum(across**2, axis=-1))
    result: Floats = eps * (spread + alpha * mean**2) / (eps * energy + alpha * np.sum(full**2, axis=-1))
    return result


def _panel_rule(rate: float) -> list[tuple[float, float]]:
    """(fraction, weight) on [0, 1], enough Gauss-Legendre panels for e^{4 rate u}."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    panels = max(1, int(np.ceil(4 * rate / _PANEL)))
    return [
        ((k + 0.5 + 0.5 * float(x)) / panels, float(w) / (2 * panels))
        for k in range(panels)
        for x, w in zip(nodes, weights, strict=True)
    ]


def moments_at_zero(c: float, y: float) -> tuple[float, float, float, float, float]:
    """(sign G, J1, J2, psi at s = 0, log of the unit): phi in units of e^scale."""
    psi, full, unit, rule, scale = _window(np.asarray(1.0), np.array([c], float), np.array([y], float))
    values = [(weight, float(full[0] + psi(fraction)[0])) for fraction, weight in rule]
    j1, j2 = sum(w * v for w, v in values), sum(w * v * v for w, v in values)
    return float(unit[0]), j1, j2, float(psi(1.0)[0]), float(scale)
