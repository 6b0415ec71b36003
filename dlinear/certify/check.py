"""The checker: re-derives every step of a certificate and accepts nothing else.

A fact is a sequent: a formula under the hypotheses that its derivation still uses, for all values of its
symbols. Each rule below builds the facts it allows; the conclusion written in a certificate must be one of
them. A statement is proved when each of its conclusions is a fact whose hypotheses are among its own. A
statement is refuted when explicit values satisfy its hypotheses and certainly violate one conclusion.

This module and the four that it imports (terms, normal, calculus, balls, concrete) are the whole trusted
base; they import nothing of the provers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import factorial
from pathlib import Path
from typing import Any

from dlinear.certify import axioms
from dlinear.certify.balls import Tape, check_tree, precision
from dlinear.certify.calculus import at_zero, derivative, falls_towards_zero
from dlinear.certify.concrete import Model, model_text, rational
from dlinear.certify.normal import Key, Normaliser, add, key, matrix_add, matrix_mul, mul, scale, transpose
from dlinear.certify.terms import (
    INTEGER_SORTS,
    SORTS,
    CertificateError,
    Context,
    Tree,
    check_names,
    free,
    is_formula,
    parse,
    read_context,
    substitute,
)

FORMAT = "dlinear-certificate/1"
STATEMENT_KEYS = {
    "symbols", "families", "products", "sequences", "definitions", "sums",
    "exists", "hypotheses", "conclusions",
}  # fmt: skip
MAX_STEPS = 5000
MAX_BYTES = 64_000_000


@dataclass(frozen=True)
class Fact:
    """A formula and the hypotheses under which it holds."""

    hypotheses: Mapping[Key, Tree]
    formula: Tree


@dataclass(frozen=True)
class Checked:
    """What the checker found.

    Attributes:
        verdict: "proved", "certified" (some step is ball arithmetic) or "refuted".
        steps: number of steps accepted.
        boxes: number of leaves evaluated by ball arithmetic.
        evidence: the counterexample in one line, or "".
    """

    verdict: str
    steps: int
    boxes: int
    evidence: str


def read(path: str | Path) -> dict[str, Any]:
    """A certificate from its file; truncated and foreign files are errors of one line."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CertificateError(f"{path.name} is larger than {MAX_BYTES} bytes")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CertificateError(
            f"{path.name} is not a readable certificate ({type(error).__name__})"
        ) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CertificateError(f"{path.name} does not have the format {FORMAT}")
    return data


def check(certificate: Mapping[str, Any], goal: Mapping[str, Any] | None = None) -> Checked:
    """Verdict of a certificate, re-derived from its steps.

    Args:
        certificate: JSON data, see `dlinear.certify`.
        goal: the registered statement; the certificate's must equal it. None skips this comparison.

    Raises:
        CertificateError: any step is not what its rule allows, or the statement is another one.
    """
    try:
        if certificate.get("format") != FORMAT:
            raise CertificateError(f"format is not {FORMAT}")
        statement = certificate["statement"]
        if goal is not None and json.dumps(statement, sort_keys=True) != json.dumps(goal, sort_keys=True):
            raise CertificateError("the statement is not the registered goal of this claim")
        unknown = set(statement) - STATEMENT_KEYS
        if unknown or not statement.get("conclusions"):
            raise CertificateError(f"statement without conclusions, or with unknown parts {sorted(unknown)}")
        if ("steps" in certificate) == ("refutation" in certificate):
            raise CertificateError("a certificate has either steps or a refutation")
        if "refutation" in certificate:
            return _refute(statement, certificate["refutation"])
        return _prove(statement, certificate)
    except CertificateError:
        raise
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise CertificateError(
            f"malformed certificate ({type(error).__name__}: {str(error)[:80]})"
        ) from error


def _formula(text: str, context: Context) -> Tree:
    tree = parse(text)
    if not is_formula(tree) or check_names(tree, context) != "formula":
        raise CertificateError(f"not a comparison: {text[:80]}")
    return tree


