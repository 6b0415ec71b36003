"""What a report of a problem needs: versions, BLAS, cores, memory, devices, and where this library lies."""

from __future__ import annotations

import contextlib
import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from dlinear.runs import provenance

OTHERS = ("llvmlite", "triton", "distributed", "transformers", "peft", "lightning", "jax")


def collect() -> dict[str, Any]:
    """Name -> value, in the order in which it is shown; JSON values. Imports torch, which takes seconds."""
    from dlinear.cli.folders import LIBRARY, home

    with contextlib.suppress(ImportError):
        import torch  # noqa: F401  (its threads and devices are asked for below)
    machine = provenance.machine(True)
    return {
        "dlinear": f"{_version('dlinear')} in {LIBRARY}",
        "scripts": str(home()),
        "revision": provenance.revision() or "no checkout",
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": platform.platform(),
        "processor": machine["cpu"],
        "cores": machine["cores"],
        "memory": _memory(),
        "blas of numpy": machine["blas"],
        "threads": ", ".join(f"{name}: {count}" for name, count in machine["threads"].items()),
        "devices": _devices(),
        "packages": {name: _version(name) for name in _needed()},
        "optional": {name: _version(name) for name in OTHERS},
    }


def text(found: dict[str, Any]) -> str:
    """The same for people and issue trackers, one line for each entry."""
    return "\n".join(f"{name:14} {said}" for name, said in lines(found).items())


def lines(found: dict[str, Any]) -> dict[str, str]:
    """Name -> what is said of it, on one line each."""
    said = {}
    for name, value in found.items():
        said[name] = str(value)
        if isinstance(value, dict):
            said[name] = ", ".join(f"{package} {number or '-'}" for package, number in value.items())
    return said


def _needed() -> list[str]:
    """The packages that this library requires, by name."""
    try:
        lines = requires("dlinear") or []
    except PackageNotFoundError:
        lines = []
    return [re.split(r"[<>=~! ]", line)[0] for line in lines if "extra ==" not in line]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _memory() -> str:
    """Installed and free memory."""
    import psutil

    found = psutil.virtual_memory()
    return f"{found.total / 2**30:.1f} GiB, {found.available / 2**30:.1f} GiB free"


def _devices() -> str:
    """What torch can compute on beside the processor."""
    try:
        import torch
    except ImportError:
        return "torch cannot be imported"
    if not torch.cuda.is_available():
        return "cpu alone"
    cards = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return ", ".join(f"cuda:{k} {name}" for k, name in enumerate(cards))
