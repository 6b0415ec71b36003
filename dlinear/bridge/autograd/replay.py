"""Blocks that run several times in one step: with the same random numbers, and buffers as after one run.

A rule that stores few states runs its blocks again. Each time a block has to be the function that it was
the first time: torch's generators are set back to where they were (dropout masks), and running statistics are
updated once (`segment_buffers`). What draws from a generator of its own, or counts its calls, would be
another function; the size of what it hands on is compared with that of the first time: such a block is
refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd import block_graph
from dlinear.bridge.autograd.backward_hooks import Tables
from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.block_run import run_block
from dlinear.bridge.autograd.blocks import Block
from dlinear.bridge.autograd.ends import copied, versions
from dlinear.bridge.autograd.graph_history import History
from dlinear.bridge.autograd.isolation import generators, set_generators
from dlinear.bridge.autograd.segment_buffers import SegmentBuffers
from dlinear.errors import DomainError

TOLERANCE = 100  # rounding units between the sizes of what a block hands on, the first time and again


@dataclass(frozen=True)
class _First:
    """The first run of a block: the generators before it and its buffers, None where it left them; sizes."""

    random: dict[str, Tensor] | None
    buffers: SegmentBuffers | None
    sizes: list[Tensor]


class Replay:
    """The blocks of one step, each of which may run several times; their first runs are in order."""

    def __init__(self, blocks: Sequence[Block], x: Any, end: Block | None = None) -> None:
        """`end`: what follows block T - 1, number T here; it runs by `as_the_first_time` alone."""
        self.blocks = blocks if end is None else [*blocks, end]
        self._depth = len(blocks)
        self._device = next((t.device for t in block_graph.tensors(x)), torch.device("cpu"))
        self._first: dict[int, _First] = {}
        self._writes: dict[int, bool] = {}  # by block: whether it writes into its input
        self._again: list[tuple[int, Tensor, Tensor]] = []  # block, size the first time and now

    def advance(self, start: int, stop: int, state: Any, keep: bool) -> Any:
        """x(stop) from x(start); the graph of each block is dropped at once.

        It is made, so that a later block that uses a tensor of an earlier one, other than by its state, is
        noticed (`block_graph.run`) instead of losing its gradient.

        Args:
            start, stop: the blocks start, ..., stop - 1 run.
            state: x(start).
            keep: whether it has to stay as it is; blocks that write into it then work on a copy.

        Raises:
            DomainError: a block has a state that cannot be protected.
        """
        if keep and any(self._writes.get(t, True) for t in range(start, stop)):
            state = copied(state)
        for t in range(start, stop):
            before = versions(state)
            with self.as_the_first_time(t) as done:
                output = run_block(self.blocks[t], state, follow=True, t=t)[0]
                done.append(output)
            self._writes[t] = versions(state) != before
            state = output
        return state

    def record(
        self,
        t: int,
        state: Any,
        follow: bool,
        keep: bool = False,
        history: History | None = None,
        tables: Tables | None = None,
    ) -> tuple[Any, BlockGraph]:
        """x(t + 1), detached, and the graph of block t, as `run_block`; `keep` as of `advance`."""
        if keep and self._writes.get(t, True):
            state = copied(state)
        with self.as_the_first_time(t) as done:
            output, graph = run_block(self.blocks[t], state, follow, t, history, tables)
            done.append(output)
        return output, graph

    def check(self) -> None:
        """Refuse, at the end of a step, blocks that were another function when they ran again.

        Raises:
            DomainError: such a block.
        """
        if not self._again:
            return
        first = torch.stack([size for _, size, _ in self._again]).tolist()
        again = torch.stack([size for _, _, size in self._again]).tolist()
        for (t, size, _), one, other in zip(self._again, first, again, strict=True):
            unit = torch.finfo(size.dtype).eps
            if abs(one - other) > TOLERANCE * unit * abs(one):
                raise DomainError(
                    f"{self._name(t)} does not repeat itself: run again on the same input, it hands on "
                    f"something of size {other:.6g}, not {one:.6g}; take randomness from torch's default "
                    "generators and keep what it counts in buffers"
                )

    def _name(self, t: int) -> str:
        return f"block {t}" if t < self._depth else "the loss"

    @contextlib.contextmanager
    def as_the_first_time(self, t: int) -> Iterator[list[Any]]:
        """Around one run of block t; what it hands on is to be put into the list.

        Raises:
            DomainError: a block has a state that cannot be protected.
        """
        done: list[Any] = []
        first = self._first.get(t)
        if first is None:
            buffers, before = SegmentBuffers((self.blocks[t],)), generators(self._device)
            with buffers.contexts()[0]:
                yield done
            buffers.check(self._name(t))
            after = generators(self._device)
            drew = not all(torch.equal(before[name], after[name]) for name in before)
            changed = buffers.forget_unchanged()
            self._first[t] = _First(before if drew else None, buffers if changed else None, _sizes(done[0]))
            return
        with self._set_back(first.random), first.buffers.contexts()[1] if first.buffers else nullcontext():
            yield done
        self._again += [(t, *pair) for pair in zip(first.sizes, _sizes(done[0]), strict=False)]

    @contextlib.contextmanager
    def _set_back(self, random: dict[str, Tensor] | None) -> Iterator[None]:
        """The generators are inside as they were, and afterwards as they are now."""
        if random is None:
            yield
            return
        now = generators(self._device)
        set_generators(random, self._device)
        try:
            yield
        finally:
            set_generators(now, self._device)


def _sizes(state: Any) -> list[Tensor]:
    """The Euclidean norms of the floating-point tensors of a state."""
    with torch.no_grad():
        return [
            torch.linalg.vector_norm(t)
            for t in block_graph.tensors(state)
            if t.is_floating_point() and t.layout == torch.strided
        ]
