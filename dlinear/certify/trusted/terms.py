"""The language of certificates: text to trees, through `ast`, and substitution.

A formula is one comparison (`<=`, `<`, `==`; `>=` and `>` are turned round) of two expressions over

- integers, `+ - * / **`, and calls of the fixed functions in `SCALAR_FUNCTIONS`;
- declared symbols, families `D(t)`, windows `W(a, b)` (products and totals), sums `G(j)` (see `Context`);
- matrices: `I`, declared matrix symbols, `X.T`, sums, products and scalar multiples;
- `F(X)` Frobenius norm, `N(X)` spectral norm, `S(X)` smallest singular value, `ip(X, Y)` = tr(X^T Y).

Decimal literals are refused: a float encloses the wrong number. Real functions are total by convention
(1/0 = 0, sqrt of a negative number 0, log of a non-positive number 0), so no step needs a side condition
that it does not use: nothing is ever cancelled against a reciprocal of a quantity not known to be positive.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from dlinear.certify.trusted.errors import CertificateError as CertificateError
from dlinear.certify.trusted.limits import spend

Tree = tuple[Any, ...]
Case = tuple[tuple[Tree, ...], Tree]
"""Conditions of a case of a definition, and its term."""

SORTS = ("real", "nonneg", "positive", "integer", "natural", "posint", "matrix")
INTEGER_SORTS = ("integer", "natural", "posint")
SCALAR_FUNCTIONS = {"exp": 1, "log": 1, "sqrt": 1, "floor": 1, "min": 2, "max": 2, "phi": 2, "Int": 4}
MATRIX_FUNCTIONS = {"F": 1, "N": 1, "S": 1, "ip": 2}
MAX_TEXT = 20_000
MAX_DEPTH = 200
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")


@dataclass(frozen=True)
class Context:
    """What a statement speaks about: its symbols and recursive definitions.

    Attributes:
        symbols: name -> sort, one of `SORTS`. All matrices are n x n; if `n` is declared it is that width.
        families: name -> bound text or None; `D(t)` is a matrix for every integer t, N(D(t)) <= bound.
        products: name -> family or definition; W(a, a) = I and W(a, b+1) = (I + D(b)) W(a, b) for a <= b.
        totals: name -> family or definition; G(a, a) = 0 and G(a, b+1) = G(a, b) + D(b) for a <= b.
        definitions: name -> (index, kind, cases); each case is (conditions, term): name(index) == term.
            A sequence is an arbitrary real function of an integer: a definition without cases.
        sums: name -> (index, term); G(0) = 0, G(j+1) = G(j) + term(j) for j >= 0.
    """

    symbols: Mapping[str, str] = field(default_factory=dict)
    families: Mapping[str, Tree | None] = field(default_factory=dict)
    products: Mapping[str, str] = field(default_factory=dict)
    definitions: Mapping[str, tuple[str, str, tuple[Case, ...]]] = field(default_factory=dict)
    sums: Mapping[str, tuple[str, Tree]] = field(default_factory=dict)
    totals: Mapping[str, str] = field(default_factory=dict)

    def fixed(self) -> set[str]:
        """Symbols on which the definitions depend: they are never instantiated."""
        names: set[str] = set()
        for bound in self.families.values():
            if bound is not None:
                names |= free(bound)
        for index, _, cases in self.definitions.values():
            for conditions, term in cases:
                for tree in (*conditions, term):
                    names |= free(tree) - {index}
        for index, term in self.sums.values():
            names |= free(term) - {index}
        return names


def parse(text: str, reader: Reader | None = None) -> Tree:
    """Expression or formula, from text to tree; equal parts of what one reader reads are one object."""
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise CertificateError(f"expected a formula of at most {MAX_TEXT} characters, got {str(text)[:60]!r}")
    spend(2 * len(text))
    try:
        return (reader or Reader()).tree(ast.parse(text.strip(), mode="eval").body, 0)
    except CertificateError:
        raise
    except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
        raise CertificateError(f"cannot read {text[:80]!r}") from error


MINUS_ONE: Tree = ("num", Fraction(-1))
COMPARISONS: dict[type[ast.cmpop], str] = {ast.LtE: "<=", ast.Lt: "<", ast.Eq: "=="}
TURNED: dict[type[ast.cmpop], str] = {ast.GtE: "<=", ast.Gt: "<"}


class Reader:
    """Trees of several texts, without repeated parts: their normal forms are then computed once."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], Tree] = {}

    def _one(self, *tree: Any) -> Tree:
        """The tree, or the same one made before."""
        key = tuple(id(part) if isinstance(part, tuple) else part for part in tree)
        return self._made.setdefault(key, tree)

    def tree(self, node: ast.expr, depth: int) -> Tree:
        """Tree of a node that lies so deep in the whole."""
        if depth > MAX_DEPTH:
            raise CertificateError(f"a formula is nested deeper than {MAX_DEPTH} levels")
        depth += 1
        match node:
            case ast.Constant(value=int() as value) if not isinstance(value, bool):
                return self._one("num", Fraction(value))
            case ast.Name(id=name):
                return self._one("sym", name)
            case ast.Attribute(value=part, attr="T"):
                return self._one("T", self.tree(part, depth))
            case ast.UnaryOp(op=ast.USub(), operand=part):
                return self._one("mul", MINUS_ONE, self.tree(part, depth))
            case ast.UnaryOp(op=ast.UAdd(), operand=part):
                return self.tree(part, depth)
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(op, self.tree(left, depth), self.tree(right, depth), node)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self._one("call", name, *[self.tree(arg, depth) for arg in args])
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                a, b = self.tree(left, depth), self.tree(right, depth)
                if type(op) in COMPARISONS:
                    return (COMPARISONS[type(op)], a, b)
                if type(op) in TURNED:
                    return (TURNED[type(op)], b, a)
        raise CertificateError(f"not in the language: {ast.unparse(node)[:80]}")

    def _binary(self, op: ast.operator, a: Tree, b: Tree, node: ast.expr) -> Tree:
        match op:
            case ast.Add():
                return self._one("add", a, b)
            case ast.Sub():
                return self._one("add", a, self._one("mul", MINUS_ONE, b))
            case ast.Mult():
                return self._one("mul", a, b)
            case ast.Div():
                return self._one("mul", a, self._one("pow", b, MINUS_ONE))
            case ast.Pow():
                return self._one("pow", a, b)
        raise CertificateError(f"not in the language: {ast.unparse(node)[:80]}")


