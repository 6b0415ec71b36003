"""Energy of the processor packages by RAPL, where the system lets this process read it.

/sys/class/powercap/intel-rapl:N (Intel and AMD) is one package: energy_uj counts microjoules and starts again
at 0 after max_energy_range_uj. Memory (zone "dram") is counted beside the package. Zones "core" and "uncore"
are parts of their package, "psys" holds all of them: they would count twice. The counter is that of the
machine: idle power and other processes are in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ROOT", "RaplCounter", "rapl_zones"]

ROOT = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Zone:
    """One counter.

    Attributes:
        name: "package-0", "dram", ...
        folder: where it is read.
        span: microjoules after which it starts again.
    """

    name: str
    folder: Path
    span: int

    def read(self) -> int:
        """Microjoules now.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        return int((self.folder / "energy_uj").read_text())


def rapl_zones(root: Path = ROOT) -> list[Zone]:
    """The packages and their memory that can be read here, none where one of the packages cannot."""
    found: list[Zone] = []
    for folder in sorted(root.glob("intel-rapl:*")):
        try:
            name = (folder / "name").read_text().strip()
            if not name.startswith("package") and name != "dram":
                continue
            zone = Zone(name, folder, int((folder / "max_energy_range_uj").read_text()))
            zone.read()
        except (OSError, ValueError):
            return []  # a part of the machine would look like all of it
        found.append(zone)
    return found if any(zone.name.startswith("package") for zone in found) else []


@dataclass
class RaplCounter:
    """Energy since it was made, over all packages; read it more often than once in a span (minutes).

    Attributes:
        root: the folder of the zones.
        joules: so far; None once a zone could not be read.
    """

    root: Path = ROOT
    joules: float | None = None
    _last: dict[Path, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._zones = rapl_zones(self.root)
        if self._zones:
            self.joules = 0.0
            self.update()

    def update(self) -> None:
        """Add what was used since the last call; a counter that is lower now has started again once."""
        if self.joules is None:
            return
        for zone in self._zones:
            try:
                now = zone.read()
            except (OSError, ValueError):
                self.joules = None
                return
            used = now - self._last.get(zone.folder, now)
            self._last[zone.folder] = now
            self.joules += (used if used >= 0 else used + zone.span) * 1e-6
