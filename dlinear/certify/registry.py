"""The registered claims: those that the files of a folder define, and the choice of some of them by name."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from dlinear.certify.claims import Claim
from dlinear.checks import as_known
from dlinear.errors import DomainError

Registry = Mapping[str, tuple[Claim, ...]]
"""Claims of each file, by the stem of its name."""


_loaded: dict[Path, tuple[tuple[int, int], ModuleType]] = {}
"""Files that have run here: time and size of each when it did, and what it became."""


def discover(folder: Path) -> dict[str, tuple[Claim, ...]]:
    """The tuple `CLAIMS` of each file of a folder whose name has no leading underscore.

    A file that has not changed since it was last asked for is not run again.

    Raises:
        DomainError: two claims have one id.
    """
    found: dict[str, tuple[Claim, ...]] = {}
    for path in sorted(folder.glob("[!_]*.py")):
        found[path.stem] = tuple(getattr(_module(path.resolve()), "CLAIMS", ()))
    ids = Counter(claim.id for claims in found.values() for claim in claims)
    twice = [name for name, count in ids.items() if count > 1]
    if twice:
        raise DomainError(f"claim ids declared twice: {', '.join(twice)}; give each claim an id of its own")
    return found


def _module(path: Path) -> ModuleType:
    """A file of claims as a module, under a name of its own."""
    name, state = f"_proof_{path.stem}", path.stat()
    stamp = (state.st_mtime_ns, state.st_size)
    if path not in _loaded or _loaded[path][0] != stamp:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None  # it ends with .py
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        _loaded[path] = stamp, module
    sys.modules[name] = _loaded[path][1]
    return _loaded[path][1]


def select(registry: Registry, names: Sequence[str]) -> list[Claim]:
    """Claims by the stem of their file or by id, in the order of the files; all of them for no name.

    Raises:
        DomainError: a name is neither.
    """
    everything = [claim for claims in registry.values() for claim in claims]
    if not names:
        return everything
    known = {*registry, *(claim.id for claim in everything)}
    for name in names:
        as_known("proof file or claim", name, sorted(known))
    wanted = {claim.id for name in names for claim in registry.get(name, ())} | set(names)
    return [claim for claim in everything if claim.id in wanted]
