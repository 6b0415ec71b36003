"""A residual graph convolution (after Kipf and Welling 2017) on the graph of the data set "communities".

    X(t + 1) = X(t) + relu(A X(t) W_t)/T,     A = D^(-1/2) (Adj + I) D^(-1/2),     X(0) = features E

One sample is one node, given by its number; the state is the pair (X, numbers), X (N, n) of all nodes: every
batch needs the whole graph. E is a fixed semi-orthogonal matrix. The readout picks the rows of the batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dlinear.bridge.models.readouts import Exits, Fixed, ReadoutKind, Shared, check_readout, vector_readout
from dlinear.bridge.models.seeding import EMBEDDING, semi_orthogonal
from dlinear.bridge.models.stack import Stack, TaskShape
from dlinear.checks import as_integer
from dlinear.data.graphs import communities
from dlinear.errors import DomainError, ShapeError

State = tuple[Tensor, Tensor]  # X (nodes, n) and the numbers of the batch's nodes


class Propagation(nn.Module):
    """A X; one for all blocks. A is a constant: the module is never in training mode, so that methods which
    run blocks again keep no copy of it.
    """

    matrix: Tensor

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.eval()

    def train(self, mode: bool = True) -> Propagation:
        """Nothing changes."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """(nodes, n) to (nodes, n)."""
        return self.matrix @ x


class GraphBlock(nn.Module):
    """X + relu(A X W)/T; with `features` (the first block) X is made, and the numbers are read."""

    features: Tensor | None

    def __init__(self, propagation: Propagation, width: int, rho: float, features: Tensor | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(width, width)))
        self.propagation, self.rho = propagation, rho
        self.register_buffer("features", features)

    def forward(self, state: Any) -> State:
        """(batch, 1) numbers of nodes in the first block, later (X, numbers); to (X, numbers)."""
        if self.features is None:
            x, numbers = state
        else:
            x, numbers = self.features, _numbers(state, len(self.features))
        return x + self.rho * torch.relu(self.propagation(x) @ self.weight), numbers

    def extra_repr(self) -> str:
        """Shown by print."""
        return f"width={len(self.weight)}, rho={self.rho:.4g}"


def _numbers(x: Tensor, nodes: int) -> Tensor:
    """The samples as indices of nodes.

    Raises:
        DomainError: a value that is no node.
    """
    numbers = x.flatten().long()
    if bool((numbers != x.flatten()).any()) or not bool(((numbers >= 0) & (numbers < nodes)).all()):
        raise DomainError(f"the samples of the graph model are numbers of nodes: expected 0..{nodes - 1}")
    return numbers


class OfNodes(nn.Module):
    """A readout of the rows of X that belong to the batch."""

    def __init__(self, inner: Fixed | Shared | Exits) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, z: State, s: int) -> Tensor:
        """inner(X[numbers], s)."""
        out: Tensor = self.inner(z[0][z[1]], s)
        return out


def graph(
    task: TaskShape,
    seed: int,
    *,
    depth: int = 32,
    width: int = 32,
    readout: ReadoutKind = "shared",
) -> Stack:
    """The network above, on `dlinear.data.graphs.communities()`.

    Args:
        task: that of `load("communities")`: inputs of one value.
        seed: of the embedding and of a fixed readout.
        depth: T.
        width: n.
        readout: "shared", "exits" or "fixed", of the rows of X.

    Raises:
        DomainError: a knob outside its range.
        ShapeError: inputs that are not numbers of nodes.
    """
    check_readout(readout)
    depth, width = as_integer("depth", depth), as_integer("width", width)
    if task.features != 1:
        raise ShapeError(
            f"graph takes numbers of nodes, as load('communities') has, not inputs {task.inputs}"
        )
    found = communities()
    propagation = Propagation(torch.from_numpy(found.propagation))
    embedding = semi_orthogonal(found.features.shape[1], width, seed, EMBEDDING)
    start = torch.from_numpy(found.features) @ embedding
    blocks = [GraphBlock(propagation, width, 1 / depth, None if t else start) for t in range(depth)]
    return Stack(blocks, OfNodes(vector_readout(readout, [width] * depth, task.outputs, seed)))


BUILDERS = {"graph": graph}
