"""A step on a CUDA device recorded once and replayed: hundreds of small kernels by one launch.

Forward-forward runs many small operations a layer, so that a step takes the time of launching them, which
grows neither with the batch nor with the layers. Recorded, they are launched together. What is recorded is
the gradient of a batch, `.grad` from nothing: the same kernels on the same memory. Random numbers come from
the device's default generator, which a replay moves on as the step would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

__all__ = ["RecordedStep"]

WARM_UP = 3  # steps before the recording, for libraries that set themselves up in their first call


class RecordedStep:
    """Called as (x, y) -> loss; the loss and the gradients are overwritten by the next call.

    Args:
        step: (x, y) -> loss, detached; fills `.grad`, which holds nothing before. It must not wait for the
            device.
        x, y: a batch on the device; others have its shapes and types.
        parameters: those that the step trains. Between two calls their `.grad` must not be replaced.
        buffers: what else the step changes in place; the warm-up leaves it and random numbers as they were.
    """

    def __init__(
        self,
        step: Callable[[Tensor, Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        parameters: Iterable[Tensor],
        buffers: Iterable[Tensor],
    ) -> None:
        self._x, self._y = x.clone(), y.clone()
        leaves, changed, device = list(parameters), list(buffers), x.device
        before, generator = [buffer.clone() for buffer in changed], torch.cuda.get_rng_state(device)
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                _forget(leaves)
                step(self._x, self._y)
        torch.cuda.current_stream(device).wait_stream(side)
        for buffer, value in zip(changed, before, strict=True):
            buffer.copy_(value)
        torch.cuda.set_rng_state(generator, device)
        _forget(leaves)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._loss = step(self._x, self._y)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """One step on this batch."""
        self._x.copy_(x)
        self._y.copy_(y)
        self._graph.replay()
        return self._loss


def _forget(leaves: Iterable[Tensor]) -> None:
    for leaf in leaves:
        leaf.grad = None
