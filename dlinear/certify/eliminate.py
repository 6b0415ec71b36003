"""Multipliers for `Proof.linear` found by elimination (untrusted: the checker expands every line again).

An equation that holds modulo known equations is proved by `linear` once the multiplier of each is known. Here
every transcendental atom (exp(c), phi(3, -2*c*eps), an integral, ...) is a sympy symbol with a text, and the
equations are divided out one after the other, each by the atom it defines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlinear.certify.proof import Proof
from dlinear.certify.terms import CertificateError


class Atoms:
    """Sympy symbols that stand for terms of the certificate language.

    `atoms[text]` is the symbol of a term; `text(expr)` writes an expression with the terms put back.
    """

    def __init__(self) -> None:
        self._symbols: dict[str, Any] = {}

    def __getitem__(self, text: str) -> Any:
        import sympy

        if text not in self._symbols:
            name = text if text.isidentifier() else f"atom{len(self._symbols)}_"
            self._symbols[text] = sympy.Symbol(name)
        return self._symbols[text]

    def text(self, expr: Any) -> str:
        """Expression of the certificate language."""
        import sympy
        from sympy.printing.str import StrPrinter

        names = {symbol: text for text, symbol in self._symbols.items()}

        class Printer(StrPrinter):  # type: ignore[misc]
            def _print_Symbol(self, expr: Any) -> str:
                text = names.get(expr, expr.name)
                return text if text.isidentifier() or text.endswith(")") else f"({text})"

        return str(Printer().doprint(sympy.sympify(expr)))


Rule = tuple[int, Any, Any]
"""A fact, the atom that it defines, and right - left of the fact as an expression."""


def equation(
    proof: Proof,
    atoms: Atoms,
    left: Any,
    right: Any,
    rules: Sequence[Rule],
    premises: Mapping[int, Any] | None = None,
    *,
    relation: str = "==",
) -> int:
    """A fact `left relation right` that follows from equations.

    Args:
        proof: where the step is added.
        atoms: texts of the symbols.
        left, right: sympy expressions.
        rules: equations to divide out, in this order.
        premises: facts (equations or inequalities) with multipliers already known, as pairs
            (multiplier, right - left of the fact).
        relation: "==", "<=" or "<".

    Raises:
        CertificateError: something is left after the last rule.
    """
    import sympy

    rest = sympy.expand(right - left)
    multipliers: dict[int, str] = {}
    for fact, (factor, gap) in (premises or {}).items():
        rest = sympy.expand(rest - factor * gap)
        multipliers[fact] = atoms.text(factor)
    for fact, atom, gap in rules:
        if not rest.has(atom):
            continue
        quotient, rest = sympy.div(sympy.Poly(rest, atom), sympy.Poly(gap, atom))
        rest = sympy.expand(sympy.cancel(rest.as_expr()))
        multipliers[fact] = atoms.text(sympy.cancel(quotient.as_expr()))
    if sympy.cancel(rest) != 0:
        raise CertificateError(f"the equations leave a remainder: {atoms.text(sympy.cancel(rest))}"[:300])
    return proof.linear(f"{atoms.text(left)} {relation} {atoms.text(right)}", multipliers)