def _refute(statement: Mapping[str, Any], data: Mapping[str, Any]) -> Checked:
    context = read_context(statement)
    hypotheses = [_formula(text, context) for text in statement.get("hypotheses", [])]
    conclusions = [_formula(text, context) for text in statement["conclusions"]]
    exists = statement.get("exists", [])
    fails = data["fails"]
    if isinstance(fails, bool) or not isinstance(fails, int) or not 0 <= fails < len(conclusions):
        raise CertificateError("the refutation must name the conclusion that fails")
    with precision(data.get("bits", 128)):
        model = Model(context, data["values"], exists)
        for text, tree in zip(statement.get("hypotheses", []), hypotheses, strict=True):
            if model.decide(tree) is not True:
                raise CertificateError(f"the example does not satisfy the hypothesis {text}")
        if model.decide(conclusions[fails]) is not False:
            raise CertificateError(f"the example does not violate {statement['conclusions'][fails]}")
        _, left, right = conclusions[fails]
        sides = " against ".join(model.text(side) for side in (left, right))
    evidence = f"{model_text(data['values'])}: {statement['conclusions'][fails]} fails, {sides}"
    return Checked("refuted", 0, 0, evidence)


def _prove(statement: Mapping[str, Any], certificate: Mapping[str, Any]) -> Checked:
    if statement.get("exists"):
        raise CertificateError("a statement with open constants can only be refuted")
    plain = read_context(statement)
    auxiliary = certificate.get("auxiliary", {})
    taken = {*plain.symbols, *plain.families, *plain.products, *plain.definitions, *plain.sums}
    if set(auxiliary) & taken or any(sort not in SORTS for sort in auxiliary.values()):
        raise CertificateError("an auxiliary symbol is declared twice or has an unknown sort")
    merged = {**statement, "symbols": {**statement.get("symbols", {}), **auxiliary}}
    kernel = Kernel(read_context(merged))
    steps = certificate["steps"]
    if not isinstance(steps, list) or len(steps) > MAX_STEPS:
        raise CertificateError(f"steps must be a list of at most {MAX_STEPS}")
    for number, step in enumerate(steps):
        try:
            kernel.step(step)
        except (
            CertificateError,
            KeyError,
            TypeError,
            ValueError,
            IndexError,
            AttributeError,
            ArithmeticError,
        ) as error:
            rule = step.get("rule", "?") if isinstance(step, dict) else "?"
            reason = str(error) if isinstance(error, CertificateError) else f"{type(error).__name__}: {error}"
            raise CertificateError(f"step {number} ({rule}): {reason}"[:400].replace("\n", " ")) from error
    allowed = {kernel.normal.formula(_formula(text, plain)) for text in statement.get("hypotheses", [])}
    goals = certificate["goals"]
    if len(goals) != len(statement["conclusions"]):
        raise CertificateError("the number of goals differs from the number of conclusions")
    for text, at in zip(statement["conclusions"], goals, strict=True):
        fact = kernel.fact(at)
        if kernel.normal.formula(fact.formula) != kernel.normal.formula(_formula(text, plain)):
            raise CertificateError(f"step {at} does not conclude {text}"[:300])
        extra = [tree for name, tree in fact.hypotheses.items() if name not in allowed]
        if extra:
            raise CertificateError(f"{len(extra)} hypotheses of {text} are not in the statement"[:300])
    return Checked("certified" if kernel.boxes else "proved", len(steps), kernel.boxes, "")


