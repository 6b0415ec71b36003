"""One call of torch's engine for a vector-Jacobian product, without the checks of `torch.autograd.grad`.

`torch.autograd.grad` spends about 25 us on its arguments, as long as the engine takes for a small block. What
it looks at is known here: the roots are edges or a scalar, the signals have their shapes. What it does for
backward threads of a device is done for one; where torch's inner functions are not as expected, or a tensor
overrides torch's functions, it is called itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Variable, graph
from torch.autograd.graph import GradientEdge
from torch.overrides import has_torch_function

_inner: Any = getattr(graph, "_engine_run_backward", None)
_direct: Any = getattr(getattr(Variable, "_execution_engine", None), "run_backward", None)
if (
    _inner is None
    or _direct is None
    or tuple(inspect.signature(_inner).parameters) != ("t_outputs", "args", "kwargs")
):
    _inner = None


def gradients(
    roots: Sequence[GradientEdge | Tensor],
    inputs: Sequence[GradientEdge | Tensor],
    signals: Sequence[Tensor],
    keep: bool = True,
) -> tuple[Tensor | None, ...]:
    """sum over roots of signal^T d(root)/d(input), for each input; None where no path leads to it.

    Args:
        roots: where gradients enter.
        inputs: edges of inner tensors, or leaves; at least one.
        signals: the gradient with respect to each root, of its shape.
        keep: whether the graph can be used again.
    """
    if _inner is not None and not has_torch_function((*inputs, *signals)):
        call = _direct if signals[0].is_cpu else _inner
        found: tuple[Tensor | None, ...] = call(
            tuple(roots), tuple(signals), keep, False, tuple(inputs), True, accumulate_grad=False
        )
        return found
    return torch.autograd.grad(
        roots,  # type: ignore[arg-type]
        inputs,  # type: ignore[arg-type] # both kinds at once are fine
        signals,
        retain_graph=keep,
        allow_unused=True,
    )
