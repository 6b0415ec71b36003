"""Horizon gradients for real torch models: drop-in training step, alignment, models, trainer, meters.

The rest of the library never imports this package, so that `import dlinear` needs no torch.
"""

from __future__ import annotations

from dlinear.bridge.alignment import alignment
from dlinear.bridge.horizon import horizon_backward, horizon_gradients

__all__ = ["alignment", "horizon_backward", "horizon_gradients"]
