"""One alignment profile as a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dlinear.checks import shown
from dlinear.errors import DomainError
from dlinear.report import plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def profile_plot(profile: Any, curves: Mapping[str, Any]) -> Figure:
    """sin^2 over the shortfall in logarithmic axes: points, and curves as lines over them.

    Args:
        profile: an `AlignmentProfile`.
        curves: by label, functions of an array of shortfalls m; the same for all of them.

    Raises:
        DomainError: a curve that is no function of such an array, or no angle to draw (m > 0, sin^2 > 0).
    """
    m, sin2 = np.asarray(profile.shortfall), np.asarray(profile.sin2)
    drawn = (m > 0) & (sin2 > 0)
    if not drawn.any():
        raise DomainError("no horizon has 0 < m < T and sin^2 > 0: there is nothing to draw")
    fine = np.unique(np.rint(np.geomspace(m[drawn].min(), m[drawn].max(), 200)).astype(np.int64))
    with plotting.style():
        figure, axes = plotting.column()
        plotting.measured(axes, m[drawn], sin2[drawn], "measured")
        for number, (label, curve) in enumerate(curves.items(), 1):
            plotting.predicted(axes, fine, _values(label, curve, fine), label.replace("_", " "), number)
        axes.set(xscale="log", yscale="log", xlabel="shortfall $m = T - h$", ylabel=r"$\sin^2\theta_h$")
        if curves:
            plotting.legend(figure, axes)
        plotting.verdict(
            figure, f"sin^2 of the angle between g_h and g_T over m = T - h, T = {profile.depth}"
        )
    return figure


def _values(label: str, curve: Any, m: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if not callable(curve):
        raise DomainError(f"curve {label!r} is {shown(curve)}; expected a function of shortfalls m")
    values = np.asarray(curve(m), dtype=float)
    if values.shape != m.shape:
        raise DomainError(f"curve {label!r} gives shape {values.shape} for m of shape {m.shape}")
    return values
