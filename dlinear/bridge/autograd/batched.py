"""Several signals through one segment at once: torch's `is_grads_batched`, one call for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.graph_history import Signal
from dlinear.errors import DomainError


def through(top: BlockGraph, bottom: BlockGraph, signals: Sequence[Signal]) -> list[Signal]:
    """Signals at the outputs of a block, taken to the inputs of one before it in the same graph.

    The sums of a batch are rounded otherwise than those of one signal at a time.

    Raises:
        DomainError: an operation of a block cannot take several signals.
    """
    places = [i for i, edge in enumerate(top.outputs) if edge is not None]
    known = [[signal[i] is not None for i in places] for signal in signals]
    if top.gate is not None or any(one != known[0] for one in known):
        return [top.vjp(signal, (), True, first=bottom)[0] for signal in signals]
    places = [i for i, some in zip(places, known[0], strict=True) if some]
    leave = [edge for edge in bottom.inputs if edge is not None]
    if not places or not leave:
        return [[None] * len(bottom.inputs) for _ in signals]
    stacked = [torch.stack([_tensor(signal[i]) for signal in signals]) for i in places]
    try:
        found = torch.autograd.grad(
            [top.outputs[i] for i in places],  # type: ignore[arg-type]
            leave,
            stacked,
            retain_graph=True,
            allow_unused=True,
            is_grads_batched=True,
        )
    except (RuntimeError, NotImplementedError) as error:
        text = " ".join(str(error).split())[:120]
        raise DomainError(
            f"{bottom.name}, or what follows it, cannot take several signals at once ({text}): leave out "
            "batched=True"
        ) from error
    arrived = iter(found)
    before = [next(arrived) if edge is not None else None for edge in bottom.inputs]
    return [[None if part is None else part[k] for part in before] for k in range(len(signals))]


def _tensor(signal: Tensor | None) -> Tensor:
    assert signal is not None
    return signal
