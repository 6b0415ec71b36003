"""Templates of the rules for numbers: linear combinations, products, reciprocals, roots, series."""

from __future__ import annotations

from fractions import Fraction
from math import factorial

from dlinear.certify.coq.conditions import given
from dlinear.certify.coq.equations import Equations
from dlinear.certify.coq.forms import Forms
from dlinear.certify.coq.steps import ONE, ZERO, Exporter, Lemma, template
from dlinear.certify.trusted.kernel import Fact, Step
from dlinear.certify.trusted.terms import Tree


@template("linear")
def linear_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """B - A = sum m_i (B_i - A_i) + sum w_j e_j^2 + r, by `field`; signs by `manifest`."""
    factors = [out.normal.scalar(out.kernel.term(text)) for text in step.get("multipliers", [])]
    sources = [
        (name, tree, factor)
        for (name, tree), factor in zip(out.premises(script, step, fact), factors, strict=True)
    ]
    squares = [
        (out.normal.scalar(out.kernel.term(w)), out.normal.scalar(out.kernel.term(e)))
        for w, e in step.get("squares", [])
    ]
    out.conclude(script, fact.formula, sources, squares)


@template("product")
def product_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """The product of two gaps."""
    (one, first), (two, second) = out.premises(script, step, fact)
    strict = first[0] == second[0] == "<"
    kinds = ["gap_lt" if strict else "gap_lt_le" if t[0] == "<" else "gap_le" for t in (first, second)]
    sides = [("add", b, ("mul", ("num", Fraction(-1)), a)) for _, a, b in (first, second)]
    tree: Tree = ("<" if strict else "<=", ZERO, ("mul", sides[0], sides[1]))
    lemma = "Rmult_lt_0_compat" if strict else "Rmult_le_pos"
    name = script.name("product")
    proof = f"{lemma} _ _ ({kinds[0]} _ _ {one}) ({kinds[1]} _ _ {two})"
    script.lines.append(f"pose proof ({proof} : {out.printer.formula(tree)}) as {name}.")
    out.conclude(script, fact.formula, [(name, tree, None)])


@template("antisymmetry")
def antisymmetry_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """A = B from the two inequalities."""
    known = given(out, *out.premises(script, step, fact))
    _, left, right = fact.formula
    names = [out.hypothesis(script, fact, ("<=", a, b), known) for a, b in ((left, right), (right, left))]
    script.lines.append(f"exact (Rle_antisym _ _ {names[0]} {names[1]}).")


@template("discrete")
def discrete_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """1 <= b - a for integers a < b."""
    [(_, tree)] = out.premises(script, step, fact)
    gap = out.normal.difference(tree)
    text = Forms(out.normal).index(gap)
    one: Tree = ("<=", ONE, ("add", tree[2], ("mul", ("num", Fraction(-1)), tree[1])))
    equations = Equations(out.printer, [tree], script.name("eq"))
    script.lines += equations.lines
    a, b = (out.printer.number(side) for side in tree[1:])
    script.lines.append(f"assert (whole : {b} - {a} = IZR {text}).")
    script.lines.append(f"{{ push; rewrite ?Zmin_R, ?Zmax_R; {equations.rewriting()} identity. }}")
    script.lines.append(f"assert (one : {out.printer.formula(one)}).")
    script.lines.append(f"{{ enough (1 <= {b} - {a}) by lra; rewrite whole; apply IZR_pos_one; lra. }}")
    out.conclude(script, fact.formula, [("one", one, None)])


@template("order")
def order_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """min(x, y) = x and max(x, y) = y for x <= y."""
    [(_, (_, x, y))] = out.premises(script, step, fact)
    options = []
    for call, value in (("min", x), ("max", y)):
        for pair in ((x, y), (y, x)):
            tree: Tree = ("==", ("call", call, *pair), value)
            if out.normal.formula(tree) == out.normal.formula(fact.formula):
                options.append(tree)
    if not options:
        script.lines.append("fail.")
        return
    script.lines.append(f"assert (order : {out.printer.formula(options[0])}).")
    script.lines.append("{ unfold Rmin, Rmax; destruct (Rle_dec _ _); lra. }")
    out.conclude(script, fact.formula, [("order", options[0], None)])


@template("reciprocal")
def reciprocal_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """e (1/e) = 1 for e > 0 or e < 0."""
    term = out.kernel.term(step["of"])
    nonzero_then(
        out, script, step, fact, term, ("==", ("mul", term, ("pow", term, ("num", Fraction(-1)))), ONE)
    )


def nonzero_then(out: Exporter, script: Lemma, step: Step, fact: Fact, term: Tree, result: Tree) -> None:
    """The equation e (1/e) = 1, where a premise or a manifest sign says that e is not 0."""
    known = given(out, *out.premises(script, step, fact))
    text = out.printer.number(term)
    script.lines.append(f"assert (nonzero : {text} <> 0).")
    for tree in (("<", ZERO, term), ("<", term, ZERO)):
        if out.normal.formula(tree) in known:
            script.lines.append("{")
            name = out.hypothesis(script, fact, tree, known)
            script.lines.append(f"pose proof {name}; lra. }}")
            break
    else:
        script.lines.append("{ manifest. }")
    script.lines.append(f"assert (one : {out.printer.formula(result)}) by (apply Rinv_r; exact nonzero).")
    out.conclude(script, fact.formula, [("one", result, None)])


@template("root")
def root_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """sqrt(e)^2 = e for e >= 0."""
    term = out.kernel.term(step["of"])
    known = given(out, *out.premises(script, step, fact))
    wanted: Tree = ("<=", ZERO, term)
    script.lines.append(f"assert (sign : {out.printer.formula(wanted)}).")
    script.lines.append("{")
    if out.normal.formula(wanted) in known:
        script.lines.append(f"exact {out.hypothesis(script, fact, wanted, known)}.")
    else:
        out.conclude(script, wanted, [])
    script.lines.append("}")
    squared: Tree = ("pow", ("call", "sqrt", term), ("num", Fraction(2)))
    result: Tree = ("==", squared, term)
    script.lines.append(f"assert (root : {out.printer.formula(result)}) by (apply pow2_sqrt; exact sign).")
    out.conclude(script, fact.formula, [("root", result, None)])


@template("phi_step")
def phi_step_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """x phi_k(x) = phi_{k-1}(x) - 1/(k-1)!."""
    order, x = step["order"], out.kernel.term(step["at"])
    lower: Tree = ("call", "phi", ("num", Fraction(order - 1)), x)
    value: Tree = ("add", lower, ("num", Fraction(-1, factorial(order - 1))))
    tree: Tree = ("==", ("mul", x, ("call", "phi", ("num", Fraction(order)), x)), value)
    script.lines.append(f"assert (phi_step : {out.printer.formula(tree)}).")
    script.lines.append(f"{{ rewrite (phi_step {order - 1}); simpl fact; simpl INR; field. }}")
    out.conclude(script, fact.formula, [("phi_step", tree, None)])