class Kernel:
    """The facts derived so far in one context, and the rules that derive new ones."""

    def __init__(self, context: Context, *, evaluate: bool = True) -> None:
        """`evaluate=False`, for builders only, takes the leaves of a subdivision on trust."""
        self.context = context
        self._evaluate = evaluate
        self.normal = Normaliser(context)
        self.facts: list[Fact] = []
        self.boxes = 0
        self._fixed = context.fixed()
        self._rules: dict[str, Callable[[Mapping[str, Any], Sequence[Fact], Tree], Fact]] = {
            name.removeprefix("_rule_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_rule_")
        }

    def fact(self, at: Any) -> Fact:
        """A fact already derived."""
        if isinstance(at, bool) or not isinstance(at, int) or not 0 <= at < len(self.facts):
            raise CertificateError(f"refers to step {at!r}, which is not an earlier one")
        return self.facts[at]

    def step(self, step: Mapping[str, Any]) -> Fact:
        """Checks one step and adds its fact."""
        rule = self._rules.get(step["rule"])
        if rule is None:
            raise CertificateError(f"unknown rule {step['rule']!r}")
        premises = [self.fact(at) for at in step.get("from", [])]
        conclusion = _formula(step["conclusion"], self.context)
        fact = rule(step, premises, conclusion)
        self.facts.append(fact)
        return fact

    # -- helpers ---------------------------------------------------------------------------------
    def _same(self, x: Tree, y: Tree) -> bool:
        return self.normal.formula(x) == self.normal.formula(y)

    def _expect(self, derived: Tree, conclusion: Tree, hypotheses: Mapping[Key, Tree]) -> Fact:
        if not self._same(derived, conclusion):
            raise CertificateError("the rule does not give this conclusion")
        return Fact(hypotheses, conclusion)

    def _term(self, text: str, kind: str = "scalar") -> Tree:
        tree = parse(text)
        if check_names(tree, self.context) != kind:
            raise CertificateError(f"expected a {kind}: {text[:60]}")
        return tree

    def _integer(self, text: str) -> Tree:
        tree = self._term(text)
        if not self.normal.integer(self.normal.scalar(tree)):
            raise CertificateError(f"{text[:60]} is not manifestly an integer")
        return tree

    @staticmethod
    def _join(facts: Sequence[Fact]) -> dict[Key, Tree]:
        merged: dict[Key, Tree] = {}
        for fact in facts:
            merged.update(fact.hypotheses)
        return merged

    def _shown(self, wanted: Tree, premises: Sequence[Fact]) -> dict[Key, Tree]:
        """Hypotheses under which a formula holds: manifest, or one of the premises."""
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

    # -- structure -------------------------------------------------------------------------------
    def _rule_assume(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """F |- F."""
        return Fact({self.normal.formula(conclusion): conclusion}, conclusion)

    def _rule_cut(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """From H, A |- C and H' |- A (any number of such): H, H' |- C."""
        target, *others = premises
        left = dict(target.hypotheses)
        for fact in others:
            left.pop(self.normal.formula(fact.formula), None)
        return self._expect(target.formula, conclusion, {**left, **self._join(others)})

    def _rule_cases(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """From A <= B |- C and B <= A |- C: C. The split is `on`, a formula A <= B."""
        split = _formula(step["on"], self.context)
        if split[0] != "<=":
            raise CertificateError("cases split on a formula A <= B")
        hypotheses: dict[Key, Tree] = {}
        for fact, case in zip(premises, (split, ("<=", split[2], split[1])), strict=True):
            if not self._same(fact.formula, conclusion):
                raise CertificateError("a case concludes something else")
            name = self.normal.formula(case)
            hypotheses.update({k: v for k, v in fact.hypotheses.items() if k != name})
        return Fact(hypotheses, conclusion)

    def _rule_instantiate(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """Terms for symbols throughout a sequent; the sorts of the symbols must be shown to be kept."""
        target, *sides = premises
        mapping: dict[str, Tree] = {}
        hypotheses: dict[Key, Tree] = {}
        zero: Tree = ("num", rational(0))
        for name, text in step["with"].items():
            sort = self.context.symbols.get(name)
            if sort is None or name in self._fixed or name == "n":
                raise CertificateError(f"{name} cannot be instantiated")
            if sort == "matrix":
                mapping[name] = self._term(text, "matrix")
                continue
            term = self._integer(text) if sort in INTEGER_SORTS else self._term(text)
            mapping[name] = term
            if sort in ("nonneg", "natural"):
                hypotheses.update(self._shown(("<=", zero, term), sides))
            if sort == "positive":
                hypotheses.update(self._shown(("<", zero, term), sides))
            if sort == "posint":
                try:
                    hypotheses.update(self._shown(("<", zero, term), sides))
                except CertificateError:
                    hypotheses.update(self._shown(("<=", ("num", rational(1)), term), sides))
        for tree in target.hypotheses.values():
            moved = substitute(tree, mapping)
            hypotheses[self.normal.formula(moved)] = moved
        return self._expect(substitute(target.formula, mapping), conclusion, hypotheses)

    def _rule_induction(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """From P(0) and P(k) |- P(k+1): P(k), k natural. With `upto` e: k+1 <= e |- step, k <= e |- P(k)."""
        name = step["variable"]
        if self.context.symbols.get(name) != "natural" or name in self._fixed:
            raise CertificateError(f"induction needs a natural symbol that no definition uses, got {name}")
        base, onward = premises
        one: Tree = ("num", rational(1))
        k: Tree = ("sym", name)
        after: Tree = ("add", k, one)
        if not self._same(base.formula, substitute(conclusion, {name: ("num", rational(0))})):
            raise CertificateError("the base is not the statement at 0")
        if not self._same(onward.formula, substitute(conclusion, {name: after})):
            raise CertificateError("the step is not the statement at k + 1")
        assumed = {self.normal.formula(conclusion)}
        result: dict[Key, Tree] = {}
        if "upto" in step:
            limit = self._term(step["upto"])
            if name in free(limit):
                raise CertificateError("the limit of an induction must not depend on its variable")
            assumed.add(self.normal.formula(("<=", after, limit)))
            within: Tree = ("<=", k, limit)
            result[self.normal.formula(within)] = within
        rest = {x: t for x, t in onward.hypotheses.items() if x not in assumed}
        for tree in (*rest.values(), *base.hypotheses.values()):
            if name in free(tree):
                raise CertificateError(f"a hypothesis depends on the induction variable {name}")
        return Fact({**result, **rest, **base.hypotheses}, conclusion)

    def _rule_absurd(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """Anything follows from a manifestly false inequality."""
        [fact] = premises
        relation, left, _ = fact.formula
        if self.normal.is_matrix(left):
            raise CertificateError("absurd needs an inequality of numbers")
        sign = self.normal.sign(scale(self.normal.difference(fact.formula), -1))
        if not (sign == "pos" or (relation == "<" and sign in ("zero", "nonneg"))):
            raise CertificateError("the premise is not manifestly false")
        return Fact(fact.hypotheses, conclusion)

    # -- scalars ---------------------------------------------------------------------------------
    def _rule_linear(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """right - left = sum multiplier_i (right_i - left_i) + sum c_j e_j^2 + (manifestly non-negative).

        Multipliers of inequalities must be manifestly non-negative; those of equations are free. A strict
        conclusion needs a strict premise with a positive multiplier or a positive remainder.
        """
        relation, left, _ = conclusion
        if self.normal.is_matrix(left):
            raise CertificateError("linear is for numbers")
        rest = self.normal.difference(conclusion)
        strict = False
        for fact, text in zip(premises, step.get("multipliers", []), strict=True):
            if self.normal.is_matrix(fact.formula[1]):
                raise CertificateError("a premise is an equation of matrices")
            factor = self.normal.scalar(self._term(text))
            sign = self.normal.sign(factor)
            if fact.formula[0] != "==":
                if sign == "any":
                    raise CertificateError(f"multiplier {text[:60]} is not manifestly non-negative")
                if relation == "==":
                    raise CertificateError("an equation cannot come from an inequality")
                strict = strict or (fact.formula[0] == "<" and sign == "pos")
            rest = add(rest, scale(mul(factor, self.normal.difference(fact.formula)), -1))
        for weight, text in step.get("squares", []):
            value = self.normal.scalar(self._term(weight))
            if self.normal.sign(value) == "any" or relation == "==":
                raise CertificateError("a square needs a manifestly non-negative weight and an inequality")
            inner = self.normal.scalar(self._term(text))
            rest = add(rest, scale(mul(value, mul(inner, inner)), -1))
        sign = self.normal.sign(rest)
        if relation == "==" and sign != "zero":
            raise CertificateError("the two sides do not have one normal form")
        if sign == "any" or (relation == "<" and not (strict or sign == "pos")):
            raise CertificateError("the remainder is not manifestly of the needed sign")
        return Fact(self._join(premises), conclusion)

    def _rule_product(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """From A <= B and C <= D: 0 <= (B - A)(D - C); strict if both are."""
        one, two = (fact.formula for fact in premises)
        if "==" in (one[0], two[0]):
            raise CertificateError("product is for inequalities")
        relation, _, _ = conclusion
        value = mul(self.normal.difference(one), self.normal.difference(two))
        if relation == "==" or (relation == "<" and not one[0] == two[0] == "<"):
            raise CertificateError("the rule does not give this relation")
        if key(self.normal.difference(conclusion)) != key(value):
            raise CertificateError("the rule does not give this conclusion")
        return Fact(self._join(premises), conclusion)

    def _rule_antisymmetry(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """From A <= B and B <= A: A == B."""
        one, two = (fact.formula for fact in premises)
        if conclusion[0] != "==" or self.normal.is_matrix(conclusion[1]):
            raise CertificateError("antisymmetry concludes an equation of numbers")
        wanted = {("<=", conclusion[1], conclusion[2]), ("<=", conclusion[2], conclusion[1])}
        if {self.normal.formula(t) for t in wanted} != {self.normal.formula(one), self.normal.formula(two)}:
            raise CertificateError("the premises are not the two inequalities")
        return Fact(self._join(premises), conclusion)

    def _rule_discrete(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """From a < b between integers: a + 1 <= b."""
        [fact] = premises
        relation, left, right = fact.formula
        if relation != "<" or not self.normal.integer(self.normal.difference(fact.formula)):
            raise CertificateError("discrete needs a strict inequality between integers")
        return self._expect(("<=", ("add", left, ("num", rational(1))), right), conclusion, fact.hypotheses)

    def _rule_order(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """From x <= y: min(x, y) == x and max(x, y) == y, with the arguments in either order."""
        [fact] = premises
        relation, x, y = fact.formula
        if relation == "==" or self.normal.is_matrix(x):
            raise CertificateError("order needs an inequality of numbers")
        pairs = ((x, y), (y, x))
        allowed: list[Tree] = [("==", ("call", "min", *pair), x) for pair in pairs]
        allowed += [("==", ("call", "max", *pair), y) for pair in pairs]
        if not any(self._same(conclusion, tree) for tree in allowed):
            raise CertificateError("the rule does not give this conclusion")
        return Fact(fact.hypotheses, conclusion)

    def _rule_reciprocal(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """From 0 < e or e < 0: e * (1/e) == 1."""
        term = self._term(step["of"])
        zero: Tree = ("num", rational(0))
        try:
            hypotheses = self._shown(("<", zero, term), premises)
        except CertificateError:
            hypotheses = self._shown(("<", term, zero), premises)
        inverse: Tree = ("pow", term, ("num", rational(-1)))
        return self._expect(("==", ("mul", term, inverse), ("num", rational(1))), conclusion, hypotheses)

    def _rule_root(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """From 0 <= e: sqrt(e)**2 == e."""
        term = self._term(step["of"])
        hypotheses = self._shown(("<=", ("num", rational(0)), term), premises)
        squared: Tree = ("pow", ("call", "sqrt", term), ("num", rational(2)))
        return self._expect(("==", squared, term), conclusion, hypotheses)

    def _rule_substitute(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """From X == Y and a formula: the formula with X replaced by Y, here or there or everywhere."""
        equation, target = premises
        relation, old, new = equation.formula
        if relation != "==":
            raise CertificateError("the first premise must be an equation")
        if step.get("reversed", False):
            old, new = new, old
        before, after = (self._replace(t, old, new) for t in (target.formula, conclusion))
        if not self._same(before, after):
            raise CertificateError("the formulas differ by more than the equation")
        return Fact(self._join(premises), conclusion)

    def _replace(self, tree: Tree, old: Tree, new: Tree) -> Tree:
        matrix = self.normal.is_matrix(old)
        form = key(self.normal.matrix(old) if matrix else self.normal.scalar(old))

        def visit(t: Tree) -> Tree:
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

    def _rule_taylor(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """0 <= f for u >= 0 (all real u, even order) from f(0) = f'(0) = ... = 0 and 0 <= f^(order)."""
        name, order = step["variable"], step["order"]
        sort = self.context.symbols.get(name)
        if (
            sort not in ("nonneg", "real")
            or name in self._fixed
            or not isinstance(order, int)
            or not 1 <= order <= 12
        ):
            raise CertificateError("taylor needs a real or nonneg symbol and an order in 1..12")
        if sort == "real" and (order % 2 or premises):
            raise CertificateError("over all reals the order must be even and the last derivative manifest")
        if conclusion[0] != "<=":
            raise CertificateError("taylor concludes a non-strict inequality")
        form = self.normal.difference(conclusion)
        for _ in range(order):
            if at_zero(form, name, self.normal):
                raise CertificateError("a derivative does not vanish at 0")
            form = derivative(form, name, self.normal)
        if not premises:
            if self.normal.sign(form) == "any":
                raise CertificateError("the last derivative is not manifestly non-negative")
            return Fact({}, conclusion)
        [fact] = premises
        if fact.formula[0] == "==" or key(self.normal.difference(fact.formula)) != key(form):
            raise CertificateError("the premise is not the sign of the last derivative")
        for tree in fact.hypotheses.values():
            if name in free(tree) and (
                tree[0] == "==" or self.normal.is_matrix(tree[1])
                or not falls_towards_zero(self.normal.difference(tree), name)
            ):  # fmt: skip
                raise CertificateError(f"a hypothesis on {name} does not hold down to 0")
        return Fact(fact.hypotheses, conclusion)

    def _rule_ftc(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """Int(x, lo, hi, f) == G(hi) - G(lo) for a smooth G with G' = f."""
        _, left, _ = conclusion
        if left[:2] != ("call", "Int"):
            raise CertificateError("the left side must be an integral")
        _, _, variable, lo, hi, body = left
        name = variable[1]
        primitive = self._term(step["primitive"])
        if key(derivative(self.normal.scalar(primitive), name, self.normal)) != key(self.normal.scalar(body)):
            raise CertificateError("the primitive does not have this derivative")
        upper, lower = (substitute(primitive, {name: end}) for end in (hi, lo))
        value: Tree = ("add", upper, ("mul", ("num", rational(-1)), lower))
        return self._expect(("==", left, value), conclusion, {})

    def _rule_ball(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """An inequality over a rational box by ball arithmetic on the leaves of a subdivision."""
        relation, left, right = conclusion
        names = sorted(step["box"])
        if relation == "==" or any(self.context.symbols.get(x, "matrix") == "matrix" for x in names):
            raise CertificateError("ball needs an inequality over declared numbers")
        ends = tuple((rational(step["box"][x][0]), rational(step["box"][x][1])) for x in names)
        if any(lo > hi or len(step["box"][x]) != 2 for (lo, hi), x in zip(ends, names, strict=True)):
            raise CertificateError("an interval of the box is empty")
        tape = Tape(("add", right, ("mul", ("num", rational(-1)), left)), names)
        with precision(step.get("bits", 64)):
            self.boxes += check_tree(tape, ends, step["tree"], relation == "<", evaluate=self._evaluate)
        hypotheses: dict[Key, Tree] = {}
        for name, (lo, hi) in zip(names, ends, strict=True):
            for tree in (("<=", ("num", lo), ("sym", name)), ("<=", ("sym", name), ("num", hi))):
                hypotheses[self.normal.formula(tree)] = tree
        return Fact(hypotheses, conclusion)

    # -- matrices, families, axioms --------------------------------------------------------------
    def _rule_matrix(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """right - left = sum L_i (right_i - left_i) R_i in the free algebra with transposition.

        Premises whose position is listed under `transposed` are used in transposed form.
        """
        normal = self.normal
        relation, left, right = conclusion
        if relation != "==" or not normal.is_matrix(left):
            raise CertificateError("matrix concludes an equation of matrices")
        rest = _minus(normal, right, left)
        outer = zip(premises, step.get("left", []), step.get("right", []), strict=True)
        for position, (fact, before, after) in enumerate(outer):
            if not normal.is_matrix(fact.formula[1]):
                raise CertificateError("a premise is not an equation of matrices")
            term = _minus(normal, fact.formula[2], fact.formula[1])
            if position in step.get("transposed", []):
                term = transpose(term)
            first, last = (normal.matrix(self._term(text, "matrix")) for text in (before, after))
            moved = matrix_mul(matrix_mul(first, term), last)
            rest = matrix_add(rest, {word: scale(value, -1) for word, value in moved.items()})
        if rest:
            raise CertificateError("the two sides do not have one normal form")
        return Fact(self._join(premises), conclusion)

    def _rule_definite(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """From F(X - Y) <= 0: X == Y."""
        [fact] = premises
        relation, left, right = conclusion
        if relation != "==" or not self.normal.is_matrix(left):
            raise CertificateError("definite concludes an equation of matrices")
        gap: Tree = ("call", "F", ("add", left, ("mul", ("num", rational(-1)), right)))
        zero: Tree = ("num", rational(0))
        if not any(self._same(fact.formula, (r, gap, zero)) for r in ("<=", "==")):
            raise CertificateError("the premise is not that the norm of the difference vanishes")
        return Fact(fact.hypotheses, conclusion)

    def _rule_axiom(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """An instance of the fixed list in `dlinear.certify.axioms`."""
        template = axioms.TEMPLATES.get(step["name"])
        if template is None:
            raise CertificateError(f"unknown axiom {step['name']!r}")
        kinds, text = template
        args = step["args"]
        if len(args) != len(kinds):
            raise CertificateError(f"axiom {step['name']} takes {len(kinds)} arguments")
        mapping: dict[str, Tree] = {}
        for (name, kind), value in zip(kinds.items(), args, strict=True):
            term = self._term(value, "matrix" if kind == "matrix" else "scalar")
            if kind == "nonneg" and self.normal.sign(self.normal.scalar(term)) == "any":
                raise CertificateError(f"{value[:60]} is not manifestly non-negative")
            mapping[name] = term
        if "sqrt(n)" in text and self.context.symbols.get("n") != "posint":
            raise CertificateError("this axiom needs the width n to be declared")
        return self._expect(substitute(parse(text), mapping), conclusion, {})

    def _rule_phi_step(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """x*phi(k, x) == phi(k-1, x) - 1/(k-1)!, for a number k = 1, 2, ..."""
        order, x = step["order"], self._term(step["at"])
        if isinstance(order, bool) or not isinstance(order, int) or not 1 <= order <= 60:
            raise CertificateError("the order must be an integer in 1..60")
        lower: Tree = ("call", "phi", ("num", rational(order - 1)), x)
        constant: Tree = ("num", rational(-1) / factorial(order - 1))
        product: Tree = ("mul", x, ("call", "phi", ("num", rational(order)), x))
        return self._expect(("==", product, ("add", lower, constant)), conclusion, {})

    def _rule_sort(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """What the sort of a symbol says: 0 <= x, 0 < x or 1 <= x."""
        name = step["symbol"]
        low = {"nonneg": ("<=", 0), "natural": ("<=", 0), "positive": ("<", 0), "posint": ("<=", 1)}
        relation, value = low[self.context.symbols[name]]
        return self._expect((relation, ("num", rational(value)), ("sym", name)), conclusion, {})

    def _rule_layer(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """N(D(t)) <= bound at an integer t."""
        bound = self.context.families[step["family"]]
        if bound is None:
            raise CertificateError("this family has no bound")
        layer: Tree = ("call", step["family"], self._integer(step["at"]))
        return self._expect(("<=", ("call", "N", layer), bound), conclusion, {})

    def _rule_window_empty(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """W(a, a) == I."""
        at = self._integer(step["at"])
        if step["product"] not in self.context.products:
            raise CertificateError("unknown product")
        return self._expect(("==", ("call", step["product"], at, at), ("sym", "I")), conclusion, {})

    def _rule_window_step(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """From a <= b: W(a, b+1) == (I + D(b)) W(a, b)."""
        name = step["product"]
        family = self.context.products[name]
        start, stop = self._integer(step["start"]), self._integer(step["stop"])
        hypotheses = self._shown(("<=", start, stop), premises)
        factor: Tree = ("add", ("sym", "I"), ("call", family, stop))
        longer: Tree = ("call", name, start, ("add", stop, ("num", rational(1))))
        return self._expect(
            ("==", longer, ("mul", factor, ("call", name, start, stop))), conclusion, hypotheses
        )

    def _rule_definition(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """name(at) == term of one case, under its conditions."""
        index, _, cases = self.context.definitions[step["name"]]
        at = self._integer(step["at"])
        case = step["case"]
        if isinstance(case, bool) or not isinstance(case, int) or not 0 <= case < len(cases):
            raise CertificateError("unknown case")
        conditions, term = cases[case]
        hypotheses: dict[Key, Tree] = {}
        for condition in conditions:
            hypotheses.update(self._shown_any(substitute(condition, {index: at}), premises))
        derived: Tree = ("==", ("call", step["name"], at), substitute(term, {index: at}))
        return self._expect(derived, conclusion, hypotheses)

    def _shown_any(self, wanted: Tree, premises: Sequence[Fact]) -> dict[Key, Tree]:
        if wanted[0] != "==":
            return self._shown(wanted, premises)
        for fact in premises:
            if self._same(fact.formula, wanted):
                return dict(fact.hypotheses)
        raise CertificateError("a condition is not among the premises")

    def _rule_sum_empty(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """G(0) == 0."""
        if step["sum"] not in self.context.sums:
            raise CertificateError("unknown sum")
        zero: Tree = ("num", rational(0))
        return self._expect(("==", ("call", step["sum"], zero), zero), conclusion, {})

    def _rule_sum_step(self, step: Mapping[str, Any], premises: Sequence[Fact], conclusion: Tree) -> Fact:
        """From 0 <= j: G(j + 1) == G(j) + term(j)."""
        name = step["sum"]
        index, term = self.context.sums[name]
        at = self._integer(step["at"])
        hypotheses = self._shown(("<=", ("num", rational(0)), at), premises)
        longer: Tree = ("call", name, ("add", at, ("num", rational(1))))
        value: Tree = ("add", ("call", name, at), substitute(term, {index: at}))
        return self._expect(("==", longer, value), conclusion, hypotheses)


def _minus(normal: Normaliser, x: Tree, y: Tree) -> Any:
    negative = {word: scale(value, -1) for word, value in normal.matrix(y).items()}
    return matrix_add(normal.matrix(x), negative)
