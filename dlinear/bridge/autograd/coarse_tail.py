"""A coarse stand-in S for the unseen blocks of a stack: runs of blocks are replaced by their mean.

The k = T - s unseen blocks are cut into q runs whose lengths differ by at most 1 (`run_edges`). A run of j
blocks becomes z -> z + j (mean(z) - z), where `mean` is the block with the mean parameters and floating-point
buffers of the run: the sum of their deviations for linear blocks (Theorem E2). A run of one block is that
block itself, so that q >= T - s leaves the true tail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel
from torch.utils import _pytree as pytree

from dlinear.bridge.autograd.backward_hooks import gated
from dlinear.bridge.autograd.blocks import Block, asks_for_several
from dlinear.bridge.autograd.states import same_form
from dlinear.errors import DomainError
from dlinear.theory.bounds.anchored import run_edges

_PLAIN = (bool, int, float, complex, str, tuple, type(None))


class CoarseTail:
    """S at each s, in q runs.

    Forward hooks of the first block of a run see the rollouts, backward hooks do not; torch's generators and
    all buffers are left as they were.

    Attributes:
        depth: T.
    """

    def __init__(self, blocks: Sequence[Block], runs: int, first: int) -> None:
        """`first`: the first of the blocks that a window does not see.

        Raises:
            DomainError: these are not all alike.
        """
        self.depth, self._runs = len(blocks), runs
        self._blocks = [
            block.module if isinstance(block, DistributedDataParallel) else block for block in blocks
        ]
        wanted = _make(self._blocks[first], first, runs)
        for t in range(first + 1, self.depth):
            made = _make(self._blocks[t], t, runs)
            if made != wanted:
                pairs = zip([*made, "nothing"], [*wanted, "nothing"], strict=False)
                what = next((a, b) for a, b in pairs if a != b)
                raise DomainError(
                    f"runs={runs} averages the blocks {first}..{self.depth - 1}, but block {t} is unlike "
                    f"block {first} ({what[0]}, not {what[1]}): use runs=0"
                )

    def runs_at(self, s: int) -> bool:
        """Whether anything is unseen at s."""
        return s < self.depth

    def __call__(self, state: Any, s: int) -> Any:
        """S(state) for the blocks s, ..., T - 1; gradients pass to the state and to no parameter."""
        edges = [self.depth - edge for edge in run_edges(self.depth - s, self._runs)]
        for start, stop in pairwise(reversed(edges)):
            if stop > start:
                state = self._run(state, start, stop)
        return state

    def _run(self, z: Any, start: int, stop: int) -> Any:
        template, length = self._blocks[start], stop - start
        assert isinstance(template, nn.Module)
        tensors = {name: _mean(parts) for name, parts in self._named(start, stop)}
        arguments = z if isinstance(z, tuple) and asks_for_several(template) else (z,)
        devices = sorted({t.device.index for t in tensors.values() if t.device.type == "cuda"})
        with gated((template,)), torch.random.fork_rng(devices):
            after = functional_call(template, tensors, arguments)
        if not same_form(z, after):
            raise DomainError(
                f"runs={self._runs} takes blocks as x + f(x), but block {start} changes the form of its "
                "state: use runs=0"
            )
        if length == 1:
            return after
        return pytree.tree_map(lambda a, b: _scaled(a, b, length), z, after)

    def _named(self, start: int, stop: int) -> Iterator[tuple[str, list[Tensor]]]:
        """Parameters and buffers by name, one of each block of the run."""
        named = [
            dict((*block.named_parameters(), *block.named_buffers()))
            for block in self._blocks[start:stop]
            if isinstance(block, nn.Module)
        ]
        for name in named[0]:
            yield name, [tensors[name] for tensors in named]


def _mean(parts: Sequence[Tensor]) -> Tensor:
    """Their mean, by additions; a copy of the first of what is no floating-point tensor."""
    total = parts[0].detach().clone()
    if not (total.is_floating_point() or total.is_complex()) or len(parts) == 1:
        return total
    for part in parts[1:]:
        total += part.detach()
    return total / len(parts)


def _scaled(z: Any, after: Any, length: int) -> Any:
    """z + j (after - z)."""
    if isinstance(z, Tensor) and (z.is_floating_point() or z.is_complex()):
        return z + length * (after - z)
    return after


def _make(block: Block, t: int, runs: int) -> list[str]:
    """What two blocks have to have in common to be averaged, in words.

    Raises:
        DomainError: a function, which has no parameters, or a block that says that it has no skip connection.
    """
    if not isinstance(block, nn.Module):
        raise DomainError(
            f"runs={runs} averages parameters, but block {t} is a {type(block).__name__} and no module: use "
            "runs=0"
        )
    if getattr(block, "skip", True) is False:
        raise DomainError(
            f"runs={runs} takes blocks as x + f(x), but block {t} has no skip connection: use runs=0"
        )
    found = []
    for name, module in block.named_modules():
        where = f" {name}" if name else ""
        found.append(f"{type(module).__name__}{where}")
        public = {key: value for key, value in vars(module).items() if not key.startswith("_")}
        plain = sorted(key for key, value in public.items() if isinstance(value, _PLAIN))
        found += [f"{key}={public[key]!r:.40}{where and ' of' + where}" for key in plain]
    tensors = (*block.named_parameters(), *block.named_buffers())
    return found + [f"{name} of shape {tuple(t.shape)}, {t.dtype}" for name, t in tensors]
