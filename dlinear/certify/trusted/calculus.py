"""Exact derivatives of scalar normal forms, and their value at zero."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from dlinear.certify.trusted.limits import spend
from dlinear.certify.trusted.normal_form import (
    E,
    Normaliser,
    Scalar,
    add,
    exponent,
    mul,
    number,
    scale,
    unkey,
)
from dlinear.certify.trusted.terms import CertificateError


def mentions(item: Any, name: str) -> bool:
    """Whether a normal form, or a part of one, speaks of a symbol."""
    spend()
    if isinstance(item, dict):
        return any(mentions(part, name) for part in item)
    if isinstance(item, tuple):
        return item == ("s", name) or any(mentions(part, name) for part in item)
    return isinstance(item, frozenset) and any(mentions(part, name) for part in item)


def _as_form(e: Any) -> Scalar:
    return number(e) if isinstance(e, Fraction) else unkey(e)


def _smooth(base: Any, e: Any, name: str) -> None:
    """Rejects what is not known to be differentiable in the symbol on the whole line of its sort."""
    if base == ("s", name):
        fine = isinstance(e, Fraction) and e.denominator == 1 and e > 0
    elif base == E:
        fine = True
    elif base[0] == "p":
        fine = not mentions(e, name)
    else:
        fine = not mentions(base, name) and not mentions(e, name)
    if not fine:
        raise CertificateError(f"a term is not known to be differentiable in {name}")


def derivative(form: Scalar, name: str, normal: Normaliser) -> Scalar:
    """Derivative with respect to a symbol."""
    total: Scalar = {}
    for monomial, value in form.items():
        for base, e in monomial:
            _smooth(base, e, name)
            if not mentions(base, name) and not mentions(e, name):
                continue
            # product rule: the slope of this factor times the others
            rest: Scalar = {monomial - {(base, e)}: value}
            # (x^e)' = e x^(e-1)
            if base == ("s", name):
                slope = {monomial - {(base, e)} | ({(base, e - 1)} if e != 1 else frozenset()): value * e}
                total = add(total, slope)
                continue
            # (e^g)' = e^g g'
            if base == E:
                inner = derivative(_as_form(e), name, normal)
                total = add(total, mul(mul(rest, {frozenset({(base, e)}): Fraction(1)}), inner))
                continue
            # (p^e)' = e p' p^(e-1) for a positive form p and a constant e
            inner = mul(_as_form(e), derivative(unkey(base[1]), name, normal))
            lowered = normal.power(unkey(base[1]), exponent(add(_as_form(e), number(-1))))
            total = add(total, mul(mul(rest, lowered), inner))
    return total


def at_zero(form: Scalar, name: str, normal: Normaliser) -> Scalar:
    """Value of a normal form at symbol = 0."""
    total: Scalar = {}
    for monomial, value in form.items():
        term = number(value)
        for base, e in monomial:
            _smooth(base, e, name)
            if base == ("s", name):
                term = {}
            elif base == E:
                term = mul(
                    term,
                    normal.power(
                        {frozenset({(E, Fraction(1))}): Fraction(1)},
                        exponent(at_zero(_as_form(e), name, normal)),
                    ),
                )
            elif base[0] == "p" and mentions(base, name):
                term = mul(term, normal.power(at_zero(unkey(base[1]), name, normal), e))
            else:
                term = mul(term, {frozenset({(base, e)}): Fraction(1)})
        total = add(total, term)
    return total


def falls_towards_zero(difference: Scalar, name: str) -> bool:
    """Whether `0 <= difference` at a u >= 0 implies it at every smaller u >= 0 (linear forms only)."""
    line = frozenset({(("s", name), Fraction(1))})
    slope = difference.get(line, Fraction(0))
    rest = add(difference, scale({line: Fraction(1)}, -slope))
    if mentions(rest, name):
        return False
    return slope < 0 or not rest
