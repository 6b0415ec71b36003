"""An autograd graph for each block, cut at the states x(t) between the blocks.

The input of a block is the output of a node of its own, so that a vector-Jacobian product of one block is one
call, and the tensors that a block saved for backward are freed when its graph is dropped. A `BlockGraph` has
graph edges only: it keeps neither x(t) nor x(t+1) alive, beyond what the block's operations saved.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils import _pytree as pytree

from dlinear.bridge.autograd import reentrant
from dlinear.bridge.autograd.backward_hooks import Gate
from dlinear.bridge.autograd.naming import located
from dlinear.errors import DomainError, ShapeError

# What a state may hold beside tensors.
_PLAIN = (Tensor, int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size)

Edges = list[GradientEdge | None]  # one for each tensor of a state; None where no gradient passes
Signal = list[Tensor | None]  # gradient of a loss with respect to a state, likewise


class _Start(torch.autograd.Function):
    """The identity as the first node of a graph: the same memory, which may be changed in place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tick: Tensor) -> Tensor:
        return x.detach()

    @staticmethod
    def backward(ctx: Any, *signal: Any) -> tuple[Any, None]:  # never run: gradients stop at this node
        return signal[0], None


def cut(state: Any, follow: bool) -> tuple[Any, Edges]:
    """The state without its history and, if gradients are to `follow`, the edges where they arrive."""
    leaves, spec = pytree.tree_flatten(state)
    tick = torch.zeros((), requires_grad=True) if follow else None
    edges: Edges = []
    for i, leaf in enumerate(leaves):
        edges.append(None)
        if isinstance(leaf, Tensor):
            leaves[i] = leaf.detach()
            if tick is not None and (leaf.is_floating_point() or leaf.is_complex()):
                leaves[i] = _Start.apply(leaves[i], tick)  # type: ignore[no-untyped-call]
                edges[i] = get_gradient_edge(leaves[i])
    return pytree.tree_unflatten(leaves, spec), edges


def tensors(state: Any) -> list[Tensor]:
    """The tensors of a state, in order."""
    return [leaf for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor)]


def shapes(state: Any) -> list[tuple[int, ...]]:
    """The shapes of a state's tensors."""
    return [tuple(tensor.shape) for tensor in tensors(state)]


@dataclass(frozen=True)
class BlockGraph:
    """The graph between cut inputs and the outputs of a block, or of a readout with its loss.

    Attributes:
        inputs: where the gradient with respect to the input leaves.
        outputs: where the gradient with respect to the output enters.
        leaves: the trainable tensors (parameters, as a rule) that the outputs depend on.
        name: of the block or the loss, for messages.
        gate: of backward hooks of its modules; None where there are none, or where they see every gradient.
    """

    inputs: Edges
    outputs: Edges
    leaves: tuple[Tensor, ...]
    name: str
    gate: Gate | None = None

    @property
    def live(self) -> bool:
        """Whether any gradient passes at all."""
        return any(edge is not None for edge in self.outputs)

    def vjp(
        self,
        signal: Signal,
        leaves: Sequence[Tensor],
        through: bool,
        *,
        keep: bool = True,
        hooks: bool = False,
    ) -> tuple[Signal, list[Tensor | None]]:
        """The gradients with respect to the inputs (if `through`) and to `leaves`, given the outputs'.

        Args:
            signal: gradient with respect to the outputs.
            leaves: some of the graph's own.
            through: whether to go on to the inputs.
            keep: whether the graph can be used again; it is freed when this object is dropped.
            hooks: whether to call backward hooks that a gate guards; their block's input is then reached,
                as in an ordinary pass.

        Raises:
            DomainError: see the message.
        """
        through = through or (hooks and self.gate is not None)
        enter = [
            (edge, v)
            for edge, v in zip(self.outputs, signal, strict=True)
            if edge is not None and v is not None
        ]
        leave = [edge for edge in self.inputs if edge is not None] if through else []
        if not enter or not (leave or leaves):
            return [None] * len(self.inputs), [None] * len(leaves)
        gate = self.gate.passing(self.name, hooks) if self.gate else contextlib.nullcontext()
        with named_errors(self.name), gate:
            found = torch.autograd.grad(
                [edge for edge, _ in enter],
                [*leave, *leaves],  # type: ignore[arg-type] # both kinds at once are fine
                [v for _, v in enter],
                retain_graph=keep,
                allow_unused=True,
            )
        arrived = iter(found[: len(leave)])
        before: Signal = [next(arrived) if through and edge is not None else None for edge in self.inputs]
        return before, list(found[len(leave) :])


