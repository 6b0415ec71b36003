"""Power, energy and utilisation of an NVIDIA card, by NVML (package nvidia-ml-py, module pynvml).

Energy is the difference of the card's own counter (millijoules since the driver was loaded, Volta and later);
where there is none, sampled power is integrated by the trapezoidal rule. Utilisation is the share of time in
which a kernel ran, as the driver samples it. All are numbers of the card: idle power and the work of other
processes are in them, so that `shared` says whether there were others.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["CardCounter", "card_of"]


class CardCounter:
    """What one card has used since this was made.

    Args:
        library: pynvml, initialised, or what stands for it.
        handle: of the card, as the library knows it.
        clock: seconds.
    """

    def __init__(self, library: Any, handle: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        self._library, self._handle, self._clock = library, handle, clock
        self.shared = False
        self._start = self._read("nvmlDeviceGetTotalEnergyConsumption")
        self._samples: list[tuple[float, float]] = []  # (seconds, watts)
        self._busy: list[float] = []
        self.update()

    def update(self) -> None:
        """Take a sample of power and utilisation; `shared` becomes True once another process is there."""
        watts = self._read("nvmlDeviceGetPowerUsage")
        if watts is not None:
            self._samples.append((self._clock(), watts / 1000))
        busy = self._read("nvmlDeviceGetUtilizationRates")
        if busy is not None:
            self._busy.append(busy.gpu / 100)
        self.shared |= len(self._read("nvmlDeviceGetComputeRunningProcesses") or ()) > 1

    def energy(self) -> tuple[float | None, str]:
        """Joules so far and where they come from: "counter" or "sampled power"; (None, "") without."""
        now = self._read("nvmlDeviceGetTotalEnergyConsumption")
        if now is not None and self._start is not None:
            return (now - self._start) / 1000, "counter"
        if len(self._samples) < 2:
            return None, ""
        pairs = itertools.pairwise(self._samples)
        return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairs), "sampled power"

    @property
    def utilisation(self) -> float | None:
        """Mean share of time with a kernel over the samples after the first, which is of the time before."""
        later = self._busy[1:]
        return sum(later) / len(later) if later else None

    def _read(self, name: str) -> Any | None:
        """One value; None where the card, the driver or a container does not give it."""
        try:
            return getattr(self._library, name)(self._handle)
        except (self._library.NVMLError, AttributeError):
            return None


def card_of(device: torch.device) -> CardCounter | None:
    """The counter of a torch device; None of a processor, without NVML, or where the card is not found.

    torch and NVML count cards differently: they are matched by UUID.
    """
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    index = device.index if device.index is not None else torch.cuda.current_device()
    uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    try:
        pynvml.nvmlInit()
        if uuid is not None:
            return CardCounter(pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode()))
        only = pynvml.nvmlDeviceGetCount() == 1 == torch.cuda.device_count()
        return CardCounter(pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)) if only else None
    except pynvml.NVMLError:
        return None
