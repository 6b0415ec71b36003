"""The angle of a horizon without back-propagation through the whole model.

<g_T, v> for any direction v is one pass in forward mode, which keeps no activations: with v = g_h it gives
<g_T, g_h>, so the sign, the best rescaling s = <g_T, g_h>/|g_h|^2 of eq. (13), and the ratio
cos(theta_h)/cos(theta_h') of two horizons, in which |g_T| cancels. All of them are exact, and within the
memory of the horizon itself and of parameter-sized vectors: g_h, and one random direction at a time.

What is missing is the part of g_T across g_h, of length R: cos = a/sqrt(a^2 + R^2) with a = <g_T, g_h>/|g_h|.
For a standard normal v, <g_T, v> - a <g_h, v>/|g_h| is normal with variance R^2, so that for K of them the
sum of squares over R^2 is chi-squared with K degrees of freedom: an exact interval for R, hence for cos and
sin^2, with the same relative width however small the angle is. That is so up to rounding: a sin^2 of the
order of the square of the model's rounding unit (1e-14 in float32, 1e-4 in bfloat16) is no angle.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from dlinear.bridge.angles.forward_alignment import ForwardAlignment
from dlinear.bridge.autograd.block_graph import tensors
from dlinear.bridge.autograd.blocks import (
    Block,
    LossFunction,
    Readout,
    check_gradients_are_on,
    checked_stack,
)
from dlinear.bridge.autograd.ends import copied
from dlinear.bridge.autograd.gradient_sum import Gradients
from dlinear.bridge.autograd.isolation import isolated
from dlinear.bridge.autograd.modules import modules_among, trainable
from dlinear.bridge.autograd.ranks import Group, alone
from dlinear.bridge.methods.passes import Passes, inner_product
from dlinear.checks import as_choice, as_flag, as_horizons, as_integer, as_number
from dlinear.engine.angle import HORIZON_GRADIENT_ZERO
from dlinear.engine.rule import HorizonRule
from dlinear.errors import DomainError, NonFiniteError, UndefinedAngleError

__all__ = ["alignment_forward"]


def alignment_forward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    horizons: object,
    readout: Readout | None = None,
    *,
    probes: int = 0,
    exact_norm: bool = False,
    seed: int = 0,
    level: float = 0.95,
    anchored: bool = False,
    stride: int = 1,
    runs: int = 0,
    undefined: Literal["raise", "nan"] = "raise",
    process_group: Group = None,
) -> ForwardAlignment:
    """<g_T, g_h> over the trainable parameters of the blocks, within the memory of the horizons.

    Nothing is changed, as by `alignment`: gradients, buffers and random states are those of before. All
    passes see the dropout masks of the first one. Work, for k horizons and K probes: k steps of
    `horizon_backward`, and k + K runs of the T blocks in forward mode (each two to three forwards). Memory:
    the largest horizon's activations, and two parameter-sized vectors: horizons are done one at a time, so
    that no two g_h are held at once.

    Args:
        blocks, x, loss_fn, readout: as for `horizon_backward`.
        horizons: integers in 1..T, any order. At h = T the memory is that of back-propagation.
        probes: K, random directions, which give cos(theta_h) with an interval; 0 for none.
        exact_norm: find g_T by checkpointed back-propagation instead (about sqrt(T) blocks' activations, one
            more parameter-sized vector): cos and sin^2 are then exact.
        seed: of the directions; torch's own generators are left alone.
        level: coverage of each interval, over random directions.
        anchored, stride, runs: which rule gives g_h, as for `horizon_backward`.
        undefined: what to do where g_h is zero.
        process_group: as for `alignment`.

    Raises:
        UndefinedAngleError: g_h = 0 (unless `undefined="nan"`).
        DomainError: a block without a forward-mode rule (the message names it), and as `alignment`.
        HorizonError, ShapeError, NonFiniteError: see the message.
    """
    as_choice("undefined", undefined, ("raise", "nan"))
    probes, seed = as_integer("probes", probes, 0), as_integer("seed", seed, 0)
    level, exact_norm = _as_level(level), as_flag("exact_norm", exact_norm)
    rule = HorizonRule(anchored, runs, stride)
    check_gradients_are_on()
    stack = checked_stack(blocks, x, loss_fn, readout)
    asked = as_horizons(horizons, len(stack))
    own = alone("alignment_forward", process_group, stack, readout, loss_fn)
    with own, isolated((*stack, readout, loss_fn), x):
        passes = Passes(stack, _constant(x), loss_fn, readout, rule)
        measured = _Measured(passes, trainable(modules_among(stack)), 0 if exact_norm else probes, seed)
        found = {h: measured.horizon(h, exact_norm) for h in dict.fromkeys(int(h) for h in asked)}
        squares = measured.squares(found)
    rows = np.array([_row(found[int(h)], squares.get(int(h), 0.0), level, measured.probes) for h in asked])
    inner, square, across, low, high = _checked(rows, asked, undefined)
    return ForwardAlignment(
        len(stack), float(passes.loss), asked, inner, square, across, low, high, measured.probes, level
    )


def _as_level(level: Any) -> float:
    value = as_number("level", level)
    if not 0 < value < 1:
        raise DomainError(f"level = {value:g}; allowed is a number between 0 and 1")
    return value


def _checked(rows: np.ndarray, asked: np.ndarray, undefined: str) -> Sequence[np.ndarray]:
    """The columns of `_row`, NaN where g_h = 0.

    Raises:
        NonFiniteError, UndefinedAngleError: as `alignment_forward`.
    """
    if not np.isfinite(rows[:, :2]).all():
        raise NonFiniteError("the gradient holds NaN or infinity, so there is no angle")
    zero = rows[:, 1] == 0
    if undefined == "raise" and zero.any():
        raise UndefinedAngleError(
            f"horizon {asked[zero][0]}: {HORIZON_GRADIENT_ZERO}, so there is no angle; "
            'pass undefined="nan" to keep the other horizons'
        )
    rows[zero] = np.nan
    return list(rows.T)


@dataclass(frozen=True)
class _Found:
    """Of one horizon: <g_T, g_h>, |g_h|^2, R if it is exact, and <g_h, v_k>/|g_h| for the directions."""

    inner: float
    square: float
    across: float
    parts: list[float]


class _Measured:
    """The passes of one call.

    Attributes:
        probes: K.
    """

    def __init__(self, passes: Passes, leaves: Sequence[Tensor], probes: int, seed: int) -> None:
        self.passes, self.leaves, self.probes, self.seed = passes, list(leaves), probes, seed
        self._true: Gradients | None = None

    def horizon(self, h: int, exact: bool) -> _Found:
        """One horizon's numbers; g_h is held here alone."""
        gradient, _ = self.passes.horizon(h)
        self.leaves += [leaf for leaf in gradient if all(leaf is not known for known in self.leaves)]
        square = inner_product(gradient, gradient)
        inner = self.passes.slope(gradient) if gradient else 0.0
        across = math.nan
        if exact and square > 0:
            if self._true is None:
                self._true = self.passes.true_gradient()
            across = _across(self._true, gradient, inner / square)
        size = math.sqrt(square)
        parts = [
            inner_product(gradient, self._direction(k)) / size if size else 0.0 for k in range(self.probes)
        ]
        return _Found(inner, square, across, parts)

    def squares(self, found: dict[int, _Found]) -> dict[int, float]:
        """Sum over the directions of (<g_T, v> - a <g_h, v>/|g_h|)^2, for each horizon."""
        if not self.probes:
            return {}
        slopes = np.array([self.passes.slope(self._direction(k)) for k in range(self.probes)])
        return {
            h: float(np.sum((slopes - one.inner / math.sqrt(one.square) * np.array(one.parts)) ** 2))
            for h, one in found.items()
            if one.square > 0
        }

    def _direction(self, k: int) -> Gradients:
        """v_k: standard normal over all trainable parameters, the same whenever it is asked for."""
        generators: dict[torch.device, torch.Generator] = {}
        direction = {}
        for leaf in self.leaves:
            if leaf.device not in generators:
                generators[leaf.device] = torch.Generator(leaf.device).manual_seed(_mixed(self.seed, k))
            v = torch.randn(
                leaf.shape, dtype=leaf.dtype, device=leaf.device, generator=generators[leaf.device]
            )
            direction[leaf] = v * math.sqrt(2) if leaf.is_complex() else v  # <g, v> takes real parts
        return direction


