"""Layers of random signs: D(t) = sigma S(t)/(T sqrt(n)), entries of S(t) independent, +1 or -1 equally often.

They have mean 0 and variance sigma^2/(n T^2), as those of `dlinear.GaussianNetwork`: Theorem C holds with the
same constants. An object with `depth`, `width` and `deviations` is a network; the engine asks for no more.
"""

from dataclasses import dataclass

import numpy as np

from dlinear.checks import as_integer, as_number
from dlinear.networks.philox import standard_normals
from dlinear.networks.protocol import Layers, check_chunk, set_frozen

STREAM = 1000  # which random numbers belong to this ensemble: a number that no other one uses


@dataclass(frozen=True)
class SignNetwork:
    """Independent layers of random signs.

    Args:
        depth: number of layers T.
        width: n.
        sigma: size of the layers, >= 0.
        seed: integer in 0..2^64-1.
    """

    depth: int
    width: int
    sigma: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:  # refuse nonsense here, where the user can see what it was
        set_frozen(self, depth=as_integer("depth", self.depth), width=as_integer("width", self.width))
        set_frozen(
            self, sigma=as_number("sigma", self.sigma), seed=as_integer("seed", self.seed, 0, 2**64 - 1)
        )

    def deviations(self, start: int, stop: int) -> Layers:
        """Layers start..stop-1, shape (stop - start, n, n): the same numbers in any chunk."""
        start, stop = check_chunk(self, start, stop)
        size = self.width**2
        normals = standard_normals(self.seed, STREAM, start * size, stop * size)  # by position, not in turn
        signs = np.where(normals < 0, -1.0, 1.0).reshape(stop - start, self.width, self.width)
        layers: Layers = signs * (self.sigma / (self.depth * np.sqrt(self.width)))
        return layers
