"""Feedback from the output straight to each hidden block: DFA, sign-DFA, DRTP; identity feedback.

Hidden layer h_l = sigma(W_l h_{l-1}) of N samples, e the error of a sample, G the gradient that is added:

    dfa          G_l = mean (B_l e * sigma'_l) h_{l-1}^T
    sdfa         G_l = mean (B_l sign(e) * sigma'_l) h_{l-1}^T
    drtp         G_l = mean (B_l y* * sigma'_l) h_{l-1}^T,    y* the one-hot target, no error
    output       G_L = mean e h_{L-1}^T, of all three

In general, hidden block l gets its own vector-Jacobian product at x(l) for the signal B_l e: any blocks
will do whose states are one tensor; inside a block of several layers the signal goes back exactly. B_l,
(n_l, K), is fixed: uniform on +-scale sqrt(6/n_l), the law of ChFrenkel/DirectRandomTargetProjection
(kaiming_uniform of a (K, n_l) matrix).

dfa-identity is B_l = I between states of one size: the anchored horizon h = 1, one implementation with two
names.

Conventions: the mean is over samples, as that of the loss is. The code of that repository leaves it out of
the hidden layers of DRTP, so that there a hidden step is N K times longer at one rate. The sign of y* is
that code's; the law of B_l is symmetric, so that -B_l is as likely. e has the loss's own factor: 2/K for
the mean squared error.

Sources: Nokland, "Direct feedback alignment provides learning in deep neural networks" (2016); Frenkel,
Lefebvre, Bol, "Learning without feedback" (2021)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlinear.bridge.autograd.block_graph import BlockGraph
from dlinear.bridge.autograd.block_run import run_block
from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout, as_stack, check_gradients_are_on
from dlinear.bridge.autograd.gradient_sum import GradientSum, accumulate
from dlinear.bridge.autograd.step import as_step
from dlinear.bridge.methods.horizon import horizon_backward
from dlinear.errors import ShapeError
from dlinear.rules import matrices
from dlinear.rules.names import rule_family
from dlinear.rules.output import End, end, one_hot_targets, samples_of, sections

__all__ = ["dfa_backward", "direct_matrix", "drtp_backward", "sdfa_backward"]


def direct_matrix(units: int, outputs: int, seed: int, place: int, scale: float = 1.0) -> Tensor:
    """B_l of hidden block `place`, (n_l, K), float64: uniform on +-scale sqrt(6/n_l)."""
    bound = scale * math.sqrt(6 / units)
    return matrices.uniform(
        (units, outputs), bound, seed, matrices.DIRECT, place, torch.float64, torch.device("cpu")
    )


@as_step
def dfa_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    seed: int = 0,
    scale: float = 1.0,
) -> Tensor:
    """Direct feedback alignment: add B_l e's gradients to `.grad`; return the loss, detached.

    Args:
        blocks, x, loss_fn, readout: as for `horizon_backward`; the readout is the output layer if it trains.
        seed: of the B_l, an integer >= 0.
        scale: factor of their law, > 0.

    Raises:
        ShapeError: states or outputs that are not one tensor of samples.
        DomainError: a knob outside its range, nothing is trained, or the loss has no gradient.
    """
    return _filled(blocks, x, loss_fn, readout, seed, scale, "dfa", lambda last: last.signal.flatten(1))


@as_step
def sdfa_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    seed: int = 0,
    scale: float = 1.0,
) -> Tensor:
    """Sign-DFA: as `dfa_backward` with sign(e) for e in the hidden blocks."""
    return _filled(
        blocks, x, loss_fn, readout, seed, scale, "sdfa", lambda last: last.unit * last.error.sign()
    )


@as_step
def drtp_backward(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    seed: int = 0,
    scale: float = 1.0,
) -> Tensor:
    """Direct random target projection: as `dfa_backward` with the target y* for e in the hidden blocks.

    Raises:
        DomainError: also a loss without targets; expected is `Supervised`.
    """

    def targets(last: End) -> Tensor:
        return last.unit * one_hot_targets(loss_fn, last.z, "drtp")

    return _filled(blocks, x, loss_fn, readout, seed, scale, "drtp", targets)


def _filled(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None,
    seed: int,
    scale: float,
    rule: str,
    teaching: Callable[[End], Tensor],
) -> Tensor:
    """Every hidden block gets the signal B_l v, v = teaching(end), (N, K)."""
    check_gradients_are_on()
    matrices.check_knobs(seed, scale)
    stack = as_stack(blocks)
    parts = sections(stack, readout)
    state, graphs, shapes = x, [], []
    for t, block in enumerate(parts.hidden):
        state, graph = run_block(block, state, False, t)
        graphs.append(graph)
        shapes.append(samples_of(state, t, rule).shape)
    last = end(parts, state, loss_fn)
    found = GradientSum()
    found.add(last.leaves, last.gradients)
    signal = teaching(last)
    for t, graph in enumerate(graphs):
        _add(found, graph, _projected(signal, shapes[t], last.z, seed, scale, t, rule))
    accumulate(found.gradients)
    return last.loss


def _add(found: GradientSum, graph: BlockGraph, signal: Tensor) -> None:
    """The vector-Jacobian product of one block, for its own parameters."""
    if graph.live and graph.leaves:
        found.add(graph.leaves, graph.vjp([signal], graph.leaves, False, keep=False, hooks=True)[1])


def _projected(
    signal: Tensor, shape: torch.Size, z: Tensor, seed: int, scale: float, t: int, rule: str
) -> Tensor:
    """B_l v in the shape of x(l)."""
    if shape[0] != len(z):
        raise ShapeError(f"block {t} hands on shape {tuple(shape)}; {rule} takes ({len(z)} samples, ...)")
    units, outputs = math.prod(shape[1:]), signal.shape[1]
    bound = scale * math.sqrt(6 / units)
    b = matrices.uniform((units, outputs), bound, seed, matrices.DIRECT, t, signal.dtype, signal.device)
    return (signal @ b.T).reshape(shape)


FAMILIES = (
    rule_family(
        "dfa", dfa_backward, "direct feedback alignment: B_l e to every hidden block", 71, (1, 1, 2, 1)
    ),
    rule_family("sdfa", sdfa_backward, "direct feedback alignment by sign(e)", 72, (1, 1, 2, 1)),
    rule_family("drtp", drtp_backward, "direct random target projection: B_l y*", 73, (1, 1, 2, 1)),
    rule_family(
        "dfa-identity",
        partial(horizon_backward, horizon=1, anchored=True),
        "DFA with identity feedback: the anchored horizon h = 1",
        74,
        (2, 1, 3, 1),
        memory_of_one=True,
        seeded=False,
    ),
)
