"""Every way to fill `.grad`, by name: `method("horizon-4")(blocks, x, loss_fn, readout)`.

One file for each family of methods; it ends with FAMILIES, its records, which the registry collects.
"""

from dlinear.bridge.methods.base import Family, Method, Predicted
from dlinear.bridge.methods.registry import NAMES, method, register

__all__ = ["NAMES", "Family", "Method", "Predicted", "method", "register"]
