"""What numbers were computed with: versions of packages, the commit of this checkout, the machine."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from dlinear.engine.options import way


def of_this_process() -> dict[str, Any]:
    """Versions, revision, machine and kernels, JSON values; of the process that computes a cell."""
    return {
        "kernels": way(),
        "versions": versions("torch" in sys.modules),
        "revision": revision(),
        "machine": machine("torch" in sys.modules),
    }


@functools.cache
def versions(torch: bool) -> dict[str, str]:
    """Version by name of Python, numpy and this library; of torch if it has been imported."""
    found = {"python": platform.python_version(), "numpy": np.__version__}
    for name in ("dlinear", "torch") if torch else ("dlinear",):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@functools.cache
def machine(torch: bool) -> dict[str, Any]:
    """Processor, BLAS of numpy and of whatever else is loaded with its threads, and the GPU that torch uses.

    Returns:
        cpu: its name. cores: those of the machine. blas: name and version that numpy was built with. threads:
        library -> threads. device: "cpu", or the GPU's name.
    """
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    threads: dict[str, int] = {}
    with contextlib.suppress(ImportError):
        from threadpoolctl import threadpool_info

        for library in threadpool_info():
            threads[f"{library['internal_api']} {library['version']}"] = int(library["num_threads"])
    device = "cpu"
    if torch:
        loaded: Any = sys.modules["torch"]  # never imported for this
        threads["torch"] = loaded.get_num_threads()
        if loaded.cuda.is_initialized():
            device = loaded.cuda.get_device_name()
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "blas": f"{blas.get('name')} {blas.get('version')}",
        "threads": threads,
        "device": device,
    }


def _cpu() -> str:
    """The processor's name, or its architecture where the system does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@functools.cache
def revision() -> str | None:
    """The commit of the checkout that this library runs from (+changes when it has any), or None."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None
