"""Models as stacks of blocks with a readout, by name (`model`).

One file for each kind of model; it ends with BUILDERS, its builders by name, which the registry collects.
"""

from dlinear.bridge.models.deep import DeepStack, FourierPath
from dlinear.bridge.models.registry import NAMES, model, register
from dlinear.bridge.models.stack import Stack, TaskShape

__all__ = ["NAMES", "DeepStack", "FourierPath", "Stack", "TaskShape", "model", "register"]
