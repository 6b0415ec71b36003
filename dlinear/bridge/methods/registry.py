"""Ways to get a gradient, all of the same shape, so that they can be compared.

    loss = method("horizon-4")(blocks, x, loss_fn, readout)   # fills .grad, as loss.backward() would

A name has a number where the method takes one: `horizon-4`, `checkpoint` or `checkpoint-8`. Every module of
this package that ends with FAMILIES is found by itself; `register` adds families from elsewhere.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from pathlib import Path

from dlinear.bridge.methods.base import Cost, Family, Method, Predicted
from dlinear.errors import DomainError

__all__ = ["NAMES", "Cost", "Family", "Method", "Predicted", "families", "method", "names", "register"]

_FAMILIES: dict[str, Family] = {}


def register(family: Family) -> None:
    """Make the methods of a family known by name, in this process.

    Raises:
        DomainError: a name that is no such name, or is taken.
    """
    if not re.fullmatch(r"[a-z]+(-[a-z]+)*", family.name):
        raise DomainError(f"family {family.name!r}: allowed are lower-case words joined by hyphens")
    if _FAMILIES.get(family.name, family) != family:
        raise DomainError(f"family {family.name!r} is taken by another; choose another name")
    _FAMILIES[family.name] = family


def method(name: str | Method) -> Method:
    """The method of that name; a method is returned as it is.

    Raises:
        DomainError: an unknown name, or a number that is missing, superfluous or too small.
    """
    if isinstance(name, Method):
        return name
    match = (
        re.fullmatch(r"([a-z]+(?:-[a-z]+)*)(?:-([1-9][0-9]{0,17}))?", name) if isinstance(name, str) else None
    )
    family = _FAMILIES.get(match[1]) if match else None
    if match and family:
        number = None if match[2] is None else int(match[2])
        if family.bare if number is None else family.least is not None and number >= family.least:
            return family.make(number)
    raise DomainError(f"method {name!r:.60}: allowed are {', '.join(names())}{_near(name)}")


def names() -> list[str]:
    """What `method` reads, in the order of the alphabet; N stands for an integer."""
    return sorted(name for family in _FAMILIES.values() for name in family.names)


def families() -> list[Family]:
    """All of them: the exact ones first, the others after, each in the order of the alphabet."""
    some = (family.make(None if family.bare else family.least) for family in _FAMILIES.values())
    return [_FAMILIES[one.family] for one in sorted(some, key=lambda one: (not one.exact, one.family))]


def _near(name: object) -> str:
    if not isinstance(name, str):
        return ""
    word = re.sub(r"-\d+$", "", name)
    near = [one for one in difflib.get_close_matches(word, _FAMILIES, n=1) if one != word]
    return f"; did you mean {near[0]}?" if near else ""


for _module in pkgutil.iter_modules([str(Path(__file__).parent)]):
    if _module.name not in ("base", "registry"):
        for _family in getattr(importlib.import_module(f"{__package__}.{_module.name}"), "FAMILIES", ()):
            register(_family)

NAMES = tuple(names())
"""The names of this package's methods."""
