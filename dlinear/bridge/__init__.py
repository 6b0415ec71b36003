"""Horizon gradients for real torch models: drop-in training step, alignment, models, trainer, meters.

    from dlinear.bridge import horizon_backward
    loss = horizon_backward(blocks, x, loss_fn, horizon=h, readout=readout)   # instead of loss.backward()

The rest of the library never imports this package, so that `import dlinear` needs no torch.
"""

from __future__ import annotations

from dlinear.bridge.angles.alignment import alignment
from dlinear.bridge.angles.forward import alignment_forward
from dlinear.bridge.angles.forward_alignment import ForwardAlignment
from dlinear.bridge.angles.kahan import angle
from dlinear.bridge.autograd.ranks import process_group
from dlinear.bridge.check import check_model
from dlinear.bridge.data import load
from dlinear.bridge.data.losses import Supervised
from dlinear.bridge.meters import fit_memory, step_calls, step_memory, step_times
from dlinear.bridge.methods.base import Method
from dlinear.bridge.methods.horizon import horizon_backward, horizon_gradients
from dlinear.bridge.methods.registry import method
from dlinear.bridge.models import Stack, TaskShape, model
from dlinear.bridge.training.trainer import HorizonSchedule, Run, Training, train

__all__ = [
    "ForwardAlignment",
    "HorizonSchedule",
    "Method",
    "Run",
    "Stack",
    "Supervised",
    "TaskShape",
    "Training",
    "alignment",
    "alignment_forward",
    "angle",
    "check_model",
    "fit_memory",
    "horizon_backward",
    "horizon_gradients",
    "load",
    "method",
    "model",
    "process_group",
    "step_calls",
    "step_memory",
    "step_times",
    "train",
]


def __dir__() -> list[str]:
    """What is exported, and the module's own names: not what happens to have been imported."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
