"""Rules of inference: inequalities and equations of numbers, calculus, ball arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial

from dlinear.certify.trusted.arithmetic import rational
from dlinear.certify.trusted.balls import Tape, check_tree, precision
from dlinear.certify.trusted.calculus import at_zero, derivative, falls_towards_zero
from dlinear.certify.trusted.kernel import Fact, Kernel, Step, inference_rule
from dlinear.certify.trusted.limits import spend
from dlinear.certify.trusted.normal_form import Key, add, key, mul, scale
from dlinear.certify.trusted.terms import CertificateError, Tree, free, substitute


@inference_rule("linear")
def linear_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Linear combination. From A_i <= B_i: A <= B, if B - A = sum m_i (B_i - A_i) + sum w_j e_j^2 + r.

    The multipliers m_i of inequalities, the weights w_j and the remainder r must be manifestly non-negative;
    the multipliers of equations are free. A < B needs a strict premise with a positive multiplier, or r > 0.
    A == B needs premises that are equations, no squares and r = 0.
    """
    relation, left, _ = conclusion
    if kernel.normal.is_matrix(left):
        raise CertificateError("linear is for numbers")
    rest = kernel.normal.difference(conclusion)
    strict = False
    # r = B - A - sum m_i (B_i - A_i)
    for fact, text in zip(premises, step.get("multipliers", []), strict=True):
        spend(10)
        if kernel.normal.is_matrix(fact.formula[1]):
            raise CertificateError("a premise is an equation of matrices")
        factor = kernel.normal.scalar(kernel.term(text))
        sign = kernel.normal.sign(factor)
        if fact.formula[0] != "==":
            if sign == "any":
                raise CertificateError(f"multiplier {text[:60]} is not manifestly non-negative")
            if relation == "==":
                raise CertificateError("an equation cannot come from an inequality")
            strict = strict or (fact.formula[0] == "<" and sign == "pos")
        rest = add(rest, scale(mul(factor, kernel.normal.difference(fact.formula)), -1))
    # - sum w_j e_j^2
    for weight, text in step.get("squares", []):
        spend(10)
        value = kernel.normal.scalar(kernel.term(weight))
        if kernel.normal.sign(value) == "any" or relation == "==":
            raise CertificateError("a square needs a manifestly non-negative weight and an inequality")
        inner = kernel.normal.scalar(kernel.term(text))
        rest = add(rest, scale(mul(value, mul(inner, inner)), -1))
    sign = kernel.normal.sign(rest)
    if relation == "==" and sign != "zero":
        raise CertificateError("the two sides do not have one normal form")
    if sign == "any" or (relation == "<" and not (strict or sign == "pos")):
        raise CertificateError("the remainder is not manifestly of the needed sign")
    return Fact(kernel.join(premises), conclusion)


@inference_rule("product")
def product_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Product. From A <= B and C <= D: 0 <= (B - A)(D - C); from A < B and C < D: 0 < (B - A)(D - C)."""
    one, two = (fact.formula for fact in premises)
    if "==" in (one[0], two[0]):
        raise CertificateError("product is for inequalities")
    relation, _, _ = conclusion
    value = mul(kernel.normal.difference(one), kernel.normal.difference(two))
    if relation == "==" or (relation == "<" and not one[0] == two[0] == "<"):
        raise CertificateError("the rule does not give this relation")
    if key(kernel.normal.difference(conclusion)) != key(value):
        raise CertificateError("the rule does not give this conclusion")
    return Fact(kernel.join(premises), conclusion)


@inference_rule("antisymmetry")
def antisymmetry_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Antisymmetry. From A <= B and B <= A: A == B."""
    one, two = (fact.formula for fact in premises)
    if conclusion[0] != "==" or kernel.normal.is_matrix(conclusion[1]):
        raise CertificateError("antisymmetry concludes an equation of numbers")
    wanted = {("<=", conclusion[1], conclusion[2]), ("<=", conclusion[2], conclusion[1])}
    if {kernel.normal.formula(t) for t in wanted} != {kernel.normal.formula(one), kernel.normal.formula(two)}:
        raise CertificateError("the premises are not the two inequalities")
    return Fact(kernel.join(premises), conclusion)


@inference_rule("discrete")
def discrete_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Discreteness. From a < b, where b - a is manifestly an integer: a + 1 <= b."""
    [fact] = premises
    relation, left, right = fact.formula
    if relation != "<" or not kernel.normal.integer(kernel.normal.difference(fact.formula)):
        raise CertificateError("discrete needs a strict inequality between integers")
    return kernel.expect(("<=", ("add", left, ("num", rational(1))), right), conclusion, fact.hypotheses)


@inference_rule("order")
def order_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Order. From x <= y: min(x, y) == x or max(x, y) == y, with the arguments in either order."""
    [fact] = premises
    relation, x, y = fact.formula
    if relation == "==" or kernel.normal.is_matrix(x):
        raise CertificateError("order needs an inequality of numbers")
    pairs = ((x, y), (y, x))
    allowed: list[Tree] = [("==", ("call", "min", *pair), x) for pair in pairs]
    allowed += [("==", ("call", "max", *pair), y) for pair in pairs]
    if not any(kernel.same(conclusion, tree) for tree in allowed):
        raise CertificateError("the rule does not give this conclusion")
    return Fact(fact.hypotheses, conclusion)


