"""Kinds of terms: every name is declared, and no matrix stands where a number is expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlinear.certify.trusted.limits import spend
from dlinear.certify.trusted.terms import (
    MATRIX_FUNCTIONS,
    SCALAR_FUNCTIONS,
    CertificateError,
    Context,
    Tree,
)


def kind_of(tree: Tree, context: Context, extra: Mapping[str, str] | None = None) -> str:
    """The kind of a tree: "scalar", "matrix" or "formula".

    Args:
        tree: expression or formula.
        context: what is declared.
        extra: further symbols, name -> sort, such as the index of a definition.

    Raises:
        CertificateError: a name is not declared, or a term is ill typed.
    """
    return _Kinds(context, {**context.symbols, **(extra or {})}).kind(tree)


class _Kinds:
    """The kinds of terms over the symbols `sorts` and the functions of a context."""

    def __init__(self, context: Context, sorts: Mapping[str, str]) -> None:
        self.context = context
        self.sorts = sorts

    def kind(self, tree: Tree) -> str:
        spend()
        match tree:
            case ("num", _):
                return "scalar"
            case ("sym", "I"):
                return "matrix"
            case ("sym", name):
                if name not in self.sorts:
                    raise CertificateError(f"undeclared symbol {name}")
                return "matrix" if self.sorts[name] == "matrix" else "scalar"
            case ("T", inner):
                return self.matrix(inner)
            case ("add", a, b):
                kinds = {self.term(a), self.term(b)}
                if len(kinds) != 1:
                    raise CertificateError("sum of a number and a matrix")
                return kinds.pop()
            case ("mul", a, b):
                return "matrix" if "matrix" in (self.term(a), self.term(b)) else "scalar"
            case ("pow", a, b):
                return self.scalar(a, b)
            case ("call", "Int", variable, lo, hi, body):
                if variable[0] != "sym" or self.sorts.get(variable[1]) != "real":
                    raise CertificateError("the variable of an integral must be a symbol declared as real")
                return self.scalar(lo, hi, body)
            case ("call", name, *args):
                return self.call(name, args)
            case ("==", a, b):
                if self.term(a) != self.term(b):
                    raise CertificateError("equation between a number and a matrix")
                return "formula"
            case ("<=" | "<", a, b):
                self.scalar(a, b)
                return "formula"
        raise CertificateError("ill-formed term")

    def call(self, name: str, args: Sequence[Tree]) -> str:
        """Kind of the value of a function of so many arguments, which have the kinds that it takes."""
        context = self.context
        if SCALAR_FUNCTIONS.get(name) == len(args):
            return self.scalar(*args)
        if MATRIX_FUNCTIONS.get(name) == len(args):
            self.matrix(*args)
            return "scalar"
        for names, count in (
            (context.families, 1), (context.products, 2), (context.totals, 2),
            (context.definitions, 1), (context.sums, 1),
        ):  # fmt: skip
            if name in names and len(args) == count:
                self.scalar(*args)
                if names is context.sums:
                    return "scalar"
                return context.definitions[name][1] if names is context.definitions else "matrix"
        raise CertificateError(f"unknown function {name} of {len(args)} arguments")

    def scalar(self, *parts: Tree) -> str:
        for part in parts:
            if self.kind(part) != "scalar":
                raise CertificateError("a matrix stands where a number is expected")
        return "scalar"

    def matrix(self, *parts: Tree) -> str:
        for part in parts:
            if self.kind(part) != "matrix":
                raise CertificateError("a number stands where a matrix is expected")
        return "matrix"

    def term(self, part: Tree) -> str:
        kind = self.kind(part)
        if kind == "formula":
            raise CertificateError("a comparison stands where a term is expected")
        return kind
