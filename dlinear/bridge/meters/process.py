"""Memory, processor time and cores of this process, as the operating system counts them.

The peak of the resident memory is a high-water mark. `ru_maxrss` of a process that was started by another one
begins at the size of its parent, and never falls; VmHWM of /proc belongs to this process alone and can be set
back. Memory that an earlier computation has left with the allocator stays in both: a fair number needs one
process for each measurement (`dlinear.runs.computation.OneProcessEach`).
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from dlinear.optional import needed

__all__ = ["PeakMemory", "cores", "load", "peak_memory", "reset_peak_memory"]

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET = "5"  # what the kernel takes for "the peak is the present size"


@dataclass(frozen=True)
class PeakMemory:
    """Resident memory of this process, bytes.

    Attributes:
        peak: high-water mark since `reset_peak_memory`, or since the start of the process.
        source: which counter: "VmHWM", "ru_maxrss" or "peak_wset".
    """

    peak: int
    source: str


def peak_memory() -> PeakMemory | None:
    """The high-water mark of the resident memory; None where the system has no such counter."""
    with contextlib.suppress(OSError):
        if found := re.search(r"^VmHWM:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE):
            return PeakMemory(1024 * int(found[1]), "VmHWM")
    if sys.platform == "win32":
        with needed("process memory"):
            import psutil

        return PeakMemory(int(psutil.Process().memory_info().peak_wset), "peak_wset")
    with contextlib.suppress(ImportError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kB elsewhere
        return PeakMemory(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "ru_maxrss")
    return None


def reset_peak_memory() -> bool:
    """Set the high-water mark to the present size; False where the system does not allow it."""
    try:
        CLEAR.write_text(_RESET)
    except OSError:
        return False
    return True


def load() -> float:
    """Processes that had or wanted a core in the last minute, over all cores: above 1 some waited."""
    with needed("the load of the machine"):
        import psutil

    return float(psutil.getloadavg()[0]) / (psutil.cpu_count() or 1)


def cores() -> int:
    """Processor cores that this process may use."""
    with needed("processor time"):
        import psutil

    with contextlib.suppress(AttributeError, psutil.Error):  # no affinity on this system
        return len(psutil.Process().cpu_affinity())
    return psutil.cpu_count() or os.cpu_count() or 1
