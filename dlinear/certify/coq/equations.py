"""Equations of a step: each term that is no polynomial is equal to the text of its normal form.

Inner terms come first. A proof rewrites with them, the outer ones first, and leaves an identity between
rational functions of atoms to `field`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from dlinear.certify.coq.forms import Forms, atoms, divisor, whole_power
from dlinear.certify.coq.printer import Printer, constant, identifier
from dlinear.certify.trusted.normal_form import ONE
from dlinear.certify.trusted.terms import Tree, is_formula


class Equations:
    """The equations that the trees of one step need, as lines of a Coq proof."""

    def __init__(self, printer: Printer, trees: Sequence[Tree], prefix: str = "eq") -> None:
        self.printer = printer
        self.normal = printer.normal
        scalars = [side for tree in trees for side in (tree[1:] if is_formula(tree) else (tree,))]
        self.scalars = [self.normal.scalar(x) for x in scalars if not self.normal.is_matrix(x)]
        self.forms = Forms(self.normal, divisor(self.scalars))
        self.prefix = prefix
        self.names: dict[str, str] = {}
        self.lines: list[str] = []
        for tree in trees:
            for side in tree[1:] if is_formula(tree) else (tree,):
                self.visit(side)

    def rewriting(self) -> str:
        """Tactic that rewrites with the equations, the outer ones first."""
        return " ".join(f"try rewrite {name};" for name in reversed(self.names.values()))

    def halves(self) -> set[Any]:
        """Bases with a power that is a half of an odd number."""
        return {
            base
            for form in self.scalars
            for monomial in form
            for base, e in monomial
            if isinstance(e, Fraction) and e.denominator == 2
        }

    def _add(self, left: str, right: str, proof: str) -> None:
        if left == right or left in self.names:
            return
        name = f"{self.prefix}_{len(self.names)}"
        self.lines.append(f"assert ({name} : {left} = {right}).")
        self.lines.append(f"{{ {self.rewriting()} {proof} }}")
        self.names[left] = name

    def visit(self, tree: Tree) -> None:
        """Enters the equations of a number or a matrix."""
        if self.normal.is_matrix(tree):
            self._matrix(tree)
        else:
            self._number(tree)

    def _number(self, tree: Tree) -> None:
        match tree:
            case ("add" | "mul", a, b):
                self._number(a)
                self._number(b)
                return
            case ("pow", a, b) if (e := constant(b)) is not None and e.denominator == 1:
                self._number(a)
                if e < 0:
                    self._inverse(tree, a, int(e))
                return
            case ("pow", a, b):
                self._number(a)
                if self.printer.whole(b):
                    self.index(b)
                else:
                    self._number(b)
                proof = self._power_proof(a)
                if self._whole_exponent(tree, a, b, proof):
                    return
            case ("call", "F" | "N" | "S" as norm, x):
                self._matrix(x)
                proof = "apply f_equal; matrix_eq."
                if not self.normal.matrix(x):
                    proof = (
                        f"transitivity ({norm} (0%R *: mone)%M); "
                        f"[apply f_equal; matrix_eq | rewrite {norm}_scale; [ring | lra]]."
                    )
            case ("call", "ip", x, y):
                self._matrix(x)
                self._matrix(y)
                known = [
                    self.forms.matrix_atom(a) for side in (x, y) for a in atoms(self.normal.matrix(side))
                ]
                listed = [*dict.fromkeys(known), "@nil (carrier Mat)"]
                proof = f"trace_eq ({' :: '.join(listed)})."
            case ("call", "exp" | "log" | "sqrt" | "min" | "max" | "floor" as name, *args):
                for a in args:
                    self._number(a)
                proof = {"exp": "exponents.", "sqrt": "roots.", "floor": "do 2 f_equal; identity."}.get(
                    name, "f_equal; identity."
                )
            case ("call", "phi", _, a):
                self._number(a)
                proof = "apply f_equal; identity."
            case ("call", "Int", (_, name), lo, hi, body):
                self._number(lo)
                self._number(hi)
                proof = self._integral_proof(name, body)
            case ("call", _, *args):
                for a in args:
                    self.index(a)
                proof = "f_equal; ring."
            case _:
                return
        self._add(self.printer.number(tree), self.forms.number(self.normal.scalar(tree)), proof)

    def _integral_proof(self, name: str, body: Tree) -> str:
        """Proof for an integral: equal ends, and bodies that are equal at each value of the variable."""
        inside = Printer(self.printer.context, self.normal, {**self.printer.sorts, name: "real"})
        nested = Equations(inside, [], f"{self.prefix}_{len(self.names)}_in")
        nested.forms = self.forms
        nested.visit(body)
        s = identifier(name)
        lines = [f"try rename {s} into outer_{s}; intros {s}.", *nested.lines]
        return "\n".join(
            [
                "apply RInt_same.",
                "{",
                *lines,
                f"{nested.rewriting()} {self.rewriting()} identity. }}",
                *([f"{{ {self.rewriting()} identity. }}"] * 2),
            ]
        )

    def _whole_exponent(self, tree: Tree, base: Tree, exponent: Tree, proof: str) -> bool:
        """Enters b ** (a sum that is a constant, such as 0 - 1)."""
        form = self.normal.scalar(exponent)
        value = form.get(ONE, Fraction(0))
        if (
            not set(form) <= {ONE}
            or value.denominator != 1
            or self.normal.sign(self.normal.scalar(base)) != "pos"
        ):
            return False
        text = self.forms.number(self.normal.scalar(base))
        right = whole_power(f"({text})", int(value), always=True) if value else "1"
        self._add(self.printer.number(tree), right, proof)
        return True

    def _power_proof(self, base: Tree) -> str:
        """Proof for a symbolic power; of a base that is not known to be positive it is an atom."""
        form = self.normal.scalar(base)
        if self.normal.sign(form) != "pos":
            return "f_equal; identity."
        if len(form) > 1:  # a sum is a base of its own
            self._add(self.printer.number(base), self.forms.number(form), "identity.")
        return "exponents."

    def _inverse(self, tree: Tree, base: Tree, e: int) -> None:
        """1/x is an atom where x is not known to be positive; `field` would ask for x <> 0."""
        form = self.normal.scalar(base)
        if self.normal.sign(form) == "pos":
            return
        inner = self.forms.number(self.normal.scalar(("pow", base, ("num", Fraction(-1)))))
        if "rinv" in inner:
            power = "" if e == -1 else f" ^ {-e}"
            proof = "unfold rinv; " + ("" if e == -1 else "rewrite ?pow_inv; ") + "f_equal; identity."
            self._add(self.printer.number(tree), f"({inner}{power})", proof)

    def index(self, tree: Tree) -> None:
        """Enters the floors in an index, in Z."""
        match tree:
            case ("add" | "mul", a, b):
                self.index(a)
                self.index(b)
            case ("call", "floor", a):
                self._number(a)
                right = self.forms.index(self.normal.scalar(tree))
                self._add(self.printer.index(tree), right, "f_equal; identity.")

    def _matrix(self, tree: Tree) -> None:
        match tree:
            case ("T", x):
                self._matrix(x)
            case ("add", a, b):
                self._matrix(a)
                self._matrix(b)
            case ("mul", a, b):
                self.visit(a)
                self.visit(b)
            case ("call", _, *args):
                for a in args:
                    self.index(a)
                [(word, _)] = self.normal.matrix(tree).items()
                right = f"({self.forms.matrix_atom(word[0][0])})%M"
                self._add(self.printer.matrix(tree), right, "f_equal; ring.")
