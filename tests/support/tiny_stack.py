"""A small stack of blocks, small data and plain back-propagation for the tests of the trainer."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
from torch import nn

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
