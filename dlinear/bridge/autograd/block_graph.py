"""An autograd graph for each block, cut at the states x(t) between the blocks.

The input of a block is the output of a node of its own, so that a vector-Jacobian product of one block is one
call, and the tensors that a block saved for backward are freed when its graph is dropped. A `BlockGraph` has
graph edges only: it keeps neither x(t) nor x(t+1) alive, beyond what the block's operations saved.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.utils import _pytree as pytree

from dlinear.bridge.autograd import engine, reentrant
from dlinear.bridge.autograd.backward_hooks import Gate
from dlinear.bridge.autograd.graph_history import Edges, History, Signal, Start, leaves_between, leaves_from
from dlinear.bridge.autograd.naming import said_of
from dlinear.errors import DomainError

# What a state may hold beside tensors.
_PLAIN = (Tensor, int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size)

NOTHING = contextlib.nullcontext()


def cut(state: Any, follow: bool) -> tuple[Any, Edges]:
    """The state without its history and, if gradients are to `follow`, the edges where they arrive."""
    if isinstance(state, Tensor):  # the common case, without the walk through containers
        leaf = state.detach()
        if not follow or not (leaf.is_floating_point() or leaf.is_complex()):
            return leaf, [None]
        leaf = Start.apply(leaf, torch.zeros((), requires_grad=True))  # type: ignore[no-untyped-call]
        return leaf, [get_gradient_edge(leaf)]
    leaves, spec = pytree.tree_flatten(state)
    tick = torch.zeros((), requires_grad=True) if follow else None
    edges: Edges = []
    for i, leaf in enumerate(leaves):
        edges.append(None)
        if isinstance(leaf, Tensor):
            leaves[i] = leaf.detach()
            if tick is not None and (leaf.is_floating_point() or leaf.is_complex()):
                leaves[i] = Start.apply(leaves[i], tick)  # type: ignore[no-untyped-call]
                edges[i] = get_gradient_edge(leaves[i])
    return pytree.tree_unflatten(leaves, spec), edges


def tensors(state: Any) -> list[Tensor]:
    """The tensors of a state, in order."""
    if isinstance(state, Tensor):
        return [state]
    return [leaf for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor)]


def shapes(state: Any) -> list[tuple[int, ...]]:
    """The shapes of a state's tensors."""
    return [tuple(tensor.shape) for tensor in tensors(state)]


class BlockGraph(NamedTuple):
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
    leaves: Sequence[Tensor]
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
        first: BlockGraph | None = None,
    ) -> tuple[Signal, list[Tensor | None]]:
        """The gradients with respect to the inputs (if `through`) and to `leaves`, given the outputs'.

        Args:
            signal: gradient with respect to the outputs.
            leaves: some of the graph's own, or of those between `first` and this one.
            through: whether to go on to the inputs.
            keep: whether the graph can be used again; it is freed when this object is dropped.
            hooks: whether to call backward hooks that a gate guards; their block's input is then reached,
                as in an ordinary pass.
            first: an earlier block of the same history (`History`): the inputs are its inputs.

        Raises:
            DomainError: see the message.
        """
        inputs, gate = self.inputs if first is None else first.inputs, self.gate
        through = through or (hooks and gate is not None)
        enter, signals = self.outputs, signal
        if len(enter) > 1 or enter[0] is None or signals[0] is None:
            pairs = [(e, v) for e, v in zip(enter, signal, strict=True) if e is not None and v is not None]
            enter, signals = [edge for edge, _ in pairs], [v for _, v in pairs]
        leave = [edge for edge in inputs if edge is not None] if through else []
        if not enter or not (leave or leaves):
            return [None] * len(inputs), [None] * len(leaves)
        try:
            if gate is None:
                found = engine.gradients(enter, [*leave, *leaves], signals, keep)  # type: ignore[arg-type]
            else:
                with gate.passing(self.name, hooks):
                    found = engine.gradients(enter, [*leave, *leaves], signals, keep)  # type: ignore[arg-type]
        except RuntimeError as error:
            bottom = self if first is None else first
            overwritten(error, self.name if bottom is self else f"{bottom.name}, or what follows it,")
            raise
        if len(leave) == len(inputs):
            return list(found[: len(leave)]), list(found[len(leave) :])
        arrived = iter(found)
        before: Signal = [next(arrived) if through and edge is not None else None for edge in inputs]
        return before, list(arrived)


