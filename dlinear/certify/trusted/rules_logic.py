"""Rules of inference: hypotheses, cases, instantiation, induction, sorts."""

from __future__ import annotations

from collections.abc import Sequence

from dlinear.certify.trusted.arithmetic import rational
from dlinear.certify.trusted.kernel import Fact, Kernel, Step, formula, inference_rule
from dlinear.certify.trusted.limits import spend
from dlinear.certify.trusted.normal_form import Key, scale
from dlinear.certify.trusted.terms import INTEGER_SORTS, CertificateError, Tree, free, substitute


@inference_rule("assume")
def assume_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Assumption. No premise. F |- F."""
    return Fact({kernel.normal.formula(conclusion): conclusion}, conclusion)


@inference_rule("cut")
def cut_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Cut. From H, A |- C and H' |- A (any number of such A): H, H' |- C."""
    target, *others = premises
    left = dict(target.hypotheses)
    for fact in others:
        spend(8)
        left.pop(kernel.normal.formula(fact.formula), None)
    return kernel.expect(target.formula, conclusion, {**left, **kernel.join(others)})


@inference_rule("cases")
def cases_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Case distinction. From H, A <= B |- C and H', B <= A |- C: H, H' |- C. `on` is the formula A <= B."""
    split = formula(step["on"], kernel.context, kernel.reader)
    if split[0] != "<=":
        raise CertificateError("cases split on a formula A <= B")
    hypotheses: dict[Key, Tree] = {}
    for fact, case in zip(premises, (split, ("<=", split[2], split[1])), strict=True):
        spend(len(fact.hypotheses))
        if not kernel.same(fact.formula, conclusion):
            raise CertificateError("a case concludes something else")
        name = kernel.normal.formula(case)
        hypotheses.update({k: v for k, v in fact.hypotheses.items() if k != name})
    return Fact(hypotheses, conclusion)


@inference_rule("instantiate")
def instantiate_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Instantiation. From H |- F and side conditions: H[x := e] |- F[x := e], for the symbols of `with`.

    The side conditions say that each term e has the sort of its symbol x. They are manifest or further
    premises, whose hypotheses are then added. Symbols on which a definition depends stay as they are.
    """
    target, *sides = premises
    mapping: dict[str, Tree] = {}
    hypotheses: dict[Key, Tree] = {}
    zero: Tree = ("num", rational(0))
    for name, text in step["with"].items():
        sort = kernel.context.symbols.get(name)
        if sort is None or name in kernel.fixed or name == "n":
            raise CertificateError(f"{name} cannot be instantiated")
        if sort == "matrix":
            mapping[name] = kernel.term(text, "matrix")
            continue
        # e is an integer, 0 <= e, 0 < e or 1 <= e, as the sort of x asks
        term = kernel.integer(text) if sort in INTEGER_SORTS else kernel.term(text)
        mapping[name] = term
        if sort in ("nonneg", "natural"):
            hypotheses.update(kernel.shown(("<=", zero, term), sides))
        if sort == "positive":
            hypotheses.update(kernel.shown(("<", zero, term), sides))
        if sort == "posint":
            try:
                hypotheses.update(kernel.shown(("<", zero, term), sides))
            except CertificateError:
                hypotheses.update(kernel.shown(("<=", ("num", rational(1)), term), sides))
    # H[x := e]
    for tree in target.hypotheses.values():
        spend(4)
        moved = substitute(tree, mapping)
        hypotheses[kernel.normal.formula(moved)] = moved
    return kernel.expect(substitute(target.formula, mapping), conclusion, hypotheses)


@inference_rule("induction")
def induction_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Induction. From H |- P(0) and H', P(k) |- P(k+1): H, H' |- P(k); H, H' are free of the natural k.

    With `upto` e, free of k: from H |- P(0) and H', P(k), k + 1 <= e |- P(k+1): H, H', k <= e |- P(k).
    """
    name = step["variable"]
    if kernel.context.symbols.get(name) != "natural" or name in kernel.fixed:
        raise CertificateError(f"induction needs a natural symbol that no definition uses, got {name}")
    base, onward = premises
    one: Tree = ("num", rational(1))
    k: Tree = ("sym", name)
    after: Tree = ("add", k, one)
    # the premises are P(0) and P(k+1)
    if not kernel.same(base.formula, substitute(conclusion, {name: ("num", rational(0))})):
        raise CertificateError("the base is not the statement at 0")
    if not kernel.same(onward.formula, substitute(conclusion, {name: after})):
        raise CertificateError("the step is not the statement at k + 1")
    # the step may use P(k) and, with `upto`, k + 1 <= e: these two are discharged
    assumed = {kernel.normal.formula(conclusion)}
    result: dict[Key, Tree] = {}
    if "upto" in step:
        limit = kernel.term(step["upto"])
        if name in free(limit):
            raise CertificateError("the limit of an induction must not depend on its variable")
        assumed.add(kernel.normal.formula(("<=", after, limit)))
        within: Tree = ("<=", k, limit)
        result[kernel.normal.formula(within)] = within
    # what is left of the hypotheses holds for one k only if it mentions k
    rest = {x: t for x, t in onward.hypotheses.items() if x not in assumed}
    spend(len(onward.hypotheses))
    for tree in (*rest.values(), *base.hypotheses.values()):
        if name in free(tree):
            raise CertificateError(f"a hypothesis depends on the induction variable {name}")
    return Fact({**result, **rest, **base.hypotheses}, conclusion)


@inference_rule("absurd")
def absurd_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Absurdity. From A <= B where A - B is manifestly positive, or A < B where it is not negative: C."""
    [fact] = premises
    relation, left, _ = fact.formula
    if kernel.normal.is_matrix(left):
        raise CertificateError("absurd needs an inequality of numbers")
    sign = kernel.normal.sign(scale(kernel.normal.difference(fact.formula), -1))
    if not (sign == "pos" or (relation == "<" and sign in ("zero", "nonneg"))):
        raise CertificateError("the premise is not manifestly false")
    return Fact(fact.hypotheses, conclusion)


@inference_rule("sort")
def sort_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Sort. No premise. |- 0 <= x, 0 < x or 1 <= x, as the sort of the symbol x says."""
    name = step["symbol"]
    low = {"nonneg": ("<=", 0), "natural": ("<=", 0), "positive": ("<", 0), "posint": ("<=", 1)}
    relation, value = low[kernel.context.symbols[name]]
    return kernel.expect((relation, ("num", rational(value)), ("sym", name)), conclusion, {})
