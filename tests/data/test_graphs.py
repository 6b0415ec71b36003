"""The generated graph: its law, its propagation matrix, and that neither features nor edges say all."""

import numpy as np
import pytest

from dlinear.data import graphs
from dlinear.data.graphs import communities
from dlinear.errors import DomainError


def test_the_propagation_is_the_normalised_adjacency():
    found = communities()
    joined = found.propagation > 0
    assert np.array_equal(joined, joined.T)
    assert joined.diagonal().all()
    degrees = joined.sum(1)
    assert np.allclose(found.propagation, joined / np.sqrt(np.outer(degrees, degrees)), rtol=1e-14)
    assert np.abs(np.linalg.eigvalsh(found.propagation)).max() == pytest.approx(1, abs=1e-12)


def test_edges_and_features_follow_the_stated_law():
    """Over 30 graphs: degrees inside and between the classes, lengths of the means and of the noise."""
    inside, between, noise = [], [], []
    for seed in range(30):
        found = communities(seed)
        same = found.labels[:, None] == found.labels
        joined = (found.propagation > 0) & ~np.eye(graphs.NODES, dtype=bool)
        inside.append((joined & same).sum() / graphs.NODES)
        between.append((joined & ~same).sum() / graphs.NODES)
        means = np.stack([found.features[found.labels == k].mean(0) for k in range(graphs.CLASSES)])
        noise.append(np.square(found.features - means[found.labels]).sum(1).mean())
    assert np.mean(inside) == pytest.approx(graphs.INSIDE / 4 * 59 / 60, rel=0.05)
    assert np.mean(between) == pytest.approx(graphs.BETWEEN * 3 / 4, rel=0.05)
    assert np.mean(noise) == pytest.approx(59 / 60, rel=0.02)


def test_the_seed_determines_the_graph():
    one, again, other = communities(3), communities(3), communities(4)
    assert np.array_equal(one.features, again.features)
    assert np.array_equal(one.propagation, again.propagation)
    assert not np.array_equal(one.propagation, other.propagation)
    with pytest.raises(DomainError, match="seed is -1; expected an integer >= 0"):
        communities(-1)


def test_neighbours_help():
    """The class mean nearest in angle, without the node itself: propagation makes more of them right."""
    found = communities()
    onehot = np.eye(graphs.CLASSES)[found.labels]

    def right(x):
        x = x - x.mean(0)
        others = (onehot.T @ x)[None] - onehot[:, :, None] * x[:, None]  # (N, classes, F)
        return np.mean(np.einsum("icf,if->ic", others, x).argmax(1) == found.labels)

    smooth = found.propagation @ found.propagation @ found.features
    assert right(found.features) < 0.75 < 0.85 < right(smooth)