@contextlib.contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Put torch's word about an overwritten tensor in terms of the stack; `name` is what kept the tensor.

    Raises:
        DomainError: in place of that error.
    """
    try:
        yield
    except RuntimeError as error:
        overwritten(error, name)
        raise


def overwritten(error: RuntimeError, name: str) -> None:
    """What `named_errors` does about an error.

    Raises:
        DomainError: as `named_errors`.
    """
    if "modified by an inplace operation" in str(error):
        raise DomainError(
            f"{name} keeps a tensor for its gradient that was written into afterwards, by the "
            "readout, the loss or the next block: let that one work on a copy (z.clone())"
        ) from error


def run(
    function: Callable[[Any], Any],
    state: Any,
    follow: bool,
    name: str,
    gate: Gate | None = None,
    history: History | None = None,
    end: bool = False,
) -> tuple[Any, BlockGraph]:
    """function(state), detached, and its graph.

    Args:
        function: a block, or a readout with its loss.
        state: x(t).
        follow: whether gradients are to pass to the state.
        name: of the function, for errors.
        gate: of its backward hooks.
        history: of x(t), if the function's graph is to go on from there; it is brought to x(t + 1).
        end: the function is an end: `history` stays at x(t).

    Raises:
        ShapeError: the function uses a tensor of another graph that is not part of the state.
        DomainError: the function does what would give wrong gradients: it writes into a part of its input
            that overlaps another, hands on objects that hold tensors, or checkpoints in torch's reentrant
            way; it trains what an earlier block of its history trains as well.
    """
    if history is None or history.state is None:
        start, inputs = cut(state, follow)
    else:
        start, inputs = history.state, history.edges
    overlapping = () if isinstance(start, Tensor) else _overlapping(start)
    before = [tensor._version for tensor in overlapping] if overlapping else None
    try:
        with reentrant.refused(name):
            found = function(start)
    except Exception as error:
        said_of(error, name, state)
        raise
    if before is not None and before != [tensor._version for tensor in overlapping]:
        raise DomainError(
            f"{name} writes into a part of its input that overlaps another part in memory: hand on "
            "copies (z.clone())"
        )
    return graph_of(found, inputs, name, gate, history, end)


def graph_of(
    found: Any,
    inputs: Edges,
    name: str,
    gate: Gate | None = None,
    history: History | None = None,
    end: bool = False,
) -> tuple[Any, BlockGraph]:
    """What a function has handed on, detached, and its graph from `inputs` on; the rest as of `run`."""
    output, outputs = _cut_off(found, name)
    graph = BlockGraph(inputs, outputs, leaves_between(outputs, inputs, name, history, end), name, gate)
    if history is not None and not end:
        history.state, history.edges = (found if _goes_on(found, outputs) else None), outputs
    return output, graph


def _cut_off(found: Any, name: str) -> tuple[Any, Edges]:
    """A state without its history, the BlockGraph alone decides how long the graph lives; its edges."""
    if isinstance(found, Tensor):
        return found.detach(), [get_gradient_edge(found) if found.requires_grad else None]
    leaves, spec = pytree.tree_flatten(found)
    _check_kinds(leaves, name)
    outputs: Edges = [
        get_gradient_edge(leaf) if isinstance(leaf, Tensor) and leaf.requires_grad else None
        for leaf in leaves
    ]
    output = pytree.tree_unflatten(
        [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec
    )
    return output, outputs


def _goes_on(found: Any, outputs: Edges) -> bool:
    """Whether a graph may go on from a state: some gradient passes, and the next block may write into it.

    Not from a view, whose base a write would change behind the state, nor from a trained tensor itself, nor
    from a tensor that the state holds twice: its two signals would be summed in another order.
    """
    if isinstance(found, Tensor):
        return found.requires_grad and not found.is_leaf and found._base is None
    alive = [edge for edge in outputs if edge is not None]
    return 0 < len(alive) == len(set(alive)) and not any(
        tensor._base is not None or (tensor.requires_grad and tensor.is_leaf) for tensor in tensors(found)
    )


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


def leaves_behind(tensor: Tensor, name: str) -> Sequence[Tensor]:
    """The leaf tensors that a tensor with a gradient depends on.

    Raises:
        DomainError: as `run`.
    """
    return leaves_from(tensor, name)


def plain_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Autocast off: vector-Jacobian products run in the types that the forward pass chose."""
    kinds = [one for one in dict.fromkeys(("cpu", device.type)) if torch.is_autocast_enabled(one)]
    if not kinds:
        return NOTHING
    stack = contextlib.ExitStack()
    for one in kinds:
        stack.enter_context(torch.autocast(one, enabled=False))
    return stack
