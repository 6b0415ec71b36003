"""Conventions of forward-forward: the goodness of a layer, its threshold, the length of what enters it.

For a layer h = sigma(a), a = W h_{l-1} + b, with n units (a convolution: channels times positions)

    sum        g = sum_i h_i^2                     theta = n    dg/dW = 2 (h * sigma') h_{l-1}^T
    mean       g = mean_i h_i^2                    theta = 2    the same, divided by n
    channels   g = mean_p sum_c h_cp^2             theta = C    the same, divided by the positions
    matched    g = sum_i int_0^{a_i} sigma         theta = n/2  dg/dW = h h_{l-1}^T, for every activation

theta is per sample. With "sum" and "channels" the threshold asks for a mean square of 1, with "mean" for one
of 2: the conventions differ in theta and by a factor n in the length of a step. "channels" is the sum for a
layer of vectors; for a convolution, whose C weights are shared by P = n/C positions, it keeps the steps of a
layer of C units, while with "sum" they grow with P. For the identity and ReLU (sigma
sigma' = sigma) the matched goodness is half the sum, for tanh it is sum log cosh a. Its gradient needs no
derivative of the activation: it is the Hebbian product of PEPITA. Its value is known in closed form for the
modules of `INTEGRALS`; for any other activation it is taken by Gauss's rule with `NODES` nodes on t ->
a sigma(t a), for which the block runs on t a in place of its layer's output.

Length of the input of a layer, over all axes but that of the samples:

    rms     h / sqrt(mean_i h_i^2), of length sqrt(n)      norm     h / |h|, of length 1      none
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.block_run import run_block
from dlinear.bridge.autograd.blocks import Block, called
from dlinear.bridge.autograd.modules import modules_among
from dlinear.bridge.autograd.naming import located
from dlinear.bridge.autograd.replay import Replay
from dlinear.rules.output import samples_of
from dlinear.rules.two_passes import Products, one_layer
from dlinear.rules.weighted import Call, Calls

__all__ = ["GOODNESS", "LENGTHS", "LayerPass", "layer_pass", "of_length", "threshold"]

GOODNESS = ("sum", "mean", "channels", "matched")
LENGTHS = ("rms", "norm", "none")
NODES = 32  # tanh at |a| = 20: relative error below 1e-9
LOG2 = math.log(2)
INTEGRALS: dict[type[nn.Module], Callable[[Tensor, Tensor], Tensor]] = {  # (a, sigma(a)) -> int_0^a sigma
    nn.Identity: lambda a, h: a * h / 2,
    nn.ReLU: lambda a, h: a * h / 2,
    nn.LeakyReLU: lambda a, h: a * h / 2,
    nn.Tanh: lambda a, h: a.abs() + functional.softplus(-2 * a.abs()) - LOG2,  # log cosh a
    nn.Sigmoid: lambda a, h: functional.softplus(a) - LOG2,
}
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Flatten)  # beside which such a module may stand
TINY = 1e-8  # added to a length, so that a silent layer gives zeros


def threshold(goodness: str, h: Tensor) -> float:
    """theta of a convention, for layers that hand on h."""
    units = h[0].numel()
    channels = units // _positions(h)
    return {"sum": float(units), "mean": 2.0, "channels": float(channels), "matched": units / 2}[goodness]


def _positions(h: Tensor) -> int:
    """P of (N, C, ...); 1 for (N, n)."""
    return math.prod(h.shape[2:])


def of_length(h: Tensor, length: str) -> Tensor:
    """A copy of h, (N, ...), of the length that a convention gives each sample."""
    if length == "none":
        return h.clone()
    size: Tensor = torch.linalg.vector_norm(h, dim=tuple(range(1, h.ndim)), keepdim=True)
    return h / (size / (math.sqrt(h[0].numel()) if length == "rms" else 1) + TINY)


@dataclass(frozen=True)
class LayerPass:
    """One layer on one set of samples.

    Attributes:
        output: h, detached.
        goodness: g of each sample, (N,).
        slope: dg/dh, of the shape of h; dg/da for the matched goodness.
        graph: from the layer's parameters to h.
        call: the layer, where it was asked for.
        matched: whether `slope` stands before the activation.
    """

    output: Tensor
    goodness: Tensor
    slope: Tensor
    graph: BlockGraph
    call: Call | None
    matched: bool

    def products(self, weight: Tensor) -> Products:
        """sum over the samples of weight dg/d(parameter), weight (N,)."""
        signal = weight.to(self.slope.dtype).reshape(-1, *[1] * (self.output.ndim - 1)) * self.slope
        return self.before_activation(signal) if self.matched else self.after_activation(signal)

    def after_activation(self, signal: Tensor) -> Products:
        """signal * sigma' times what entered, for a signal at h."""
        found = self.graph.vjp(
            [signal.to(self.output.dtype)], self.graph.leaves, False, keep=True, hooks=True
        )
        return {leaf: g for leaf, g in zip(self.graph.leaves, found[1], strict=True) if g is not None}

    def before_activation(self, signal: Tensor) -> Products:
        """signal times what entered, for a signal at a."""
        assert self.call is not None
        return self.call.products(signal, self.call.given)


