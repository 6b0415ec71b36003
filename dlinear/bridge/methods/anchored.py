"""Anchored horizons and stages, by name; the rules themselves are `horizon_backward`'s knobs.

anchored-h            the gradient at x(T) is handed to the end of every window of h blocks
stages-k              losses at x(T), x(T - k), ... alone: stages of k blocks that do not overlap
anchored-stages-k     both: two passes, one vector beside the blocks of a stage
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named
from dlinear.bridge.methods.horizon import horizon_backward, kept_blocks
from dlinear.theory import costs
from dlinear.theory.decay_law import DecayConstants, decay_law

__all__ = ["strided_law", "window_pulls"]


def window_pulls(depth: int, horizon: int, stride: int) -> tuple[int, int]:
    """Vector-Jacobian products of blocks in one step, and those of them that go on to an earlier block.

    Each end has one chain, whose last product stops at the parameters: ceil((T - M)/k) ends below T, M =
    h + k - 1, and the one at T (Theorem F1).
    """
    pulls = costs.strided_vjps(depth, horizon, stride)
    return pulls, pulls - 1 - max(0, -(-(depth - horizon - stride + 1) // stride))


def strided_law(horizon: int, stride: int, law: DecayConstants, depth: int) -> float:
    """sin^2 of a strided horizon by the law of decay (Theorem F2, supported).

    The shortfalls j = 1..m of the blocks become k floor(j/k); what a shortfall adds to the law is the
    difference of the law there and at one less.
    """
    shortfalls = np.arange(1, depth - horizon + 1) // stride * stride
    some = shortfalls[shortfalls > 0]
    whole, less = (decay_law(law.quadratic, law.cubic, some - before, depth) for before in (0, 1))
    return float(np.sum(whole - less))


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
        sin2=None if anchored else partial(strided_law, h, k),  # the law's constants are those of own losses
    )


def _cost(horizon: int, stride: int, anchored: bool, depth: int) -> Cost:
    """Blocks that are residual: twice forward if anchored, unless a window holds all."""
    twice = anchored and horizon + stride - 1 < depth
    return Cost(depth * (1 + twice), window_pulls(depth, horizon, stride)[0])


def _predicted(horizon: int, stride: int, anchored: bool, depth: int) -> Predicted:
    """Blocks kept of T; forwards, gradients of parameters, and signals that go on."""
    forwards = _cost(horizon, stride, anchored, depth).forwards
    time = (forwards + depth + window_pulls(depth, horizon, stride)[1]) / (3 * depth - 1)
    return Predicted(kept_blocks(depth, horizon, stride) / depth, time)


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
