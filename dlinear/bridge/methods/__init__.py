"""Every way to fill `.grad`, by name: `method("horizon-4")(blocks, x, loss_fn, readout)`."""

from dlinear.bridge.methods.registry import NAMES, Method, method

__all__ = ["NAMES", "Method", "method"]
