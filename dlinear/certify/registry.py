"""The registered claims: those that the files of a folder define, and the choice of some of them by name."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from dlinear.certify.claims import Claim
from dlinear.checks import as_known
from dlinear.errors import DomainError

Registry = Mapping[str, tuple[Claim, ...]]
"""Claims of each file, by the stem of its name."""


def discover(folder: Path) -> dict[str, tuple[Claim, ...]]:
    """The tuple `CLAIMS` of each file of a folder whose name has no leading underscore.

    Raises:
        DomainError: two claims have one id.
    """
    found: dict[str, tuple[Claim, ...]] = {}
    for path in sorted(folder.glob("[!_]*.py")):
        name = f"_proof_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            continue
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        found[path.stem] = tuple(getattr(module, "CLAIMS", ()))
    ids = Counter(claim.id for claims in found.values() for claim in claims)
    twice = [name for name, count in ids.items() if count > 1]
    if twice:
        raise DomainError(f"claim ids declared twice: {', '.join(twice)}; give each claim an id of its own")
    return found


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
