"""The paper's two networks of fully connected layers (appendix D.1): linear, and ReLU with bias.

    block 0      act(W_0 x)            inputs -> width
    block t      x + act(W_t x)        width -> width, t = 1..T-2
    block T - 1  W_{T-1} x             width -> outputs

15 layers of width 10, a residual connection on every layer but the first and the last. The linear network
has neither activation nor bias; in the other one the activation is ReLU and every layer has a bias. The
print does not say whether the last layer has an activation (here none: the targets take both signs) nor how
weights start: here Glorot uniform and zero bias (the default of the framework that the paper names), the
residual layers times 1/T, as in the theory's W(t) = I + W~(t)/T. Without that factor (`gain=1`) thirteen
layers double the variance each, and the paper's learning rates 0.03 and 0.01 end in NaN.

With readout "fixed", the paper's network, states of another size than the targets are projected by a fixed
matrix. Its entries have both signs: the states of the ReLU network are never negative. With "shared" the last
block keeps the width and a trained linear head follows it.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from dlinear.bridge.models.readouts import ReadoutKind, check_readout, vector_readout
from dlinear.bridge.models.stack import Stack, TaskShape
from dlinear.checks import as_integer, as_number
from dlinear.errors import DomainError


class Layer(nn.Module):
    """act(W x + b), plus x with `skip`; inputs of any shape are flattened."""

    def __init__(self, inputs: int, outputs: int, *, skip: bool, bias: bool, activation: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=bias)
        self.skip, self.activation = skip, activation
        nn.init.xavier_uniform_(self.linear.weight)
        if bias:
            nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs)."""
        x = x.flatten(1)
        out: Tensor = self.linear(x)
        if self.activation:
            out = out.relu()
        return x + out if self.skip else out


def residual(
    task: TaskShape,
    seed: int,
    *,
    relu: bool,
    depth: int,
    width: int,
    readout: ReadoutKind,
    gain: float | None,
) -> Stack:
    """The network above with T = depth >= 2 layers; `gain` (None: 1/T) scales the residual layers' draw."""
    check_readout(readout)
    for name, value, least in (("depth", depth, 2), ("width", width, 1)):
        as_integer(name, value, least)
    if gain is not None and not math.isfinite(as_number("gain", gain, None)):
        raise DomainError(f"gain is {gain}; expected a finite number, or None for 1/T")
    last = width if readout == "shared" else task.outputs
    widths = [task.features, *[width] * (depth - 1), last]
    blocks = [
        Layer(
            widths[t],
            widths[t + 1],
            skip=0 < t < depth - 1,
            bias=relu,
            activation=relu and t < depth - 1,
        )
        for t in range(depth)
    ]
    for block in blocks[1:-1]:
        block.linear.weight.data *= 1.0 / depth if gain is None else gain
    return Stack(blocks, vector_readout(readout, widths[1:], task.outputs, seed))


def linear(
    task: TaskShape,
    seed: int,
    *,
    depth: int = 15,
    width: int = 10,
    readout: ReadoutKind = "fixed",
    gain: float | None = None,
) -> Stack:
    """The linear residual network of appendix D.1."""
    return residual(task, seed, relu=False, depth=depth, width=width, readout=readout, gain=gain)


def mlp(
    task: TaskShape,
    seed: int,
    *,
    depth: int = 15,
    width: int = 10,
    readout: ReadoutKind = "fixed",
    gain: float | None = None,
) -> Stack:
    """The residual MLP of appendix D.1."""
    return residual(task, seed, relu=True, depth=depth, width=width, readout=readout, gain=gain)


BUILDERS = {"linear": linear, "mlp": mlp}
