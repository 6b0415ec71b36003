"""A small graph with labelled nodes, generated: communities of the stochastic block model.

Two of the N nodes are joined with the probability INSIDE/N if they are of one class, else BETWEEN/N. The
features of a node are Gaussian noise of mean square length 1 around the mean of its class, of length SIGNAL.
With the numbers below the features alone do not tell the classes apart; with those of the neighbours they do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlinear.checks import as_integer, in_short

NODES, CLASSES, FEATURES = 240, 4, 16
INSIDE, BETWEEN = 16.0, 3.2  # mean degree (16 + 3 * 3.2)/4 = 6.4
SIGNAL = 0.4  # length of the mean of a class
STREAM = 105  # of the draws


@dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """An undirected graph, its features and labels.

    Attributes:
        propagation: (N, N) float64, D^(-1/2) (A + I) D^(-1/2), D the degrees of A + I; symmetric.
        features: (N, F) float64.
        labels: (N,) int64.
    """

    propagation: NDArray[np.float64]
    features: NDArray[np.float64]
    labels: NDArray[np.int64]

    __repr__ = in_short


def communities(seed: int = 0) -> Graph:
    """The graph of the data set "communities"; the same seed gives the same one.

    Args:
        seed: an integer of at least 0.

    Raises:
        DomainError: another seed.
    """
    draw = np.random.default_rng([as_integer("seed", seed, 0), STREAM])
    labels = np.arange(NODES, dtype=np.int64) % CLASSES
    chance = np.where(labels[:, None] == labels, INSIDE, BETWEEN) / NODES
    upper = np.triu(draw.random((NODES, NODES)) < chance, 1)
    joined = (upper | upper.T | np.eye(NODES, dtype=bool)).astype(np.float64)
    scale = joined.sum(1) ** -0.5
    means = draw.normal(size=(CLASSES, FEATURES))
    means *= SIGNAL / np.linalg.norm(means, axis=1, keepdims=True)
    features = means[labels] + draw.normal(scale=FEATURES**-0.5, size=(NODES, FEATURES))
    return Graph(scale[:, None] * joined * scale, features, labels)
