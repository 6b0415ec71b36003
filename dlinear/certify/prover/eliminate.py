"""Multipliers for `Proof.linear` found by elimination (untrusted: the checker expands every line again).

An equation that holds modulo known equations is proved by `linear` once the multiplier of each is known. Here
every transcendental atom (exp(c), phi(3, -2*c*eps), an integral, ...) is a sympy symbol with a text, and the
equations are divided out one after the other, each by the atom that it defines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlinear.certify.prover.proof import Proof
from dlinear.certify.trusted.terms import CertificateError


class Atoms:
    """Sympy symbols that stand for terms of the certificate language.

    `atoms[text]` is the symbol of a term; `text(expr)` writes an expression with the terms put back.
    """

    def __init__(self) -> None:
        self._symbols: dict[str, Any] = {}

    def __getitem__(self, text: str) -> Any:
        import sympy

        if text not in self._symbols:
            self._symbols[text] = sympy.Symbol(text if text.isidentifier() else f"atom{len(self._symbols)}_")
        return self._symbols[text]

    def symbols(self) -> list[Any]:
        """All symbols so far."""
        return list(self._symbols.values())

    def text(self, expr: Any) -> str:
        """Expression of the certificate language."""
        import sympy
        from sympy.printing.str import StrPrinter

        names = {symbol: text for text, symbol in self._symbols.items()}

        class Printer(StrPrinter):  # type: ignore[misc]
            def _print_Symbol(self, expr: Any) -> str:
                return names.get(expr, str(expr.name))

        return str(Printer().doprint(sympy.sympify(expr)))


Equation = tuple[int, Any, Any]
"""A fact that is an equation, the atom that it defines, and its right - left."""


def equation(
    proof: Proof,
    atoms: Atoms,
    left: Any,
    right: Any,
    equations: Sequence[Equation],
    premises: Mapping[int, tuple[Any, Any]] | None = None,
    *,
    relation: str = "==",
) -> int:
    """A fact `left relation right` that follows from equations by `Proof.linear`.

    Args:
        proof: where the step is added.
        atoms: texts of the symbols.
        left, right: sympy polynomials in the atoms.
        equations: what to divide out, in this order; right - left is linear in the atom.
        premises: facts (equations or inequalities) with known multipliers: (multiplier, right - left).
        relation: "==", "<=" or "<".

    Raises:
        CertificateError: a division is not exact, or something is left after the last equation.
    """
    from sympy import QQ
    from sympy.polys.orderings import lex
    from sympy.polys.polyerrors import ExactQuotientFailed
    from sympy.polys.rings import PolyRing

    ring = PolyRing(atoms.symbols(), QQ, lex)
    rest = ring.from_expr(right) - ring.from_expr(left)
    multipliers: dict[int, str] = {}
    for fact, (factor, gap) in (premises or {}).items():
        rest = rest - ring.from_expr(factor) * ring.from_expr(gap)
        multipliers[fact] = atoms.text(factor)
    for fact, atom, gap in equations:
        x = ring.from_expr(atom)
        divisor = ring.from_expr(gap)
        lead = divisor.diff(x)
        quotient = ring.zero
        while (degree := rest.degree(x)) > 0:
            index = ring.gens.index(x)
            top = ring.zero
            for exponents, value in rest.terms():
                if exponents[index] == degree:
                    lowered = (*exponents[:index], degree - 1, *exponents[index + 1 :])
                    top = top + ring.from_dict({lowered: value})
            try:
                part = top.exquo(lead)
            except ExactQuotientFailed as error:
                raise CertificateError(f"{atoms.text(atom)} cannot be divided out") from error
            quotient, rest = quotient + part, rest - part * divisor
        if quotient:
            multipliers[fact] = atoms.text(quotient.as_expr())
    if rest:
        raise CertificateError(f"the equations leave a remainder: {atoms.text(rest.as_expr())}"[:300])
    return proof.linear(f"{atoms.text(left)} {relation} {atoms.text(right)}", multipliers)
