"""The bytes that autograd saves are said only where nothing else takes saved tensors out of sight."""

from __future__ import annotations

import torch
from torch import nn

from dlinear.bridge import step_memory
from dlinear.bridge.methods import method


class OnCpu(nn.Linear):
    """Keeps what it saves by hooks of its own."""

    def forward(self, z):
        with torch.autograd.graph.save_on_cpu():
            return super().forward(z)


def squares(z):
    return z.square().sum()


def saved(blocks, name="backprop"):
    return step_memory(method(name), blocks, torch.ones(4, 3), squares).saved


def test_hooks_of_others_leave_the_number_unknown():
    plain = [nn.Linear(3, 3) for _ in range(3)]
    assert saved(plain) == 3 * 4 * 3 * 4  # x(1), x(2) for the weights, x(3) for the square; float32
    assert saved([*plain[:2], OnCpu(3, 3)]) is None
    assert saved(plain, "checkpoint-3") is None
