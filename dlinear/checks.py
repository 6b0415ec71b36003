"""Checks at the public edge, one set for the whole library.

Numbers that a formula takes may be exact (fractions, sympy, balls): those pass unchanged, plain ones are
checked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from dlinear.errors import DlinearError, DomainError, HorizonError, ShapeError

Given = ParamSpec("Given")
Value = TypeVar("Value")

POSITIVE = "a finite number > 0"
_EXACT_TYPES = {"sympy", "flint", "mpmath", "fractions"}
_LARGEST = 2**63 - 1  # of sizes and counts: numpy's and torch's integers hold no larger ones


def is_plain(x: Any) -> bool:
    """Whether x is no exact number, symbol or ball."""
    return str(type(x).__module__).partition(".")[0] not in _EXACT_TYPES


def shown(x: object, most: int = 80) -> str:
    """What was received, on one line of at most so many characters; its type where it cannot be printed."""
    try:
        text = " ".join(repr(x).split())
    except Exception:
        text = f"a {type(x).__name__}"
    advice = " (it requires a gradient: take .detach())" if getattr(x, "requires_grad", None) is True else ""
    return text[:most] + advice


def in_short(x: Any) -> str:
    """A dataclass on one line, as its `__repr__`: arrays and tensors by their type and shape."""
    parts = []
    for field in dataclasses.fields(x):
        value = getattr(x, field.name)
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            text = f"{str(value.dtype).removeprefix('torch.')}({', '.join(map(str, value.shape))})"
        else:
            text = shown(value)
        parts.append(f"{field.name}={text}")
    return f"{type(x).__name__}({', '.join(parts)})"


def as_array(x: Any) -> np.ndarray | None:
    """x as numpy makes an array of it, or None: ragged lists, tensors that require a gradient, ..."""
    try:
        return np.asarray(x)
    except Exception:  # what an object's own conversion raises is its secret
        return None


def _is_outside(x: Any, low: int, strict: bool = False) -> bool:
    """Whether an exact number is surely too small; symbols, and balls that hold allowed numbers, are not."""
    try:
        if getattr(x, "is_finite", None) is False:  # sympy's infinities
            return True
        return bool(x <= low) if strict else bool(x < low)
    except Exception:  # a symbol has no truth value
        return False


def lift(x: Any, xp: Any) -> Any:
    """An integer in the numbers of xp, so that its quotients stay exact."""
    return x * xp.exp(0) if isinstance(x, int) and xp is not np else x


def received(name: str, x: Any, values: Any = None, inside: Any = None) -> str:
    """One short line about what was received; of an array the first value outside the domain."""
    if values is not None and values.ndim and values.size:
        return f"{name} holds {values[~inside].flat[0]!s} ({values.size} values)"
    return f"{name} = {shown(x)}"


def refuse_shapes(arguments: Mapping[str, Any]) -> None:
    """`ShapeError` where the arguments do not broadcast together."""
    arrays = {name: as_array(x) for name, x in arguments.items() if is_plain(x)}
    shapes = {name: array.shape for name, array in arrays.items() if array is not None}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        named = ", ".join(f"{name} of shape {shape}" for name, shape in shapes.items() if shape)
        raise ShapeError(f"{named}: allowed are shapes that broadcast together") from None


def check_namespace(xp: Any, *functions: str) -> None:
    """`DomainError` where xp lacks a function that a formula takes from it."""
    for name in functions:
        if not callable(getattr(xp, name, None)):
            raise DomainError(f"{received('xp', xp)}: it has no {name}; allowed are numpy, sympy, mpmath")


def elementwise(formula: Callable[Given, Value]) -> Callable[Given, Value]:
    """A formula over numbers and arrays whose errors all say in one line what was received.

    Only a call that fails pays for it: numpy's own complaint about shapes, or a float that overflows, is
    then put in terms of the arguments.
    """

    @functools.wraps(formula)
    def checked(*given: Given.args, **named: Given.kwargs) -> Value:
        try:
            return formula(*given, **named)
        except OverflowError:
            raise DomainError(
                f"{formula.__name__} exceeds the range of float64: allowed are arguments that keep it within"
            ) from None
        except AttributeError:
            check_namespace(named.get("xp", np), "exp")
            raise
        except ValueError as error:
            if not isinstance(error, DlinearError) or isinstance(error, ShapeError):
                refuse_shapes(inspect.signature(formula).bind(*given, **named).arguments)
            raise

    return checked


def as_floats(name: str, x: Any, allowed: str, error: type[DlinearError] = DomainError) -> Any:
    """A float64 array of real numbers; no booleans, strings, complex numbers, None or ragged lists."""
    values = as_array(x)
    if values is not None:
        known = values.dtype.kind in "iuf"
        if values.dtype.kind == "O":  # large integers, fractions
            known = all(hasattr(item, "__float__") for item in values.flat)
        if known:
            with contextlib.suppress(Exception):  # too large for a float
                return values.astype(np.float64)
    raise error(f"{received(name, x)}: allowed is {allowed}")


def as_real(name: str, x: Any, allowed: str = "a finite number >= 0", strict: bool = False) -> Any:
    """A non-negative (strict: positive) finite number or array; symbols and balls unchanged."""
    if not is_plain(x):
        if _is_outside(x, 0, strict):
            raise DomainError(f"{received(name, x)}: allowed is {allowed}")
        return x
    values = as_floats(name, x, allowed)
    inside = (values > 0 if strict else values >= 0) & np.isfinite(values)
    if values.size == 0 or not np.all(inside):
        raise DomainError(f"{received(name, x, values, inside)}: allowed is {allowed}")
    return x if isinstance(x, int) else values if values.ndim else float(values)


def as_integers(name: str, x: Any, low: int, top: int | None, error: type[DlinearError]) -> Any:
    """An array, as numpy makes it, of whole numbers in low..top (None: any from low on); not empty.

    Floats are accepted when they are whole numbers (a computed 3.0 is the integer 3).
    """
    allowed = f"an integer in {low}..{top}" if top is not None else f"an integer >= {low}"
    values = as_array(x)
    if values is None or values.size == 0 or values.dtype.kind not in "iuf":
        raise error(f"{received(name, x)}: allowed is {allowed}")
    # NaN fails the first comparison, infinities the last
    inside = (values == np.floor(values)) & (values >= low) & np.isfinite(values)
    if top is not None:
        inside &= values <= top
    if not np.all(inside):
        raise error(f"{received(name, x, values, inside)}: allowed is {allowed}")
    return values


def as_integer(
    name: str, x: object, low: int = 1, top: int | None = None, error: type[DlinearError] = DomainError
) -> int:
    """One integer in low..top, as Python's own: arithmetic with numpy's small ones would wrap around.

    Floats are refused, unlike in `as_integers`: a size or a seed is not computed. Without `top` integers of
    64 bits are allowed.
    """
    if isinstance(x, int | np.integer) and not isinstance(x, bool):
        value = int(x)
        if low <= value <= (_LARGEST if top is None else top):
            return value
        if top is None and value > _LARGEST:
            top = _LARGEST
    allowed = f"an integer in {low}..{top}" if top is not None else f"an integer >= {low}"
    raise error(f"{name} is {shown(x)}; expected {allowed}")


def as_integral(name: str, x: Any, low: int, top: Any, error: type[DlinearError]) -> Any:
    """A whole number as a Python integer, an array of them as float64; exact numbers, symbols unchanged."""
    if not is_plain(x):
        if _is_outside(x, low):
            raise error(f"{received(name, x)}: allowed is an integer >= {low}")
        return x
    values = as_integers(name, x, low, int(top) if top is not None and is_plain(top) else None, error)
    return values.astype(np.float64) if values.ndim else int(values)


def _nearest(name: str, names: list[str]) -> list[str]:
    """The name that is spelled most like it, or those that it is a part of."""
    return difflib.get_close_matches(name, names, n=1) or [known for known in names if name and name in known]


def as_known(kind: str, name: object, known: Iterable[str], error: type[DlinearError] = DomainError) -> str:
    """The name if it is one of those known; otherwise an error with the nearest and all of them."""
    names = list(known)
    if isinstance(name, str) and name in names:
        return name
    near = _nearest(name, names) if isinstance(name, str) else []
    meant = f"; did you mean {near[0]}?" if near else ""
    raise error(f"unknown {kind} {shown(name, 60)}; the names are {', '.join(names)}{meant}")


def as_choice(
    name: str, value: object, allowed: Iterable[str], error: type[DlinearError] = DomainError
) -> str:
    """One of few words."""
    words = list(allowed)
    if isinstance(value, str) and value in words:
        return value
    raise error(f"{name} is {shown(value)}; expected {' or '.join(map(repr, words))}")


def as_flag(name: str, value: object) -> bool:
    """True or False; what merely counts as true is a mistake."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise DomainError(f"{name} is {shown(value)}; expected True or False")


