"""What a statement declares, from JSON data to a `Context`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlinear.certify.trusted.kinds import kind_of
from dlinear.certify.trusted.terms import (
    MATRIX_FUNCTIONS,
    NAME,
    SCALAR_FUNCTIONS,
    SORTS,
    CertificateError,
    Context,
    parse,
)


def read_context(data: Mapping[str, Any]) -> Context:
    """Context of a statement from its JSON form; every name is declared once and every term is well typed."""

    def table(key: str) -> dict[str, Any]:
        value = data.get(key, {})
        if not isinstance(value, dict):
            raise CertificateError(f"{key} must be an object")
        return value

    symbols = table("symbols")
    names: list[str] = [*symbols]
    for key in ("families", "products", "definitions", "sums"):
        names += [*table(key)]
    names += data.get("sequences", [])
    reserved = {"I", *SCALAR_FUNCTIONS, *MATRIX_FUNCTIONS}
    for name in names:
        if not NAME.match(name) or name in reserved or names.count(name) > 1:
            raise CertificateError(f"name {name!r} is reserved, malformed or declared twice")
    for name, sort in symbols.items():
        if sort not in SORTS:
            raise CertificateError(f"{name} has unknown sort {sort!r}, allowed: {', '.join(SORTS)}")
    if symbols.get("n", "posint") != "posint":
        raise CertificateError("n is the width: its sort must be posint")
    families = {k: None if v is None else parse(v) for k, v in table("families").items()}
    products = dict(table("products"))
    if any(family not in families for family in products.values()):
        raise CertificateError("a product needs a declared family")
    context = Context(symbols, families, products)
    for bound in families.values():
        if bound is not None and kind_of(bound, context) != "scalar":
            raise CertificateError("the bound of a family must be a number")
    definitions: dict[str, Any] = {}
    for name in data.get("sequences", []):
        definitions[name] = ("t", "scalar", ())
    context = Context(symbols, families, products, dict(definitions))
    for name, item in table("definitions").items():
        index = item["index"]
        cases = []
        for case in item["cases"]:
            conditions, term = tuple(parse(c) for c in case.get("if", [])), parse(case["then"])
            for condition in conditions:
                if kind_of(condition, context, {index: "integer"}) != "formula":
                    raise CertificateError(f"a condition of {name} must be a comparison")
            cases.append((conditions, term))
        if not NAME.match(index) or not cases:
            raise CertificateError(f"definition of {name}: needs an index and at least one case")
        kinds = {kind_of(term, context, {index: "integer"}) for _, term in cases}
        if len(kinds) != 1 or "formula" in kinds:
            raise CertificateError(f"the cases of {name} differ in kind")
        definitions[name] = (index, kinds.pop(), tuple(cases))
        context = Context(symbols, families, products, dict(definitions))
    sums = {}
    for name, item in table("sums").items():
        index, term = item["index"], parse(item["term"])
        if not NAME.match(index) or kind_of(term, context, {index: "integer"}) != "scalar":
            raise CertificateError(f"sum {name}: needs an index and a number as term")
        sums[name] = (index, term)
    return Context(symbols, families, products, definitions, sums)
