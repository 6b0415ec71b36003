"""One lemma for each step of a certificate: a rule of the kernel is a template of tactics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from dlinear.certify.coq.equations import Equations
from dlinear.certify.coq.printer import Printer, identifier
from dlinear.certify.trusted.kernel import Fact, Kernel, Step
from dlinear.certify.trusted.normal_form import Scalar, add, key, mul, number, scale
from dlinear.certify.trusted.terms import CertificateError, Tree

ONE: Tree = ("num", Fraction(1))
ZERO: Tree = ("num", Fraction(0))


@dataclass
class Term:
    """One term of a sum that is B - A: a multiple of a gap of a premise, a square, or what is left.

    Attributes:
        text: Coq text of the term.
        proof: Coq term that shows its sign.
        strict: the sign shown is 0 < and not 0 <=.
        equal: the term is 0.
    """

    text: str
    proof: str
    strict: bool = False
    equal: bool = False


@dataclass
class Lemma:
    """A lemma under construction: its script, and names for what the script needs."""

    lines: list[str] = field(default_factory=list)
    count: int = 0
    missing: int = 0

    def name(self, stem: str) -> str:
        """A new name."""
        self.count += 1
        return f"{stem}_{self.count}"


class Exporter:
    """Coq text of the steps of one certificate."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.normal = kernel.normal
        self.printer = Printer(kernel.context, kernel.normal)
        self.free = [x for x in kernel.context.symbols if x not in kernel.fixed and x != "n"]
        self.fixed = [x for x in kernel.context.symbols if x in kernel.fixed and x != "n"]

    # -- statements
    def binders(self, names: Sequence[str]) -> str:
        """`forall (x : R) ..., ` with the sorts as hypotheses."""
        if not names:
            return ""
        typed = " ".join(f"({identifier(x)} : {self.printer.kind(x)})" for x in names)
        sorts = "".join(f"{self.printer.sort(x)} -> " for x in names if self.printer.sort(x))
        return f"forall {typed}, {sorts}"

    def arguments(self, names: Sequence[str]) -> str:
        """The names and their sorts, as arguments of a lemma."""
        sorts = [f"sort_{x}" for x in names if self.printer.sort(x)]
        return " ".join([*(identifier(x) for x in names), *sorts])

    def opening(self, hypotheses: int) -> list[str]:
        """Introduces what a lemma quantifies, and the signs that follow from the sorts."""
        names = [f"hyp_{i}" for i in range(hypotheses)]
        lines = [f"intros {' '.join([self.arguments(self.free), *names])}."] if self.free or names else []
        for name in (*self.fixed, *self.free):
            sort = self.kernel.context.symbols[name]
            if sort == "posint":
                lines.append(f"pose proof (pos_of_one _ sort_{name}) as pos_{name}.")
            if sort in ("posint", "positive"):
                source = "pos" if sort == "posint" else "sort"
                lines.append(f"pose proof (le_of_pos _ {source}_{name}) as le_{name}.")
        return lines

    def lemma(self, at: int, step: Step) -> str:
        """The lemma of one step."""
        fact = self.kernel.facts[at]
        hypotheses = "".join(f"{self.printer.formula(h)} -> " for h in fact.hypotheses.values())
        head = f"Lemma step_{at} : {self.binders(self.free)}{hypotheses}{self.printer.formula(fact.formula)}."
        script = Lemma([f"(* {step['rule']} *)", *self.opening(len(fact.hypotheses))])
        rule = RULES.get(step["rule"])
        if rule is None:
            raise CertificateError(f"step {at}: no template for the rule {step['rule']}")
        rule(self, script, step, fact)
        return "\n".join([head, "Proof.", *script.lines, "Qed."])

    # -- from one formula to another
    def hypothesis(
        self, script: Lemma, fact: Fact, wanted: Tree, given: Mapping[Any, tuple[str, Tree]]
    ) -> str:
        """Name of a proof of a formula: one of the hypotheses of the lemma, or one that is given."""
        name = self.normal.formula(wanted)
        if name in given:
            source, tree = given[name]
        else:
            keys = list(fact.hypotheses)
            if name not in keys:
                script.missing += 1
                return f"nothing_shows_{script.missing}"  # no such name: Coq refuses the file
            source, tree = f"hyp_{keys.index(name)}", fact.hypotheses[name]
        return self.same(script, wanted, source, tree)

    def same(self, script: Lemma, wanted: Tree, source: str, tree: Tree) -> str:
        """Name of a proof of `wanted`, from a proof of a formula of the same normal form."""
        if self.printer.formula(wanted) == self.printer.formula(tree):
            return source
        name = script.name("same")
        script.lines.append(f"assert ({name} : {self.printer.formula(wanted)}).")
        script.lines.append("{")
        self.conclude(script, wanted, [(source, tree, None)])
        script.lines.append("}")
        return name

    def use(
        self, script: Lemma, at: int, fact: Fact, given: Mapping[Any, tuple[str, Tree]] | None = None
    ) -> tuple[str, Tree]:
        """Name of the fact of an earlier step, applied to what this lemma has."""
        premise = self.kernel.facts[at]
        proofs = [self.hypothesis(script, fact, tree, given or {}) for tree in premise.hypotheses.values()]
        name = script.name("from")
        arguments = " ".join([self.arguments(self.free), *proofs])
        script.lines.append(f"pose proof (step_{at} {arguments}) as {name}.")
        return name, premise.formula

    def premises(self, script: Lemma, step: Step, fact: Fact) -> list[tuple[str, Tree]]:
        """All premises of a step."""
        return [self.use(script, at, fact) for at in step.get("from", [])]

    def available(self, script: Lemma, ats: Sequence[int], fact: Fact) -> list[tuple[str, Tree]]:
        """Those facts whose hypotheses this lemma has: the kernel drops what it finds manifest."""
        found = []
        for at in ats:
            lines, missing = list(script.lines), script.missing
            fact_at = self.use(script, at, fact)
            if script.missing == missing:
                found.append(fact_at)
            else:
                script.lines, script.missing = lines, missing
        return found

    # -- combinations
    def conclude(
        self,
        script: Lemma,
        goal: Tree,
        sources: Sequence[tuple[str, Tree, Scalar | None]],
        squares: Sequence[tuple[Scalar, Scalar]] = (),
    ) -> None:
        """Closes the goal: B - A is the sum of multiples of the gaps of the sources, squares and a rest.

        A multiplier None is 1, or -1 for an equation that stands the other way round.
        """
        if self.normal.is_matrix(goal[1]):
            self.conclude_matrix(script, goal, sources[0])
            return
        for source, tree, factor in sources:
            if factor is None and self.printer.formula(goal) == self.printer.formula(tree):
                script.lines.append(f"exact {source}.")
                return
        trees = [goal, *(tree for _, tree, _ in sources)]
        equations = Equations(self.printer, trees, script.name("eq"))
        script.lines += equations.lines
        forms = equations.forms
        rest = self.normal.difference(goal)
        terms: list[Term] = []
        for source, tree, factor in sources:
            gap = self.normal.difference(tree)
            if factor is None:
                turned = tree[0] == "==" and key(rest) == key(scale(gap, -1)) and key(rest) != key(gap)
                factor = number(-1 if turned else 1)
            rest = add(rest, scale(mul(factor, gap), -1))
            terms.append(self.gap_term(script, source, tree, factor, forms.number(factor)))
        for weight, inner in squares:
            rest = add(rest, scale(mul(weight, mul(inner, inner)), -1))
            sign, text = script.name("sign"), forms.number(inner)
            script.lines.append(f"assert ({sign} : 0 <= {forms.number(weight)}) by manifest.")
            terms.append(
                Term(
                    f"{forms.number(weight)} * ({text} * {text})", f"(Rmult_le_pos _ _ {sign} (square_le _))"
                )
            )
        self.finish(script, goal, terms, forms.number(rest), self.normal.sign(rest), equations)

    def gap_term(self, script: Lemma, source: str, tree: Tree, factor: Scalar, text: str) -> Term:
        """factor * (B - A) for a premise A <= B, A < B or A == B."""
        left, right = (self.printer.number(side) for side in tree[1:])
        whole = f"{text} * ({right} - {left})"
        if tree[0] == "==":
            return Term(whole, f"(times_zero {text} _ (gap_eq _ _ {source}))", equal=True)
        strict = tree[0] == "<" and self.normal.sign(factor) == "pos"
        sign = script.name("sign")
        script.lines.append(f"assert ({sign} : 0 {'<' if strict else '<='} {text}) by manifest.")
        if strict:
            return Term(whole, f"(Rmult_lt_0_compat _ _ {sign} (gap_lt _ _ {source}))", strict=True)
        gap = "gap_lt_le" if tree[0] == "<" else "gap_le"
        return Term(whole, f"(Rmult_le_pos _ _ {sign} ({gap} _ _ {source}))")

    def finish(
        self, script: Lemma, goal: Tree, terms: list[Term], rest: str, sign: str, equations: Equations
    ) -> None:
        """B - A is the sum of the terms; their signs give the relation."""
        relation, left, right = goal
        strict = relation == "<"
        if sign != "zero" and relation != "==":
            name = script.name("sign")
            positive = strict and sign == "pos"
            script.lines.append(f"assert ({name} : 0 {'<' if positive else '<='} {rest}) by manifest.")
            terms.append(Term(rest, name, strict=positive))
        first = next((t for t in terms if t.strict), None) if strict else None
        if first is not None:
            terms = [first, *(t for t in terms if t is not first)]
        text, proof = "0", "(eq_refl 0)" if relation == "==" else "(Rle_refl 0)"
        for term in reversed(terms):
            text = f"{term.text} + ({text})"
            inner = term.proof
            if relation == "==":
                proof = f"(plus_zero _ _ {inner} {proof})"
                continue
            if term.equal:
                inner = f"(zero_le _ {inner})"
            elif term.strict and term is not first:
                inner = f"(le_of_pos _ {inner})"
            proof = f"({'plus_lt' if term is first else 'plus_le'} _ _ {inner} {proof})"
        lemma = {"<=": "le_of", "<": "lt_of", "==": "eq_of"}[relation]
        a, b = self.printer.number(left), self.printer.number(right)
        name = script.name("main")
        script.lines.append(f"assert ({name} : {b} - {a} = {text}).")
        script.lines.append(f"{{ {equations.rewriting()} {self.roots(equations)}identity. }}")
        script.lines.append(f"exact ({lemma} _ _ _ {name} {proof}).")

    def roots(self, equations: Equations) -> str:
        """Replaces x by sqrt(x)^2 where the step speaks of sqrt(x)."""
        bases = sorted({equations.forms.base(b) for b in equations.halves()})
        return "".join(f"root_of {base}; " for base in bases)

    def conclude_matrix(self, script: Lemma, goal: Tree, source: tuple[str, Tree, Any]) -> None:
        """X = Y from an equation of the same normal form, or from its mirror image."""
        name, tree, _ = source
        if self.printer.formula(goal) == self.printer.formula(tree):
            script.lines.append(f"exact {name}.")
            return
        equations = Equations(self.printer, [goal, tree], script.name("eq"))
        script.lines += equations.lines
        x, y = (self.printer.matrix(side) for side in goal[1:])
        a, b = (self.printer.matrix(side) for side in tree[1:])
        turned = self.matrix_gap(goal) != self.matrix_gap(tree)
        if turned:
            script.lines.append("symmetry.")
            x, y = y, x
        main = script.name("main")
        script.lines.append(f"assert ({main} : ({y} + (-1)%R *: {x})%M = ({b} + (-1)%R *: {a})%M).")
        script.lines.append(f"{{ {equations.rewriting()} matrix_eq. }}")
        script.lines.append(f"exact (equal_of _ _ _ {main} (gap_zero _ _ {name})).")

    def matrix_gap(self, tree: Tree) -> Any:
        """Y - X of an equation X == Y, in normal form."""
        return self.normal.matrix(("add", tree[2], ("mul", ("num", Fraction(-1)), tree[1])))


Template = Callable[[Exporter, Lemma, Step, Fact], None]
RULES: dict[str, Template] = {}


def template(name: str) -> Callable[[Template], Template]:
    """Enters the template of a rule."""

    def register(function: Template) -> Template:
        RULES[name] = function
        return function

    return register
