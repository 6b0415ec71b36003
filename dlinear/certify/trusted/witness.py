"""Hypotheses that contradict each other prove anything: a witness shows that they hold together somewhere.

A statement may name a witness, values for its symbols as a refutation gives them, or closed terms such as
"2*exp(c)" in symbols that have values. It is accepted when the values keep the sorts and the bounds of the
families, and each hypothesis is certainly true there: by rationals and balls, or, an equation, because both
sides have the same normal form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from dlinear.certify.trusted.balls import precision
from dlinear.certify.trusted.context import read_context
from dlinear.certify.trusted.evaluation import Model
from dlinear.certify.trusted.kernel import formula
from dlinear.certify.trusted.kinds import kind_of
from dlinear.certify.trusted.normal_form import Normaliser
from dlinear.certify.trusted.terms import (
    CertificateError,
    Context,
    Tree,
    free,
    parse,
    substitute,
)

BITS = 128
LEAST = {"nonneg": "0 <= {}", "positive": "0 < {}"}


def check_witness(statement: Mapping[str, Any]) -> None:
    """Accept the witness of a statement.

    Raises:
        CertificateError: it is no model of the hypotheses, or not shown to be one.
    """
    context = read_context(statement)
    plain, terms = _split(statement["witness"], context)
    symbols = {name: sort for name, sort in context.symbols.items() if name not in terms}
    reduced = replace(context, symbols=symbols)
    texts = [*statement.get("hypotheses", []), *_sorts(terms, context)]
    with precision(BITS):
        model = Model(reduced, plain, ())
        numbers = {
            name: ("num", value) for name, value in model.numbers.items() if isinstance(value, Fraction)
        }
        for text in texts:
            tree = substitute(formula(text, context), terms)
            if not _same(substitute(tree, numbers), reduced) and model.decide(tree) is not True:
                raise CertificateError(f"the witness does not satisfy the hypothesis {text}"[:300])


def _split(witness: Mapping[str, Any], context: Context) -> tuple[dict[str, Any], dict[str, Tree]]:
    """What has a value, and the terms of the other symbols, free of these."""
    closed: dict[str, Tree] = {}
    plain: dict[str, Any] = {}
    for name, value in witness.items():
        rational = not isinstance(value, str) or all(ch in "-+0123456789/" for ch in value)
        if rational or name not in context.symbols:
            plain[name] = value
            continue
        if context.symbols[name] not in ("real", *LEAST):
            raise CertificateError(f"{name}: only a real number can be given by a term")
        tree = parse(value)
        if kind_of(tree, context) != "scalar":
            raise CertificateError(f"{name}: the witness must be a number")
        closed[name] = substitute(tree, closed)
    for name, tree in closed.items():
        if not free(tree) <= set(plain):
            raise CertificateError(f"{name}: the term of the witness is not closed")
    return plain, closed


def _sorts(terms: Mapping[str, Tree], context: Context) -> list[str]:
    return [LEAST[sort].format(name) for name in terms if (sort := context.symbols[name]) in LEAST]


def _same(tree: Tree, context: Context) -> bool:
    """Both sides of an equation of numbers in one normal form."""
    normal = Normaliser(context)
    return tree[0] == "==" and not normal.is_matrix(tree[1]) and not normal.difference(tree)
