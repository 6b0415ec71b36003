"""Which chunks of layers are read once: those of which no horizon misses a layer, in deep networks near I.

The first pass keeps two matrices for each block of layers, from which ||g_T||^2 follows with an error that is
bounded as it runs (`kernels.expansion`). A chunk of which the bound exceeds its tolerance is read twice; each
chunk is decided on by itself, so that the numbers do not depend on which thread comes first.
"""

from __future__ import annotations

from dlinear.engine.kernels.chunk import CompiledChunk
from dlinear.engine.kernels.expansion import TOLERANCE, Expansion, expansion
from dlinear.engine.options import Engine
from dlinear.networks.protocol import Network

DEEP = 1_000_000  # layers from which it is tried: below, blocks would have to be too short
SHORTEST = 32  # layers of a block: for shorter ones reading twice takes as long
PROBE = 4  # blocks that are tried first: where one of them fails, its chunk does


class Once:
    """The expansions of chunks that lie after the layer `seen_from`."""

    def __init__(self, engine: Engine, net: Network, seen_from: int) -> None:
        self.kept: dict[tuple[int, int], Expansion] = {}
        self._seen_from = seen_from
        # two matrices for each block take at most half of what is held
        room = max(1, engine.held(net) // 2)
        self._length = max(SHORTEST, -(-2 * 8 * net.width**2 * net.depth // room))
        self._tried = net.depth >= DEEP and self._length <= engine.chunk_layers(net)

    def expanded(self, chunk: tuple[int, int], layers: CompiledChunk) -> CompiledChunk:
        """The layers by the blocks of an expansion, which is kept if it is good enough; else as they are."""
        if not self._tried or chunk[0] < self._seen_from:
            return layers
        found = self._within_tolerance(layers, PROBE * self._length)
        found = found and self._within_tolerance(layers, len(layers))
        if found is None:
            return layers
        self.kept[chunk] = found
        return CompiledChunk(layers.layers, layers.kernels, (self._length, found.totals))

    def _within_tolerance(self, layers: CompiledChunk, count: int) -> Expansion | None:
        """The expansion of the first `count` layers, if its bound allows it."""
        found = expansion(layers.layers[:count], self._length, layers.kernels)
        return found if found.error <= TOLERANCE else None