def _mixed(seed: int, k: int) -> int:
    """A seed of its own for each direction."""
    return int(np.random.SeedSequence((seed, k)).generate_state(1, np.uint64)[0] >> 1)


def _across(true: Gradients, gradient: Gradients, scale: float) -> float:
    """|g_T - s g_h|, of the vectors: no squares cancel."""
    rest = {leaf: -scale * g.to_dense().double() for leaf, g in gradient.items()}
    for leaf, g in true.items():
        rest[leaf] = rest[leaf] + g.to_dense() if leaf in rest else g
    return math.sqrt(inner_product(rest, rest))


def _row(found: _Found, squares: float, level: float, probes: int) -> tuple[float, ...]:
    """<g_T, g_h>, |g_h|^2, R and its interval."""
    if not probes:
        return found.inner, found.square, found.across, found.across, found.across
    below, above = stats.chi2.ppf([(1 - level) / 2, (1 + level) / 2], probes)
    ends = math.sqrt(squares / probes), math.sqrt(squares / above), math.sqrt(squares / below)
    return found.inner, found.square, *ends


def _constant(x: Any) -> Any:
    """x(0) without its history: nothing before the blocks is asked about."""
    with torch.no_grad():
        return copied(x) if any(tensor.requires_grad for tensor in tensors(x)) else x
