"""Random layers from a seed: any chunk, in any order, on any device, holds the same numbers (Theorem C)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dlinear.checks import as_choice, as_integer, as_number
from dlinear.errors import ShapeError
from dlinear.networks.deterministic import ConstantNetwork, SmoothNetwork, mean_network
from dlinear.networks.philox import Normals, scaled_normals
from dlinear.networks.philox_torch import haar, on_device, standard_normals_on
from dlinear.networks.protocol import (
    LayerPath,
    Layers,
    Scale,
    check_chunk,
    set_frozen,
)

# One stream of random numbers for each kind of ensemble: equal seeds do not make them equal.
_GAUSSIAN_STREAM, _ORTHOGONAL_STREAM = 0, 1


@dataclass(frozen=True)
class GaussianNetwork:
    """Independent Gaussian layers about an optional mean: D(t) = mean/T + rho Xi(t) (Theorem C).

    The entries of Xi(t) are independent N(0, 1/n).

    Args:
        depth: number of layers T.
        width: n.
        scale: "1/T" (the paper's) gives rho = sigma/T; "1/sqrt(T)" (standard residual scaling) gives
            rho = sigma/sqrt(T).
        sigma: size of the random part, >= 0.
        mean: None, an (n, n) matrix, or a path A(s); always divided by T.
        seed: integer in 0..2^64-1.
    """

    depth: int
    width: int
    scale: Scale = "1/T"
    sigma: float = 1.0
    mean: np.ndarray | LayerPath | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        set_frozen(self, width=as_integer("width", self.width))
        _check_random(self)
        if self.mean is not None and (mean := mean_network(self.mean, self.depth)).width != self.width:
            raise ShapeError(f"mean has width {mean.width}, the network has width {self.width}")

    def deviations(self, start: int, stop: int) -> Layers:
        """Layers start..stop-1, shape (stop - start, n, n)."""
        return self.deviations_by(scaled_normals, start, stop)

    def deviations_by(self, normals: Normals, start: int, stop: int) -> Layers:
        """`deviations` with the random numbers from another generator of the same stream."""
        start, stop = check_chunk(self, start, stop)
        factor = random_scale(self.scale, self.depth, self.sigma) / np.sqrt(self.width)
        out = _gaussian_layers(self, _GAUSSIAN_STREAM, start, stop, normals, factor)
        if self.mean is not None:
            out += mean_network(self.mean, self.depth).deviations(start, stop)
        return out

    def deviations_on(self, start: int, stop: int, device: str) -> Any:
        """`deviations` as a torch tensor, the random part generated on the device: the same to rounding."""
        start, stop = check_chunk(self, start, stop)
        factor = random_scale(self.scale, self.depth, self.sigma) / np.sqrt(self.width)
        out = _gaussian_layers_on(device, self, _GAUSSIAN_STREAM, start, stop, factor)
        if self.mean is not None:
            mean = mean_network(self.mean, self.depth)
            constant = isinstance(mean, ConstantNetwork)  # one layer stands for all: copied once
            out += on_device(mean.deviations(start, start + 1 if constant else stop), device)
        return out


@dataclass(frozen=True)
class MixedNetwork:
    """Smooth layers plus independent Gaussian ones: D(t) = path((t + 1/2)/T)/T + rho Xi(t)."""

    path: LayerPath
    depth: int
    sigma: float = 1.0
    scale: Scale = "1/T"
    seed: int = 0
    vectorized: bool = False

    def __post_init__(self) -> None:
        _check_random(self)
        set_frozen(self, vectorized=self._smooth.vectorized)  # and the path is looked at

    @property
    def _smooth(self) -> SmoothNetwork:
        return SmoothNetwork(self.path, self.depth, self.vectorized)

    @property
    def _rough(self) -> GaussianNetwork:
        return GaussianNetwork(self.depth, self.width, self.scale, self.sigma, seed=self.seed)

    @property
    def width(self) -> int:
        """Width n of every layer."""
        return self._smooth.width

    def deviations(self, start: int, stop: int) -> Layers:
        """Layers start..stop-1, shape (stop - start, n, n)."""
        return self.deviations_by(scaled_normals, start, stop)

    def deviations_by(self, normals: Normals, start: int, stop: int) -> Layers:
        """`deviations` with the random numbers from another generator of the same stream."""
        layers = self._smooth.deviations(start, stop)
        layers += self._rough.deviations_by(normals, start, stop)
        return layers

    def deviations_on(self, start: int, stop: int, device: str) -> Any:
        """`deviations` as a torch tensor, the random part generated on the device: the same to rounding."""
        layers = self._rough.deviations_on(start, stop, device)
        layers += on_device(self._smooth.deviations(start, stop), device)
        return layers


@dataclass(frozen=True)
class OrthogonalNetwork:
    """Independent orthogonal deviations: D(t) = rho Q(t), Q(t) Haar-distributed, so ||W~||_2 = sigma.

    The entries of Q have mean 0, variance 1/n and no correlation, as those of Xi in `GaussianNetwork`:
    Theorem C holds with the same constants, and Theorem A with c = sigma.
    """

    depth: int
    width: int
    scale: Scale = "1/T"
    sigma: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        set_frozen(self, width=as_integer("width", self.width))
        _check_random(self)

    def deviations(self, start: int, stop: int) -> Layers:
        """Layers start..stop-1, shape (stop - start, n, n)."""
        return self.deviations_by(scaled_normals, start, stop)

    def deviations_by(self, normals: Normals, start: int, stop: int) -> Layers:
        """`deviations` with the random numbers from another generator of the same stream."""
        start, stop = check_chunk(self, start, stop)
        q, r = np.linalg.qr(_gaussian_layers(self, _ORTHOGONAL_STREAM, start, stop, normals, 1.0))
        # The signs of R's diagonal make Q Haar and unique (Mezzadri, Notices AMS 54, 2007).
        q *= np.where(np.diagonal(r, axis1=1, axis2=2) < 0, -1.0, 1.0)[:, None, :]
        layers: Layers = q
        layers *= random_scale(self.scale, self.depth, self.sigma)
        return layers

    def deviations_on(self, start: int, stop: int, device: str) -> Any:
        """`deviations` as a torch tensor generated on the device: the same to rounding."""
        start, stop = check_chunk(self, start, stop)
        layers = haar(_gaussian_layers_on(device, self, _ORTHOGONAL_STREAM, start, stop))
        layers *= random_scale(self.scale, self.depth, self.sigma)
        return layers


def random_scale(scale: Scale, depth: int, sigma: float) -> float:
    """The factor rho of the random part: sigma/T or sigma/sqrt(T)."""
    return sigma / depth if scale == "1/T" else sigma / float(np.sqrt(depth))


def _gaussian_layers(
    net: GaussianNetwork | OrthogonalNetwork,
    stream: int,
    start: int,
    stop: int,
    normals: Normals,
    factor: float,
) -> Layers:
    size = net.width * net.width
    numbers = normals(net.seed, stream, start * size, stop * size, factor)
    layers: Layers = numbers.reshape(stop - start, net.width, net.width)
    return layers


def _gaussian_layers_on(
    device: str,
    net: GaussianNetwork | OrthogonalNetwork,
    stream: int,
    start: int,
    stop: int,
    factor: float = 1.0,
) -> Any:
    size = net.width * net.width
    numbers = standard_normals_on(device, net.seed, stream, start * size, stop * size, factor)
    return numbers.reshape(stop - start, net.width, net.width)


def _check_random(net: GaussianNetwork | MixedNetwork | OrthogonalNetwork) -> None:
    """Check what the random ensembles share, and store it as plain Python numbers."""
    as_choice("scale", net.scale, ("1/T", "1/sqrt(T)"))
    set_frozen(
        net,
        depth=as_integer("depth", net.depth),
        sigma=as_number("sigma", net.sigma),
        seed=as_integer("seed", net.seed, 0, 2**64 - 1),
    )
