"""The depth-scalable residual network: T blocks of equal width n, x(t + 1) = x(t) + rho act(W_t x(t)).

rho = 1/T (the paper's scaling) or 1/sqrt(T) (standard residual scaling). The layers start as

    rho W_t = A((t + 1/2)/T)/T + sigma rho Xi_t,

which with the identity for activation is D(t) of Theorems B and C:

- smooth: A a fixed random path, independent of T (`FourierPath`), no Xi;
- rough: Xi_t i.i.d. with Gaussian entries of variance 1/n, no A;
- mixed: both.

A, where there is one, is divided by T under either scaling, as in `dlinear.MixedNetwork`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlinear.bridge.models.readouts import ReadoutKind, check_readout, vector_readout
from dlinear.bridge.models.seeding import EMBEDDING, PATH, semi_orthogonal
from dlinear.bridge.models.stack import Stack, TaskShape
from dlinear.checks import as_integer, shown
from dlinear.errors import DomainError, ShapeError
from dlinear.networks.deterministic import SmoothNetwork
from dlinear.networks.ensembles import GaussianNetwork, MixedNetwork, random_scale
from dlinear.networks.protocol import Network, Scale

Activation = Literal["identity", "tanh", "relu", "gelu"]
LayerKind = Literal["smooth", "rough", "mixed"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda z: z,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
}


@dataclass(frozen=True)
class FourierPath:
    """A(s) = sum_k w_k (C_k cos(pi k s) + S_k sin(pi k s)), k = 0..modes, s in [0, 1].

    C_k and S_k have independent Gaussian entries of variance 1/n and the squares of w_k, which fall like
    1/(1 + k)^2, add up to 1: every entry of A(s) has variance 1/n over the seeds, at every s.

    Attributes:
        width: n.
        seed: the same seed gives the same path, whatever the depth.
        modes: the highest k; few of them, so that T = 50 layers resolve the path.
    """

    width: int
    seed: int
    modes: int = 2

    def __call__(self, s: Any) -> NDArray[np.float64]:
        """A at s: a number gives (n, n), an array (k,) gives (k, n, n)."""
        k = np.arange(self.modes + 1)
        weight = 1.0 / (1.0 + k)
        weight /= np.linalg.norm(weight)
        draw = np.random.default_rng([self.seed, PATH, self.width])
        cosine, sine = draw.normal(scale=self.width**-0.5, size=(2, len(k), self.width, self.width))
        position = np.asarray(s, dtype=np.float64)[..., None, None]
        path = np.zeros((*np.shape(s), self.width, self.width))
        for j, w in enumerate(
            weight
        ):  # no matrix product, whose rounding would depend on how many s there are
            path += w * (np.cos(np.pi * j * position) * cosine[j] + np.sin(np.pi * j * position) * sine[j])
        return path


class DeepBlock(nn.Module):
    """x + rho act(W x); the first block of a network also applies a fixed input map."""

    embedding: Tensor | None

    def __init__(self, weight: Tensor, rho: float, activation: Activation, embedding: Tensor | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.rho, self.activation = rho, activation
        self.register_buffer("embedding", embedding)

    def forward(self, x: Tensor) -> Tensor:
        """(N, n), or what the input map takes, to (N, n)."""
        x = x.flatten(1)
        if self.embedding is not None:
            x = nn.functional.linear(x, self.embedding)
        return x + self.rho * ACTIVATIONS[self.activation](nn.functional.linear(x, self.weight))

    def extra_repr(self) -> str:
        """Shown by print."""
        return f"width={self.weight.shape[0]}, rho={self.rho:.4g}, activation={self.activation}"


class DeepStack(Stack):
    """A `Stack` of `DeepBlock`s, with the network of the theory from which its weights started.

    Attributes:
        network: the `dlinear` network whose deviations are rho W_t at the start.
    """

    def __init__(self, blocks: list[DeepBlock], readout: nn.Module, network: Network) -> None:
        super().__init__(blocks, readout)
        self.network = network

    def deviations(self) -> NDArray[np.float64]:
        """rho W_t as they are now, (T, n, n) float64: with the identity for activation W(t) = I + these.

        Raises:
            DomainError: another activation; its blocks are not matrices.
        """
        layers: list[NDArray[np.float64]] = []
        for block in self.blocks:
            if not isinstance(block, DeepBlock) or block.activation != "identity":
                raise DomainError(f"only the identity activation makes linear layers, not {block!r}")
            layers.append(block.weight.detach().double().cpu().numpy() * block.rho)
        return np.stack(layers)


def deep(
    task: TaskShape,
    seed: int,
    *,
    depth: int = 64,
    width: int = 64,
    activation: Activation = "tanh",
    layers: LayerKind = "rough",
    scale: Scale = "1/T",
    sigma: float = 1.0,
    path: Callable[[Any], NDArray[np.float64]] | None = None,
    readout: ReadoutKind = "fixed",
) -> DeepStack:
    """The network above.

    Inputs of n values enter as they are. Others (images are flattened) pass a fixed semi-orthogonal matrix,
    drawn from the seed, a buffer of the first block: with fewer values an isometry, with more a projection.

    Args:
        task: sizes of the inputs and outputs.
        seed: of the layers, the path, the input map and the readout.
        depth: T.
        width: n.
        activation: "identity", "tanh", "relu" or "gelu".
        layers: "smooth", "rough" or "mixed".
        scale: "1/T" or "1/sqrt(T)", which is rho.
        sigma: size of the rough part, >= 0.
        path: A(s) for arrays of s; `FourierPath(width, seed)` when None. Rough layers have none.
        readout: "fixed" (nothing trained; the identity when there are n outputs), "shared" or "exits".

    Raises:
        DomainError: an unknown name or a number outside its range.
        ShapeError: a path of another width.
    """
    check_readout(readout)
    for name, value, allowed in (
        ("activation", activation, tuple(ACTIVATIONS)),
        ("layers", layers, ("smooth", "rough", "mixed")),
        ("scale", scale, ("1/T", "1/sqrt(T)")),
    ):
        if not isinstance(value, str) or value not in allowed:
            raise DomainError(f"{name} must be one of {', '.join(allowed)}, not {shown(value)}")
    width = as_integer("width", width)
    if layers == "rough" and path is not None:
        raise DomainError("rough layers have no path: leave it None, or choose layers 'mixed'")
    network = _network(depth, width, layers, scale, sigma, path or FourierPath(width, seed), seed)
    rho = random_scale(scale, network.depth, 1.0)
    weights = torch.from_numpy(network.deviations(0, network.depth) / rho)
    embedding = None if task.features == width else semi_orthogonal(width, task.features, seed, EMBEDDING)
    blocks = [DeepBlock(w.clone(), rho, activation, None if t else embedding) for t, w in enumerate(weights)]
    return DeepStack(blocks, vector_readout(readout, [width] * len(blocks), task.outputs, seed), network)


def _network(
    depth: int, width: int, layers: LayerKind, scale: Scale, sigma: float, path: Any, seed: int
) -> Network:
    if layers == "rough":
        return GaussianNetwork(depth=depth, width=width, scale=scale, sigma=sigma, seed=seed)
    if layers == "smooth":
        network: Network = SmoothNetwork(path, depth=depth, vectorized=True)
    else:
        network = MixedNetwork(path, depth=depth, sigma=sigma, scale=scale, seed=seed, vectorized=True)
    if network.width != width:
        raise ShapeError(f"the path has width {network.width}, the model has width {width}")
    return network


BUILDERS = {"deep": deep}
