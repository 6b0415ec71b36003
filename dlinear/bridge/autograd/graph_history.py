"""What a block's graph is made of: where it begins, which leaves it has, what of it later blocks may use."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import GradientEdge, get_gradient_edge

from dlinear.bridge.autograd import reentrant
from dlinear.errors import DomainError, ShapeError

Edges = list[GradientEdge | None]  # one for each tensor of a state; None where no gradient passes
Signal = list[Tensor | None]  # gradient of a loss with respect to a state, likewise


class Start(torch.autograd.Function):
    """The identity as the first node of a graph: the same memory, which may be changed in place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tick: Tensor) -> Tensor:
        """The same memory."""
        return x.detach()

    @staticmethod
    def backward(ctx: Any, *signal: Any) -> tuple[Any, None]:
        """Never run: gradients stop at this node."""
        return signal[0], None


_NONE: frozenset[Any] = frozenset()
_KNOWN: set[type] = set()
_START = Start._backward_cls
_LEAF = type(get_gradient_edge(torch.zeros((), requires_grad=True)).node)


@dataclass(eq=False)
class History:
    """Blocks in one graph, which may go on: x(t) uncut, and what is known of the graph behind it.

    Attributes:
        state: x(t) with its history; None where the next block has to start a graph of its own.
        edges: of x(t).
        seen: the inner nodes behind x(t) up to the cut.
        owners: by the id of a leaf of the graph: the name of the block that trains it.
    """

    state: Any = None
    edges: Edges = field(default_factory=list)
    seen: set[Any] = field(default_factory=set)
    owners: dict[int, str] = field(default_factory=dict)


def leaves_between(
    outputs: Edges, inputs: Edges, name: str, history: History | None = None, end: bool = False
) -> list[Tensor]:
    """The leaf tensors that the graph between `inputs` and `outputs` depends on, in order of discovery."""
    seen = {edge.node for edge in inputs if edge is not None}
    behind = _NONE if history is None else history.seen
    found = _leaves([edge.node for edge in outputs if edge is not None], seen, behind, name)
    if history is not None:
        _enter(history, found, seen, name, end)
    return found


def leaves_from(root: Tensor, name: str) -> list[Tensor]:
    """All leaf tensors that a tensor with a gradient depends on."""
    node = root.grad_fn
    return [root] if node is None else _leaves([node], set(), _NONE, name)


def _leaves(nodes: Sequence[Any], seen: set[Any], behind: Set[Any], name: str) -> list[Tensor]:
    """The leaf tensors behind these nodes, not beyond those that were `seen`, which grows."""
    found: list[Tensor] = []
    todo: list[Any] = []
    more: Sequence[Any] = [(node, 0) for node in nodes]
    seen.add(None)
    while True:
        for node, _ in more:
            if node in seen:
                continue
            seen.add(node)
            kind = type(node)
            if kind is _LEAF:  # accumulates into a leaf
                found.append(node.variable)
                continue
            if (behind and node in behind) or (kind not in _KNOWN and not _allowed(kind, name)):
                raise ShapeError(
                    f"{name} uses a tensor made in an earlier block; hand it on in the state, as x(t) = "
                    "(z, skip)"
                )
            todo.append(node)
        if not todo:
            return found
        more = todo.pop().next_functions


def _allowed(kind: type, name: str) -> bool:
    """Whether a graph may have nodes of this kind: not the beginning of another one.

    Raises:
        DomainError: a checkpoint in torch's reentrant way.
    """
    if kind is _START:
        return False
    if kind.__name__ == "CheckpointFunctionBackward":
        raise DomainError(f"{name} {reentrant.ADVICE}")
    if not issubclass(kind, BackwardCFunction):  # torch's own, of which there are not many
        _KNOWN.add(kind)
    return True


def _enter(history: History, found: Sequence[Tensor], seen: set[Any], name: str, end: bool) -> None:
    """Note the leaves and nodes of a block in its history.

    Raises:
        DomainError: an earlier block of it has one of the leaves.
    """
    for leaf in found:
        if id(leaf) in history.owners:
            raise shared_leaf(name, history.owners[id(leaf)], leaf)
    if not end:
        for leaf in found:
            history.owners[id(leaf)] = name
        history.seen |= seen


def shared_leaf(one: str, other: str, leaf: Tensor) -> DomainError:
    """What two parts of one graph train; apart from each other they may."""
    return DomainError(
        f"{one} and {other} train one tensor of shape {tuple(leaf.shape)}, which was not to be seen before: "
        "pass segment=1"
    )