class _Outputs(Calls):
    """Layers, and the last output of one before anything writes into it."""

    output: Tensor

    def layer(self, call: Call) -> Tensor:
        """W h + b."""
        out = super().layer(call)
        self.output = out.detach().clone()
        return out


class _Held(Calls):
    """The layer gives a value that is set."""

    value: Tensor

    def layer(self, call: Call) -> Tensor:
        """The value, in memory of its own."""
        return self.value.clone()


def layer_pass(
    block: Block, state: Tensor, t: int, goodness: str, rule: str, as_layer: bool = False
) -> LayerPass:
    """Run block t on a state that is cut off, and take its goodness.

    Args:
        block: any module that hands on one tensor of samples; for the matched goodness one layer.
        state: what enters, of its length.
        t: for messages.
        goodness: the convention.
        rule: for messages.
        as_layer: whether `call` is needed in any case.

    Raises:
        ShapeError: the block hands on something else.
        DomainError: the block is no layer, where one is needed.
    """
    matched = goodness == "matched"
    if not matched and not as_layer:
        output, graph = run_block(block, state, False, t)
        return _squared(samples_of(output, t, rule), graph, None, goodness)
    calls, closed = _Outputs(), _closed(block) if matched else None
    replay = Replay([block], state) if matched and closed is None else None
    around: AbstractContextManager[list[Any]] = replay.as_the_first_time(0) if replay else nullcontext([])
    with around as done, calls:
        output, graph = run_block(block, state, False, t)
        done.append(output)
    output = samples_of(output, t, rule)
    call = one_layer(block, t, output, calls, rule)
    assert call is not None
    if not matched:
        return _squared(output, graph, call, goodness)
    if replay is None:
        assert closed is not None
        value = closed(calls.output.to(_wide(output)), output)
    else:
        value = _integral(block, state, t, calls.output, replay)
    return LayerPass(output, _total(value), output, graph, call, True)


def _squared(h: Tensor, graph: BlockGraph, call: Call | None, goodness: str) -> LayerPass:
    """Sum or mean of the squares, in single precision or better; h stays in the precision of the layer."""
    shared = {"sum": 1, "mean": h[0].numel(), "channels": _positions(h)}[goodness]
    return LayerPass(h, _total(h.to(_wide(h)).pow(2)) / shared, h * (2 / shared), graph, call, False)


def _wide(h: Tensor) -> torch.dtype:
    """In half precision a goodness of 1000 would have steps of 4, and the logistic weight no meaning."""
    return torch.promote_types(h.dtype, torch.float32)


def _total(values: Tensor) -> Tensor:
    """The sum of each sample."""
    return values.flatten(1).sum(1, dtype=_wide(values))


@lru_cache(maxsize=4)
def _nodes(count: int) -> list[tuple[float, float]]:
    """Nodes and weights of Gauss's rule on (0, 1)."""
    at, weight = np.polynomial.legendre.leggauss(count)
    return [(float(s), float(w)) for s, w in zip((at + 1) / 2, weight / 2, strict=True)]


def _closed(block: Block) -> Callable[[Tensor, Tensor], Tensor] | None:
    """(a, h) -> int_0^a sigma, of a block of a layer and at most one module of `INTEGRALS`; else None."""
    inner = [m for m in modules_among((block,)) for m in m.modules() if not list(m.children())]
    rest = [type(m) for m in dict.fromkeys(inner) if not isinstance(m, LAYERS)] or [nn.Identity]
    return INTEGRALS.get(rest[0]) if len(rest) == 1 else None


def _integral(block: Block, state: Tensor, t: int, a: Tensor, replay: Replay) -> Tensor:
    """int_0^a sigma of each unit: sum_k w_k a sigma(t_k a), by the block itself with t_k a for its layer."""
    total = torch.zeros_like(a)
    for node, weight in _nodes(NODES):
        held = _Held()
        held.value = node * a
        with torch.no_grad(), located(f"block {t}", state), replay.as_the_first_time(0) as done, held:
            h = called(block)(state)
            done.append(h)
        total += weight * a * h
    return total
