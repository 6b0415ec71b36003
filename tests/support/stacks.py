"""Random stacks of torch blocks, and the slow definition of their horizon gradient."""

from __future__ import annotations

import copy

import torch
from torch import nn

WIDTH = 3
MIXED = ("linear", "residual", "norm", "two", "shared", "frozen", "tanh", "nested")


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, z):
        return z + torch.tanh(self.linear(z)) / 3


class Two(nn.Module):
    """A second tensor beside the state, in the form `kind` of the state."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.gain = nn.Parameter(torch.rand(WIDTH))

    def forward(self, z):
        return torch.tanh(self.linear(z)) * self.gain + z.square() / 4


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, z):
        return self.linear(z.mul_(0.5).add_(1.0).relu_())


class Unused(Residual):
    def __init__(self):
        super().__init__()
        self.never = nn.Parameter(torch.rand(2))


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(Residual(), nn.Tanh(), Residual())

    def forward(self, z):
        return self.inner(z)


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, z):
        return z + self.linear(self.norm(z))


def frozen():
    block = Residual()
    block.requires_grad_(False)
    return block


def half_frozen():
    block = Two()
    block.linear.weight.requires_grad_(False)
    return block


KINDS = {
    "residual": Residual,
    "two": Two,
    "in place": InPlace,
    "unused": Unused,
    "nested": Nested,
    "norm": Norm,
    "frozen": frozen,
    "half frozen": half_frozen,
    "tanh": nn.Tanh,
    "relu in place": lambda: nn.ReLU(inplace=True),
    "identity": nn.Identity,
    "linear": lambda: nn.Linear(WIDTH, WIDTH),
    "shared": Residual,  # the block before it, once more
}


def stack_of(kinds, seed):
    """The blocks; one that works in place gives way where back-propagation too would lose what was saved."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        blocks, saved, before = [], False, "residual"
        for asked in kinds:
            kind = before if asked == "shared" else asked
            if saved and "in place" in kind:
                kind = "linear"
            again = asked == "shared" and blocks and kind == before
            blocks.append(blocks[-1] if again else KINDS[kind]())
            before = kind
            if kind != "identity":
                saved = kind in ("tanh", "relu in place")
        return nn.ModuleList(blocks).double()


def batch(seed, width=WIDTH):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(5, width, generator=generator, dtype=torch.float64)


def squares(y):
    return lambda z: ((z - y) ** 2).sum() / 7


def slow(blocks, x, loss_fn, h, readout=None):
    """grad of L(x(min(t + h, T))) with respect to block t, each by a forward pass of its own."""
    readout = readout or (lambda z, s: z)
    depth, total = len(blocks), {}
    for t in range(depth):
        trial = copy.deepcopy(blocks)  # its own parameters, statistics and aliases
        own = dict(trial[t].named_parameters())
        z = x.clone()
        with torch.no_grad():
            for block in trial[:t]:
                z = block(z)
        # The blocks after t take a copy of themselves, so that a shared parameter counts in block t alone.
        after = [copy.deepcopy(block) for block in trial[t + 1 :]]
        s = min(t + h, depth)
        for block in [trial[t], *after][: s - t]:
            z = block(z)
        loss = loss_fn(readout(z, s))
        wanted = {name: p for name, p in own.items() if p.requires_grad}
        if not wanted or not loss.requires_grad:
            continue
        found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
        for (name, _), gradient in zip(wanted.items(), found, strict=True):
            if gradient is not None:
                real = dict(blocks[t].named_parameters())[name]
                total[real] = total.get(real, 0) + gradient
    return total


def worst(found, wanted):
    assert found.keys() == wanted.keys()
    return max(
        (float((found[p] - wanted[p]).abs().max() / (1e-30 + wanted[p].abs().max())) for p in wanted),
        default=0.0,
    )


class Pair(nn.Module):
    """Two tensors in the state, and a mask that no gradient passes."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.linear = kind, nn.Linear(WIDTH, WIDTH)

    def forward(self, state):
        z, skip, mask = state.values() if self.kind is dict else state
        new = torch.tanh(self.linear(z)) * mask + skip / 3, skip + z.mean(), mask
        return dict(zip("abc", new, strict=True)) if self.kind is dict else self.kind(new)


class Spread(Pair):
    def forward(self, z, skip, mask):
        return super().forward((z, skip, mask))


def grads(module):
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
