"""All horizons at once against each horizon by itself, on a sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from dlinear.engine.alignment import alignment
from dlinear.engine.angle import AlignmentProfile
from dlinear.engine.options import Engine
from dlinear.networks.protocol import Network


@dataclass(frozen=True)
class SampleCheck:
    """Relative differences of sin^2 between two ways to compute it.

    Attributes:
        horizons: h of the sample.
        errors: |sin^2 / (sin^2 by itself) - 1|; 0 where both are 0 or undefined, infinite where one is.
    """

    horizons: Int[np.ndarray, " k"]
    errors: Float[np.ndarray, " k"]

    @property
    def worst(self) -> float:
        """The largest error."""
        return float(self.errors.max())


def check_against_direct(
    net: Network,
    phi: np.ndarray,
    profile: AlignmentProfile,
    samples: int = 16,
    engine: Engine | None = None,
) -> SampleCheck:
    """Compute about `samples` horizons of a profile again, one by one, at shortfalls evenly spaced in log m.

    Args:
        net: the network of the profile.
        phi: its target, (n, n).
        profile: from `alignment(net, phi, "all")`, or any other.
        samples: largest number of horizons; those that round to the same shortfall count once.
        engine: as in `alignment`.
    """
    order = np.argsort(profile.shortfall, kind="stable")
    sorted_shortfall = profile.shortfall[order]
    wanted = np.geomspace(max(1, sorted_shortfall[0]), max(1, sorted_shortfall[-1]), samples)
    places = np.searchsorted(sorted_shortfall, np.round(wanted))
    chosen = order[np.unique(np.minimum(places, len(order) - 1))]
    horizons = profile.horizons[chosen]
    want = alignment(net, phi, horizons, undefined="nan", engine=engine).sin2
    got = profile.sin2[chosen]
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(same, 0.0, np.abs(got / want - 1))
    return SampleCheck(horizons, np.where(np.isnan(errors), np.inf, errors))
