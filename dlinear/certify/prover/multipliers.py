"""Multipliers of a linear combination, found by linear programming over exact rationals.

Wanted are numbers m_ij such that right - left - sum_ij m_ij term_j (right_i - left_i) has only monomials that
are manifestly not negative, m_ij >= 0 where the fact i is an inequality. That is a linear program in m_ij:
an inequality for each monomial that is manifestly not negative, an equation for each of the others. Nothing
here is trusted: the rule `linear` of the checker decides on what was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from dlinear.certify.prover.simplex import maximise
from dlinear.certify.trusted.kernel import Kernel
from dlinear.certify.trusted.normal_form import Monomial, Scalar, add, mul, scale, unkey
from dlinear.certify.trusted.terms import CertificateError, Tree

SHOWN = 400  # characters of a remainder in a message


def find(
    kernel: Kernel, conclusion: Tree, facts: Sequence[int], terms: Sequence[str] = ("1",)
) -> dict[int, str]:
    """Multiplier of each fact that is needed, as text.

    Args:
        kernel: where the facts stand.
        conclusion: left <= right, left < right or left == right, of numbers.
        facts: those that may be used.
        terms: what the numbers are multiplied with; over inequalities each must be manifestly not negative.

    Raises:
        CertificateError: there are no such numbers; the message has what is left over without any multiplier.
    """
    wanted, columns = kernel.normal.difference(conclusion), _columns(kernel, facts, terms)
    if conclusion[0] == "==":
        columns = [column for column in columns if column.free]
    strict = Fraction(0), [Fraction(int(kernel.facts[c.fact].formula[0] == "<")) for c in columns]
    rows, right = [], []
    for monomial in {m for form in (wanted, *(c.form for c in columns)) for m in form}:
        # what stands beside the monomial: wanted - sum form number, and a slack >= 0 if it may be positive
        sign = "any" if conclusion[0] == "==" else kernel.normal.sign({monomial: Fraction(1)})
        rows.append(([c.form.get(monomial, Fraction(0)) for c in columns], sign))
        right.append(wanted.get(monomial, Fraction(0)))
    slacks = [i for i, (_, sign) in enumerate(rows) if sign != "any"]
    # unknowns: numbers, numbers of equations taken away, slacks, and for the bound 1 on what makes it strict
    free = [k for k, c in enumerate(columns) if c.free]
    count = len(columns) + len(free) + len(slacks)
    table = []
    for i, (row, _) in enumerate(rows):
        table.append([*row, *(-row[k] for k in free), *(Fraction(int(i == j)) for j in slacks)])
    gains = [*strict[1], *(Fraction(0) for _ in free), *(Fraction(int(rows[j][1] == "pos")) for j in slacks)]
    # maximise t <= gains x, t <= 1: two more rows with slacks of their own
    table = [[*row, Fraction(0), Fraction(0), Fraction(0)] for row in table]
    table.append([*(-g for g in gains), Fraction(1), Fraction(1), Fraction(0)])
    table.append([*(Fraction(0) for _ in range(count)), Fraction(1), Fraction(0), Fraction(1)])
    goal = [*(Fraction(0) for _ in range(count)), Fraction(1), Fraction(0), Fraction(0)]
    found = maximise(goal, table, [*right, Fraction(0), Fraction(1)])
    if found is None or (conclusion[0] == "<" and found[count] <= 0):
        raise _no_combination(wanted)
    values = found[: len(columns)]
    for k, taken in zip(free, found[len(columns) :], strict=False):
        values[k] -= taken
    return _texts(columns, values)


@dataclass(frozen=True)
class _Column:
    """A number that is looked for: it multiplies term (right - left) of a fact."""

    fact: int
    term: str
    form: Scalar
    free: bool


def _columns(kernel: Kernel, facts: Sequence[int], terms: Sequence[str]) -> list[_Column]:
    """Every fact with every term that may multiply it."""
    found = []
    for fact in facts:
        formula = kernel.facts[fact].formula
        for text in terms:
            factor = kernel.normal.scalar(kernel.term(text))
            if formula[0] == "==" or kernel.normal.sign(factor) in ("pos", "nonneg"):
                form = mul(factor, kernel.normal.difference(formula))
                found.append(_Column(fact, text, form, formula[0] == "=="))
    return found


def _no_combination(wanted: Scalar) -> CertificateError:
    return CertificateError(
        "no multipliers make the remainder manifestly not negative: add facts, products of facts, or terms; "
        f"right - left = {shown(wanted)}"
    )


def _texts(columns: Sequence[_Column], values: Sequence[Fraction]) -> dict[int, str]:
    """The sums of value times term, by fact; facts that are not needed are left out."""
    found: dict[int, list[str]] = {}
    for column, value in zip(columns, values, strict=True):
        if value:
            factor = f"({value})" if value < 0 or value.denominator != 1 else str(value)
            found.setdefault(column.fact, []).append(
                factor if column.term == "1" else f"{factor}*({column.term})"
            )
    return {fact: " + ".join(parts) for fact, parts in found.items()}


def remainder(
    kernel: Kernel, conclusion: Tree, premises: Mapping[int, str], squares: Sequence[tuple[str, str]]
) -> Scalar:
    """right - left - sum multiplier (right_i - left_i) - sum weight square, as a normal form."""
    rest = kernel.normal.difference(conclusion)
    for fact, text in premises.items():
        factor = kernel.normal.scalar(kernel.term(text))
        rest = add(rest, scale(mul(factor, kernel.normal.difference(kernel.facts[fact].formula)), -1))
    for weight, text in squares:
        inner = kernel.normal.scalar(kernel.term(text))
        rest = add(rest, scale(mul(kernel.normal.scalar(kernel.term(weight)), mul(inner, inner)), -1))
    return rest


def shown(form: Scalar) -> str:
    """A normal form as text for people: monomials in alphabetic order, cut after some hundred characters."""
    text = ""
    for name, value in sorted((_monomial(monomial), value) for monomial, value in form.items()):
        sign = ("-" if value < 0 else "") if not text else (" - " if value < 0 else " + ")
        number = "" if name and abs(value) == 1 else str(abs(value)) + "*" * bool(name)
        text += f"{sign}{number}{name}"
    return text[:SHOWN] + " ..." * (len(text) > SHOWN) or "0"


def _monomial(monomial: Monomial) -> str:
    """Powers of bases, in alphabetic order."""
    powers = []
    for base, exponent in monomial:
        name = _base(base)
        if isinstance(exponent, Fraction):
            powers.append(name if exponent == 1 else f"{name}**{exponent}")
        else:
            powers.append(f"{name}**({shown(unkey(exponent))})")
    return "*".join(sorted(powers))


def _base(base: Any) -> str:
    """A base as text."""
    match base:
        case ("s", name):
            return str(name)
        case ("e",):
            return "e"
        case ("q", value):
            return f"({value})"
        case ("p", form):
            return f"({shown(unkey(form))})"
        case ("inv", form):
            return f"1/({shown(unkey(form))})"
        case ("pow", form, exponent):
            power = exponent if isinstance(exponent, Fraction) else shown(unkey(exponent))
            return f"({shown(unkey(form))})**({power})"
        case ("norm", letter, _):
            return f"{letter}(...)"
        case ("tr", _):
            return "tr(...)"
        case ("fn", name, *arguments):
            return f"{name}({', '.join(shown(unkey(a)) for a in arguments)})"
    return f"{base[0]}(...)"
