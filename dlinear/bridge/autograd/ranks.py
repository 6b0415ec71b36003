"""Steps of several processes (ranks): whether gradients are averaged over them, and how.

    loss = horizon_backward(blocks, x, loss_fn, h, process_group="world")    # the mean over all processes

Where torch.distributed runs with more than one process, a step has to know whether its gradients are to be
averaged: by `process_group=`, by `with process_group(...)` around it, or because every parameter that it
trains is inside DistributedDataParallel. If nothing says so, it raises. What a step does:

- its gradients are computed on each rank alone (DistributedDataParallel is told not to average, `no_sync`);
- then, once, they are added to what is in `.grad`, the sum is averaged over the group and written to `.grad`:
  steps that stayed local before it, with "none" or in `no_sync`, count too. Until then `.grad` is untouched;
- the loss that is returned is the mean over the ranks as well: decisions that depend on it (a learning rate,
  an end) come out alike everywhere. With batches of equal size both are those of the joined batch.

Buffers (running statistics of batch norm) are each rank's own, and so is the gradient of the batch x.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dlinear.bridge.autograd import rank_average
from dlinear.bridge.autograd.block_graph import tensors
from dlinear.bridge.autograd.blocks import as_stack, checked_stack
from dlinear.bridge.autograd.gradient_sum import Gradients, accumulate, added, assign, collecting
from dlinear.bridge.autograd.modules import modules_among, trainable
from dlinear.bridge.autograd.wrapped import (
    Part,
    check_group,
    check_not_sharded,
    check_not_sharded_leaves,
    said_by_wrappers,
    silenced,
)
from dlinear.errors import DomainError

__all__ = ["Group", "alone", "average", "fill", "process_group"]

LOCAL, WORLD = "none", "world"
ASK = (
    'pass process_group="world" (or a group) to average the gradients over them, or process_group="none" to '
    "keep them apart; where a function has no such argument, call it inside "
    "`with dlinear.bridge.process_group(...):`"
)
Group = Any  # None (nothing is said), "none", "world", or a torch.distributed.ProcessGroup
_said: ContextVar[Group] = ContextVar("process_group", default=None)


@contextlib.contextmanager
def process_group(group: Group) -> Iterator[None]:
    """What `process_group=` is inside, where it is not passed: "none", "world" or a group.

    Raises:
        DomainError: something else, or torch.distributed does not run.
    """
    _resolved(group)
    token = _said.set(group)
    try:
        yield
    finally:
        _said.reset(token)


@contextlib.contextmanager
def alone(what: str, group: Group, blocks: Sequence[Any] = (), *others: Any) -> Iterator[None]:
    """For what one process does by itself: a step inside is not averaged.

    Args:
        what: what is done, for the message.
        group: as it was passed.
        blocks, others: the blocks, and readout and loss.

    Raises:
        DomainError: a group was passed, or several processes run and nothing was said; sharded blocks.
    """
    group = _said.get() if group is None else group
    if _resolved(group) is not None:
        raise DomainError(f'{what} is of one process, not of a group: pass process_group="none"')
    if group is None and _size() > 1:
        raise DomainError(
            f"torch.distributed runs with {_size()} processes, and {what} is of one: "
            'pass process_group="none", or call it inside `with dlinear.bridge.process_group("none"):`'
        )
    parts = _parts(blocks, others) if _running() else []
    check_not_sharded(parts)
    with _alone(parts):
        yield


def fill(
    run: Callable[..., Tensor],
    blocks: Iterable[Any],
    x: Any,
    loss_fn: Any,
    readout: Any,
    group: Group,
) -> Tensor:
    """One step of a method: run(blocks, x, loss_fn, readout=readout) adds to `.grad`, or a group's mean does.

    Raises:
        DomainError: several processes run and nothing was said; sharded blocks; an input with a history.
        DistributedError: another rank failed, or trains other parameters.
    """

    def compute() -> tuple[Tensor, Gradients]:
        known = trainable(modules_among((*blocks, readout, loss_fn)))
        with collecting(known) as found:
            loss = run(blocks, x, loss_fn, readout=readout)
        return loss, found

    blocks = blocks if isinstance(blocks, nn.Module | Sequence) else as_stack(blocks)  # iterated twice
    with _decided(group, blocks, readout, loss_fn) as over:
        if over is None:
            return run(blocks, x, loss_fn, readout=readout)
        loss, means, own = _averaged(over, compute, (*blocks, readout, loss_fn), x, with_grad=True)
    assign(means)
    accumulate(own)
    return loss


def average(
    compute: Callable[[], tuple[Tensor, Gradients]],
    blocks: Sequence[Any],
    x: Any,
    loss_fn: Any,
    readout: Any,
    group: Group,
) -> tuple[Tensor, Gradients]:
    """compute() -> (loss, gradients), or their means over a group; `.grad` is left alone.

    Raises:
        ShapeError: no block, an x without a tensor, or something that cannot be called.
        DomainError, DistributedError: as `fill`.
    """
    blocks = checked_stack(blocks, x, loss_fn, readout)
    with _decided(group, blocks, readout, loss_fn) as over:
        if over is None:
            return compute()
        loss, means, own = _averaged(over, compute, (*blocks, readout, loss_fn), x, with_grad=False)
    return loss, means | own


@contextlib.contextmanager
def _decided(group: Group, blocks: Iterable[Any], readout: Any, loss_fn: Any) -> Iterator[Any]:
    """The group over which a step is averaged, None where it stays local; steps inside it stay local."""
    group = _said.get() if group is None else group
    over = _resolved(group)
    if not _running():
        yield None
        return
    parts = _parts(as_stack(blocks), (readout, loss_fn))
    check_not_sharded(parts)
    if over is not None:
        check_group(parts, over)
    elif group is None and _size() > 1:
        group = said_by_wrappers(parts, ASK)
        if group is None:
            raise DomainError(f"torch.distributed runs with {_size()} processes: {ASK}")
        over = _resolved(group)
    with _alone(parts):
        yield over if over is not None and dist.get_world_size(over) > 1 else None


@contextlib.contextmanager
def _alone(parts: Sequence[Part]) -> Iterator[None]:
    """Steps inside are local, also for DistributedDataParallel."""
    token = _said.set(LOCAL)
    try:
        with silenced(parts):
            yield
    finally:
        _said.reset(token)


def _averaged(
    over: Any,
    compute: Callable[[], tuple[Tensor, Gradients]],
    parts: Sequence[Any],
    x: Any,
    with_grad: bool,
) -> tuple[Tensor, Gradients, Gradients]:
    """Mean loss, mean gradients (of `.grad` and these together), and the gradients of x, which stay local."""
    parameters, inputs = trainable(modules_among(parts)), set(tensors(x))
    try:
        if any(tensor.requires_grad and not tensor.is_leaf for tensor in inputs):
            raise DomainError(
                "x has a history: what made it would be trained on this process alone; make it the first "
                "block, or pass x.detach()"
            )
        loss, found = compute()
        check_not_sharded_leaves(found)
    except Exception:
        rank_average.compare(over, parameters, failed=True)  # the others wait for this one
        raise
    known = {*parameters, *inputs}
    leaves = [*parameters, *(leaf for leaf in found if leaf not in known)]
    own = {leaf: gradient for leaf, gradient in found.items() if leaf in inputs}
    values = [added(leaf.grad if with_grad else None, found.get(leaf)) for leaf in leaves]
    rank_average.compare(over, leaves, failed=False)
    used = rank_average.used_anywhere(over, leaves, values)
    pairs = [(leaf, value) for leaf, value, yes in zip(leaves, values, used, strict=True) if yes]
    sent = [torch.zeros_like(leaf) if value is None else value for leaf, value in pairs]
    with torch.no_grad():
        means = rank_average.means(over, sent, [leaf for leaf, _ in pairs])
    mean_loss = rank_average.mean_number(over, loss)
    return mean_loss, dict(zip((leaf for leaf, _ in pairs), means, strict=True)), own


def _parts(blocks: Iterable[Any], others: Iterable[Any]) -> list[Part]:
    names = ("the readout", "the loss")
    return [
        *((f"block {t}", block) for t, block in enumerate(blocks)),
        *((name, part) for name, part in zip(names, others, strict=False) if part is not None),
    ]


def _resolved(group: Group) -> Any:
    """The group of torch.distributed that is meant, None for a step that stays local.

    Raises:
        DomainError: something else, or torch.distributed does not run.
    """
    if group is None or (isinstance(group, str) and group == LOCAL):
        return None
    named = isinstance(group, str) and group == WORLD
    if not named and not (dist.is_available() and isinstance(group, dist.ProcessGroup)):
        raise DomainError(
            f"process_group is {group!r:.60}; allowed are {WORLD!r}, {LOCAL!r} or a group of "
            "torch.distributed that this process is in"
        )
    if not _running():
        raise DomainError(
            "process_group was passed, but torch.distributed does not run: call init_process_group first"
        )
    return dist.group.WORLD if named else group


def _running() -> bool:
    return dist.is_available() and dist.is_initialized()


def _size() -> int:
    return dist.get_world_size() if _running() else 1
