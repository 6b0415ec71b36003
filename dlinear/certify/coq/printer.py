"""Terms of certificates as Coq text: numbers in R, indices in Z, matrices in an abstract algebra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from dlinear.certify.trusted.normal_form import Normaliser
from dlinear.certify.trusted.terms import INTEGER_SORTS, Case, CertificateError, Context, Tree

RESERVED = {
    "R", "Z", "Mat", "at", "in", "as", "fun", "if", "then", "else", "let", "end", "with", "forall", "exists",
    "match", "return", "for", "where", "using", "mod", "IF", "Prop", "Set", "Type", "fix", "cofix", "ip",
}  # fmt: skip
FUNCTIONS = {"exp": "exp", "log": "ln", "sqrt": "sqrt", "min": "Rmin", "max": "Rmax"}
RELATIONS = {"<=": "<=", "<": "<", "==": "="}
SORT_TEXT = {"nonneg": "0 <= {}", "positive": "0 < {}", "natural": "0 <= IZR {}", "posint": "1 <= IZR {}"}
SORT_FORMULA = {"nonneg": ("<=", 0), "positive": ("<", 0), "natural": ("<=", 0), "posint": ("<=", 1)}


def identifier(name: str) -> str:
    """A name of a certificate as a name in Coq."""
    return f"{name}_" if name in RESERVED else name


def ending(name: str) -> list[str]:
    """What a file asks at its end: the theorem in full, and what it rests on."""
    return [
        "Set Printing Width 110. Set Printing Depth 500.",
        f"Check @{name}.",
        f"Print Assumptions {name}.",
        "",
    ]


def has_matrices(context: Context) -> bool:
    """Whether a statement speaks of matrices."""
    kinds = {kind for _, kind, _ in context.definitions.values()}
    return bool(
        "matrix" in context.symbols.values()
        or context.families
        or "matrix" in kinds
        or "n" in context.symbols
    )


def literal(value: Fraction) -> str:
    """A rational number."""
    top = str(value.numerator) if value >= 0 else f"({value.numerator})"
    return top if value.denominator == 1 else f"({top} * / {value.denominator})"


def constant(tree: Tree) -> Fraction | None:
    """Value of a number that is written without symbols and sums; else None."""
    match tree:
        case ("num", value):
            return Fraction(value)
        case ("mul", a, b):
            x, y = constant(a), constant(b)
            return None if x is None or y is None else x * y
        case ("pow", a, b):
            x, y = constant(a), constant(b)
            return 1 / x if x and y == -1 else None
    return None


class Printer:
    """Coq text of trees in one context."""

    def __init__(self, context: Context, normal: Normaliser, extra: Mapping[str, str] | None = None) -> None:
        """`extra` holds further symbols, name -> sort, such as the index of a definition."""
        self.context = context
        self.normal = normal
        self.sorts = {**context.symbols, **(extra or {})}

    def sort(self, name: str) -> str:
        """The hypothesis that the sort of a symbol states, or ""."""
        return SORT_TEXT.get(self.sorts[name], "").format(identifier(name))

    def kind(self, name: str) -> str:
        """Coq type of a symbol."""
        sort = self.sorts[name]
        return "Mat" if sort == "matrix" else "Z" if sort in INTEGER_SORTS else "R"

    def whole(self, tree: Tree) -> bool:
        """Whether a number is built from integers by operations that Z has."""
        match tree:
            case ("num", value):
                return bool(value.denominator == 1)
            case ("sym", name):
                return self.sorts.get(name) in INTEGER_SORTS and name != "n"
            case ("add" | "mul", a, b) | ("call", "min" | "max", a, b):
                return self.whole(a) and self.whole(b)
            case ("pow", a, b):
                e = constant(b)
                return e is not None and e.denominator == 1 and e >= 0 and self.whole(a)
        return bool(tree[:2] == ("call", "floor"))

    def formula(self, tree: Tree) -> str:
        """A comparison."""
        relation, left, right = tree
        if self.normal.is_matrix(left):
            return f"{self.matrix(left)} = {self.matrix(right)}"
        return f"{self.number(left)} {RELATIONS[relation]} {self.number(right)}"

    def number(self, tree: Tree) -> str:
        """A real number."""
        match tree:
            case ("num", value):
                return literal(value)
            case ("sym", "n"):
                return "IZR (width Mat)"
            case ("sym", name):
                return f"IZR {identifier(name)}" if self.kind(name) == "Z" else identifier(name)
            case ("add", a, ("mul", ("num", value), b)) if value == -1:
                return f"({self.number(a)} - {self.number(b)})"
            case ("add", a, b):
                return f"({self.number(a)} + {self.number(b)})"
            case ("mul", ("num", value), ("num", other)) if value == -1:
                return literal(-other)
            case ("mul", ("num", value), a) if value == -1:
                return f"(- {self.number(a)})"
            case ("mul", a, b):
                return f"({self.number(a)} * {self.number(b)})"
            case ("pow", a, b):
                return self.power(a, b)
            case ("call", *_):
                return self.call(tree)
        raise CertificateError(f"no Coq text for {str(tree)[:80]}")

    def power(self, base: Tree, exponent: Tree) -> str:
        """base ** exponent."""
        inside = self.number(base)
        e = constant(exponent)
        if e is not None and e.denominator == 1:
            plain = f"({inside})" if abs(e) == 1 else f"(({inside}) ^ {abs(e)})"
            return plain if e >= 0 else f"(/ {plain})"
        if e == Fraction(1, 2):
            return f"(sqrt ({inside}))"
        if self.whole(exponent):
            return f"(powerRZ ({inside}) {self.index(exponent)})"
        return f"(Rpower ({inside}) {self.number(exponent)})"

    def call(self, tree: Tree) -> str:
        """A function with its arguments."""
        _, name, *args = tree
        if name in ("F", "N", "S"):
            return f"({name} {self.matrix(args[0])})"
        if name == "ip":
            return f"(ip {self.matrix(args[0])} {self.matrix(args[1])})"
        if name in FUNCTIONS:
            return f"({FUNCTIONS[name]} {' '.join(f'({self.number(a)})' for a in args)})"
        if name == "floor":
            return f"(IZR (Int_part ({self.number(args[0])})))"
        if name == "phi":
            return f"(phi {args[0][1]} ({self.number(args[1])}))"
        if name == "Int":
            inside = Printer(self.context, self.normal, {**self.sorts, args[0][1]: "real"})
            body = inside.number(args[3])
            ends = " ".join(f"({self.number(a)})" for a in args[1:3])
            return f"(RInt (fun {identifier(args[0][1])} : R => {body}) {ends})"
        return f"({identifier(name)} {' '.join(self.index(a) for a in args)})"

    def index(self, tree: Tree) -> str:
        """An integer, in Z."""
        return f"({self._index(tree)})%Z"

    def _index(self, tree: Tree) -> str:
        match tree:
            case ("num", value) if value.denominator == 1:
                return str(value) if value >= 0 else f"({value})"
            case ("sym", name):
                return identifier(name)
            case ("add", a, ("mul", ("num", value), b)) if value == -1:
                return f"({self._index(a)} - {self._index(b)})"
            case ("add", a, b):
                return f"({self._index(a)} + {self._index(b)})"
            case ("mul", ("num", value), ("num", other)) if value == -1:
                return self._index(("num", -other))
            case ("mul", ("num", value), a) if value == -1:
                return f"(- {self._index(a)})"
            case ("mul", a, b):
                return f"({self._index(a)} * {self._index(b)})"
            case ("pow", a, b) if (e := constant(b)) is not None:
                return f"({self._index(a)} ^ {e})"
            case ("call", "min" | "max" as name, a, b):
                return f"(Z.{name} {self._index(a)} {self._index(b)})"
            case ("call", "floor", a):
                return f"(Int_part ({self.number(a)})%R)"
        raise CertificateError(f"no integer in Coq for {str(tree)[:80]}")

    def matrix(self, tree: Tree) -> str:
        """A matrix."""
        return f"({self._matrix(tree)})%M"

    def _matrix(self, tree: Tree) -> str:
        match tree:
            case ("sym", "I"):
                return "mone"
            case ("sym", name):
                return identifier(name)
            case ("T", x):
                return f"(tsp {self._matrix(x)})"
            case ("add", a, b):
                return f"({self._matrix(a)} + {self._matrix(b)})"
            case ("mul", a, b):
                if self.normal.is_matrix(a) and self.normal.is_matrix(b):
                    return f"({self._matrix(a)} * {self._matrix(b)})"
                factor, x = (b, a) if self.normal.is_matrix(a) else (a, b)
                return f"(({self.number(factor)})%R *: {self._matrix(x)})"
            case ("call", name, *args):
                return f"({identifier(name)} {' '.join(self.index(a) for a in args)})"
        raise CertificateError(f"no Coq text for {str(tree)[:80]}")


def by_cases(printer: Printer, index: str, kind: str, cases: Sequence[Case]) -> str:
    """The value of a definition: the first case whose conditions hold, and 0 where none does."""
    inside = Printer(printer.context, printer.normal, {index: "integer"})
    body = "mzero" if kind == "matrix" else "0"
    for conditions, term in reversed(cases):
        text = inside.matrix(term) if kind == "matrix" else inside.number(term)
        for relation, a, b in reversed(conditions):
            test = {"<=": "Rle_dec", "<": "Rlt_dec", "==": "Req_EM_T"}[relation]
            text = f"(if {test} ({inside.number(a)}) ({inside.number(b)}) then {text} else {body})"
        body = text
    return body
