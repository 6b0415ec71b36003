"""`products.Chunk` on a GPU by kernels that take all blocks at once: few launches, no read by the host.

Blocks have 64 layers, blocks of blocks 64 of those, until few are left. Of every block both W - I and W are
kept, so that no size has to be looked at: where layers contract strongly, I + (W - I) would lose digits.
"""

from __future__ import annotations

from dlinear.engine.backends import Array, Backend
from dlinear.engine.products import Chunk

LENGTH = 64  # factors of a block
TOP = 128  # factors up to this number are one block
WIDEST = 64  # n; above, batched products of a library keep the device busy


def chunk_of(layers: Array, backend: Backend, blocks: tuple[int, Array] | None = None) -> Chunk:
    """Scans over some layers on a backend, by kernels of the device where there are any."""
    fits = getattr(backend, "kernel", "") == "triton" and layers.shape[-1] <= WIDEST
    return (DeviceChunk if fits else Chunk)(layers, backend, blocks)


class DeviceChunk(Chunk):
    """Consecutive layers, (k, n, n) as deviations on a device, and the scans over them."""

    def __init__(self, deviations: Array, backend: Backend, blocks: tuple[int, Array] | None = None) -> None:
        super().__init__(deviations.contiguous(), backend, blocks)
        self._levels: list[Array] | None = None

    def blocks(self) -> tuple[int, Array]:
        """Layers of a block, and (W - I, W) of the blocks' products, (blocks, 2, n, n)."""
        if self._blocked is None:
            size = LENGTH if len(self) > TOP else max(1, len(self))
            self._blocked = size, self._fold(self.layers, size)
        return self._blocked

    def levels(self) -> list[Array]:
        """The layers, the products of their blocks, those of blocks of these, ...; at last at most TOP."""
        if self._levels is None:
            found = [self.layers]
            while len(found[-1]) > TOP:
                found.append(self.blocks()[1] if len(found) == 1 else self._fold(found[-1], LENGTH))
            self._levels = found
        return self._levels

    def total_both(self) -> tuple[Array, Array]:
        """(W_0^k - I, W_0^k)."""
        last = self.levels()[-1]
        both = self._fold(last, len(last))[0] if len(self) else self.blocks()[1]
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
        from dlinear.engine import scan_triton

        k, n, be = len(self), self.layers.shape[-1], self._backend
        states, norms = self.states(start), be.empty(k)
        out = be.empty(k, n, n) if keep else None
        edges = self._edges("costates", end)
        with be.here():
            scan_triton.gradients(self.layers, edges, states, norms, out, LENGTH if k > TOP else k)
        return norms, states, out

    def _fold(self, factors: Array, length: int) -> Array:
        from dlinear.engine import scan_triton

        n = self.layers.shape[-1]
        out = self._backend.empty(-(-len(factors) // length), 2, n, n)
        if len(out):
            with self._backend.here():
                scan_triton.fold(factors, out, length)
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
        from dlinear.engine import scan_triton

        out = self._backend.empty(len(factors) + 1, *factors.shape[-2:])
        with self._backend.here():
            scan_triton.scan(kind, factors, edges, out, LENGTH if len(factors) > TOP else len(factors))
        return out
