"""Rules of inference: equations of matrices, axioms, layers, windows, definitions, sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlinear.certify.trusted import axioms
from dlinear.certify.trusted.arithmetic import rational
from dlinear.certify.trusted.kernel import Fact, Kernel, Step, inference_rule
from dlinear.certify.trusted.limits import spend
from dlinear.certify.trusted.normal_form import Key, Normaliser, matrix_add, matrix_mul, scale, transpose
from dlinear.certify.trusted.terms import CertificateError, Tree, parse, substitute


@inference_rule("matrix")
def matrix_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Linear combination of matrices. From X_i == Y_i: X == Y, if Y - X = sum L_i (Y_i - X_i) R_i.

    The last equation holds in the free algebra with transposition. Premises whose position is listed under
    `transposed` are used in transposed form.
    """
    normal = kernel.normal
    relation, left, right = conclusion
    if relation != "==" or not normal.is_matrix(left):
        raise CertificateError("matrix concludes an equation of matrices")
    rest = _minus(normal, right, left)
    outer = zip(premises, step.get("left", []), step.get("right", []), strict=True)
    for position, (fact, before, after) in enumerate(outer):
        spend(10)
        if not normal.is_matrix(fact.formula[1]):
            raise CertificateError("a premise is not an equation of matrices")
        term = _minus(normal, fact.formula[2], fact.formula[1])
        if position in step.get("transposed", []):
            term = transpose(term)
        first, last = (normal.matrix(kernel.term(text, "matrix")) for text in (before, after))
        moved = matrix_mul(matrix_mul(first, term), last)
        rest = matrix_add(rest, {word: scale(value, -1) for word, value in moved.items()})
    if rest:
        raise CertificateError("the two sides do not have one normal form")
    return Fact(kernel.join(premises), conclusion)


@inference_rule("definite")
def definite_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Definiteness of the norm. From F(X - Y) <= 0 (or == 0): X == Y."""
    [fact] = premises
    relation, left, right = conclusion
    gap: Tree = ("call", "F", ("add", left, ("mul", ("num", rational(-1)), right)))
    zero: Tree = ("num", rational(0))
    shown = relation == "==" and kernel.normal.is_matrix(left)
    if not shown or not any(kernel.same(fact.formula, (r, gap, zero)) for r in ("<=", "==")):
        raise CertificateError("from F(X - Y) <= 0 follows X == Y for matrices and nothing else")
    return Fact(fact.hypotheses, conclusion)


@inference_rule("substitute")
def substitute_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Replacement of equals. From X == Y and F: G, if F and G agree once every X in them is replaced by Y."""
    equation, target = premises
    relation, old, new = equation.formula
    if relation != "==":
        raise CertificateError("the first premise must be an equation")
    if step.get("reversed", False):
        old, new = new, old
    before, after = (kernel.replace(t, old, new) for t in (target.formula, conclusion))
    if not kernel.same(before, after):
        raise CertificateError("the formulas differ by more than the equation")
    return Fact(kernel.join(premises), conclusion)


@inference_rule("axiom")
def axiom_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Axiom. No premise. An instance of a template of `axioms`; a nonneg argument must be manifestly so."""
    template = axioms.TEMPLATES.get(step["name"])
    if template is None:
        raise CertificateError(f"unknown axiom {step['name']!r}")
    kinds, text = template
    args = step["args"]
    if len(args) != len(kinds):
        raise CertificateError(f"axiom {step['name']} takes {len(kinds)} arguments")
    mapping: dict[str, Tree] = {}
    for (name, kind), value in zip(kinds.items(), args, strict=True):
        term = kernel.term(value, "matrix" if kind == "matrix" else "scalar")
        if kind == "nonneg" and kernel.normal.sign(kernel.normal.scalar(term)) == "any":
            raise CertificateError(f"{value[:60]} is not manifestly non-negative")
        mapping[name] = term
    if "sqrt(n)" in text and kernel.context.symbols.get("n") != "posint":
        raise CertificateError("this axiom needs the width n to be declared")
    return kernel.expect(substitute(parse(text, kernel.reader), mapping), conclusion, {})


@inference_rule("layer")
def layer_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Bound of a layer. No premise. |- N(D(t)) <= bound, for an integer term t."""
    bound = kernel.context.families[step["family"]]
    if bound is None:
        raise CertificateError("this family has no bound")
    layer: Tree = ("call", step["family"], kernel.integer(step["at"]))
    return kernel.expect(("<=", ("call", "N", layer), bound), conclusion, {})


