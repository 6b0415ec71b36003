"""What torch.distributed has wrapped around the parts of a step: data-parallel modules, sharded ones."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dlinear.bridge.autograd.modules import modules_among, trainable
from dlinear.errors import DomainError

Part = tuple[str, Any]  # what a message calls a block, readout or loss, and itself


def check_not_sharded(parts: Sequence[Part]) -> None:
    """Refuse parts whose parameters are spread over processes, or averaged by hooks that a step passes by.

    Raises:
        DomainError: FullyShardedDataParallel, fully_shard, DTensor parameters or replicate.
    """
    sharded = _classes("torch.distributed.fsdp", "FullyShardedDataParallel", "FSDPModule")
    for name, part in parts:
        for module in (m for top in modules_among((part,)) for m in top.modules()):
            if isinstance(module, sharded):
                raise DomainError(_sharded(name, "(fully_shard or FullyShardedDataParallel)"))
            if "replicate" in _applied(module):
                raise DomainError(
                    f"{name} is averaged by torch's replicate, whose hooks see no gradient here: pass the "
                    "module as it was, with process_group="
                )
            if any(isinstance(parameter, _dtensors()) for parameter in module.parameters(recurse=False)):
                raise DomainError(_sharded(name, "(DTensor)"))


def check_not_sharded_leaves(leaves: Iterable[Tensor]) -> None:
    """The same of the tensors that received a gradient, wherever they are kept.

    Raises:
        DomainError: a DTensor.
    """
    for leaf in leaves:
        if isinstance(leaf, _dtensors()):
            raise DomainError(_sharded(f"a trained tensor of shape {tuple(leaf.shape)}", "(DTensor)"))


def said_by_wrappers(parts: Sequence[Part], ask: str) -> Any:
    """The group that DistributedDataParallel around everything trained averages over; None without any.

    Inside `no_sync` it is "none": the step stays local.

    Raises:
        DomainError: some trained part is not inside one, or they differ from each other.
    """
    wrappers = _wrappers(parts)
    if not wrappers:
        return None
    inside = {p for _, wrapper in wrappers for p in wrapper.parameters()}
    for name, part in parts:
        if any(p not in inside for p in trainable(modules_among((part,)))):
            raise DomainError(
                f"{name} is trained outside of DistributedDataParallel, which is around other parts: {ask}"
            )
    first = wrappers[0][1]
    for name, wrapper in wrappers:
        if wrapper.process_group is not first.process_group:
            raise DomainError(f"{name} is wrapped for another process group than {wrappers[0][0]}: {ask}")
        if wrapper.require_backward_grad_sync is not first.require_backward_grad_sync:
            raise DomainError(f"{name} is inside no_sync() or not, unlike {wrappers[0][0]}: {ask}")
    if not first.require_backward_grad_sync:
        return "none"
    check_group(parts, first.process_group)
    return first.process_group


def check_group(parts: Sequence[Part], group: Any) -> None:
    """Refuse wrappers that would average otherwise than over this group.

    Raises:
        DomainError: one for another group, or with settings of its own that a step does not follow.
    """
    for name, wrapper in _wrappers(parts):
        if wrapper.process_group is not group:
            raise DomainError(
                f"{name} is wrapped by DistributedDataParallel for another group than process_group="
            )
        own = {
            "a communication hook": getattr(wrapper, "_comm_hooks", None),
            "mixed_precision": getattr(wrapper, "mixed_precision", None),
            "parameters to ignore": getattr(wrapper, "parameters_to_ignore", None),
        }
        for what, value in own.items():
            if value:
                raise DomainError(
                    f"{name} is wrapped by DistributedDataParallel with {what}, which a step does not "
                    "follow: pass the module as it was, with process_group="
                )


@contextlib.contextmanager
def silenced(parts: Sequence[Part]) -> Iterator[None]:
    """DistributedDataParallel does not average inside."""
    with contextlib.ExitStack() as stack:
        for _, wrapper in _wrappers(parts):
            stack.enter_context(wrapper.no_sync())
        yield


def _wrappers(parts: Sequence[Part]) -> list[tuple[str, DistributedDataParallel]]:
    return [
        (name, module)
        for name, part in parts
        for top in modules_among((part,))
        for module in top.modules()
        if isinstance(module, DistributedDataParallel)
    ]


def _sharded(name: str, how: str) -> str:
    return (
        f"{name} is sharded over processes {how}: its gradient cannot be taken in parts; pass the module "
        "as it was, with process_group=, or train it by loss.backward()"
    )


def _dtensors() -> tuple[type, ...]:
    return _classes("torch.distributed.tensor", "DTensor")


def _classes(module: str, *names: str) -> tuple[type, ...]:
    """Classes of a module of torch, if anybody has imported it: without it there is no object of theirs."""
    found = sys.modules.get(module)
    return tuple(kind for name in names if isinstance(kind := getattr(found, name, None), type))


def _applied(module: nn.Module) -> Any:
    """Names of the composable functions of torch.distributed that were applied to a module."""
    contract = sys.modules.get("torch.distributed._composable.contract")
    return (contract._get_registry(module) or ()) if contract is not None else ()
