"""A laboratory for horizon-truncated learning in deep linear networks: prove it, simulate it, bridge it.

Importing this needs numpy alone: the modules that use scipy, sympy, python-flint, matplotlib or torch import
them when a function is called.
"""

from dlinear import errors, selection
from dlinear.analysis.decay import DecayFit, fit_decay
from dlinear.data import datasets
from dlinear.data.tasks import Task, whitened_task
from dlinear.engine import Engine, HorizonRule
from dlinear.engine.alignment import alignment
from dlinear.engine.angle import AlignmentProfile
from dlinear.engine.gradients import horizon_gradients
from dlinear.networks import (
    ConstantNetwork,
    DenseNetwork,
    GaussianNetwork,
    MixedNetwork,
    Network,
    OrthogonalNetwork,
    SmoothNetwork,
)
from dlinear.theory import bounds, costs, limits, scalar

__version__ = "0.1.0"

__all__ = [
    "AlignmentProfile",
    "ConstantNetwork",
    "DecayFit",
    "DenseNetwork",
    "Engine",
    "GaussianNetwork",
    "HorizonRule",
    "MixedNetwork",
    "Network",
    "OrthogonalNetwork",
    "SmoothNetwork",
    "Task",
    "alignment",
    "bounds",
    "costs",
    "datasets",
    "errors",
    "fit_decay",
    "horizon_gradients",
    "limits",
    "scalar",
    "selection",
    "whitened_task",
]


def __dir__() -> list[str]:
    """What is exported, and the module's own names: not what happens to have been imported."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
