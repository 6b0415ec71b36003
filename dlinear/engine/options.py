"""How the engine computes: backend, threads or processes, memory. None of it changes the numbers."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

from dlinear.checks import as_choice, as_integer, as_number
from dlinear.engine.backends import Backend, NumpyBackend
from dlinear.engine.parallel.threads import ParallelMap, Threads, asked_threads, workers
from dlinear.errors import DomainError
from dlinear.networks.protocol import Network

if TYPE_CHECKING:
    from dlinear.engine.kernels.library import Kernels

CHUNKS = 12  # arrays of the size of a chunk that a worker has in memory at once
LEAST = 1 << 13  # numbers of a chunk, however small the memory: shorter ones cost more time than they save
MATRICES, OBJECTS = 6, 1000  # n x n matrices at each edge between chunks, and bytes of Python's own for them
DEFAULT = 256 << 20  # bytes that are held where no memory is given
ON_CPU = 1 << 19  # numbers of a chunk, in cache; on a GPU a fifth of the card holds what two threads take
LAUNCHING = 2  # threads that launch on one GPU: while one waits for its numbers, the other one goes on
VARIABLE = "DLINEAR_KERNELS"  # what kernels="auto" means
WORTH = 1 << 17  # numbers of all layers, from which kernels are worth their start, 0.3 s once a machine

Compiled = Literal["auto", "on", "off"]
Way = Literal["compiled", "all compiled", "numpy"]


@dataclass(frozen=True)
class Engine:
    """How the engine computes; none of it changes the numbers beyond rounding.

    Attributes:
        backend: numpy or torch.
        team: the map over chunks, `parallel.threads.Threads`, or the ranks of `parallel.distributed`.
        memory: budget in bytes for the engine's arrays, beside a network that is itself in memory: half of
            it for what the workers compute with (`chunk_layers`), the rest for what is held between chunks.
            None: 256 MiB are held, or as much as the network itself takes, a worker computes with 96 bytes
            times `chunk_numbers`, 48 MiB, and the products at the edges between chunks (`edge_bytes`) come
            on top. At any budget these are needed, and chunks of at least 2^13 numbers. On a GPU: bytes that
            are held there; None: a quarter of the card.
        chunk_numbers: float64 numbers of one chunk of layers; None: 2^19, in cache; on a GPU as many
            as a fifth of it holds for two threads, a power of two: 2^26 of 80 GB.
        fft_from: all horizons at once: blocks of at least so many layers go by FFT (math.inf: none does);
            by default where that takes less time.
        kernels: compiled kernels (llvmlite, float64 on the CPU, n <= 64). "auto": those of networks with 2^17
            numbers or more, where they can be had, unless the environment variable DLINEAR_KERNELS says
            "off", or "on" for networks of any size; "off": numpy alone; "on": always, or an error. The
            numbers agree to rounding.

    Raises:
        DomainError: memory, chunk_numbers, fft_from or kernels that is no such value.
    """

    backend: Backend = field(default_factory=NumpyBackend)
    team: ParallelMap = field(default_factory=Threads)
    memory: int | None = None
    chunk_numbers: int | None = None
    fft_from: float | None = None
    kernels: Compiled = "auto"

    def __post_init__(self) -> None:
        if self.memory is not None:
            object.__setattr__(self, "memory", as_integer("memory", self.memory, 1))
        if self.chunk_numbers is not None:
            object.__setattr__(self, "chunk_numbers", as_integer("chunk_numbers", self.chunk_numbers, 1))
        if self.fft_from is not None and self.fft_from != math.inf:
            as_number("fft_from", self.fft_from)
        as_choice("kernels", self.kernels, get_args(Compiled))

    def compiled(self, net: Network) -> Kernels | None:
        """The kernels that compute this network, or None: numpy does.

        Raises:
            DomainError: kernels are "on" and cannot be had, or one of several ranks has none; the reason is
                said.
        """
        found = self._compiled_here(net)
        size = getattr(self.team, "size", 1)
        if size == 1:
            return found
        able = self.team.map(lambda _: float(found is not None), range(size), "kernels")
        if able[0] and not all(able):
            raise DomainError(
                f"the first rank has compiled kernels, rank {able.index(0.0)} has none: "
                f"install llvmlite on both, or set {VARIABLE}=off"
            )
        return found if able[0] else None

    def _compiled_here(self, net: Network) -> Kernels | None:
        wanted = compiled_by_default() if self.kernels == "auto" else self.kernels
        plain = isinstance(self.backend, NumpyBackend) and self.backend.precision == "float64"
        small = net.depth * net.width**2 < WORTH
        if wanted == "off" or (wanted == "auto" and (small or not plain)):
            return None
        from dlinear.engine.kernels.library import WIDEST, kernels_of

        found = kernels_of(net.width) if plain else None
        if found is None and wanted == "on" and (self.kernels == "on" or (plain and net.width <= WIDEST)):
            raise DomainError(
                f"kernels are 'on', but there are none for width {net.width} here: they need llvmlite "
                f"(pip install 'dlinear[fast]'), numpy in float64, width <= {WIDEST}, and AVX2 or NEON"
            )
        return found

    @property
    def on_gpu(self) -> bool:
        """Whether arrays are elsewhere than in the memory of the host."""
        return bool(getattr(self.backend, "device", "cpu") != "cpu")

    @property
    def scans(self) -> ParallelMap:
        """The map over chunks of arrays of the backend: on a GPU few threads, if none were asked for."""
        team = self.team
        if self.on_gpu and isinstance(team, Threads) and team.workers is None and asked_threads() is None:
            return replace(team, workers=LAUNCHING)
        return team

    def _on_gpu(self) -> int:
        """Numbers of a chunk by the memory of the card: 12 arrays of 8 bytes, for each of two threads."""
        numbers = int(getattr(self.backend, "memory", 0)) // (5 * 8 * CHUNKS * LAUNCHING)
        return 1 << max(22, numbers.bit_length() - 1)

    def budget(self, net: Network) -> int:
        """Bytes that the engine's arrays may take at once; without `memory`, those that are held."""
        if self.memory is not None:
            return self.memory
        return max(DEFAULT, getattr(net, "nbytes", 0), getattr(self.backend, "memory", 0) // 4)

    def held(self, net: Network) -> int:
        """Bytes of the budget for what is held between chunks, beside the products at their edges."""
        if self.memory is None or self.on_gpu:
            return self.budget(net)
        return max(0, self.memory - self.working(net) - edge_bytes(net, self.chunk_layers(net)))

    def working(self, net: Network) -> int:
        """Bytes that the workers compute with at once."""
        chunk = self.chunk_layers(net)
        busy = min(workers(self.scans), -(-net.depth // chunk))
        return 8 * CHUNKS * min(chunk, net.depth) * net.width**2 * busy

    def most(self, net: Network) -> int:
        """Bytes that the engine's arrays take at most: held, computed with, and at the edges."""
        return self.held(net) + self.working(net) + edge_bytes(net, self.chunk_layers(net))

    def chunk_layers(self, net: Network) -> int:
        """Layers k of one chunk: `chunk_numbers`, where the memory suffices.

        Of a given memory half is for what w workers compute with, 12 arrays of a chunk each. Where the
        products at the edges (`edge_bytes`) would fill the other half, chunks are longer again, up to
        that limit. On a GPU a chunk has `chunk_numbers` at any budget.
        """
        n = net.width
        most = self.chunk_numbers or (self._on_gpu() if self.on_gpu else ON_CPU)
        if self.memory is None or self.on_gpu:
            return max(1, most // n**2)
        share = self.memory // 2 // (8 * CHUNKS * workers(self.team))
        wanted = 2 * n**2 * edge_bytes(net, 1) // self.memory
        numbers = max(min(most, max(share, LEAST)), min(share, wanted))
        return max(1, numbers // n**2)


def way() -> Way:
    """How this process computes by default, "compiled": large networks alone; what a record says."""
    from dlinear.engine.kernels.host import host

    asked = compiled_by_default()
    if asked == "off" or host() is None:
        return "numpy"
    return "all compiled" if asked == "on" else "compiled"


def compiled_by_default() -> Compiled:
    """What kernels="auto" means in this process: DLINEAR_KERNELS, or "auto"."""
    asked = os.environ.get(VARIABLE) or "auto"
    if asked not in get_args(Compiled):
        raise DomainError(f"{VARIABLE} is {asked!r}; expected one of {', '.join(get_args(Compiled))}")
    return asked  # type: ignore[return-value]


def edge_bytes(net: Network, chunk: int) -> int:
    """(48 n^2 + 1000) T/k, bytes of the products at the edges between chunks of k layers."""
    return (8 * MATRICES * net.width**2 + OBJECTS) * -(-net.depth // chunk)


def local_map(team: ParallelMap) -> ParallelMap:
    """The map for work whose results stay in this process."""
    local: ParallelMap = getattr(team, "local", team)
    return local
