"""Anchored horizons and stages, by name; the rules themselves are `horizon_backward`'s knobs.

anchored-h            the gradient at x(T) is handed to the end of every window of h blocks
stages-k              losses at x(T), x(T - k), ... alone: stages of k blocks that do not overlap
anchored-stages-k     both: two passes, one vector beside the blocks of a stage
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named
from dlinear.bridge.methods.horizon import horizon_backward
from dlinear.checks import as_horizon

__all__ = ["window_pulls"]


def window_pulls(depth: int, horizon: int, stride: int) -> tuple[int, int]:
    """Vector-Jacobian products of blocks in one step, and those of them that go on to an earlier block.

    With M = h + k - 1 < T there are g = ceil((T - M)/k) ends below T, of which all but the first have a
    window of M blocks; the blocks before them leave r = T - M - (g - 1) k for the first one:

        g M + h + r - 1,    g (M - 1) + h + r - 2    (Theorem F1)
    """
    h, most = as_horizon(horizon, depth), horizon + stride - 1
    if most >= depth:
        return depth, depth - 1
    ends = -(-(depth - most) // stride)
    rest = depth - most - (ends - 1) * stride
    return ends * most + h + rest - 1, ends * (most - 1) + h + rest - 2


def _method(family: str, horizon: bool, anchored: bool, number: int | None) -> Method:
    n = number or 1
    h, k = (n, 1) if horizon else (1, n)
    blocks = f"{n} block{'s'[: n > 1]}"
    where = f"to windows of {blocks}" if horizon else f"to stages of {blocks}"
    return Method(
        name=named(family, n),
        family=family,
        number=n,
        description=f"the gradient at x(T), handed {where}"
        if anchored
        else f"stages of {blocks}, each its loss",
        exact=False,
        run=partial(horizon_backward, horizon=h, anchored=anchored, stride=k),
        cost=partial(_cost, h, k, anchored),
        predicted=partial(_predicted, h, k, anchored),
    )


def _cost(horizon: int, stride: int, anchored: bool, depth: int) -> Cost:
    """Blocks that are residual: twice forward if anchored, unless a window holds all."""
    twice = anchored and horizon + stride - 1 < depth
    return Cost(depth * (1 + twice), window_pulls(depth, horizon, stride)[0])


def _predicted(horizon: int, stride: int, anchored: bool, depth: int) -> Predicted:
    """M = h + k - 1 of T blocks; forwards, gradients of parameters, and signals that go on."""
    forwards = _cost(horizon, stride, anchored, depth).forwards
    time = (forwards + depth + window_pulls(depth, horizon, stride)[1]) / (3 * depth - 1)
    return Predicted(min(1.0, (horizon + stride - 1) / depth), time)


def _windows(depth: int, batch: int) -> Sequence[int]:
    return [h for h in (1, 4) if h == 1 or 2 * h <= depth]


def _stages(depth: int, batch: int) -> Sequence[int]:
    return [k for k in (4, 8) if k < depth]


FAMILIES = (
    Family(
        "anchored",
        partial(_method, "anchored", True, True),
        compared=_windows,
        place=32,
        series="anchored horizon",
    ),
    Family("stages", partial(_method, "stages", False, False), compared=_stages, place=33, series="stages"),
    Family(
        "anchored-stages",
        partial(_method, "anchored-stages", False, True),
        compared=_stages,
        place=34,
        series="anchored stages",
    ),
)
