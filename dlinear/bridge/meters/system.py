"""What a computation uses of the machine: time, cores, memory, energy; and what cannot be measured here.

    with SystemMeter(device) as meter:
        ...
    meter.use.cores_busy, meter.use.peak_memory, words(meter.use.cpu_joules, "J")

A quantity without a counter is None, and `words` says "not measurable here": nothing is estimated from
another quantity. Energies are those of the machine or the card. They say something of a computation only
where it runs alone; with `alone=False` they are None, those of a card also where another process is on it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from dlinear.bridge.meters import process, rapl
from dlinear.bridge.meters.nvml import CardCounter, card_of
from dlinear.checks import as_integer, as_number
from dlinear.errors import DomainError, MeterError

__all__ = ["NOT_MEASURABLE", "SystemMeter", "SystemUse", "Throughput", "throughput", "time_to", "words"]

NOT_MEASURABLE = "not measurable here"
INTERVAL = 0.1  # seconds between samples of power; the drivers refresh their values about so often
SHORTEST = 1.0  # seconds below which counters that are refreshed so often say nothing


@dataclass(frozen=True)
class SystemUse:
    """What one computation used; None: not measurable here.

    Attributes:
        wall: seconds.
        cpu: seconds of processor time of this process, all threads.
        cores: cores that the process may use.
        peak_memory: resident memory of the process at its highest, bytes; with what the process held before.
        cpu_joules: of all processor packages and their memory (RAPL).
        gpu_seconds: between the first and the last operation on the stream, by events.
        gpu_memory: peak of the allocator, bytes.
        gpu_utilisation: share of time in which a kernel ran.
        gpu_watts: mean power of the card.
        gpu_joules: energy of the card.
        gpu_energy_source: "counter", "sampled power" or "".
    """

    wall: float
    cpu: float
    cores: int
    peak_memory: int | None = None
    cpu_joules: float | None = None
    gpu_seconds: float | None = None
    gpu_memory: int | None = None
    gpu_utilisation: float | None = None
    gpu_watts: float | None = None
    gpu_joules: float | None = None
    gpu_energy_source: str = ""

    @property
    def cores_busy(self) -> float:
        """Processor time over wall time: 1 is one core that never waits."""
        return self.cpu / self.wall

    @property
    def utilisation(self) -> float:
        """The same over the cores that there are, in 0..1."""
        return self.cores_busy / self.cores


def words(value: float | None, unit: str = "", spec: str = ".3g") -> str:
    """A measured value with its unit; `NOT_MEASURABLE` for None and NaN."""
    if value is None or math.isnan(value):
        return NOT_MEASURABLE
    return f"{value:{spec}} {unit}".rstrip()


class SystemMeter:
    """Measures what is computed inside `with`; afterwards `use` has the result.

    Args:
        device: of the computation.
        alone: whether nothing else runs on the machine; otherwise energies, power and the card's utilisation
            are None.
        cards: device -> its counter, None where there is none.
        powercap: the folder of RAPL's counters.
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        alone: bool = True,
        cards: Callable[[torch.device], CardCounter | None] = card_of,
        powercap: Path = rapl.ROOT,
    ) -> None:
        self._device, self._alone = torch.device(device), alone
        self._cuda = self._device.type == "cuda"
        self._cards, self._powercap = cards, powercap
        self._use: SystemUse | None = None

    @property
    def use(self) -> SystemUse:
        """What was used.

        Raises:
            MeterError: the computation has not ended.
        """
        if self._use is None:
            raise MeterError("the computation has not ended: read `use` after the `with` block")
        return self._use

    def __enter__(self) -> SystemMeter:
        self._use = None
        if self._cuda:
            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            self._events: list[Any] = [_event(), _event()]
            self._events[0].record()
        process.reset_peak_memory()
        self._rapl = rapl.RaplCounter(self._powercap) if self._alone else None
        self._card = self._cards(self._device) if self._alone else None
        self._end = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        if self._card is not None or (self._rapl is not None and self._rapl.joules is not None):
            self._sampler.start()
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gpu_seconds = gpu_memory = None
        if self._cuda:
            self._events[1].record()
            torch.cuda.synchronize(self._device)
            gpu_seconds = self._events[0].elapsed_time(self._events[1]) / 1000
            gpu_memory = torch.cuda.max_memory_allocated(self._device)
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        self._end.set()
        if self._sampler.ident is not None:
            self._sampler.join()
        found: dict[str, Any] = {"gpu_seconds": gpu_seconds, "gpu_memory": gpu_memory}
        if self._rapl is not None:
            self._rapl.update()
            found["cpu_joules"] = self._rapl.joules
        if self._card is not None and wall >= SHORTEST:
            found |= _of_the_card(self._card, wall)
        peak = process.peak_memory()
        memory = None if peak is None else peak.peak
        self._use = SystemUse(wall, cpu, process.cores(), memory, **found)

    def _sample(self) -> None:
        while not self._end.wait(INTERVAL):
            if self._rapl is not None:
                self._rapl.update()
            if self._card is not None:
                self._card.update()


def _event() -> Any:
    """A point in the work of a card, with its time."""
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _of_the_card(counter: CardCounter, wall: float) -> dict[str, Any]:
    """Energy, power and utilisation, none of a card that others use too."""
    counter.update()
    joules, source = counter.energy()
    if counter.shared:
        return {}
    watts = None if joules is None else joules / wall
    found = {"gpu_joules": joules, "gpu_energy_source": source, "gpu_watts": watts}
    return found | {"gpu_utilisation": counter.utilisation}


@dataclass(frozen=True)
class Throughput:
    """One computation, repeated.

    Attributes:
        samples: samples in one run.
        runs: how often it ran.
        use: of all runs together.
    """

    samples: int
    runs: int
    use: SystemUse

    @property
    def samples_per_second(self) -> float:
        """Samples over wall time."""
        return self.samples * self.runs / self.use.wall

    def per_sample(self, total: float | None) -> float | None:
        """A total of `use`, such as joules, for one sample."""
        return None if total is None else total / (self.samples * self.runs)


def throughput(
    run: Callable[[], Any],
    samples: int,
    seconds: float = 1.0,
    device: torch.device | str = "cpu",
    **meter: Any,
) -> Throughput:
    """Run again and again for so many seconds, after two runs that do not count; what it used.

    Args:
        run: one training step, or one prediction.
        samples: samples that it works on.
        seconds: to go on for, at least three runs; energies of a card need `SHORTEST` or more.
        device: where it computes.
        meter: further arguments of `SystemMeter`.

    Raises:
        DomainError: samples or seconds out of range.
    """
    samples, seconds = as_integer("samples", samples), as_number("seconds", seconds)
    for _ in range(2):
        run()
    runs, wait = 0, torch.device(device).type == "cuda"
    with SystemMeter(device, **meter) as found:
        start = time.perf_counter()
        while runs < 3 or time.perf_counter() - start < seconds:
            run()
            runs += 1
            if wait and runs % 20 == 0:  # else the queue of the card would hide its time
                torch.cuda.synchronize(device)
    return Throughput(samples, runs, found.use)


def time_to(target: float, seconds: Sequence[float], values: Sequence[float]) -> float | None:
    """The first time at which the values (accuracies) have reached the target; None if they never do.

    Values count from when they were measured: nothing is interpolated.

    Raises:
        DomainError: not as many times as values.
    """
    if len(seconds) != len(values):
        raise DomainError(f"{len(seconds)} times and {len(values)} values received; expected as many")
    reached = (s for s, value in zip(seconds, values, strict=True) if value >= target)
    return min(map(float, reached), default=None)