def as_place(name: str, value: object, error: type[DlinearError] = DomainError) -> Path:
    """The path of a file or a folder, ~ expanded."""
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        if isinstance(text, str) and text and "\0" not in text:
            with contextlib.suppress(RuntimeError):  # ~ of a user who is not there
                return Path(text).expanduser()
    raise error(f"{name} must be a path, as text or pathlib.Path, not {shown(value)}")


def as_depth(depth: Any) -> Any:
    """T, one integer >= 1."""
    depth = as_integral("depth", depth, 1, None, DomainError)
    if isinstance(depth, np.ndarray):
        raise DomainError(f"depth is an array of {depth.size}: allowed is one integer >= 1")
    return depth


def as_width(width: Any) -> Any:
    """n, integers >= 1 that float64 holds."""
    return as_integral("width", width, 1, 2**53, DomainError)


def as_horizon(horizon: object, depth: int) -> int:
    """One horizon in 1..T, or `HorizonError`."""
    array = as_integers("horizon", horizon, 1, depth, HorizonError)
    if array.size != 1:
        raise HorizonError(f"horizon holds {array.size} values: allowed is one integer in 1..{depth}")
    return int(array.reshape(())[()])


def as_layers(layers: Any, depth: Any) -> Any:
    """Numbers of layers in 0..T."""
    return as_integral("layers", layers, 0, depth, DomainError)


