"""What a public object prints fits on a line, whatever arrays it carries."""

import importlib

import numpy as np
import pytest
import torch

import dlinear
from dlinear.bridge.data.loading import LoadedSplit
from dlinear.data import graphs
from dlinear.data.datasets import Dataset

IMAGES, LABELS = np.zeros((40, 8, 8), np.uint8), np.zeros(40, np.uint8)
TENSOR = torch.zeros(40, 1, 8, 8)
OBJECTS = {
    "task": (
        dlinear.whitened_task(np.random.default_rng(0).normal(size=(50, 6)), np.arange(50) % 3, 4),
        "Task(phi=float64(4, 4), x=float64(50, 4), y=float64(50, 4))",
    ),
    "split": (
        LoadedSplit("own", TENSOR, torch.zeros(40, 2), TENSOR[:3], torch.zeros(3, 2), None, "ab"),
        "LoadedSplit(name='own', x_train=float32(40, 1, 8, 8), y_train=float32(40, 2), "
        "x_test=float32(3, 1, 8, 8), y_test=float32(3, 2), classes=None, digest='ab')",
    ),
    "data set": (
        Dataset("own", IMAGES, LABELS, IMAGES[:2], LABELS[:2]),
        "Dataset(name='own', x_train=uint8(40, 8, 8), y_train=uint8(40), x_test=uint8(2, 8, 8), "
        "y_test=uint8(2))",
    ),
    "graph": (
        graphs.communities(),
        "Graph(propagation=float64(240, 240), features=float64(240, 16), labels=int64(240))",
    ),
    "constant network": (
        dlinear.ConstantNetwork(np.eye(30), 100),
        "ConstantNetwork(matrix=float64(30, 30), depth=100)",
    ),
}


@pytest.mark.parametrize(("x", "text"), OBJECTS.values(), ids=OBJECTS)
def test_arrays_are_printed_by_type_and_shape(x, text):
    assert repr(x) == text


@pytest.mark.parametrize("module", ["dlinear", "dlinear.bridge"])
def test_a_package_lists_what_it_exports(module):
    package = importlib.import_module(module)
    listed = dir(package)
    assert {name for name in listed if not name.startswith("__")} == set(package.__all__)
    assert all(hasattr(package, name) for name in listed)
