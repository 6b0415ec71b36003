"""A gated recurrent unit (Cho et al. 2014) unrolled in time: block t reads step t of a sequence.

    h(t + 1) = (1 - z) n + z h(t),     z, n of h(t) and the input u(t),     h(0) = 0

The values of one input, flattened, are cut into T steps of equal size. The state between blocks is the pair
(h(t), the sequence): nothing is trained in the sequence, and no copy of it is made. The readout sees h alone.

All blocks hold one cell (`shared`): its parameters receive the sum of what the blocks receive. The loss is
that of the last state, L(h(T)); with a readout of every state, a horizon h gives block t the gradient of
L(h(min(t + h, T))). That is back-propagation through time truncated after h steps of the losses
L(h(s)) - L(h(s - 1)), s = 1..T, which add up to the terminal loss less a constant: the terms of block t
telescope, sum_{s = t+1}^{t+h} (L(h(s)) - L(h(s - 1))) = L(h(t + h)) - L(h(t)), and h(t) does not depend on
block t.

The bias of z starts as log(T - 1), that is z = 1 - 1/T (Tallec and Ollivier 2018): one step changes the
state by a part of 1/T, as in the theory's W(t) = I + W~(t)/T.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from dlinear.bridge.models.readouts import Exits, Fixed, ReadoutKind, Shared, check_readout, vector_readout
from dlinear.bridge.models.stack import Stack, TaskShape
from dlinear.checks import as_flag, as_integer, as_number
from dlinear.errors import DomainError, ShapeError

State = tuple[Tensor, Tensor]  # h (N, n) and the sequence (N, T, features of a step)


class RecurrentBlock(nn.Module):
    """Step t of the cell; step 0 makes the sequence and h(0) = 0 from a batch of inputs."""

    def __init__(self, cell: nn.GRUCell, step: int, steps: int) -> None:
        super().__init__()
        self.cell, self.step, self.steps = cell, step, steps

    def forward(self, state: Any) -> State:
        """(N, ...) inputs at step 0, later (h, sequence); to (h, sequence)."""
        if self.step:
            hidden, sequence = state
        else:
            sequence = state.flatten(1).unflatten(1, (self.steps, -1))
            hidden = sequence.new_zeros(len(sequence), self.cell.hidden_size)
        return self.cell(sequence[:, self.step], hidden), sequence

    def extra_repr(self) -> str:
        """Shown by print."""
        return f"step {self.step} of {self.steps}"


class OfHidden(nn.Module):
    """A readout of h, the first part of the state."""

    def __init__(self, inner: Fixed | Shared | Exits) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, z: State, s: int) -> Tensor:
        """inner(h, s)."""
        out: Tensor = self.inner(z[0], s)
        return out


def gru(
    task: TaskShape,
    seed: int,
    *,
    depth: int = 32,
    width: int = 32,
    shared: bool = True,
    gate_bias: float | None = None,
    readout: ReadoutKind = "shared",
) -> Stack:
    """The network above.

    Args:
        task: the number of values of one input must be a multiple of T.
        seed: of a fixed readout.
        depth: T >= 2, number of steps.
        width: n, size of h.
        shared: one cell for all steps; otherwise each step has its own; at the start all are that one.
        gate_bias: of z at the start; None is log(T - 1). 0 leaves what torch draws.
        readout: "shared", "exits" or "fixed", of h.

    Raises:
        DomainError: a knob outside its range.
        ShapeError: inputs that cannot be cut into T steps.
    """
    check_readout(readout)
    depth, width, shared = (
        as_integer("depth", depth, 2),
        as_integer("width", width),
        as_flag("shared", shared),
    )
    if gate_bias is not None and not math.isfinite(as_number("gate_bias", gate_bias, None)):
        raise DomainError(f"gate_bias is {gate_bias}; expected a finite number, or None for log(T - 1)")
    if task.features % depth:
        raise ShapeError(
            f"inputs of {task.features} values cannot be cut into depth = {depth} steps of equal size; "
            "expected a depth that divides them"
        )
    cells = [nn.GRUCell(task.features // depth, width)]
    bias = math.log(depth - 1) if gate_bias is None else float(gate_bias)
    if bias or gate_bias is None:
        with torch.no_grad():  # rows n..2n are those of z
            cells[0].bias_ih[width : 2 * width] = bias
            cells[0].bias_hh[width : 2 * width] = 0.0
    head = OfHidden(vector_readout(readout, [width] * depth, task.outputs, seed))  # drawn before more cells
    for _ in range(0 if shared else depth - 1):
        cells.append(nn.GRUCell(task.features // depth, width))
        cells[-1].load_state_dict(cells[0].state_dict())
    blocks = [RecurrentBlock(cells[0 if shared else t], t, depth) for t in range(depth)]
    return Stack(blocks, head)


BUILDERS = {"gru": gru}