def as_scale(c: Any, depth: Any, xp: Any) -> Any:
    """The bound c on ||W~(t)||_2, below the depth."""
    if not is_plain(c):
        return c
    c = as_real("c", c)
    if is_plain(depth) and not np.all(below := np.asarray(c) < depth):
        what = received("c", c, np.asarray(c), below)
        raise DomainError(f"{what} with depth {depth}: allowed is 0 <= c < depth")
    return lift(c, xp)


def as_horizons(horizons: object, depth: int) -> np.ndarray:
    """Horizons as a non-empty 1-d int64 array, each in 1..T, or `HorizonError`."""
    array = np.atleast_1d(as_integers("horizons", horizons, 1, depth, HorizonError))
    if array.ndim != 1:
        raise HorizonError(
            f"horizons has {array.ndim} dimensions: allowed is a sequence of integers in 1..{depth}"
        )
    return array.astype(np.int64)


def as_number(name: str, value: Any, low: float | None = 0) -> float:
    """One real number, finite and at least `low` unless that is None."""
    number = as_floats(name, value, "one real number")
    if number.ndim or np.isnan(number) or (low is not None and not low <= number < np.inf):
        allowed = "one real number" if low is None else f"one finite number >= {low}"
        raise DomainError(f"{received(name, value)}: allowed is {allowed}")
    return float(number)
