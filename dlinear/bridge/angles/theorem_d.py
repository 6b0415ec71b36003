"""Theorem D: how fast sin^2(theta_h) falls in a residual network, linear or not.

Theorem D (nonlinear residual nets). Let x(t+1) = x(t) + f_t(x(t)), L twice differentiable, and for a map f

    b[f] = -grad_x < grad L(x), f(x) >  at x = x(T)  =  -(H f + f'^T r)                 (`increment`)

with r = grad L and H its Hessian. Let Q(w) = ||G(w)||^2, G(w) the gradient of <w, x(T)> with respect to the
parameters of a first block (`response_energies`). Let the last blocks be small, f_t -> 0 and f_t' -> 0 as
T -> infinity, and either smooth in depth, f_t = F(t/T, .)/T, or i.i.d. given the state x(T). With the mean
b' = E b[f] and v = E Q(b[f] - b') (v = 0 for smooth layers), for 1 <= m = T - h << T

    E sin^2 ~ [ Q(b') S2(m) + v S1(m) ] / ||g_T||^2,    S1 = m(m+1)/2, S2 = m(m+1)(2m+1)/6 (`theorem_d`).

Order 3 if v = 0, order 2 if b' = 0, otherwise a crossover from 2 to 3 at `dlinear.limits.crossover`. In
training g_T vanishes while b' keeps its part H f: sin^2 at a fixed horizon grows as Q(b')/||g_T||^2 does.

Why. r(s) = grad L(x(s)) and the back-propagated signal v(s) differ by w(s) = r(s) - v(s), w(T) = 0, and with
J_s the Jacobian of block s, exactly w(s) = [r(s) - J_s^T r(s+1)] + J_s^T w(s+1). The bracket is minus the
gradient of L(x + f_s(x)) - L(x) at x(s), to first order in f_s that is b[f_s] there; and for the last m << T
blocks x(s) -> x(T) and J_s -> 1. So w(T - k) is a sum of k increments: k b' plus a random walk. Block t < m
misses k = m - t blocks and is wrong by G(w(T - k)). Sum the squares over t; the part of the error along g_T,
which sin^2 leaves out, is smaller by m/T.

For f = W x and the squared error, b is the B(W) of Theorems B and C and the law is theirs. For an activation
that is not odd, i.i.d. Gaussian weights of mean zero have a mean effect (`mean_activation`): relu and gelu
cross over to order 3 where tanh and the identity keep order 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout, as_stack, called
from dlinear.bridge.autograd.isolation import isolated
from dlinear.bridge.autograd.modules import modules_among, trainable
from dlinear.bridge.methods.horizon import horizon_gradients
from dlinear.bridge.models.deep import ACTIVATIONS, DeepBlock, DeepStack
from dlinear.errors import DomainError, ShapeError, UndefinedAngleError
from dlinear.networks.deterministic import SmoothNetwork
from dlinear.networks.ensembles import GaussianNetwork
from dlinear.theory.decay_law import DecayConstants

__all__ = [
    "gradient_square",
    "increment",
    "initial_law",
    "mean_activation",
    "realised_law",
    "response_energies",
    "theorem_d",
]

Map = Callable[[Tensor], Tensor]
_STREAM = 104  # of the fresh draws: never those of the network itself


def theorem_d(mean: float, variance: float, gradient: float, depth: int) -> DecayConstants:
    """q = v T^2/(2 ||g_T||^2) and C = Q(b') T^3/(3 ||g_T||^2) of `dlinear.limits.decay_law` (Theorem D).

    Args:
        mean: Q(b') >= 0, of one layer as it is (its factor 1/T or 1/sqrt(T) included).
        variance: v >= 0, likewise.
        gradient: ||g_T||^2 > 0, over the parameters of all blocks.
        depth: T.

    Raises:
        UndefinedAngleError: g_T = 0.
        DomainError: a negative number or NaN.
    """
    if not (mean >= 0 and variance >= 0 and gradient >= 0):
        raise DomainError(f"Q, v and ||g_T||^2 must be >= 0, not {mean}, {variance} and {gradient}")
    if gradient == 0:
        raise UndefinedAngleError("g_T = 0: there is no angle")
    return DecayConstants(variance * depth**2 / (2 * gradient), mean * depth**3 / (3 * gradient))


def increment(f: Map, state: Tensor, loss: LossFunction) -> Tensor:
    """b[f] = -grad_x <grad L(x), f(x)> at the state: what one missed block x + f(x) adds to r - v.

    Args:
        f: the map of a block without its skip connection.
        state: x(T), any shape; not changed.
        loss: z -> L(z), scalar, with the readout in it; twice differentiable there.
    """
    x = state.detach().clone().requires_grad_()
    with torch.enable_grad():
        (r,) = torch.autograd.grad(loss(x), x, create_graph=True)
        inner = (r * f(x)).sum()
    return -torch.autograd.grad(inner, x)[0] if inner.requires_grad else torch.zeros_like(x)


def response_energies(
    blocks: Iterable[Block], x: Any, signals: Tensor, first: int = 1
) -> tuple[list[float], Tensor]:
    """Q(w) of each signal, the mean over the first blocks of ||grad <w, x(T)>||^2, and x(T).

    Args:
        blocks: x(T) must be one tensor.
        x: x(0).
        signals: (K, ...) with the shape of x(T) behind K.
        first: over how many blocks the mean is taken: 1 for layers smooth in depth; for rough ones as many
            as the shortfalls of interest, since each block answers to w in its own way.

    Raises:
        ShapeError: signals of another shape, or nothing to train in these blocks.
    """
    stack, end = as_stack(blocks), x
    leaves = trainable(modules_among(stack[:first]))
    if not leaves:
        raise ShapeError(f"the first {first} blocks hold nothing to train")
    with isolated(stack, x), torch.enable_grad():  # until the way back is done: it reads batch-norm buffers
        for block in stack:
            end = called(block)(end)
        if not isinstance(end, Tensor) or end.shape != signals.shape[1:]:
            raise ShapeError(f"signals {tuple(signals.shape[1:])} do not fit x(T)")
        found = torch.autograd.grad(end, leaves, signals, is_grads_batched=True, allow_unused=True)
    squares = [part.double().flatten(1).square().sum(1) for part in found if part is not None]
    return (torch.stack(squares).sum(0) / first).tolist(), end.detach()


def gradient_square(
    blocks: Iterable[Block], x: Any, loss_fn: LossFunction, readout: Readout | None = None
) -> float:
    """||g_T||^2 over the parameters of the blocks, as `alignment` takes it."""
    stack = as_stack(blocks)
    with isolated((*stack, readout, loss_fn), x):
        _, gradients = horizon_gradients(stack, x, loss_fn, len(stack), readout)
    own = set(trainable(modules_among(stack)))
    return math.fsum(float(g.double().square().sum()) for leaf, g in gradients.items() if leaf in own)


def mean_activation(activation: str, tau: Tensor) -> Tensor:
    """E act(z) for z Gaussian of mean 0 and deviation tau.

    0 for the odd ones, tau/sqrt(2 pi) for relu, tau^2/sqrt(2 pi (1 + tau^2)) for gelu (E z Phi(z), by parts).

    Raises:
        DomainError: another activation.
    """
    if activation in ("identity", "tanh"):
        return torch.zeros_like(tau)
    if activation == "relu":
        return tau / math.sqrt(2 * math.pi)
    if activation == "gelu":
        return tau.square() / (2 * math.pi * (1 + tau.square())).sqrt()
    raise DomainError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {activation!r}")


def initial_law(
    stack: DeepStack, x: Tensor, loss_fn: LossFunction, *, draws: int = 64, first: int = 1, seed: int = 0
) -> DecayConstants:
    """q and C of the untrained network "deep", from the distribution of its layers, not from their values.

    Smooth layers: b' is that of the limiting last layer A(1). Rough layers: b' by `mean_activation`, v from
    fresh draws of a layer. x(T), the way back from it and ||g_T||^2 are those of the network at hand.

    Args:
        stack: as `model("deep", ...)` made it, layers "smooth" or "rough".
        x, loss_fn: the batch; the stack's own readout is used.
        draws: fresh layers for v, which comes out to about sqrt(2/(n draws)).
        first: as in `response_energies`; smooth layers take 1.
        seed: of the draws.

    Raises:
        DomainError: layers "mixed", or fewer than one draw.
    """
    block, network = stack.blocks[-1], stack.network
    if not isinstance(block, DeepBlock) or not isinstance(network, SmoothNetwork | GaussianNetwork):
        raise DomainError("initial_law takes untrained 'deep' networks with smooth or rough layers")
    if draws < 1:
        raise DomainError(f"draws must be at least 1, not {draws}")
    weight, depth, width = block.weight, network.depth, network.width
    act, end = ACTIVATIONS[block.activation], _end(stack.blocks, x)
    terminal = _terminal(stack, loss_fn)

    def layer(matrix: Tensor) -> Map:
        return lambda z: block.rho * act(z @ matrix.T)

    if isinstance(network, SmoothNetwork):
        limit = np.asarray(network.path(np.ones(1)))[0]  # type: ignore[arg-type]
        last = torch.from_numpy(limit / (depth * block.rho)).to(weight)
        signals, first = increment(layer(last), end, terminal)[None], 1
    else:
        sigma = network.sigma / math.sqrt(width)  # deviation of the entries of W
        generator = torch.Generator().manual_seed(seed * 1000 + _STREAM)
        fresh = torch.randn(draws, width, width, generator=generator, dtype=torch.float64).to(weight) * sigma

        def drift(z: Tensor) -> Tensor:
            tau = sigma * z.norm(dim=-1, keepdim=True)
            return block.rho * mean_activation(block.activation, tau).expand_as(z)

        mean = increment(drift, end, terminal)
        signals = torch.stack([mean, *(increment(layer(w), end, terminal) - mean for w in fresh)])
    energies, _ = response_energies(stack.blocks, x, signals, first)
    variance = math.fsum(energies[1:]) / max(1, len(energies) - 1)
    return theorem_d(energies[0], variance, gradient_square(stack.blocks, x, loss_fn, stack.readout), depth)


def realised_law(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    *,
    last: int,
    first: int = 1,
) -> DecayConstants:
    """q and C of any residual network, trained or not, from the increments of its last blocks.

    With one block its increment is b' and v = 0 (layers smooth in depth). With more, they are taken as a
    sample: v is their variance about their mean, and Q(b') that of the mean less v/K (at least 0).

    Args:
        blocks, x, loss_fn, readout: as for `horizon_backward`; the last blocks keep the shape of x(T).
        last: K, how many blocks.
        first: as in `response_energies`.

    Raises:
        DomainError: K outside 1..T.
        ShapeError: one of these blocks does not map x(T) to its own shape.
    """
    stack = as_stack(blocks)
    if not 1 <= last <= len(stack):
        raise DomainError(f"last must be in 1..{len(stack)}, not {last}")
    with isolated((*stack, readout, loss_fn), x):
        end = _end(stack, x)

        def terminal(z: Tensor) -> Tensor:
            return loss_fn(z if readout is None else readout(z, len(stack)))

        try:
            found = [increment(_branch(block), end, terminal) for block in stack[-last:]]
        except RuntimeError as error:
            raise ShapeError(f"one of the last {last} blocks does not take x(T): {error}") from error
        signals = torch.stack(found)
        mean = signals.mean(0, keepdim=True)
        energies, _ = response_energies(stack, x, torch.cat([mean, signals - mean]), first)
        gradient = gradient_square(stack, x, loss_fn, readout)
    variance = math.fsum(energies[1:]) / max(1, last - 1)
    return theorem_d(max(0.0, energies[0] - variance / last), variance, gradient, len(stack))


def _branch(block: Block) -> Map:
    """f of a block x + f(x)."""
    return lambda z: called(block)(z) - z


def _end(blocks: Iterable[Block], x: Any) -> Any:
    stack = as_stack(blocks)
    with torch.no_grad(), isolated(stack, x):
        for block in stack:
            x = called(block)(x)
    return x


def _terminal(stack: DeepStack, loss_fn: LossFunction) -> LossFunction:
    return lambda z: loss_fn(stack.readout(z, stack.depth))
