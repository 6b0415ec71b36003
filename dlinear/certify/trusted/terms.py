"""The language of certificates: text to trees, through `ast`, and substitution.

A formula is one comparison (`<=`, `<`, `==`; `>=` and `>` are turned round) of two expressions over

- integers, `+ - * / **`, and calls of the fixed functions in `SCALAR_FUNCTIONS`;
- declared symbols, families `D(t)`, window products `W(a, b)`, sums `G(j)` (see `Context`);
- matrices: `I`, declared matrix symbols, `X.T`, sums, products and scalar multiples;
- `F(X)` Frobenius norm, `N(X)` spectral norm, `S(X)` smallest singular value, `ip(X, Y)` = tr(X^T Y).

Decimal literals are refused: a float encloses the wrong number. Real functions are total by convention
(1/0 = 0, sqrt of a negative number 0, log of a non-positive number 0), so no step needs a side condition
that it does not use: nothing is ever cancelled against a reciprocal of a quantity not known to be positive.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Tree = tuple[Any, ...]

SORTS = ("real", "nonneg", "positive", "integer", "natural", "posint", "matrix")
INTEGER_SORTS = ("integer", "natural", "posint")
SCALAR_FUNCTIONS = {"exp": 1, "log": 1, "sqrt": 1, "floor": 1, "min": 2, "max": 2, "phi": 2, "Int": 4}
MATRIX_FUNCTIONS = {"F": 1, "N": 1, "S": 1, "ip": 2}
MAX_TEXT = 20_000
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")


class CertificateError(ValueError):
    """A certificate was rejected; the message is one line and says why."""


@dataclass(frozen=True)
class Context:
    """What a statement speaks about: its symbols and recursive definitions.

    Attributes:
        symbols: name -> sort, one of `SORTS`. All matrices are n x n; if `n` is declared it is that width.
        families: name -> bound text or None; `D(t)` is a matrix for every integer t, N(D(t)) <= bound.
        products: name -> family; W(a, a) = I and W(a, b+1) = (I + D(b)) W(a, b) for a <= b.
        definitions: name -> (index, kind, cases); each case is (conditions, term): name(index) == term.
            A sequence is an arbitrary real function of an integer: a definition without cases.
        sums: name -> (index, term); G(0) = 0, G(j+1) = G(j) + term(j) for j >= 0.
    """

    symbols: Mapping[str, str] = field(default_factory=dict)
    families: Mapping[str, Tree | None] = field(default_factory=dict)
    products: Mapping[str, str] = field(default_factory=dict)
    definitions: Mapping[str, tuple[str, str, tuple[tuple[tuple[Tree, ...], Tree], ...]]] = field(
        default_factory=dict
    )
    sums: Mapping[str, tuple[str, Tree]] = field(default_factory=dict)

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


def parse(text: str) -> Tree:
    """Expression or formula, from text to tree."""
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise CertificateError(f"expected a formula of at most {MAX_TEXT} characters, got {str(text)[:60]!r}")
    try:
        node = ast.parse(text.strip(), mode="eval").body
        return _tree(node)
    except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
        if isinstance(error, CertificateError):
            raise
        raise CertificateError(f"cannot read {text[:80]!r}") from error


def _tree(node: ast.expr) -> Tree:
    match node:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return ("num", Fraction(value))
        case ast.Name(id=name):
            return ("sym", name)
        case ast.Attribute(value=inner, attr="T"):
            return ("T", _tree(inner))
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return ("mul", ("num", Fraction(-1)), _tree(inner))
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _tree(inner)
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _tree(left), _tree(right)
            match op:
                case ast.Add():
                    return ("add", a, b)
                case ast.Sub():
                    return ("add", a, ("mul", ("num", Fraction(-1)), b))
                case ast.Mult():
                    return ("mul", a, b)
                case ast.Div():
                    return ("mul", a, ("pow", b, ("num", Fraction(-1))))
                case ast.Pow():
                    return ("pow", a, b)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return ("call", name, *[_tree(arg) for arg in args])
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            a, b = _tree(left), _tree(right)
            match op:
                case ast.LtE():
                    return ("<=", a, b)
                case ast.Lt():
                    return ("<", a, b)
                case ast.GtE():
                    return ("<=", b, a)
                case ast.Gt():
                    return ("<", b, a)
                case ast.Eq():
                    return ("==", a, b)
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


def check_names(tree: Tree, context: Context, extra: Mapping[str, str] | None = None) -> str:
    """The kind of a tree, "scalar", "matrix" or "formula"; unknown names and ill-typed terms are errors."""
    return _Kinds(context, {**context.symbols, **(extra or {})}).of(tree)


class _Kinds:
    """The kinds of terms in a context, with the sorts of its symbols."""

    def __init__(self, context: Context, sorts: Mapping[str, str]) -> None:
        self.context, self.sorts = context, sorts

    def of(self, t: Tree) -> str:
        """The kind of a tree."""
        match t:
            case ("num", _):
                return "scalar"
            case ("sym", "I"):
                return "matrix"
            case ("sym", name):
                if name not in self.sorts:
                    raise CertificateError(f"undeclared symbol {name}")
                return "matrix" if self.sorts[name] == "matrix" else "scalar"
            case ("T", inner):
                return self._matrix(inner)
            case ("add", a, b):
                kinds = {self._term(a), self._term(b)}
                if len(kinds) != 1:
                    raise CertificateError("sum of a number and a matrix")
                return kinds.pop()
            case ("mul", a, b):
                return "matrix" if "matrix" in (self._term(a), self._term(b)) else "scalar"
            case ("pow", a, b):
                return self._scalar(a, b)
            case ("call", "Int", ("sym", name), lo, hi, body):
                if self.sorts.get(name) != "real":
                    raise CertificateError(f"the variable of an integral must be a declared real: {name}")
                return self._scalar(lo, hi, body)
            case ("call", name, *args):
                return self._call(name, args)
            case ("==", a, b):
                if self._term(a) != self._term(b):
                    raise CertificateError("equation between a number and a matrix")
                return "formula"
            case ("<=" | "<", a, b):
                self._scalar(a, b)
                return "formula"
        raise CertificateError("ill-formed term")

    def _call(self, name: str, args: Sequence[Tree]) -> str:
        """The kind of name(args); the arguments must be of the kinds that the name takes."""
        if MATRIX_FUNCTIONS.get(name) == len(args):
            self._matrix(*args)
            return "scalar"
        results = {
            **{(known, count): "scalar" for known, count in SCALAR_FUNCTIONS.items()},
            **{(known, 1): "matrix" for known in self.context.families},
            **{(known, 2): "matrix" for known in self.context.products},
            **{(known, 1): kind for known, (_, kind, _) in self.context.definitions.items()},
            **{(known, 1): "scalar" for known in self.context.sums},
        }
        if (name, len(args)) not in results:
            raise CertificateError(f"unknown function {name} of {len(args)} arguments")
        self._scalar(*args)
        return results[name, len(args)]

    def _scalar(self, *parts: Tree) -> str:
        for part in parts:
            if self.of(part) != "scalar":
                raise CertificateError("a matrix stands where a number is expected")
        return "scalar"

    def _matrix(self, *parts: Tree) -> str:
        for part in parts:
            if self.of(part) != "matrix":
                raise CertificateError("a number stands where a matrix is expected")
        return "matrix"

    def _term(self, part: Tree) -> str:
        kind = self.of(part)
        if kind == "formula":
            raise CertificateError("a comparison stands where a term is expected")
        return kind


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
        if not _NAME.match(name) or name in reserved or names.count(name) > 1:
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
        if bound is not None and check_names(bound, context) != "scalar":
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
                if check_names(condition, context, {index: "integer"}) != "formula":
                    raise CertificateError(f"a condition of {name} must be a comparison")
            cases.append((conditions, term))
        if not _NAME.match(index) or not cases:
            raise CertificateError(f"definition of {name}: needs an index and at least one case")
        kinds = {check_names(term, context, {index: "integer"}) for _, term in cases}
        if len(kinds) != 1 or "formula" in kinds:
            raise CertificateError(f"the cases of {name} differ in kind")
        definitions[name] = (index, kinds.pop(), tuple(cases))
        context = Context(symbols, families, products, dict(definitions))
    sums = {}
    for name, item in table("sums").items():
        index, term = item["index"], parse(item["term"])
        if not _NAME.match(index) or check_names(term, context, {index: "integer"}) != "scalar":
            raise CertificateError(f"sum {name}: needs an index and a number as term")
        sums[name] = (index, term)
    return Context(symbols, families, products, definitions, sums)