@inference_rule("reciprocal")
def reciprocal_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Reciprocal. From 0 < e or e < 0: e * (1/e) == 1."""
    term = kernel.term(step["of"])
    zero: Tree = ("num", rational(0))
    try:
        hypotheses = kernel.shown(("<", zero, term), premises)
    except CertificateError:
        hypotheses = kernel.shown(("<", term, zero), premises)
    inverse: Tree = ("pow", term, ("num", rational(-1)))
    return kernel.expect(("==", ("mul", term, inverse), ("num", rational(1))), conclusion, hypotheses)


@inference_rule("root")
def root_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Square root. From 0 <= e: sqrt(e)**2 == e."""
    term = kernel.term(step["of"])
    hypotheses = kernel.shown(("<=", ("num", rational(0)), term), premises)
    squared: Tree = ("pow", ("call", "sqrt", term), ("num", rational(2)))
    return kernel.expect(("==", squared, term), conclusion, hypotheses)


@inference_rule("taylor")
def taylor_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Taylor. From 0 <= f^(k): 0 <= f, the conclusion, if f(0) = f'(0) = ... = f^(k-1)(0) = 0.

    For u >= 0 (u nonneg), or for all real u if k is even and f^(k) is manifestly non-negative (u real).
    A hypothesis of the premise that mentions u must hold down to u = 0 whenever it holds at u.
    """
    name, order = step["variable"], step["order"]
    sort = kernel.context.symbols.get(name)
    if (
        sort not in ("nonneg", "real")
        or name in kernel.fixed
        or not isinstance(order, int)
        or not 1 <= order <= 12
    ):
        raise CertificateError("taylor needs a real or nonneg symbol and an order in 1..12")
    if sort == "real" and (order % 2 or premises):
        raise CertificateError("over all reals the order must be even and the last derivative manifest")
    if conclusion[0] != "<=":
        raise CertificateError("taylor concludes a non-strict inequality")
    form = kernel.normal.difference(conclusion)
    for _ in range(order):
        if at_zero(form, name, kernel.normal):
            raise CertificateError("a derivative does not vanish at 0")
        form = derivative(form, name, kernel.normal)
    if not premises:
        if kernel.normal.sign(form) == "any":
            raise CertificateError("the last derivative is not manifestly non-negative")
        return Fact({}, conclusion)
    [fact] = premises
    if fact.formula[0] == "==" or key(kernel.normal.difference(fact.formula)) != key(form):
        raise CertificateError("the premise is not the sign of the last derivative")
    for tree in fact.hypotheses.values():
        if name in free(tree) and (
            tree[0] == "==" or kernel.normal.is_matrix(tree[1])
            or not falls_towards_zero(kernel.normal.difference(tree), name)
        ):  # fmt: skip
            raise CertificateError(f"a hypothesis on {name} does not hold down to 0")
    return Fact(fact.hypotheses, conclusion)


@inference_rule("ftc")
def ftc_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Fundamental theorem of calculus. No premise. |- Int(x, lo, hi, G') == G(hi) - G(lo), G smooth."""
    _, left, _ = conclusion
    if left[:2] != ("call", "Int"):
        raise CertificateError("the left side must be an integral")
    _, _, variable, lo, hi, body = left
    name = variable[1]
    primitive = kernel.term(step["primitive"])
    if key(derivative(kernel.normal.scalar(primitive), name, kernel.normal)) != key(
        kernel.normal.scalar(body)
    ):
        raise CertificateError("the primitive does not have this derivative")
    upper, lower = (substitute(primitive, {name: end}) for end in (hi, lo))
    value: Tree = ("add", upper, ("mul", ("num", rational(-1)), lower))
    return kernel.expect(("==", left, value), conclusion, {})


@inference_rule("phi_step")
def phi_step_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Series remainder. No premise. |- x*phi(k, x) == phi(k-1, x) - 1/(k-1)!, for a number k = 1, 2, ..."""
    order, x = step["order"], kernel.term(step["at"])
    if isinstance(order, bool) or not isinstance(order, int) or not 1 <= order <= 60:
        raise CertificateError("the order must be an integer in 1..60")
    lower: Tree = ("call", "phi", ("num", rational(order - 1)), x)
    constant: Tree = ("num", rational(-1) / factorial(order - 1))
    product: Tree = ("mul", x, ("call", "phi", ("num", rational(order)), x))
    return kernel.expect(("==", product, ("add", lower, constant)), conclusion, {})


@inference_rule("ball")
def ball_(kernel: Kernel, step: Step, premises: Sequence[Fact], conclusion: Tree) -> Fact:
    """Ball arithmetic. No premise. lo <= x, x <= hi |- A <= B, shown on the leaves of a subdivision."""
    relation, left, right = conclusion
    names = sorted(step["box"])
    if relation == "==" or any(kernel.context.symbols.get(x, "matrix") == "matrix" for x in names):
        raise CertificateError("ball needs an inequality over declared numbers")
    ends = tuple((rational(step["box"][x][0]), rational(step["box"][x][1])) for x in names)
    if any(lo > hi or len(step["box"][x]) != 2 for (lo, hi), x in zip(ends, names, strict=True)):
        raise CertificateError("an interval of the box is empty")
    tape = Tape(("add", right, ("mul", ("num", rational(-1)), left)), names)
    with precision(step.get("bits", 64)):
        kernel.boxes += check_tree(tape, ends, step["tree"], relation == "<", evaluate=kernel.evaluate)
    hypotheses: dict[Key, Tree] = {}
    for name, (lo, hi) in zip(names, ends, strict=True):
        for tree in (("<=", ("num", lo), ("sym", name)), ("<=", ("sym", name), ("num", hi))):
            hypotheses[kernel.normal.formula(tree)] = tree
    return Fact(hypotheses, conclusion)
