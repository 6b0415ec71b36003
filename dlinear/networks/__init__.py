"""Deep linear networks, layer by layer: arrays in memory, deterministic, or random from a seed."""

from dlinear.networks.deterministic import ConstantNetwork, DenseNetwork, SmoothNetwork, cosine_path
from dlinear.networks.ensembles import GaussianNetwork, MixedNetwork, OrthogonalNetwork
from dlinear.networks.protocol import Network

__all__ = [
    "ConstantNetwork",
    "DenseNetwork",
    "GaussianNetwork",
    "MixedNetwork",
    "Network",
    "OrthogonalNetwork",
    "SmoothNetwork",
    "cosine_path",
]
