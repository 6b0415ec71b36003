"""Training and test data of the bridge as tensors, and the losses on them."""

from dlinear.bridge.data.loading import from_arrays, load

__all__ = ["from_arrays", "load"]
