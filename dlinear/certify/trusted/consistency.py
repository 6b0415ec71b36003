"""What a statement declares must exist: bounds that are not negative, cases that do not contradict.

Both are shown from the sorts and the normal forms; what is not shown is refused, also where it is true.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations_with_replacement

from dlinear.certify.trusted.kinds import kind_of
from dlinear.certify.trusted.limits import spend
from dlinear.certify.trusted.normal_form import Normaliser, Scalar, add, number, scale
from dlinear.certify.trusted.terms import Case, CertificateError, Context, Tree, free, substitute

Gap = tuple[Scalar, bool]
"""right - left of a condition left <= right, and whether it is strict."""


def check_bound(name: str, context: Context) -> None:
    """The bound of a family is a number that is manifestly non-negative.

    Raises:
        CertificateError: it is not; a family with a negative bound does not exist.
    """
    bound = context.families[name]
    if bound is None:
        return
    if kind_of(bound, context) != "scalar":
        raise CertificateError(f"the bound of the family {name} must be a number")
    normal = Normaliser(context)
    if normal.sign(normal.scalar(bound)) == "any":
        raise CertificateError(f"the bound of the family {name} is not manifestly non-negative")


def check_cases(name: str, index: str, cases: Sequence[Case], context: Context) -> None:
    """Any two cases of a definition exclude each other, or have one value where both hold.

    Raises:
        CertificateError: neither is shown.
    """
    normal = Normaliser(replace(context, symbols={**context.symbols, index: "integer"}))
    for at, (conditions, term) in enumerate(cases):
        for other, other_term in cases[:at]:
            spend(20)
            both = [*conditions, *other]
            if not (_same(term, other_term, normal) or _excluded(both, normal)):
                pairs = _equal_sides(both, normal)
                if not any(_same_where(x, e, (term, other_term), normal) for x, e in pairs):
                    raise CertificateError(
                        f"cases of {name} are not shown to exclude each other or to have one value"
                    )


def _same(x: Tree, y: Tree, normal: Normaliser) -> bool:
    """Both terms have one normal form."""
    if normal.is_matrix(x) != normal.is_matrix(y):
        return False
    return (
        normal.matrix(x) == normal.matrix(y) if normal.is_matrix(x) else normal.scalar(x) == normal.scalar(y)
    )


def _gaps(conditions: Sequence[Tree], normal: Normaliser) -> list[Gap]:
    """What the conditions say of numbers: 0 <= gap or 0 < gap; a < b of integers is a + 1 <= b."""
    found: list[Gap] = []
    for condition in conditions:
        relation, left, _ = condition
        if normal.is_matrix(left):
            continue
        gap = normal.difference(condition)
        if relation == "<" and normal.integer(gap):
            found.append((add(gap, number(-1)), False))
        else:
            found.append((gap, relation == "<"))
        if relation == "==":
            found.append((scale(gap, -1), False))
    return found


def _excluded(conditions: Sequence[Tree], normal: Normaliser) -> bool:
    """The conditions cannot hold together: one of them, or the sum of two, is manifestly false."""
    for (one, strict), (two, more) in combinations_with_replacement(_gaps(conditions, normal), 2):
        spend(len(one) + len(two))
        sign = normal.sign(scale(add(one, two), -1))
        if sign == "pos" or ((strict or more) and sign != "any"):
            return True
    return False


def _equal_sides(conditions: Sequence[Tree], normal: Normaliser) -> Iterator[tuple[str, Tree]]:
    """Equations symbol == term, free of the symbol, that hold wherever all the conditions do."""
    gaps = [gap for gap, strict in _gaps(conditions, normal) if not strict]
    for condition in conditions:
        relation, left, right = condition
        if relation == "<" or normal.is_matrix(left):
            continue
        # a <= b and b <= a, or a == b
        if relation == "==" or scale(normal.difference(condition), -1) in gaps:
            for side, other in ((left, right), (right, left)):
                if side[0] == "sym" and side[1] not in free(other):
                    yield side[1], other


def _same_where(symbol: str, term: Tree, terms: tuple[Tree, Tree], normal: Normaliser) -> bool:
    """Both terms have one normal form once a symbol is replaced by what it is equal to."""
    one, two = (substitute(t, {symbol: term}) for t in terms)
    return _same(one, two, normal)
