"""Formulas of certificates as MathML, which browsers set without any further file.

The language of certificates is a part of Python's (`dlinear.certify.trusted.terms`); a formula is shown as it
stands there, term by term: nothing is simplified or put into another order.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from html import escape
from typing import Any

GREEK = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "eps": "ε",
    "epsilon": "ε",
    "eta": "η",
    "theta": "θ",
    "kappa": "κ",
    "lam": "λ",
    "lambda": "λ",
    "mu": "μ",
    "rho": "ρ",
    "tau": "τ",
    "phi": "φ",
    "Phi": "Φ",
}
SIGNS: dict[type[ast.cmpop], str] = {ast.LtE: "≤", ast.Lt: "<", ast.Eq: "=", ast.GtE: "≥", ast.Gt: ">"}
FENCES = {"floor": ("⌊", "⌋"), "N": ("‖", "‖"), "F": ("‖", "‖"), "ip": ("⟨", "⟩")}
NORMS = {"N": "2", "F": "F"}  # spectral, Frobenius
ADDING, MULTIPLYING, UNARY, POWER, ATOM = range(5)  # how tightly an expression holds together


def formula(text: str, goal: Mapping[str, Any]) -> str:
    """One formula as a <math> element.

    Args:
        text: a comparison or an expression in the language of certificates.
        goal: where it stands; tells windows W(a, b) from functions.

    Returns:
        MathML; the text itself, escaped, inside <code> where it cannot be read.
    """
    try:
        inside = _Writer(goal).compared(ast.parse(text, mode="eval").body)
    except (SyntaxError, RecursionError, _UnknownError):
        return f"<code>{escape(text)}</code>"
    return f'<math display="block" alttext="{escape(text, quote=True)}">{inside}</math>'


class _UnknownError(Exception):
    """A kind of expression that the language of certificates has not."""


def _row(*parts: str) -> str:
    return f"<mrow>{''.join(parts)}</mrow>"


def _sign(text: str) -> str:
    return f"<mo>{escape(text)}</mo>"


def _name(word: str) -> str:
    """A name; what follows an underscore, or the digits at its end, is an index."""
    stem, _, index = word.partition("_")
    if not index:
        stem = word.rstrip("0123456789")
        index = word[len(stem) :]
    said = GREEK.get(stem, stem)
    base = f"<mi>{escape(said)}</mi>"
    return f"<msub>{base}<mi>{escape(index)}</mi></msub>" if stem and index else base


class _Writer:
    """Trees to MathML, for the names of one goal."""

    def __init__(self, goal: Mapping[str, Any]) -> None:
        self.windows = {*goal.get("products", {})}

    def compared(self, node: ast.expr) -> str:
        """A comparison, or an expression."""
        if not isinstance(node, ast.Compare):
            return self.plain(node)
        parts = [self.plain(node.left)]
        for sign, right in zip(node.ops, node.comparators, strict=True):
            if type(sign) not in SIGNS:
                raise _UnknownError
            parts += [_sign(SIGNS[type(sign)]), self.plain(right)]
        return _row(*parts)

    def plain(self, node: ast.expr) -> str:
        return self.write(node)[0]

    def held(self, node: ast.expr, least: int) -> str:
        """The expression, in parentheses where it holds together less tightly than that."""
        text, strength = self.write(node)
        return text if strength >= least else _row(_sign("("), text, _sign(")"))

    def write(self, node: ast.expr) -> tuple[str, int]:
        """MathML, and how tightly it holds together."""
        if isinstance(node, ast.Constant):
            return f"<mn>{escape(str(node.value))}</mn>", ATOM
        if isinstance(node, ast.Name):
            return _name(node.id), ATOM
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return _row(_sign("−"), self.held(node.operand, MULTIPLYING)), ADDING
        if isinstance(node, ast.Attribute) and node.attr == "T":
            return f"<msup>{self.held(node.value, ATOM)}<mo>⊤</mo></msup>", POWER
        if isinstance(node, ast.BinOp):
            return self.binary(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self.called(node.func.id, node.args)
        raise _UnknownError

    def binary(self, node: ast.BinOp) -> tuple[str, int]:
        """Sums, products, fractions and powers."""
        kind = type(node.op)
        if kind in (ast.Add, ast.Sub):
            right = self.held(node.right, ADDING if kind is ast.Add else MULTIPLYING)
            return _row(self.plain(node.left), _sign("+" if kind is ast.Add else "−"), right), ADDING
        if kind is ast.Mult:
            dot = _sign("·") if isinstance(node.right, ast.Constant) else "<mspace width='0.17em'/>"
            return _row(self.held(node.left, MULTIPLYING), dot, self.held(node.right, UNARY)), MULTIPLYING
        if kind is ast.Div:
            return f"<mfrac>{self.plain(node.left)}{self.plain(node.right)}</mfrac>", UNARY
        if kind is ast.Pow:
            return f"<msup>{self.held(node.left, ATOM)}{self.plain(node.right)}</msup>", POWER
        raise _UnknownError

    def called(self, name: str, nodes: list[ast.expr]) -> tuple[str, int]:
        """Functions, norms, integrals, windows of layers, and families of the goal."""
        words = [self.plain(node) for node in nodes]
        if name == "exp":
            return f"<msup><mi>e</mi>{words[0]}</msup>", POWER
        if name == "sqrt":
            return f"<msqrt>{words[0]}</msqrt>", ATOM
        if name == "Int":
            variable, low, high, inside = words
            sign = f"<msubsup><mo>∫</mo>{low}{high}</msubsup>"
            return _row(sign, self.held(nodes[3], MULTIPLYING), "<mi>d</mi>", variable), MULTIPLYING
        if name in self.windows:
            return f"<msubsup><mi>{escape(name)}</mi>{words[0]}{words[1]}</msubsup>", ATOM
        if name in FENCES:
            left, right = map(_sign, FENCES[name])
            inside = _row(left, *_separated(words), right)
            norm = NORMS.get(name)
            return (f"<msub>{inside}<mi>{norm}</mi></msub>" if norm else inside), ATOM
        if name == "phi" and len(words) == 2:  # the remainder of the exponential series, sum_j x^j/(j+k)!
            return _row(f"<msub><mi>φ</mi>{words[0]}</msub>", _sign("("), words[1], _sign(")")), ATOM
        said = {"S": "<msub><mi>σ</mi><mi>min</mi></msub>", "log": "<mi>ln</mi>"}.get(name, _name(name))
        return _row(said, _sign("("), *_separated(words), _sign(")")), ATOM


def _separated(words: list[str]) -> list[str]:
    """The words with commas between them."""
    return [part for i, word in enumerate(words) for part in ([_sign(",")] * bool(i) + [word])]