def is_formula(tree: Tree) -> bool:
    """Whether the tree is a comparison."""
    return tree[0] in ("<=", "<", "==")


def children(tree: Tree) -> Iterator[Tree]:
    """Direct sub-trees."""
    if tree[0] not in ("num", "sym"):
        yield from (part for part in tree[1:] if isinstance(part, tuple))


def free(tree: Tree) -> set[str]:
    """Symbols that occur free (the first argument of Int is bound in its last)."""
    spend(2)
    if tree[0] == "sym":
        return {tree[1]}
    if tree[:2] == ("call", "Int") and len(tree) == 6:
        return free(tree[3]) | free(tree[4]) | (free(tree[5]) - free(tree[2]))
    names: set[str] = set()
    for child in children(tree):
        names |= free(child)
    return names


def substitute(tree: Tree, mapping: Mapping[str, Tree]) -> Tree:
    """Simultaneous substitution of symbols; a capture is an error."""
    spend(2)
    if tree[0] == "sym":
        return mapping.get(tree[1], tree)
    if tree[0] == "num" or not mapping:
        return tree
    if tree[:2] == ("call", "Int") and len(tree) == 6:
        bound = tree[2][1]
        inner = {name: term for name, term in mapping.items() if name != bound and name in free(tree[5])}
        if any(bound in free(term) for term in inner.values()):
            raise CertificateError(f"substitution captures the bound variable {bound}")
        return (
            *tree[:3],
            substitute(tree[3], mapping),
            substitute(tree[4], mapping),
            substitute(tree[5], inner),
        )
    return tuple(substitute(part, mapping) if isinstance(part, tuple) else part for part in tree)
