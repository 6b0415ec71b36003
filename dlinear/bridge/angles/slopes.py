"""The decay of sin^2 over the horizon, measured and predicted in training, and averaged over seeds."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlinear.analysis.decay import DecayFit, fit_decay
from dlinear.analysis.statistics import LEVEL, Estimate, mean_interval
from dlinear.bridge.angles.alignment import alignment
from dlinear.bridge.angles.theorem_d import gradient_square, initial_law, realised_law
from dlinear.bridge.autograd.isolation import isolated
from dlinear.bridge.data.losses import Supervised, criterion_of
from dlinear.bridge.models.deep import DeepStack
from dlinear.bridge.models.stack import Stack
from dlinear.engine.angle import AlignmentProfile
from dlinear.errors import DlinearError
from dlinear.theory.decay_law import DecayConstants, decay_law


@dataclass(frozen=True)
class SlopeProbe:
    """A probe for `train`: sin^2(theta_h) on a fixed batch, and the constants of Theorem D.

    Attributes:
        shortfalls: m = T - h, increasing.
        batch: how many samples, the first of the training set.
        last: K of `realised_law`, used from epoch 1 on: 1 for layers smooth in depth; 0 for no prediction.
        first: over how many first blocks responses are averaged.
        draws: fresh layers of `initial_law`, used at epoch 0 of an untrained "deep" network.
        seed: of the draws.
        loss: its name, as `data.losses.criterion_of` reads it.
    """

    shortfalls: NDArray[np.int64]
    batch: int
    last: int
    first: int = 1
    draws: int = 64
    seed: int = 0
    loss: str = "auto"

    def __call__(self, epoch: int, stack: Stack, split: Any) -> dict[str, Any]:
        """Arrays sin2, cos and norm_ratio along the shortfalls; numbers quadratic, cubic, energy, loss.

        `energy` is N = ||g_T||^2/T over the blocks; `residual` is ||R||^2 = ||P_T - Phi||^2 (NaN but for the
        "deep" network with the identity for activation, whose inputs are taken to be white).
        """
        device = next(stack.parameters()).device
        x, target = (tensor[: self.batch].to(device) for tensor in (split.x_train, split.y_train))
        loss = Supervised(criterion_of(self.loss, split.classes), target)
        stack.train()
        depth = len(stack.blocks)
        profile = alignment(stack.blocks, x, loss, depth - self.shortfalls, stack.readout, undefined="nan")
        law = self._law(epoch, stack, x, loss)
        with torch.no_grad(), isolated((stack, loss), x):
            value = float(loss(stack(x)))
        return {
            **{name: getattr(profile, name) for name in ("sin2", "cos", "norm_ratio")},
            "predicted_quadratic": law.quadratic,
            "predicted_cubic": law.cubic,
            "energy": gradient_square(stack.blocks, x, loss, stack.readout) / depth,
            "residual": _residual(stack, x, target),
            "batch_loss": value,
        }

    def _law(self, epoch: int, stack: Stack, x: Tensor, loss: Supervised) -> DecayConstants:
        if epoch == 0 and isinstance(stack, DeepStack):
            return initial_law(stack, x, loss, draws=self.draws, first=self.first, seed=self.seed)
        if not self.last:
            return DecayConstants(math.nan, math.nan)
        return realised_law(stack.blocks, x, loss, stack.readout, last=self.last, first=self.first)


@dataclass(frozen=True, eq=False)
class Slope:
    """The decay of networks that differ by their seed: measured, and predicted.

    Attributes:
        found: one profile a seed, equal depths and horizons.
        laws: the constants predicted for each.
    """

    found: Sequence[AlignmentProfile]
    laws: Sequence[DecayConstants]

    @property
    def depth(self) -> int:
        """T."""
        return self.found[0].depth

    @functools.cached_property
    def law(self) -> DecayConstants:
        """The mean prediction."""
        q, c = np.mean([tuple(law) for law in self.laws], axis=0).tolist()
        return DecayConstants(q, c)

    @functools.cached_property
    def fit(self) -> DecayFit:
        """The measured decay, of the mean sin^2."""
        return fit_decay(self.found)

    @functools.cached_property
    def expected(self) -> float:
        """The order that the fit gives to the predicted law at these shortfalls: 2, 3 or between."""
        like = self.found[0]
        law = decay_law(self.law.quadratic, self.law.cubic, like.shortfall, like.depth)
        return fit_decay(replace(like, sin2=law)).order

    def ratio(self, level: float = LEVEL) -> Estimate:
        """sin^2 over its prediction as m/T -> 0 (a line through each seed's ratios), mean over the seeds."""
        m = self.found[0].shortfall
        design = np.stack([np.ones(len(m)), m / self.depth], 1)
        shares = [
            one.sin2 / decay_law(law.quadratic, law.cubic, m, self.depth)
            for one, law in zip(self.found, self.laws, strict=True)
        ]
        return mean_interval(np.linalg.lstsq(design, np.transpose(shares), rcond=None)[0][0], level)


def _residual(stack: Stack, x: Tensor, target: Tensor) -> float:
    """||P_T - Phi||^2 of a linear network and whitened inputs: P_T x - y against x, over the samples."""
    try:
        if not isinstance(stack, DeepStack) or target.shape != x.shape:
            return math.nan
        stack.deviations()  # refuses other activations
    except DlinearError:
        return math.nan
    with torch.no_grad():
        gap = (stack(x) - target).T @ x / len(x)
    return float(gap.double().square().sum())


def odds(profile: AlignmentProfile) -> AlignmentProfile:
    """The profile with tan^2 = sin^2/(1 - sin^2) in the place of sin^2, for blocks that are not small.

    sin^2 cannot grow beyond 1; the squared error relative to the gradient, which the theorems are about, can.
    With an error orthogonal to g_T, tan^2 is that ratio.
    """
    with np.errstate(divide="ignore"):
        return replace(profile, sin2=profile.sin2 / (1 - profile.sin2))
