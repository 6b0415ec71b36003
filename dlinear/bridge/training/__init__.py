"""Train a stack by any method, resume after any interruption."""

from dlinear.bridge.training.metrics import Run
from dlinear.bridge.training.settings import SETTINGS, Setting, Training, setting
from dlinear.bridge.training.trainer import train

__all__ = ["SETTINGS", "Run", "Setting", "Training", "setting", "train"]
