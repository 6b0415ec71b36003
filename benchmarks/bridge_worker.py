"""Times steps of one checkout of the library; `benchmarks.bridge` starts one of it for each checkout.

Reads requests, one JSON object a line, and answers each with one line. It imports nothing but torch and the
library that PYTHONPATH names, so that it also runs beside an older checkout.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dlinear.bridge import horizon_backward, horizon_gradients


class Block(nn.Module):
    """x + tanh(W x + b), W of size about 1/T."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        with torch.no_grad():
            self.linear.weight.div_(depth)

    def forward(self, z: Tensor) -> Tensor:
        """(samples, width) -> the same."""
        return z + torch.tanh(self.linear(z))


class Case:
    """A stack, a batch and a loss."""

    def __init__(self, width: int, depth: int, batch: int, device: str) -> None:
        torch.manual_seed(0)
        self.device = torch.device(device)
        self.blocks = nn.ModuleList(Block(width, depth) for _ in range(depth)).to(self.device)
        self.x, y = (torch.randn(batch, width).to(self.device) for _ in range(2))
        self.loss_fn: Callable[[Tensor], Tensor] = lambda z: (z - y).square().mean()

    def backprop(self) -> None:
        """loss.backward()."""
        z = self.x
        for block in self.blocks:
            z = block(z)
        self.loss_fn(z).backward()

    def by_hand(self, horizon: int) -> None:
        """What a user would write: detach, run the window of each block, `backward` at its end."""
        z, blocks = self.x, list(self.blocks)
        for t, block in enumerate(blocks):
            after = end = block(z.detach())
            for later in blocks[t + 1 : t + horizon]:
                end = later(end)
            self.loss_fn(end).backward(inputs=list(block.parameters()) if horizon > 1 else None)
            z = after

    def step(self, horizon: int, segment: int | None) -> None:
        """`horizon_backward`."""
        known = {} if segment is None else {"segment": segment}
        horizon_backward(self.blocks, self.x, self.loss_fn, horizon, **known)

    def same(self, horizon: int) -> bool | None:
        """Whether the gradients with shared graphs are those of graphs kept apart, to the bit."""
        if "segment" not in inspect.signature(horizon_gradients).parameters:
            return None
        shared, apart = (
            horizon_gradients(self.blocks, self.x, self.loss_fn, horizon, segment=g)[1] for g in (None, 1)
        )
        return shared.keys() == apart.keys() and all(torch.equal(shared[p], apart[p]) for p in apart)

    def seconds(self, call: Callable[[], None]) -> float:
        """Processor time of this process; on a device, time until the device has finished."""
        for parameter in self.blocks.parameters():
            parameter.grad = None
        if self.device.type == "cpu":
            start = time.process_time()
            call()
            return time.process_time() - start
        torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        call()
        torch.cuda.synchronize(self.device)
        return time.perf_counter() - start


def main() -> None:
    """Answer requests until the end of the input."""
    torch.set_num_threads(1)
    case: Any = None
    for line in sys.stdin:
        asked = json.loads(line)
        if "case" in asked:
            case = Case(**asked["case"])
            answer: Any = torch.cuda.get_device_name(case.device) if case.device.type == "cuda" else "CPU"
        elif "same" in asked:
            answer = case.same(asked["same"])
        elif asked["way"] == "backprop":
            answer = case.seconds(case.backprop)
        elif asked["way"] == "hand":
            answer = case.seconds(partial(case.by_hand, asked["horizon"]))
        else:
            answer = case.seconds(partial(case.step, asked["horizon"], asked["segment"]))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
