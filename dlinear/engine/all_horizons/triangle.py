"""Every horizon at once: all pairs (t, s) of a layer and a window's end, summed by h = s - t.

A pair t < s < T belongs to the horizon s - t alone, so <delta, g_T> and ||delta||^2 of all horizons are sums
over the triangle of pairs. The triangle is cut in squares: of the layers a..b-1, the pairs on both sides of
the middle p make a block whose windows all cross p (`pair_blocks`, `fft_blocks`), and the two halves are cut
again. No inverse is taken, near and far horizons are one case, and short windows are multiplied directly.

Long blocks go by FFT, whose error is relative to the largest sum of the block. The corner of small
shortfalls, where the sums fall as m^3, is therefore cut in shells, each a quarter of the last. All sums come
with a bound of their rounding error; a horizon where that is too large is computed by itself
(`single_horizon`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from dlinear.engine.all_horizons.fft_blocks import Channels, by_fft
from dlinear.engine.all_horizons.pair_blocks import Diagonals, Ends, Starts, TileArrays, by_pairs
from dlinear.engine.angle import InnerProducts
from dlinear.engine.options import Engine, local_map
from dlinear.engine.parallel.threads import workers
from dlinear.engine.rule import PLAIN, HorizonRule
from dlinear.engine.single_horizon.edge_products import EdgeProducts
from dlinear.engine.single_horizon.reduction import rescaled
from dlinear.engine.single_horizon.signals import signal_terms
from dlinear.engine.single_horizon.strategy import inner_products
from dlinear.networks.protocol import Matrix, Network

TOLERANCE = 1e-10  # of what the sums may add to the relative error of sin^2, by their bounds
_TILE, _SHORT = 1024, 16  # layers of a tile; shorter windows than the second are multiplied directly
_LEAST_TILE = 256  # layers of a tile, however small the memory
_FFT_FROM = 1200  # layers of a block, n <= 10, where FFT takes as long as matrix products; more for larger n
_AT_ONCE = 64  # pairs of tiles whose sums are in memory together

TilePair = tuple[int, tuple[int, int], tuple[int, int]]  # a split layer, a tile of t, a tile of s


@dataclass(frozen=True)
class PairBlock:
    """Pairs of t in starts[0]..starts[1]-1 with s in ends[0]..ends[1]-1, windows across p = `split`."""

    starts: tuple[int, int]
    split: int
    ends: tuple[int, int]

    @property
    def length(self) -> float:
        """Layers of the square block with the same ratio of pairs to layers."""
        a, b = self.starts[1] - self.starts[0], self.ends[1] - self.ends[0]
        return 2 * a * b / (a + b)


def blocks(edges: list[int], fft_from: float) -> Iterator[PairBlock]:
    """The blocks of pairs t < s in different tiles, each pair once."""

    def halves(low: int, high: int) -> Iterator[PairBlock]:
        if high - low < 2:
            return
        split = (low + high) // 2
        if low == 0 and high == len(edges) - 1:
            yield from corner(split, split, high - split)
        else:
            yield PairBlock((edges[low], edges[split]), edges[split], (edges[split], edges[high]))
        yield from halves(low, split)
        yield from halves(split, high)

    def corner(split: int, before: int, after: int) -> Iterator[PairBlock]:
        """The pairs of the first tiles with the last: shells about ever smaller shortfalls."""
        last = len(edges) - 1
        whole = PairBlock((0, edges[before]), edges[split], (edges[last - after], edges[last]))
        inner = (-(-before // 4), -(-after // 4))
        if whole.length < fft_from or inner == (before, after):
            yield whole
            return
        at, to = edges[inner[0]], edges[last - inner[1]]
        if whole.ends[0] < to:  # every t with s before the inner corner
            yield PairBlock(whole.starts, whole.split, (whole.ends[0], to))
        if at < whole.starts[1] and to < whole.ends[1]:  # t after the inner corner with its s
            yield PairBlock((at, whole.starts[1]), whole.split, (to, whole.ends[1]))
        yield from corner(split, *inner)

    yield from halves(0, len(edges) - 1)


def all_inner_products(
    net: Network, phi: Matrix, engine: Engine, rule: HorizonRule = PLAIN
) -> dict[int, InnerProducts]:
    """The inner products of every shortfall 1..T-1."""
    depth = net.depth
    tile = max(1, min(_tile_layers(net, engine), -(-depth // 2)))
    at_edges = EdgeProducts(net, phi, (), replace(engine, chunk_numbers=tile * net.width**2), rule, 1)
    doubtful: list[int] = []

    def sums() -> dict[int, InnerProducts]:
        found = Triangle(at_edges, channels=True).sums()
        doubtful[:] = _doubtful(found)
        # Layers that single horizons would visit, against the pairs of the triangle without channels.
        if sum(2 * m if m <= depth // 2 else 8 * depth for m in doubtful) > depth**2:
            found = Triangle(at_edges, channels=False).sums()
            doubtful[:] = _doubtful(found)
        return {m: one for m, (one, *_) in found.items()}

    found = rescaled(at_edges, sums)
    return found | inner_products(net, phi, doubtful, engine, rule)


def _tile_layers(net: Network, engine: Engine) -> int:
    """Layers of a tile; half of a given memory suffices for 4 numbers for each pair of layers and worker."""
    tile = min(_TILE, engine.chunk_layers(net))
    if engine.memory is None:
        return tile
    share = engine.memory // 2 // (8 * 4 * workers(engine.team))
    return min(tile, max(_LEAST_TILE, math.isqrt(share)))


def _doubtful(found: dict[int, tuple[InnerProducts, float, float]]) -> Iterator[int]:
    """Shortfalls whose sums may be rounded too much, or cancel."""
    for m, (one, cross_error, square_error) in found.items():
        if one.true > 0 and math.isfinite(one.true + one.square):
            # errors of ||delta||^2 - <delta, g_T>^2/||g_T||^2 and of ||g_T||^2 + 2 <delta, g_T> + ||delta||^2
            numerator = square_error + 2 * abs(one.cross) / one.true * cross_error
            truncated = square_error + 2 * cross_error
            exact = numerator <= TOLERANCE * one.numerator and truncated <= TOLERANCE * one.truncated
            if one.cancels or not exact:
                yield m


def _within(values: np.ndarray, stride: int) -> np.ndarray:
    """values[h] + ... + values[h + stride - 1], as far as there are: the windows of horizon h."""
    out = values.copy()
    for more in range(1, min(stride, len(values))):
        out[:-more] += values[more:]
    return out


class Triangle:
    """All pairs t < s of a network; without `channels`, each by products of n x n matrices."""

    def __init__(self, at_edges: EdgeProducts, channels: bool) -> None:
        self.at_edges, self.depth, self.channels = at_edges, at_edges.net.depth, channels
        self.costates = at_edges.costates()

    def sums(self) -> dict[int, tuple[InnerProducts, float, float]]:
        """For each shortfall 1..T-1 its sums and the bounds of the errors of `cross` and `square`."""
        at_edges, engine = self.at_edges, self.at_edges.engine
        total = Diagonals.zeros(1, max(self.depth, _SHORT) - 1)
        # pairs within a tile, and ||g_T(t)||^2
        norms = []
        for tile_norms, pairs in engine.team.map(self._tile, at_edges.chunks(0, self.depth), "tiles"):
            norms.append(tile_norms)
            total += pairs
        # pairs in different tiles: long blocks by FFT, the others one pair of tiles at a time
        fft_from = self._fft_from()
        direct = []
        for block in blocks(at_edges.edges, fft_from):
            for piece in self._pieces(block) if block.length >= fft_from else ():
                gathered = self._gathered(piece)
                if gathered is None:
                    direct += self._tile_pairs(piece)
                else:
                    total += by_fft(gathered, local_map(engine.team))
            if block.length < fft_from:
                direct += self._tile_pairs(block)
        for at in range(0, len(direct), _AT_ONCE):
            for pairs in engine.team.map(self._pairs, direct[at : at + _AT_ONCE], "pairs"):
                total += pairs
        # true = sum of all ||g_T(t)||^2, rest[m] = sum over t >= m
        squares = np.concatenate(norms)
        true, rest = math.fsum(squares), np.append(np.cumsum(squares[::-1])[::-1], 0.0)
        names = ("cross", "square", "cross_error", "square_error")
        found = {
            name: _within(getattr(total, name)[: self.depth - 1], at_edges.rule.stride) for name in names
        }
        return {
            (m := self.depth - h): (
                InnerProducts(
                    true,
                    float(rest[at_edges.blind(m)]),
                    float(found["cross"][h - 1]),
                    float(found["square"][h - 1]),
                    residual=at_edges.residual_norm,
                ),
                float(found["cross_error"][h - 1]),
                float(found["square_error"][h - 1]),
            )
            for h in range(1, self.depth)
        }

    def _fft_from(self) -> float:
        if not self.channels:
            return math.inf
        asked, width = self.at_edges.engine.fft_from, self.at_edges.net.width
        return _FFT_FROM * max(1.0, width / 10) if asked is None else asked

    def _tile_pairs(self, block: PairBlock) -> list[TilePair]:
        starts, ends = self.at_edges.chunks(*block.starts), self.at_edges.chunks(*block.ends)
        return [(block.split, *tiles) for tiles in itertools.product(starts, ends)]

    def arrays(self, chunk: tuple[int, int]) -> TileArrays:
        """D(t), P_t, g_T(t) = (W_{t+1}^T)^T R P_t^T and Y_s of a tile."""
        at_edges, numpy = self.at_edges, self.at_edges.engine.backend.numpy
        layers, at = at_edges.layers(*chunk), at_edges.index(chunk[0])
        states = layers.states(at_edges.states[at])
        gradients = layers.costates(self.costates[at + 1])[1:] @ states[:-1].mT
        terms = signal_terms(at_edges, layers, *chunk)[:-1]
        if (stride := at_edges.rule.stride) > 1:  # no loss is taken off the grid
            terms = at_edges.engine.backend.scaled(terms, (self.depth - np.arange(*chunk)) % stride == 0)
        return TileArrays(chunk[0], *(numpy(x) for x in (layers.layers, states[:-1], gradients, terms)))

    def _tile(self, chunk: tuple[int, int]) -> tuple[np.ndarray, Diagonals]:
        tile = self.arrays(chunk)
        return np.einsum("tij,tij->t", tile.gradients, tile.gradients), tile.within(_SHORT, self.channels)

    def _pairs(self, task: TilePair) -> Diagonals:
        split, starts, ends = task
        return by_pairs(self._starts(split, starts), self._ends(split, ends), self.channels)

    def _starts(self, split: int, chunk: tuple[int, int]) -> Starts:
        """L_t = W_{t+1}^p of a tile before the split p, from W_b^p at its end b."""
        after = self.at_edges.until(chunk[1], split)[0]
        return self.arrays(chunk).starts(0, chunk[1] - chunk[0], self.at_edges.host.numpy(after))

    def _ends(self, split: int, chunk: tuple[int, int]) -> Ends:
        """Z_s = (W_p^s)^T Y_s of a tile after the split p, from W_p^a at its start a."""
        before = self.at_edges.between(split, chunk[0])[-1]
        return self.arrays(chunk).ends(0, chunk[1] - chunk[0], self.at_edges.host.numpy(before))

    def _pieces(self, block: PairBlock) -> Iterator[PairBlock]:
        """The block, cut until half the memory budget holds what its channels are made of."""
        starts, ends = self.at_edges.chunks(*block.starts), self.at_edges.chunks(*block.ends)
        engine, n = self.at_edges.engine, self.at_edges.net.width
        size = Channels.numbers(n, block.starts[1] - block.starts[0], block.ends[1] - block.ends[0])
        if 8 * size <= engine.budget(self.at_edges.net) // 2 or len(starts) == len(ends) == 1:
            yield block
        elif len(starts) >= len(ends):
            at = starts[len(starts) // 2][0]
            yield from self._pieces(replace(block, starts=(block.starts[0], at)))
            yield from self._pieces(replace(block, starts=(at, block.starts[1])))
        else:
            at = ends[len(ends) // 2][0]
            yield from self._pieces(replace(block, ends=(block.ends[0], at)))
            yield from self._pieces(replace(block, ends=(at, block.ends[1])))

    def _gathered(self, block: PairBlock) -> Channels | None:
        """What a whole block's channels are made of, tile by tile; None where they leave float64."""
        (start, stop), (first, last), n = block.starts, block.ends, self.at_edges.net.width
        whole = Channels.empty(first - start, n, stop - start, last - first)

        def put_starts(chunk: tuple[int, int]) -> bool:
            return whole.put_starts(chunk[0] - start, self._starts(block.split, chunk))

        def put_ends(chunk: tuple[int, int]) -> bool:
            return whole.put_ends(chunk[0] - first, self._ends(block.split, chunk))

        local = local_map(self.at_edges.engine.team)
        fits = local.map(put_starts, self.at_edges.chunks(*block.starts), "starts")
        fits += local.map(put_ends, self.at_edges.chunks(*block.ends), "ends")
        return whole if all(fits) else None
