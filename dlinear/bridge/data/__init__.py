"""Training and test data of the bridge as tensors, and the losses on them."""

from dlinear.bridge.data import load

__all__ = ["load"]