@inference_rule("window_empty")
def window_empty_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Empty window. No premise. |- W(a, a) == I for a product, G(a, a) == 0*I for a total; a integer."""
    at = kernel.integer(step["at"])
    name = step["product"]
    if name not in kernel.context.products and name not in kernel.context.totals:
        raise CertificateError("unknown product")
    one: Tree = ("sym", "I")
    value: Tree = one if name in kernel.context.products else ("mul", ("num", rational(0)), one)
    return kernel.expect(("==", ("call", name, at, at), value), conclusion, {})


@inference_rule("window_step")
def window_step_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Window of one more layer. From a <= b, integer terms: W(a, b+1) == (I + D(b)) W(a, b) for a product.

    For a total: G(a, b+1) == G(a, b) + D(b).
    """
    name = step["product"]
    multiplied = name in kernel.context.products
    family = (kernel.context.products if multiplied else kernel.context.totals)[name]
    start, stop = kernel.integer(step["start"]), kernel.integer(step["stop"])
    hypotheses = kernel.shown(("<=", start, stop), premises)
    layer: Tree = ("call", family, stop)
    before: Tree = ("call", name, start, stop)
    longer: Tree = ("call", name, start, ("add", stop, ("num", rational(1))))
    value: Tree = ("mul", ("add", ("sym", "I"), layer), before) if multiplied else ("add", before, layer)
    return kernel.expect(("==", longer, value), conclusion, hypotheses)


@inference_rule("definition")
def definition_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Definition. From the conditions of a case at t: name(t) == the term of that case, for an integer t."""
    index, _, cases = kernel.context.definitions[step["name"]]
    at = kernel.integer(step["at"])
    case = step["case"]
    if isinstance(case, bool) or not isinstance(case, int) or not 0 <= case < len(cases):
        raise CertificateError("unknown case")
    conditions, term = cases[case]
    hypotheses: dict[Key, Tree] = {}
    for condition in conditions:
        hypotheses.update(kernel.shown_any(substitute(condition, {index: at}), premises))
    derived: Tree = ("==", ("call", step["name"], at), substitute(term, {index: at}))
    return kernel.expect(derived, conclusion, hypotheses)


@inference_rule("sum_empty")
def sum_empty_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Empty sum. No premise. |- G(0) == 0."""
    if step["sum"] not in kernel.context.sums:
        raise CertificateError("unknown sum")
    zero: Tree = ("num", rational(0))
    return kernel.expect(("==", ("call", step["sum"], zero), zero), conclusion, {})


@inference_rule("sum_step")
def sum_step_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Sum of one more term. From 0 <= j: G(j + 1) == G(j) + term(j), for an integer term j."""
    name = step["sum"]
    index, term = kernel.context.sums[name]
    at = kernel.integer(step["at"])
    hypotheses = kernel.shown(("<=", ("num", rational(0)), at), premises)
    longer: Tree = ("call", name, ("add", at, ("num", rational(1))))
    value: Tree = ("add", ("call", name, at), substitute(term, {index: at}))
    return kernel.expect(("==", longer, value), conclusion, hypotheses)


def _minus(normal: Normaliser, x: Tree, y: Tree) -> Any:
    """X - Y in normal form."""
    negative = {word: scale(value, -1) for word, value in normal.matrix(y).items()}
    return matrix_add(normal.matrix(x), negative)
