"""Means of gradients over the processes of a group (ranks), in buckets, after the ranks have compared notes.

Every rank sends the same tensors in the same order: those of the parameters, with zeros where this rank has
no gradient and another one has. Before that the ranks tell each other whether a step failed and whether they
hold the same parameters: otherwise one of them would wait for the others for ever, or add up what does not
belong together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dlinear.errors import DistributedError, DomainError

BUCKET = 25 * 2**20  # bytes that are sent at once, as DistributedDataParallel does
_ABSENT, _DENSE, _SPARSE = 0, 1, 2


def compare(group: Any, tensors: Sequence[Tensor], failed: bool) -> None:
    """Raise on every rank if a step failed on one, or if they hold different tensors.

    The rank on which it failed goes on and raises its own error.

    Raises:
        DistributedError: another rank failed, or holds other tensors.
    """
    kinds = "".join(f"{tuple(tensor.shape)}{tensor.dtype}" for tensor in tensors)
    digest = int.from_bytes(hashlib.sha256(kinds.encode()).digest()[:7], "big")
    own = torch.tensor(
        [failed, len(tensors), -len(tensors), digest, -digest], dtype=torch.int64, device=_place(group)
    )
    dist.all_reduce(own, dist.ReduceOp.MAX, group)
    some, most, least, high, low = own.tolist()
    if failed:
        return
    if some:
        raise DistributedError("the step failed on another process, which says why; no gradient was changed")
    if most + least or high + low:
        raise DistributedError(
            f"the processes train different parameters ({-least} to {most} of them, here {len(tensors)}): "
            "build the same model on each, with the same ones frozen"
        )


def used_anywhere(group: Any, leaves: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> list[bool]:
    """Which of the leaves have a gradient on some rank.

    Raises:
        DomainError: a sparse one, on any rank.
    """
    kinds = [_ABSENT if g is None else _SPARSE if g.layout != torch.strided else _DENSE for g in gradients]
    known = torch.tensor(kinds, dtype=torch.uint8, device=_place(group))
    dist.all_reduce(known, dist.ReduceOp.MAX, group)
    found: list[int] = known.tolist()
    if _SPARSE in found:
        shape = tuple(leaves[found.index(_SPARSE)].shape)
        raise DomainError(
            f"the gradient of a parameter of shape {shape} is sparse, which cannot be averaged over "
            "processes: use dense ones (sparse=False)"
        )
    return [kind != _ABSENT for kind in found]


def mean_number(group: Any, number: Tensor) -> Tensor:
    """The mean of a real scalar over the ranks, in its own type."""
    value = number.detach().to(device=_place(group), dtype=torch.float64).reshape(1)
    dist.all_reduce(value, dist.ReduceOp.SUM, group)
    return (value / dist.get_world_size(group)).to(number).reshape(())


def means(group: Any, tensors: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
    """The mean of each dense tensor over the ranks, in memory of its own, with the strides of its leaf."""
    size, found = dist.get_world_size(group), list(tensors)
    for chosen in _buckets(found):
        flat = torch.cat([_flat(found[i]) for i in chosen])
        flat /= size  # first: half precision may not hold the sum
        dist.all_reduce(flat, dist.ReduceOp.SUM, group)
        pieces = torch.split(flat, [_flat(found[i]).numel() for i in chosen])
        for i, piece in zip(chosen, pieces, strict=True):
            found[i] = _shaped(piece, leaves[i])
    return found


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[int]]:
    """Places of tensors of one type and device, consecutive ones of that kind, up to `BUCKET` bytes."""
    kinds: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    for i, tensor in enumerate(tensors):
        kinds.setdefault((tensor.dtype, tensor.device), []).append(i)
    for places in kinds.values():
        bucket: list[int] = []
        filled = 0
        for i in places:
            size = tensors[i].numel() * tensors[i].element_size()
            if bucket and filled + size > BUCKET:
                yield bucket
                bucket, filled = [], 0
            bucket.append(i)
            filled += size
        yield bucket


def _flat(tensor: Tensor) -> Tensor:
    return (torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor).reshape(-1)


def _shaped(piece: Tensor, like: Tensor) -> Tensor:
    whole = torch.empty_like(like)
    if like.is_complex():
        piece = torch.view_as_complex(piece.reshape(*like.shape, 2))
    return whole.copy_(piece.reshape(like.shape))


def _place(group: Any) -> torch.device:
    """Where the small messages of a group live."""
    nccl = dist.get_backend(group) == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")
