"""Many networks of one shape that are trained together: what is given, checked, as arrays.

B networks are the pairs of H horizons and S starts (seeds), in that order: network b = i S + j has horizon i
and start j.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlinear.checks import as_floats, as_horizons, shown
from dlinear.engine.rule import HorizonRule, as_rule
from dlinear.errors import DomainError, NonFiniteError, ShapeError
from dlinear.networks.protocol import Network, read_layers

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """What is trained: the starts of H x S networks, their targets, horizons and rule.

    Attributes:
        layers: deviations D(t) at the start, (B, T, n, n).
        phi: the target of each network, (B, n, n).
        horizon: h of each network, (B,).
        horizons: the H horizons, as asked for.
        starts: S.
        rule: which signal reaches a layer.
    """

    layers: Floats
    phi: Floats
    horizon: NDArray[np.int64]
    horizons: NDArray[np.int64]
    starts: int
    rule: HorizonRule

    @property
    def depth(self) -> int:
        """T."""
        return int(self.layers.shape[1])

    def grid(self, values: Floats) -> Floats:
        """Values of the networks, (B, ...), as (H, S, ...)."""
        return values.reshape(len(self.horizons), self.starts, *values.shape[1:])


def as_problem(nets: Any, phi: Any, horizons: object, rule: object) -> Problem:
    """The arguments of a training as arrays.

    Raises:
        ShapeError: nets that are no networks or not of one shape, or phi that is not (n, n) or (S, n, n).
        NonFiniteError: NaN or infinity in the layers or in phi.
        HorizonError, DomainError: horizons outside 1..T, no rule.
    """
    rule = as_rule(rule)
    given = [nets] if isinstance(nets, Network) else nets
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise ShapeError(f"nets is {shown(nets)}; expected a network or a list of networks of one shape")
    some = list(given)
    if not some or not all(isinstance(net, Network) for net in some):
        raise ShapeError(f"nets is {shown(some)}; expected a network or a list of networks of one shape")
    shapes = {(net.depth, net.width) for net in some}
    if len(shapes) > 1:
        raise ShapeError(f"nets have (depth, width) {sorted(shapes)}; expected networks of one shape")
    layers = np.stack([read_layers(net, 0, net.depth) for net in some])
    if not np.isfinite(layers).all():
        raise NonFiniteError("a layer of nets holds NaN or infinity")
    asked = as_horizons(horizons, some[0].depth)
    if len(set(asked.tolist())) < len(asked):
        raise DomainError(f"horizons is {shown(asked.tolist())}; expected each horizon once")
    targets = _targets(phi, len(some), some[0].width)
    count = len(asked)
    return Problem(
        np.tile(layers, (count, 1, 1, 1)),
        np.tile(targets, (count, 1, 1)),
        np.repeat(asked, len(some)),
        asked,
        len(some),
        rule,
    )


def _targets(phi: Any, starts: int, n: int) -> Floats:
    """(S, n, n) from one target or one for each start."""
    values = as_floats("phi", phi, f"real ({n}, {n}) or ({starts}, {n}, {n})", ShapeError)
    if values.shape not in ((n, n), (starts, n, n)):
        raise ShapeError(f"phi has shape {values.shape}; expected ({n}, {n}) or ({starts}, {n}, {n})")
    if not np.isfinite(values).all():
        raise NonFiniteError("phi holds NaN or infinity")
    targets: Floats = np.broadcast_to(values, (starts, n, n))
    return targets
