"""Which way the inner products of a horizon are computed: streaming, or with every layer in memory."""

from __future__ import annotations

from collections.abc import Iterable

from dlinear.engine.angle import InnerProducts
from dlinear.engine.options import Engine
from dlinear.engine.rule import PLAIN, HorizonRule
from dlinear.engine.single_horizon.in_memory import in_memory_bytes, inner_products_in_memory
from dlinear.engine.single_horizon.streaming import far_inner_products, near_inner_products
from dlinear.networks.protocol import Matrix, Network


def inner_products(
    net: Network, phi: Matrix, shortfalls: Iterable[int], engine: Engine, rule: HorizonRule = PLAIN
) -> dict[int, InnerProducts]:
    """The inner products of each shortfall m in 0..T-1.

    A network of one chunk is computed in memory. Otherwise near horizons, m <= T/2, share one pass over the
    layers; far ones are computed in memory where the budget allows it, else in a pass over the layers each.
    """
    one_chunk = net.depth <= engine.chunk_layers(net)
    # a horizon without blind layers (its stride reaches the end) is back-propagation, m = 0
    like = {m: m if rule.blind_layers(net.depth, net.depth - m) else 0 for m in shortfalls}
    wanted = set(like.values())
    near = sorted(m for m in wanted if m <= net.depth // 2 and not one_chunk)
    others = sorted(wanted - set(near))
    found = near_inner_products(net, phi, near, engine, rule) if near else {}
    if others and (one_chunk or in_memory_bytes(net) <= engine.held(net)):
        found |= inner_products_in_memory(net, phi, others, engine, rule)
    else:
        for m in others:
            found |= far_inner_products(net, phi, m, engine, rule)
    return {m: found[other] for m, other in like.items()}
