"""The recurrent circuit of predictive forward-forward (pff.py): its weights, and one step of settling.

Every trained hidden block is a layer of it, h = sigma(W u + b + drive) for what enters at length 1, u; blocks
that train nothing are passed. Beside W and b of the block a layer has trained parameters of its own, on the
module that owns W (so that checkpoints and optimizers hold them):

    weight_down         V, (n_l, n_{l+1}); of the last layer (n_L, K), from the label
    weight_lateral      M, (n_l, n_l)
    weight_generative   D, (width of what enters, n_l): predicts what enters the layer
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dlinear.bridge.autograd.blocks import Block, Readout, as_stack, called
from dlinear.bridge.autograd.modules import modules_among, trainable
from dlinear.bridge.autograd.naming import located
from dlinear.errors import DomainError
from dlinear.rules import matrices
from dlinear.rules.ff.goodness import of_length
from dlinear.rules.output import Sections, samples_of, sections
from dlinear.rules.two_passes import Products
from dlinear.rules.weighted import BESIDE, Call, Calls

__all__ = ["Circuit", "Layer", "circuit", "inhibition"]

RULE = "pff"
GROUP = 10  # units that inhibit each other
LATERAL = 0.05  # largest entry of M and D at the start


@dataclass(frozen=True)
class Layer:
    """A layer of the circuit.

    Attributes:
        block: in the list of hidden blocks.
        owner: the module of its weight.
    """

    block: int
    owner: nn.Module

    def own(self, name: str) -> nn.Parameter:
        """One of its parameters."""
        return self.owner._parameters[name]  # type: ignore[return-value]


@dataclass(frozen=True)
class Moved:
    """A layer after one step, for one set of samples.

    Attributes:
        state: z_l.
        entered: what entered the block, (N, ...), before it was brought to length 1.
        above: what came down, (N, n_{l+1}) or (N, K).
        before: z_l of the step before.
        call: the layer.
        before_activation: what the activation was given; where its slope is asked for, with a graph.
        output: h_l, likewise.
    """

    state: Tensor
    entered: Tensor
    above: Tensor
    before: Tensor
    call: Call
    before_activation: Tensor
    output: Tensor

    def slope_times(self, signal: Tensor) -> Tensor:
        """signal * sigma', for a signal at h_l."""
        if not self.output.requires_grad:
            return signal
        return torch.autograd.grad(self.output, self.before_activation, signal)[0]


class _Driven(Calls):
    """The layer's answer and a drive, as a leaf where the slope of what follows is asked for."""

    def __init__(self, drive: Tensor, follow: bool) -> None:
        super().__init__()
        self._drive, self._follow = drive, follow
        self.answers: list[Tensor] = []

    def layer(self, call: Call) -> Tensor:
        """W u + b + drive."""
        answer = super().layer(call).detach() + self._drive
        self.answers.append(answer.requires_grad_(self._follow))
        return self.answers[-1].clone()  # an activation may write into it


def inhibition(lateral: Tensor) -> Tensor:
    """The matrix that takes z_l to what inhibits it: max(M, 0) within groups, the diagonal with sign -1."""
    positive = lateral.clamp_min(0)
    return positive * _signs(len(lateral), lateral)


def _signs(units: int, like: Tensor) -> Tensor:
    """1 for two units of a group, -1 for a unit and itself, 0 elsewhere."""
    group = torch.arange(units, device=like.device) // GROUP
    same = (group[:, None] == group).to(like.dtype)
    return same - 2 * torch.eye(units, dtype=like.dtype, device=like.device)


@dataclass(frozen=True)
class Circuit:
    """All layers of a network.

    Attributes:
        parts: hidden blocks and head.
        layers: the trained hidden blocks.
        classes: K.
        alpha: share of the old state in the new one.
    """

    parts: Sections
    layers: list[Layer]
    classes: int
    alpha: float

    def forward(self, x: Tensor) -> list[Tensor]:
        """z_1, ..., z_L of one pass without label, feedback and noise: h_l on inputs of length 1."""
        states: list[Tensor] = []
        for place in range(len(self.layers)):
            entering = self._entering(place, states[-1] if states else x)
            with torch.no_grad():
                states.append(self._run(place, of_length(entering, "norm"), None)[0])
        return states

    def scores(self, state: Tensor) -> Tensor:
        """The head on z_L at length 1."""
        found: Tensor = self.parts.head(of_length(self._entering(len(self.layers), state), "norm"))
        return found

    def step(
        self, x: Tensor, states: Sequence[Tensor], label: Tensor, noise: float, follow: bool
    ) -> Iterator[Moved]:
        """The layers one after the other, all from the states before.

        Args:
            x: (N, ...).
            states: z_1, ..., z_L.
            label: what comes down to z_L, (N, K).
            noise: standard deviation of what is added before the activation; 0 draws nothing.
            follow: whether slopes are asked for.
        """
        for place, layer in enumerate(self.layers):
            below = states[place - 1] if place else x
            entering = self._entering(place, below)
            unit = of_length(entering, "norm")
            last = place + 1 == len(self.layers)
            above = label if last else of_length(states[place + 1], "norm")
            before = states[place]
            drive = above @ layer.own("weight_down").detach().T
            drive = drive - before @ inhibition(layer.own("weight_lateral").detach())
            if noise:
                drive = drive + noise * torch.randn_like(drive)
            output, calls = self._run(place, unit, drive, follow)
            state = (1 - self.alpha) * output.detach() + self.alpha * before
            call, answer = calls.seen[0], calls.answers[0]
            yield Moved(state, entering, above, before, call, answer, output)

    def _entering(self, place: int, state: Tensor) -> Tensor:
        """What enters layer `place` (the head for the last place): through blocks that train nothing."""
        first = self.layers[place - 1].block + 1 if place else 0
        stop = self.layers[place].block if place < len(self.layers) else len(self.parts.hidden)
        with torch.no_grad():
            for t in range(first, stop):
                with located(f"block {t}", state):
                    state = samples_of(called(self.parts.hidden[t])(state.clone()), t, RULE)
        return state.detach()

    def _run(
        self, place: int, unit: Tensor, drive: Tensor | None, follow: bool = False
    ) -> tuple[Tensor, _Driven]:
        """h_l for what enters at length 1, and the call of its layer."""
        t = self.layers[place].block
        calls = _Driven(
            torch.zeros((), dtype=unit.dtype, device=unit.device) if drive is None else drive, follow
        )
        with torch.set_grad_enabled(follow), located(f"block {t}", unit), calls:
            output = samples_of(called(self.parts.hidden[t])(unit), t, RULE)
        if len(calls.seen) != 1 or not (
            calls.answers[0].shape == output.shape and calls.seen[0].given.shape == unit.flatten(1).shape
        ):
            raise DomainError(_refused(t))
        return output, calls


