"""One small task for each learning rule of `dlinear.rules`, so that a test can run them all."""

from __future__ import annotations

import importlib
import itertools
import pkgutil

import torch
from torch import nn

import dlinear.rules
from dlinear.bridge import Stack, Supervised
from dlinear.bridge.methods import method
from dlinear.bridge.models.readouts import Shared

WIDTHS = (6, 8, 7, 3)
AUTOENCODERS = ("lac",)  # whose output has the size of the input


def rule_names():
    """Every rule by name, with the number 1 where it needs one."""
    modules = (
        importlib.import_module(f"dlinear.rules.{found.name}")
        for found in pkgutil.iter_modules(dlinear.rules.__path__)
    )
    families = [family for module in modules for family in getattr(module, "FAMILIES", ())]
    return sorted(family.name if family.bare else f"{family.name}-1" for family in families)


def stack_of(name, bias=True, dtype=torch.float64):
    """Two hidden layers and a head, drawn from one seed."""
    torch.manual_seed(0)
    widths = [*WIDTHS[:-1], WIDTHS[0] if name in AUTOENCODERS else WIDTHS[-1]]
    layers = [nn.Linear(m, n, bias=bias) for m, n in itertools.pairwise(widths)]
    blocks = [nn.Sequential(layers[0], nn.ReLU()), nn.Sequential(layers[1], nn.Tanh())]
    return Stack(blocks, Shared(layers[2])).to(dtype)


def batch_of(name, samples=9, dtype=torch.float64):
    """x and what the loss compares the output with."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(samples, WIDTHS[0], generator=draw, dtype=torch.float64).to(dtype)
    return x, x if name in AUTOENCODERS else torch.arange(samples) % WIDTHS[-1]


def prepared(name, stack):
    """The stack, with what the rule keeps in it."""
    if method(name).prepare is not None:
        method(name).prepare(stack.blocks, stack.readout)
    return stack


def step(name, stack, x, y):
    """The loss and every gradient of one step, by parameter; None where there is none."""
    criterion = nn.functional.mse_loss if name in AUTOENCODERS else nn.functional.cross_entropy
    stack.zero_grad()
    torch.manual_seed(3)
    loss = method(name)(stack.blocks, x, Supervised(criterion, y), stack.readout)
    grads = {key: None if p.grad is None else p.grad.clone() for key, p in stack.named_parameters()}
    return {"loss": loss, **grads}


def apart(ours, theirs):
    """The largest deviation, each tensor relative to the largest entry of its own."""
    assert ours.keys() == theirs.keys()
    worst = 0.0
    for key, other in theirs.items():
        assert (ours[key] is None) == (other is None), key
        if other is not None:
            size = float(other.abs().max()) or 1.0
            deviation = (ours[key].double().cpu() - other.double().cpu()).abs().max()
            worst = max(worst, float(deviation) / size)
    return worst
