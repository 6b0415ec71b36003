"""`products.Chunk` on torch devices: all blocks at once, with few launches and no read by the host.

Layers are cut into short blocks, these into blocks of blocks, until few are left. Of every block W - I and W
are kept, so that no size has to be looked at: where layers contract strongly, I + (W - I) would lose digits.
The scans over a level are `scan_triton`'s where the backend says so, else `scan_products`'.
"""

from __future__ import annotations

from types import ModuleType

from dlinear.engine import scan_products
from dlinear.engine.backends import Array, Backend
from dlinear.engine.products import Chunk

WIDEST = 64  # n; above, batched products of a library keep the device busy


def chunk_of(layers: Array, backend: Backend, blocks: tuple[int, Array] | None = None) -> Chunk:
    """Scans over some layers, on the host or on a device."""
    return (DeviceChunk if hasattr(backend, "kernel") else Chunk)(layers, backend, blocks)


def scans_of(backend: Backend, n: int) -> ModuleType:
    """What computes the scans of a level."""
    if getattr(backend, "kernel", "") == "triton" and n <= WIDEST:
        from dlinear.engine import scan_triton

        return scan_triton
    return scan_products


class DeviceChunk(Chunk):
    """Consecutive layers, (k, n, n) as deviations on a device, and the scans over them."""

    def __init__(self, deviations: Array, backend: Backend, blocks: tuple[int, Array] | None = None) -> None:
        super().__init__(deviations.contiguous(), backend, blocks)
        self._levels: list[Array] | None = None
        self._scans = scans_of(backend, deviations.shape[-1])

    def blocks(self) -> tuple[int, Array]:
        """Layers of a block, and (W - I, W) of the blocks' products, (blocks, 2, n, n)."""
        if self._blocked is None:
            self._blocked = max(1, self._length(self.layers)), self._fold(self.layers)
        return self._blocked

    def levels(self) -> list[Array]:
        """The layers, the products of their blocks, those of blocks of these, ...; at last at most TOP."""
        if self._levels is None:
            found = [self.layers]
            while found[-1].shape[0] > self._scans.TOP:
                found.append(self.blocks()[1] if len(found) == 1 else self._fold(found[-1]))
            self._levels = found
        return self._levels

    def total_both(self) -> tuple[Array, Array]:
        """(W_0^k - I, W_0^k)."""
        both = (self.blocks()[1] if len(self.levels()) == 1 else self._fold(self.levels()[-1]))[0]
        return both[0], both[1]

    def total_deviation(self) -> Array:
        """W_0^k - I, (n, n)."""
        return self.total_both()[0] if len(self) else self._zeros()

    def total(self) -> Array:
        """W_0^k as a plain product, (n, n)."""
        return self.total_both()[1] if len(self) else self._eye()

    def final_state(self, start: Array) -> Array:
        """W_0^k start, (n, n), the last of `states` without the others."""
        return self.total() @ start

    def states(self, start: Array) -> Array:
        """W_0^t start for t = 0..k."""
        return self._scan("states", start)

    def prefix_deviations(self, before: Array | None = None) -> Array:
        """W_0^t (I + before) - I for t = 0..k."""
        return self._scan("prefixes", self._zeros() if before is None else before)

    def costates(self, end: Array) -> Array:
        """(W_t^k)^T end for t = 0..k."""
        return self._scan("costates", end)

    def suffix_deviations(self, after: Array | None = None) -> Array:
        """(I + after) W_t^k - I for t = 0..k."""
        return self._scan("suffixes", self._zeros() if after is None else after)

    def gradients(self, start: Array, end: Array, keep: bool) -> tuple[Array, Array, Array | None]:
        """||g_T(t)||^2, (k,), P_t at the k + 1 boundaries and, with `keep`, g_T(t) of each layer.

        Args:
            start: P before the chunk.
            end: the costate after it, (W^T)^T R.
        """
        be, layers, states = self._backend, self.layers, self.states(start)
        out = be.empty(*layers.shape) if keep else None
        edges, length = self._edges("costates", end), self._length(layers)
        return self._scans.gradients(be, layers, edges, states, out, length), states, out

    def _length(self, factors: Array) -> int:
        """Factors of a block; few are one block."""
        return int(self._scans.LENGTH) if factors.shape[0] > self._scans.TOP else factors.shape[0]

    def _fold(self, factors: Array) -> Array:
        n, length = self.layers.shape[-1], max(1, self._length(factors))
        out = self._backend.empty(-(-factors.shape[0] // length), 2, n, n)
        if out.shape[0]:
            self._scans.fold(self._backend, factors, out, length)
        return out

    def _scan(self, kind: str, value: Array) -> Array:
        """The values at the edges of the longest blocks first, then inside these, down to every layer."""
        edges = self._edges(kind, value)
        return self._inside(kind, self.layers, edges) if len(self) else edges

    def _edges(self, kind: str, value: Array) -> Array:
        """The values at the edges of blocks of layers; the one at the beginning where there is one block."""
        edges = value.contiguous()[None]
        for factors in reversed(self.levels()[1:]):
            edges = self._inside(kind, factors, edges)
        return edges

    def _inside(self, kind: str, factors: Array, edges: Array) -> Array:
        out = self._backend.empty(factors.shape[0] + 1, *factors.shape[-2:])
        self._scans.scan(self._backend, kind, factors, edges, out, self._length(factors))
        return out
