"""Models as stacks of blocks with a readout, by name (`model`)."""

from dlinear.bridge.models.deep import DeepStack, FourierPath
from dlinear.bridge.models.registry import NAMES, model
from dlinear.bridge.models.stack import Stack, TaskShape

__all__ = ["NAMES", "DeepStack", "FourierPath", "Stack", "TaskShape", "model"]
