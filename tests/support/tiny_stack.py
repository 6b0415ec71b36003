"""A small stack of blocks, small data, plain back-propagation and short runs for the tests of the trainer."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dlinear.bridge.training import checkpoints, metrics
from dlinear.bridge.training.trainer import Training, train


class Stack(nn.Module):
    """Four blocks with all that a resumed run must not forget: batch norm, dropout, a buffer of its own."""

    def __init__(self, seed=0, width=6, outputs=3, dropout=0.3, norm=True):
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.blocks = nn.ModuleList(
                [
                    nn.Sequential(
                        nn.Linear(width, width),
                        nn.BatchNorm1d(width) if norm else nn.Identity(),
                        nn.Tanh(),
                        nn.Dropout(dropout),
                    )
                    for _ in range(4)
                ]
            )
            self.blocks.append(Counting() if norm else nn.Tanh())
            self.readout = Readout(width, outputs)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.readout(x, len(self.blocks))


class Counting(nn.Module):
    """Its output depends on how many training steps it has seen, which the state_dict does not hold."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()), persistent=False)

    def forward(self, x):
        if self.training:
            self.count += 1
        return x * (1 + 0.01 * self.count)


class Readout(nn.Module):
    def __init__(self, width, outputs):
        super().__init__()
        self.linear = nn.Linear(width, outputs)

    def forward(self, z, s):
        return self.linear(z)


@dataclass(frozen=True)
class Split:
    x_train: torch.Tensor
    y_train: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor
    classes: int | None = 3
    digest: str = "tiny"


def labelled(train_size=23, test_size=11, width=6):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(train_size + test_size, width, generator=generator)
    y = x[:, :3].argmax(1)
    return Split(x[:train_size], y[:train_size], x[train_size:], y[train_size:])


def backprop(blocks, x, loss_fn, readout):
    for block in blocks:
        x = block(x)
    loss = loss_fn(readout(x, len(blocks)))
    loss.backward()
    return loss.detach()


TINY = Training(learning_rate=0.02, batch_size=5, epochs=4, optimizer="adam", device="cpu")


def tiny(folder=None, method=backprop, stack=None, split=None, probe=None, probe_at=None, **knobs):
    every, identity = knobs.pop("every", 600.0), knobs.pop("identity", None)
    return train(
        stack or Stack(),
        split or labelled(),
        method,
        dataclasses.replace(TINY, **knobs),
        folder=folder,
        probe=probe,
        probe_at=probe_at,
        every=every,
        identity=identity,
    )


def numbers(folder):
    """The rows of a metrics file without the columns of the wall clock."""
    rows = metrics.read(Path(folder) / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name not in metrics.CLOCK} for row in rows]


def weights(folder):
    found = checkpoints.load(Path(folder) / "checkpoint.pt")
    optimizer = found.optimizer["state"]
    flat = {f"{i} {name}": value for i, state in optimizer.items() for name, value in state.items()}
    return checkpoints.fingerprint({**found.model, **found.unlisted, **flat, **found.generators})


def main(folder, epochs, pause_at, every):
    """Train; with `pause_at`, report that step on stdout and wait in the middle of it for the end."""
    steps = 0

    def method(blocks, x, loss_fn, readout):
        nonlocal steps
        loss = backprop(blocks, x, loss_fn, readout)
        steps += 1
        if steps == int(pause_at):
            print("there", flush=True)
            sys.stdin.read(1)
        return loss

    method.__qualname__ = backprop.__qualname__
    torch.set_num_threads(1)
    knobs = {**vars(TINY), "epochs": int(epochs)}
    train(Stack(), labelled(), method, Training(**knobs), folder=folder, every=float(every))


if __name__ == "__main__":
    main(*sys.argv[1:])
