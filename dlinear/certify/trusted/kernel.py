"""Facts, the table of inference rules, and the state in which a certificate is re-derived.

A fact is a sequent H |- F: a formula F under the hypotheses H that its derivation still uses, for all values
of its symbols. The rules are the functions marked `inference_rule` in rules_logic, rules_numbers and
rules_matrices: each gets a step, the facts that it refers to and the conclusion written in the certificate,
and returns the fact or raises. Their docstrings state the rule, premises first; H is not written where the
rule only joins the hypotheses of its premises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlinear.certify.trusted.kinds import kind_of
from dlinear.certify.trusted.limits import spend
from dlinear.certify.trusted.normal_form import Key, Normaliser, key
from dlinear.certify.trusted.terms import (
    CertificateError,
    Context,
    Reader,
    Tree,
    free,
    is_formula,
    parse,
)

Step = Mapping[str, Any]


@dataclass(frozen=True)
class Fact:
    """A formula and the hypotheses under which it holds."""

    hypotheses: Mapping[Key, Tree]
    formula: Tree


InferenceRule = Callable[["Kernel", Step, Sequence[Fact], Tree], Fact]
RULES: dict[str, InferenceRule] = {}


def inference_rule(name: str) -> Callable[[InferenceRule], InferenceRule]:
    """Enters a function in the table under the name that the steps of a certificate use."""

    def register(function: InferenceRule) -> InferenceRule:
        RULES[name] = function
        return function

    return register


def formula(text: str, context: Context, reader: Reader | None = None) -> Tree:
    """A well-typed comparison."""
    tree = parse(text, reader)
    if not is_formula(tree) or kind_of(tree, context) != "formula":
        raise CertificateError(f"not a comparison: {text[:80]}")
    return tree


class Kernel:
    """The facts derived so far in one context, and the rules that derive new ones."""

    def __init__(self, context: Context, *, evaluate: bool = True) -> None:
        """`evaluate=False`, for builders only, takes the leaves of a subdivision on trust."""
        self.context = context
        self.evaluate = evaluate
        self.normal = Normaliser(context)
        self.reader = Reader()
        self.facts: list[Fact] = []
        self.boxes = 0
        self.fixed = context.fixed()

    def fact(self, at: Any) -> Fact:
        """A fact already derived."""
        if isinstance(at, bool) or not isinstance(at, int) or not 0 <= at < len(self.facts):
            raise CertificateError(f"refers to step {at!r}, which is not an earlier one")
        return self.facts[at]

    def step(self, step: Mapping[str, Any]) -> Fact:
        """Checks one step and adds its fact."""
        rule = RULES.get(step["rule"])
        if rule is None:
            raise CertificateError(
                f"unknown rule {step['rule']!r}; the rules are {', '.join(sorted(RULES))}"[:400]
            )
        premises = [self.fact(at) for at in step.get("from", [])]
        conclusion = formula(step["conclusion"], self.context, self.reader)
        fact = rule(self, step, premises, conclusion)
        self.facts.append(fact)
        return fact

    def same(self, x: Tree, y: Tree) -> bool:
        """Whether two formulas have one normal form."""
        return self.normal.formula(x) == self.normal.formula(y)

    def expect(self, derived: Tree, conclusion: Tree, hypotheses: Mapping[Key, Tree]) -> Fact:
        """The fact, if the conclusion is what the rule derives."""
        if not self.same(derived, conclusion):
            raise CertificateError("the rule does not give this conclusion")
        return Fact(hypotheses, conclusion)

    def term(self, text: str, kind: str = "scalar") -> Tree:
        """A well-typed term of the given kind."""
        tree = parse(text, self.reader)
        if kind_of(tree, self.context) != kind:
            raise CertificateError(f"expected a {kind}: {text[:60]}")
        return tree

    def integer(self, text: str) -> Tree:
        """A term that is manifestly an integer."""
        tree = self.term(text)
        if not self.normal.integer(self.normal.scalar(tree)):
            raise CertificateError(f"{text[:60]} is not manifestly an integer")
        return tree

    @staticmethod
    def join(facts: Sequence[Fact]) -> dict[Key, Tree]:
        """Hypotheses of several facts together."""
        merged: dict[Key, Tree] = {}
        for fact in facts:
            spend(1 + len(fact.hypotheses) / 4)
            merged.update(fact.hypotheses)
        return merged

    def shown(self, wanted: Tree, premises: Sequence[Fact]) -> dict[Key, Tree]:
        """Hypotheses of an inequality: none if it is manifest, or those of a premise that says it."""
        relation, _, _ = wanted
        sign = self.normal.sign(self.normal.difference(wanted))
        if (relation == "<=" and sign != "any") or (relation == "<" and sign == "pos"):
            return {}
        names = {self.normal.formula(wanted)}
        if relation == "<=":
            names.add(self.normal.formula(("<", *wanted[1:])))
        for fact in premises:
            if self.normal.formula(fact.formula) in names:
                return dict(fact.hypotheses)
        raise CertificateError("a side condition is neither manifest nor among the premises")

    def replace(self, tree: Tree, old: Tree, new: Tree) -> Tree:
        """The tree with each sub-tree equal to `old` replaced by `new`."""
        matrix = self.normal.is_matrix(old)
        form = key(self.normal.matrix(old) if matrix else self.normal.scalar(old))

        def visit(t: Tree) -> Tree:
            spend(4)
            if is_formula(t):
                return (t[0], visit(t[1]), visit(t[2]))
            if t[:2] == ("call", "Int"):
                if t[2][1] in free(old) | free(new):
                    raise CertificateError("an equation under an integral must not contain its variable")
                return (*t[:3], *(visit(part) for part in t[3:]))
            if t[0] != "num" and self.normal.is_matrix(t) == matrix:
                own = key(self.normal.matrix(t) if matrix else self.normal.scalar(t))
                if own == form:
                    return new
            return tuple(visit(part) if isinstance(part, tuple) else part for part in t)

        return visit(tree)

    def shown_any(self, wanted: Tree, premises: Sequence[Fact]) -> dict[Key, Tree]:
        """As `shown`, for equations too."""
        if wanted[0] != "==":
            return self.shown(wanted, premises)
        for fact in premises:
            if self.same(fact.formula, wanted):
                return dict(fact.hypotheses)
        raise CertificateError("a condition is not among the premises")
