"""Peer normalisation: units of a layer are kept equally active on average, so that none falls silent.

    r <- m r + (1 - m) mean of h over the positive samples;   loss  lam mean_i (r_i - mean_j r_j)^2

r, one number for each unit (of a convolution: each channel, over positions too), is a buffer of the block,
`peer_mean`, 1/2 at the start; m = .9. With the gradient of r held back but for its last term, what comes to
unit i of a sample is

    lam (2/n) (r_i - mean r) (1 - m)/N

"full": it enters before the activation, so that silent units are reached too (the published code has a
ReLU whose gradient passes everywhere; the goodness does not notice, its gradient 2 h being 0 there).
"own": it enters after the activation, as the derivative says.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dlinear.bridge.autograd.blocks import Block
from dlinear.bridge.autograd.modules import modules_among, trainable
from dlinear.errors import DomainError
from dlinear.rules.ff.goodness import LayerPass
from dlinear.rules.two_passes import Products

__all__ = ["SLOPES", "peer_mean", "peer_products", "prepare_peers"]

SLOPES = ("full", "own")
START = 0.5


def peer_mean(block: Block, t: int) -> Tensor:
    """r of block t, made where there is none.

    Raises:
        DomainError: it trains no weight.
    """
    modules = modules_among((block,))
    weights = [p for p in trainable(modules) if p.ndim > 1]
    if not weights:
        raise DomainError(f"block {t} trains no weight; peer normalisation takes layers")
    owner: nn.Module = modules[0]
    found = owner._buffers.get("peer_mean")
    if found is None:
        weight = weights[0].detach()
        found = torch.full((len(weight),), START, dtype=weight.dtype, device=weight.device)
        owner.register_buffer("peer_mean", found)
    return found


def prepare_peers(blocks: Iterable[Block]) -> None:
    """Make the buffers of blocks that train something."""
    for t, block in enumerate(blocks):
        if trainable(modules_among((block,))):
            peer_mean(block, t)


def peer_products(
    positive: LayerPass, mean: Tensor, strength: float, momentum: float, slope: str, unit: float
) -> Products:
    """Move r by the positive samples, and give the products of the peer loss, times unit N.

    Args:
        positive: the layer on the positive samples.
        mean: r, changed in place.
        strength: lam.
        momentum: m.
        slope: one of `SLOPES`.
        unit: 1/N for a mean loss.
    """
    assert positive.call is not None
    h = positive.output
    axis = h.ndim - 1 if positive.call.weight.ndim == 2 else 1
    others = [i for i in range(h.ndim) if i != axis]
    with torch.no_grad():
        mean.mul_(momentum).add_(h.mean(others).to(mean.dtype), alpha=1 - momentum)
        positions = h[0].numel() // h.shape[axis]
        force = (mean - mean.mean()) * (2 * strength * (1 - momentum) * unit / (len(mean) * positions))
    shape = [1] * h.ndim
    shape[axis] = -1
    signal = force.to(h.dtype).reshape(shape).expand_as(h).contiguous()
    return positive.before_activation(signal) if slope == "full" else positive.after_activation(signal)
