"""How the engine computes: backend, threads or processes, memory. None of it changes the numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from dlinear.engine.backends import Backend, NumpyBackend
from dlinear.engine.parallel.threads import ParallelMap, Threads
from dlinear.networks.protocol import Network


@dataclass(frozen=True)
class Engine:
    """How the engine computes; none of it changes the numbers beyond rounding.

    Attributes:
        backend: numpy or torch.
        team: the map over chunks, `parallel.threads.Threads`, or the ranks of `parallel.distributed`.
        memory: budget in bytes for the engine's arrays, beside a network that is itself in memory. None:
            256 MiB, or as much as the network itself takes.
        chunk_numbers: float64 numbers of one chunk of layers; by default a few MiB, in cache.
        fft_from: all horizons at once: blocks of at least so many layers go by FFT (math.inf: none does);
            by default where that takes less time.
    """

    backend: Backend = field(default_factory=NumpyBackend)
    team: ParallelMap = field(default_factory=Threads)
    memory: int | None = None
    chunk_numbers: int = 1 << 19
    fft_from: float | None = None

    def budget(self, net: Network) -> int:
        """Bytes that the engine's arrays may take at once."""
        return max(256 << 20, getattr(net, "nbytes", 0)) if self.memory is None else self.memory

    def chunk_layers(self, net: Network) -> int:
        """Layers of one chunk."""
        return max(1, self.chunk_numbers // net.width**2)


def local_map(engine: Engine) -> ParallelMap:
    """The map for work whose results stay in this process."""
    local: ParallelMap = getattr(engine.team, "local", engine.team)
    return local