@contextlib.contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Put torch's word about an overwritten tensor in terms of the stack; `name` is what kept the tensor.

    Raises:
        DomainError: in place of that error.
    """
    try:
        yield
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        raise DomainError(
            f"{name} keeps a tensor for its gradient that was written into afterwards, by the "
            "readout, the loss or the next block: let that one work on a copy (z.clone())"
        ) from error


def run(
    function: Callable[[Any], Any], state: Any, follow: bool, name: str, gate: Gate | None = None
) -> tuple[Any, BlockGraph]:
    """function(state), detached, and its graph.

    Args:
        function: a block, or a readout with its loss.
        state: x(t).
        follow: whether gradients are to pass to the state.
        name: of the function, for errors.
        gate: of its backward hooks.

    Raises:
        ShapeError: the function uses a tensor of another graph that is not part of the state.
        DomainError: the function does what would give wrong gradients: it writes into a part of its input
            that overlaps another, hands on objects that hold tensors, or checkpoints in torch's reentrant
            way.
    """
    start, inputs = cut(state, follow)
    overlapping = _overlapping(start)
    before = [tensor._version for tensor in overlapping]
    with located(name, state), reentrant.refused(name):
        leaves, spec = pytree.tree_flatten(function(start))
    if before != [tensor._version for tensor in overlapping]:
        raise DomainError(
            f"{name} writes into a part of its input that overlaps another part in memory: hand on "
            "copies (z.clone())"
        )
    _check_kinds(leaves, name)
    outputs: Edges = [
        get_gradient_edge(leaf) if isinstance(leaf, Tensor) and leaf.requires_grad else None
        for leaf in leaves
    ]
    # Without its history: the BlockGraph alone decides how long the graph lives.
    output = pytree.tree_unflatten(
        [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec
    )
    return output, BlockGraph(inputs, outputs, _leaves(outputs, inputs, name), name, gate)


def _overlapping(state: Any) -> list[Tensor]:
    """The tensors of a state that share memory with another one of it."""
    some = tensors(state)
    if len(some) < 2:
        return []
    places = [storage_of(tensor) for tensor in some]
    return [tensor for tensor, place in zip(some, places, strict=True) if place and places.count(place) > 1]


def storage_of(tensor: Tensor) -> int:
    """Where a tensor's numbers are; 0 for a kind that has no such place (sparse, meta)."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return 0


def _check_kinds(leaves: Sequence[Any], name: str) -> None:
    """Raise `DomainError` for what may hide a tensor: through it no gradient would be handed on."""
    for leaf in leaves:
        if not isinstance(leaf, _PLAIN):
            raise DomainError(
                f"{name} hands on a {type(leaf).__name__}; a state is a tensor, or a tuple, list or dict of "
                "tensors (another container: torch.utils._pytree.register_pytree_node)"
            )
    if not any(isinstance(leaf, Tensor) for leaf in leaves):
        what = ", ".join(type(leaf).__name__ for leaf in leaves[:3]) or "an empty container"
        raise DomainError(f"{name} hands on {what}; a state holds at least one tensor")


def leaves_behind(tensor: Tensor, name: str) -> tuple[Tensor, ...]:
    """The leaf tensors that a tensor with a gradient depends on.

    Raises:
        DomainError: as `run`.
    """
    return _leaves([get_gradient_edge(tensor)], [], name)


def _leaves(outputs: Edges, inputs: Edges, name: str) -> tuple[Tensor, ...]:
    """The leaf tensors that the graph between `inputs` and `outputs` depends on, in order of discovery."""
    seen = {edge.node for edge in inputs if edge is not None}
    todo = [edge.node for edge in outputs if edge is not None]
    found: list[Tensor] = []
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):  # accumulates into a leaf
            found.append(node.variable)
        elif node.name() == "CheckpointFunctionBackward":
            raise DomainError(f"{name} {reentrant.ADVICE}")
        elif isinstance(node, _Start._backward_cls):
            raise ShapeError(
                f"{name} uses a tensor made in an earlier block; hand it on in the state, as x(t) = (z, skip)"
            )
        todo.extend(before for before, _ in node.next_functions if before is not None)
    return tuple(found)


@contextlib.contextmanager
def plain_precision(device: torch.device) -> Iterator[None]:
    """Autocast off: vector-Jacobian products run in the types that the forward pass chose."""
    with contextlib.ExitStack() as stack:
        for kind in {"cpu", device.type}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield
