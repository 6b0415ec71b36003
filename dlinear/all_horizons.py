"""Every horizon at once: all pairs (t, s) of a layer and a window's end, summed by h = s - t.

A pair t < s < T belongs to the horizon s - t alone, so <delta, g_T> and ||delta||^2 of all horizons are sums over
the triangle of pairs. The triangle is cut in squares: of the layers a..b-1, the pairs on both sides of the middle
p make a block whose windows all cross p (`correlation` sums such blocks), and the two halves are cut again. No
inverse is taken, near and far horizons are one case, and short windows are multiplied out.

Long blocks go by FFT, whose error is relative to the largest sum of the block. The corner of small shortfalls,
where sums fall as m^3, is therefore cut in shells, each a quarter of the last. Every sum has a bound of what was
rounded away; where that is not small enough the horizon is worked out by itself (`truncation`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from dlinear.correlation import Channels, Diagonals, Ends, RangeError, Starts, TileArrays, by_fft, by_pairs
from dlinear.networks import Matrix, Network
from dlinear.truncation import Engine, Sums, Survey, far_sums, local_team, near_sums, rescaled, tail_terms

TOLERANCE = 1e-10  # of the bound on the relative error that large sums may add to sin^2
_TILE, _SHORT = 1024, 16  # layers of a tile; windows below the second are multiplied out
_AT_ONCE = 64  # pairs of tiles whose sums are held together


@dataclass(frozen=True)
class Block:
    """Pairs of t in starts[0]..starts[1]-1 with s in ends[0]..ends[1]-1, windows across the layer `split`."""

    starts: tuple[int, int]
    split: int
    ends: tuple[int, int]

    @property
    def length(self) -> float:
        """Layers of the square block with the same ratio of pairs to layers."""
        a, b = self.starts[1] - self.starts[0], self.ends[1] - self.ends[0]
        return 2 * a * b / (a + b)


def blocks(edges: list[int], fft_from: float) -> Iterator[Block]:
    """The blocks of pairs t < s in different tiles, each pair once."""

    def halves(low: int, high: int) -> Iterator[Block]:
        if high - low < 2:
            return
        split = (low + high) // 2
        if low == 0 and high == len(edges) - 1:
            yield from corner(split, split, high - split)
        else:
            yield Block((edges[low], edges[split]), edges[split], (edges[split], edges[high]))
        yield from halves(low, split)
        yield from halves(split, high)

    def corner(split: int, before: int, after: int) -> Iterator[Block]:
        """The pairs of the first tiles with the last: shells about ever smaller shortfalls."""
        last = len(edges) - 1
        whole = Block((0, edges[before]), edges[split], (edges[last - after], edges[last]))
        inner = (-(-before // 4), -(-after // 4))
        if whole.length < fft_from or inner == (before, after):
            yield whole
            return
        at, to = edges[inner[0]], edges[last - inner[1]]
        if whole.ends[0] < to:
            yield Block(whole.starts, whole.split, (whole.ends[0], to))
        if at < whole.starts[1] and to < whole.ends[1]:
            yield Block((at, whole.starts[1]), whole.split, (to, whole.ends[1]))
        yield from corner(split, *inner)

    yield from halves(0, len(edges) - 1)


def all_sums(net: Network, phi: Matrix, engine: Engine) -> dict[int, Sums]:
    """The sums of every shortfall 1..T-1."""
    depth, everything = net.depth, list(range(1, net.depth))
    tile = max(1, min(_TILE, engine.chunk_layers(net), -(-depth // 2)))
    survey = Survey(net, phi, (), replace(engine, chunk_numbers=tile * net.width**2))
    triangle, doubtful = Triangle(survey), set[int]()

    def sums() -> dict[int, Sums]:
        found = triangle.sums()
        doubtful.update(_doubtful(found))
        return {m: one for m, (one, *_) in found.items()}

    try:
        found = rescaled(survey, sums)
    except RangeError:
        found, doubtful = {}, set(everything)
    near = sorted(m for m in doubtful if m <= depth // 2)
    far = sorted(doubtful - set(near))
    found |= near_sums(net, phi, near, engine) if near else {}
    found |= far_sums(net, phi, far, engine) if far else {}
    return found


def _doubtful(found: dict[int, tuple[Sums, float, float]]) -> Iterator[int]:
    """Shortfalls whose sums may be rounded too much, or cancel."""
    for m, (one, cross_error, square_error) in found.items():
        if not (one.true > 0 and math.isfinite(one.true + one.square)):
            continue
        numerator = square_error + 2 * abs(one.cross) / one.true * cross_error
        truncated = square_error + 2 * cross_error
        if (
            one.cancels
            or numerator > TOLERANCE * one.numerator
            or truncated > TOLERANCE * one.truncated
        ):
            yield m


class Triangle:
    """All pairs t < s of a network."""

    def __init__(self, survey: Survey) -> None:
        self.survey, self.depth = survey, survey.net.depth

    def sums(self) -> dict[int, tuple[Sums, float, float]]:
        """For each shortfall 1..T-1 its sums and the bounds of the errors of `cross` and `square`."""
        survey, engine = self.survey, self.survey.engine
        self.costates = survey.costates()
        total = Diagonals.zeros(1, max(self.depth, _SHORT) - 1)
        norms = []
        for tile_norms, pairs in engine.team.map(self._tile, survey.chunks(0, self.depth), "tiles"):
            norms.append(tile_norms)
            total += pairs
        direct = []
        for block in blocks(survey.edges, engine.fft_from):
            if block.length >= engine.fft_from:
                total += by_fft(self._gathered(block), local_team(engine))
            else:
                tiles = itertools.product(survey.chunks(*block.starts), survey.chunks(*block.ends))
                direct += [(block.split, *pair) for pair in tiles]
        for at in range(0, len(direct), _AT_ONCE):
            for pairs in engine.team.map(self._pairs, direct[at : at + _AT_ONCE], "pairs"):
                total += pairs
        squares = np.concatenate(norms)
        true, rest = math.fsum(squares), np.append(np.cumsum(squares[::-1])[::-1], 0.0)
        return {
            (m := self.depth - h): (
                Sums(true, float(rest[m]), float(total.cross[h - 1]), float(total.square[h - 1])),
                float(total.cross_error[h - 1]),
                float(total.square_error[h - 1]),
            )
            for h in range(1, self.depth)
        }

    def arrays(self, chunk: tuple[int, int]) -> TileArrays:
        """D, P, g_T and Y of a tile."""
        survey, numpy = self.survey, self.survey.engine.backend.numpy
        layers, at = survey.layers(*chunk), survey.index(chunk[0])
        states = layers.states(survey.states[at])
        gradients = layers.costates(self.costates[at + 1])[1:] @ states[:-1].mT
        terms = tail_terms(survey, layers.suffix_deviations(survey.tails[at + 1]), states)[:-1]
        return TileArrays(chunk[0], *(numpy(x) for x in (layers.layers, states[:-1], gradients, terms)))

    def _tile(self, chunk: tuple[int, int]) -> tuple[np.ndarray, Diagonals]:
        tile = self.arrays(chunk)
        return np.einsum("tij,tij->t", tile.gradients, tile.gradients), tile.within(_SHORT)

    def _pairs(self, task: tuple[int, tuple[int, int], tuple[int, int]]) -> Diagonals:
        split, starts, ends = task
        return by_pairs(self._starts(split, starts), self._ends(split, ends))

    def _starts(self, split: int, chunk: tuple[int, int]) -> Starts:
        after = self.survey.until(chunk[1], split)[0]
        return self.arrays(chunk).starts(0, chunk[1] - chunk[0], self.survey.engine.backend.numpy(after))

    def _ends(self, split: int, chunk: tuple[int, int]) -> Ends:
        before = self.survey.between(split, chunk[0])[-1]
        return self.arrays(chunk).ends(0, chunk[1] - chunk[0], self.survey.engine.backend.numpy(before))

    def _gathered(self, block: Block) -> Channels:
        """What a whole block's channels are made of, tile by tile."""
        (start, stop), (first, last), n = block.starts, block.ends, self.survey.net.width
        whole = Channels.empty(first - start, n, stop - start, last - first)

        def put_starts(chunk: tuple[int, int]) -> None:
            whole.put_starts(chunk[0] - start, self._starts(block.split, chunk))

        def put_ends(chunk: tuple[int, int]) -> None:
            whole.put_ends(chunk[0] - first, self._ends(block.split, chunk))

        team = local_team(self.survey.engine)
        team.map(put_starts, self.survey.chunks(*block.starts), "starts")
        team.map(put_ends, self.survey.chunks(*block.ends), "ends")
        return whole
