"""What a statement declares, from JSON data to a `Context` that has a model.

A definition that contradicts itself, or a bound that no layer can keep, would prove anything. So the cases
of a definition that can hold together must give one value, and the bound of a family must be manifestly
non-negative (then D = 0 keeps it). Everything else that a statement declares exists for all values of its
symbols: windows and sums are recursions, a sequence is arbitrary, and no definition refers to itself: a
window over a definition is known only after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dlinear.certify.trusted.consistency import check_bound, check_cases
from dlinear.certify.trusted.kinds import kind_of
from dlinear.certify.trusted.limits import spend
from dlinear.certify.trusted.terms import (
    MATRIX_FUNCTIONS,
    NAME,
    SCALAR_FUNCTIONS,
    SORTS,
    Case,
    CertificateError,
    Context,
    parse,
)

RESERVED = {"I", *SCALAR_FUNCTIONS, *MATRIX_FUNCTIONS}
TABLES = ("symbols", "families", "products", "totals", "definitions", "sums")


def read_context(data: Mapping[str, Any]) -> Context:
    """Context of a statement from its JSON form.

    Raises:
        CertificateError: a name is declared twice, a term is ill typed, or what is declared has no model.
    """
    symbols, families, products, totals, definitions, sums = (_table(data, key) for key in TABLES)
    sequences = data.get("sequences", [])
    _check_names([*symbols, *families, *products, *totals, *definitions, *sums, *sequences])
    functions = {*families, *products, *totals, *definitions, *sums, *sequences}
    for name, sort in symbols.items():
        if sort not in SORTS:
            raise CertificateError(f"{name} has unknown sort {sort!r}, allowed: {', '.join(SORTS)}")
    if symbols.get("n", "posint") != "posint":
        raise CertificateError("n is the width: its sort must be posint")
    bases = set(families)
    bounds = {name: None if text is None else parse(text) for name, text in families.items()}
    known: dict[str, Any] = {name: ("t", "scalar", ()) for name in sequences}

    def so_far() -> Context:
        """What is declared by now: windows over a family, or over a definition that is already known."""
        windows = ({w: base for w, base in table.items() if base in bases} for table in (products, totals))
        multiplied, added = windows
        return Context(symbols, bounds, multiplied, dict(known), {}, added)

    context = so_far()
    for name in families:
        check_bound(name, context)
    # a definition may use the ones before it, a sum all of them
    for name, item in definitions.items():
        spend(len(known))
        known[name] = _definition(name, item, context, functions)
        bases |= {name} if known[name][1] == "matrix" else set()
        context = so_far()
    if not bases.issuperset([*products.values(), *totals.values()]):
        raise CertificateError("a product or total needs a declared family, or a definition of a matrix")
    series = {name: _sum(name, item, context, functions) for name, item in sums.items()}
    return replace(context, sums=series)


def _table(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise CertificateError(f"{key} must be an object")
    return value


def _check_names(names: list[str]) -> None:
    spend(len(names))
    counts = Counter(names)
    for name in names:
        if not NAME.match(name) or name in RESERVED or counts[name] > 1:
            raise CertificateError(f"name {name!r} is reserved, malformed or declared twice")


def _check_parts(name: str, item: Mapping[str, Any], allowed: set[str]) -> None:
    """A misspelt `if` would be no condition at all."""
    if not set(item) <= allowed:
        raise CertificateError(f"{name} has unknown parts {sorted(set(item) - allowed)}")


def _index(name: str, item: Mapping[str, Any], functions: set[str]) -> str:
    """The index of a definition or sum: an integer that hides a symbol of the same name."""
    index: str = item["index"]
    if not NAME.match(index) or index in RESERVED or index == "n" or index in functions:
        raise CertificateError(f"index {index!r} of {name} is reserved, malformed or a function")
    return index


def _definition(
    name: str, item: Mapping[str, Any], context: Context, functions: set[str]
) -> tuple[str, str, tuple[Case, ...]]:
    """(index, kind, cases): name(index) is the term of each case whose conditions hold."""
    _check_parts(name, item, {"index", "cases"})
    index = _index(name, item, functions)
    cases: list[Case] = []
    for case in item["cases"]:
        _check_parts(name, case, {"if", "then"})
        conditions, term = tuple(parse(c) for c in case.get("if", [])), parse(case["then"])
        for condition in conditions:
            if kind_of(condition, context, {index: "integer"}) != "formula":
                raise CertificateError(f"a condition of {name} must be a comparison")
        cases.append((conditions, term))
    kinds = {kind_of(term, context, {index: "integer"}) for _, term in cases}
    if len(kinds) != 1 or "formula" in kinds:
        raise CertificateError(f"{name} needs at least one case, and cases of one kind, numbers or matrices")
    check_cases(name, index, cases, context)
    return index, kinds.pop(), tuple(cases)


def _sum(name: str, item: Mapping[str, Any], context: Context, functions: set[str]) -> tuple[str, Any]:
    """(index, term): name(j) is the sum of the terms 0 <= index < j."""
    _check_parts(name, item, {"index", "term"})
    index, term = _index(name, item, functions), parse(item["term"])
    if kind_of(term, context, {index: "integer"}) != "scalar":
        raise CertificateError(f"the term of the sum {name} must be a number")
    return index, term
