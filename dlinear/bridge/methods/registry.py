"""Ways to get a gradient, all of the same shape, so that they can be compared.

    loss = method("horizon-4")(blocks, x, loss_fn, readout)   # fills .grad, as loss.backward() would

A name has a number where the method takes one: `horizon-4`, `checkpoint` or `checkpoint-8`. Every module of
this package, and of `dlinear.rules`, that ends with FAMILIES is found by itself; `register` adds families
from elsewhere. `dlinear.rules` stands above this room and is known by its name alone, as plug-ins are.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path

from dlinear.bridge.methods.base import Cost, Family, Method, Predicted, named
from dlinear.checks import as_integer
from dlinear.errors import DomainError

__all__ = [
    "NAMES",
    "Cost",
    "Family",
    "Method",
    "Predicted",
    "families",
    "family_of",
    "load",
    "method",
    "names",
    "register",
]

_NAME = r"([a-z][a-z0-9]*(?:-[a-z][a-z0-9]*)*)(?:-([1-9][0-9]{0,17}))?"
_FAMILIES: dict[str, Family] = {}


def register(family: Family) -> None:
    """Make the methods of a family known by name, in this process.

    Raises:
        DomainError: a name that is no such name, or is taken.
    """
    if not isinstance(family, Family):
        raise DomainError(f"family is a {type(family).__name__}; expected a dlinear.bridge.methods.Family")
    words = re.fullmatch(_NAME, family.name) if isinstance(family.name, str) else None
    if words is None or words[2] is not None:
        raise DomainError(
            f"family {family.name!r:.60}: allowed are lower-case words joined by hyphens, such as my-rule"
        )
    if family.least is not None:
        as_integer(f"least of family {family.name!r}", family.least)
    if not family.names:
        raise DomainError(f"family {family.name!r} has no method: give least, bare=True, or both")
    if not callable(family.make):
        raise DomainError(f"family {family.name!r} has no function: make takes a number and gives a Method")
    if _FAMILIES.get(family.name, family) != family:
        raise DomainError(f"family {family.name!r} is taken by another; choose another name")
    _FAMILIES[family.name] = family


def method(name: str | Method) -> Method:
    """The method of that name; a method is returned as it is.

    Raises:
        DomainError: an unknown name, a number that is missing, superfluous or too small, or a family that
            gives something else.
    """
    if isinstance(name, Method):
        return name
    read = _read(name)
    if read is None:
        listed = [one for family in _FAMILIES.values() if family.listed for one in family.names]
        allowed = ", ".join(sorted([*listed, "rules (docs/rules.md)"]))
        raise DomainError(f"method {name!r:.40}: allowed are {allowed}{_near(name)}")
    family, number = read
    made = family.make(number)
    if not isinstance(made, Method) or made.name != name:
        given = f"one called {made.name!r}" if isinstance(made, Method) else f"a {type(made).__name__}"
        raise DomainError(f"family {family.name!r} gives {given:.80}; expected a Method called {name!r}")
    return made


def names() -> list[str]:
    """What `method` reads, in the order of the alphabet; N stands for an integer."""
    return sorted(name for family in _FAMILIES.values() for name in family.names)


def families() -> list[Family]:
    """All of them, in the order of comparisons and figures."""
    return sorted(_FAMILIES.values(), key=lambda family: (family.place, family.name))


def family_of(name: str) -> Family | None:
    """The family of the method of that name; None of an unknown one."""
    read = _read(name)
    return None if read is None else read[0]


def load(modules: Iterable[str]) -> None:
    """Import modules that register methods.

    Raises:
        DomainError: a module that cannot be found.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
                raise
            raise DomainError(
                f"plugin {module!r} cannot be found; give the name of a module on PYTHONPATH, without .py"
            ) from None


def _read(name: object) -> tuple[Family, int | None] | None:
    """Family and number, if some family has a method of that name."""
    match = re.fullmatch(_NAME, name) if isinstance(name, str) else None
    family = _FAMILIES.get(match[1]) if match else None
    if match is None or family is None:
        return None
    number = None if match[2] is None else int(match[2])
    known = family.bare if number is None else family.least is not None and number >= family.least
    return (family, number) if known else None


def _near(name: object) -> str:
    """The nearest name, with the number that was given where its family takes it."""
    match = re.fullmatch(r"(.*?)(?:-?0*(\d{1,9}))?", name.strip().lower()) if isinstance(name, str) else None
    if match is None:
        return ""
    near = difflib.get_close_matches(match[1][:60], _FAMILIES, n=1)
    if not near:
        return ""
    family = _FAMILIES[near[0]]
    meant = named(family.name, None if match[2] is None else int(match[2]))
    return f"; did you mean {meant if _read(meant) else ' or '.join(family.names)}?"


_HERE = Path(__file__).parent
for _package, _folder in ((__package__, _HERE), ("dlinear.rules", _HERE.parents[1] / "rules")):
    for _module in pkgutil.iter_modules([str(_folder)]):
        if _module.name not in ("base", "registry"):
            for _family in getattr(importlib.import_module(f"{_package}.{_module.name}"), "FAMILIES", ()):
                register(_family)

NAMES = tuple(names())
"""The names of the methods of the library."""
