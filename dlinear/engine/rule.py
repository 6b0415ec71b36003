"""Which loss signal reaches which layer: the plain horizon and its relatives, as data.

A rule gives block t the signal at the end s of its window, pulled back through the window:

    g(t) = (W_{t+1}^s)^T V_s P_t^T,   V_s = S_s^T (S_s P_s - Phi)   value rule; S_s = I: the plain horizon
    (27')
                                      V_s = S_s^T R                 anchored, R = P_T - Phi

S_s stands for the k = T - s unseen layers (`coarse_tail`). With the true tail S_s = W_s^T both are
back-propagation. h = T always is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from dlinear.checks import as_integer, shown
from dlinear.errors import DomainError

Sampling = Literal["average", "start", "middle", "end"]


@dataclass(frozen=True)
class HorizonRule:
    """A horizon rule; `HorizonRule()` is the plain horizon.

    Attributes:
        anchored: hand the true end error R to x(s) instead of the loss at x(s) (Theorem E1): one more
            forward pass.
        runs: q, coarse layers that stand for the unseen ones (Theorem E2); 0: none, S_s = I.
        stride: losses are taken at s = T, T - stride, T - 2 stride, ... only; block t takes the first of
            them at or after t + h (Theorem F). 1: at every s.
        sampling: what stands for a run of j layers: their sum ("average"), or j times its first ("start"),
            central ("middle": the mean of the two central ones of an even number) or last layer ("end").
        shrink: factor of the coarse layers; 1 for smooth layers, less for sampled rough ones (Theorem E4).
        degree: 1: a run of layers becomes I + sum D; 2: it also gets ((sum D)^2 - sum D^2)/2, the next term
            of their product without its commutators. The order in 1 - h/T is 2 degree + 3 (Theorem E3).

    Raises:
        DomainError: a value outside its domain, or sampling, shrink and degree without runs,
            or degree 2 of anything but the average.
    """

    anchored: bool = False
    runs: int = 0
    stride: int = 1
    sampling: Sampling = "average"
    shrink: float = 1.0
    degree: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.anchored, bool | np.bool_):
            raise DomainError(f"anchored is {self.anchored!r}; expected True or False")
        for name, low, high in (("runs", 0, None), ("stride", 1, None), ("degree", 1, 2)):
            object.__setattr__(self, name, as_integer(name, getattr(self, name), low, high))
        if not isinstance(self.sampling, str) or self.sampling not in get_args(Sampling):
            raise DomainError(
                f"sampling is {shown(self.sampling)}; expected one of {', '.join(get_args(Sampling))}"
            )
        number = isinstance(self.shrink, int | float | np.floating) and not isinstance(self.shrink, bool)
        if not number or not math.isfinite(self.shrink):
            raise DomainError(f"shrink is {self.shrink!r}; expected a finite number")
        average = (self.sampling, self.shrink) == ("average", 1.0)
        if not self.runs and not (average and self.degree == 1):
            raise DomainError("sampling, shrink and degree are about coarse layers: give runs >= 1 with them")
        if self.degree > 1 and not average:
            raise DomainError("degree 2 is about averages: leave sampling at 'average' and shrink at 1")

    def ends(self, depth: int, horizon: int, layers: Any) -> Any:
        """s for layers t, an integer or an array: the first of T, T - stride, ... at or after t + h."""
        return depth - np.maximum(depth - horizon - np.asarray(layers), 0) // self.stride * self.stride

    def blind_layers(self, depth: int, horizon: int) -> int:
        """How many layers, the first ones, have a window that ends before T."""
        return max(0, depth - horizon - self.stride + 1)


PLAIN = HorizonRule()


def as_rule(rule: object) -> HorizonRule:
    """A rule as it is given."""
    if not isinstance(rule, HorizonRule):
        raise DomainError(
            f"rule is {shown(rule)}; expected a HorizonRule, such as HorizonRule(anchored=True)"
        )
    return rule