def _refused(t: int) -> str:
    return f"{RULE} takes blocks of one linear layer with its activation, (N, n); block {t} is none"


def products(layer: Layer, moved: Moved, delta: Tensor) -> Products:
    """delta times what each weight of the layer saw, summed over samples; delta (N, n), before activation."""
    found = moved.call.products(delta, moved.call.given)
    lateral = layer.own("weight_lateral")
    outer = moved.before.T @ delta
    found[layer.own("weight_down")] = delta.T @ moved.above
    found[lateral] = -outer * _signs(len(outer), outer) * (lateral.detach() > 0)
    return found


def prediction(layer: Layer, moved: Moved, noise: float, inner: bool) -> tuple[Tensor, Products]:
    """The generative error of each sample, and its products: |p - u|^2, p = g(D n(max(z + noise, 0))).

    Args:
        layer, moved: the layer.
        noise: standard deviation of what is added to z_l.
        inner: whether what is predicted is a state (g = max(., 0), passed as if its slope were 1) or x (g the
            identity).
    """
    weight = layer.own("weight_generative")
    z = moved.state + noise * torch.randn_like(moved.state) if noise else moved.state
    source = of_length(z.clamp_min(0), "norm")
    p = source @ weight.detach().T
    error = (functional.relu(p) if inner else p) - moved.entered.flatten(1)
    return error.pow(2).sum(1), {weight: 2 * error.T @ source}


def circuit(blocks: Iterable[Block], readout: Readout | None, seed: int = 0, alpha: float = 0.3) -> Circuit:
    """The circuit of a network; parameters that are not there yet are made.

    Raises:
        DomainError: no layer below the output layer, one that is not linear, or an output layer without a
            weight.
    """
    stack = as_stack(blocks)
    parts = sections(stack, readout)
    outer = modules_among((*stack[len(parts.hidden) :], readout))
    heads = [t for m in outer for t in (*m.parameters(), *m.buffers()) if t.ndim > 1]
    if not heads:
        raise DomainError(f"{RULE} cannot see the number of classes: the output layer has no weight")
    layers, weights = list[Layer](), list[Tensor]()
    for t, block in enumerate(parts.hidden):
        if (owner := _owner(block, t)) is not None:
            layers.append(Layer(t, owner))
            weights.append(layers[-1].own("weight"))
    if not layers:
        raise DomainError(f"{RULE} trains layers below the output layer; here is none")
    for place, (layer, weight) in enumerate(zip(layers, weights, strict=True)):
        above = len(weights[place + 1]) if place + 1 < len(weights) else len(heads[-1])
        _complete(layer.owner, weight, above, seed, place)
    return Circuit(parts, layers, len(heads[-1]), alpha)


def _owner(block: Any, t: int) -> nn.Module | None:
    """The module of a block's trained weight; None for a block that trains nothing."""
    modules = modules_among((block,))
    if not trainable(modules):
        return None
    inner = dict.fromkeys(m for module in modules for m in module.modules())
    owners = [m for m in inner if any(p is not None and p.requires_grad for p in m._parameters.values())]
    weight = owners[0]._parameters.get("weight") if len(owners) == 1 else None
    others = set(owners[0]._parameters) - {"weight", "bias", *BESIDE}
    if weight is None or weight.ndim != 2 or not weight.requires_grad or others:
        raise DomainError(_refused(t))
    return owners[0]


def _complete(owner: nn.Module, weight: Tensor, above: int, seed: int, place: int) -> None:
    """Make the parameters that are missing: V semi-orthogonal, M and D uniform on (0, .05)."""
    n, below = weight.shape
    for number, (name, shape) in enumerate(zip(BESIDE, ((n, above), (n, n), (below, n)), strict=True)):
        if (there := owner._parameters.get(name)) is not None:
            if there.shape != shape:
                raise DomainError(
                    f"{RULE} has a {name} of shape {tuple(there.shape)} in layer {place + 1}, which needs "
                    f"{shape}: freeze layers before the circuit is made, or build the net anew"
                )
            continue
        draw = np.random.default_rng([seed, matrices.CIRCUIT, place, number])
        if name == "weight_down":
            q = np.linalg.qr(draw.normal(size=(max(shape), min(shape))))[0]
            value = q if shape[0] >= shape[1] else q.T
        else:
            value = draw.uniform(0, LATERAL, size=shape)
        tensor = torch.from_numpy(np.ascontiguousarray(value)).to(weight.device, weight.dtype)
        owner.register_parameter(name, nn.Parameter(tensor))
