"""Machine code of this host from LLVM IR, by llvmlite; kept on disk, loaded once a process."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dlinear.engine.kernels import object_cache

_LOCK = threading.RLock()  # of LLVM, which is not safe to enter twice
_KEPT: list[Any] = []  # what owns the machine code: it must outlive every call


@dataclass(frozen=True)
class Host:
    """What code is written for.

    Attributes:
        name: LLVM's name of the processor.
        features: what it can do, as LLVM spells it.
        lanes: float64 numbers of its widest vector.
        registers: how many of those it has.
    """

    name: str
    features: str
    lanes: int
    registers: int


@functools.cache
def host() -> Host | None:
    """This machine; None where llvmlite is missing, or vectors with fused multiplication are."""
    try:
        import llvmlite.binding as llvm

        features = llvm.get_host_cpu_features()  # the first call loads LLVM
    except (ImportError, OSError):  # not installed, or a build that does not load here
        return None
    triple = llvm.get_default_triple()
    name, flat = llvm.get_host_cpu_name(), features.flatten()
    if triple.startswith("x86_64"):
        if features.get("avx512f") and features.get("avx512vl"):
            return Host(name, flat, 8, 32)
        return Host(name, flat, 4, 16) if features.get("avx2") and features.get("fma") else None
    return Host(name, flat, 2, 32) if triple.startswith(("aarch64", "arm64")) else None


def compiled(text: str) -> Callable[[str], int]:
    """The addresses of the functions of a module, by name."""
    with _LOCK:
        return _load(text)


@functools.cache
def _load(text: str) -> Callable[[str], int]:
    import llvmlite
    import llvmlite.binding as llvm

    here = host()
    assert here is not None
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=here.name, features=here.features, opt=2, jit=True
    )
    source = hashlib.sha256(text.encode()).hexdigest()
    versions = f"{llvmlite.__version__} {'.'.join(map(str, llvm.llvm_version_info))}"
    key = f"{versions} {machine.triple} {here.name} {here.features} {source}"
    found = object_cache.read(key)
    if found is None:
        found = machine.emit_object(llvm.parse_assembly(text))
        object_cache.write(key, found)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(found))
    engine.finalize_object()
    _KEPT.append(engine)
    address: Callable[[str], int] = engine.get_function_address
    return address


def function(address: int, arguments: int) -> Callable[..., None]:
    """A function of 64-bit integers and addresses; a call releases the interpreter."""
    found: Callable[..., None] = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)(address)
    return found
