"""Training and test data of the bridge as tensors, and the losses on them."""

from dlinear.bridge.data.loading import load

__all__ = ["load"]
