"""Templates of the rules for matrices: axioms, layers, windows, definitions, sums, equations."""

from __future__ import annotations

from fractions import Fraction

from dlinear.certify.coq.conditions import condition, given
from dlinear.certify.coq.equations import Equations
from dlinear.certify.coq.printer import identifier
from dlinear.certify.coq.steps import ONE, ZERO, Exporter, Lemma, template
from dlinear.certify.trusted import axioms
from dlinear.certify.trusted.kernel import Fact, Step
from dlinear.certify.trusted.terms import CertificateError, Tree, parse, substitute


@template("axiom")
def axiom_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """An instance of a hypothesis of the section, or of a lemma of the prelude."""
    kinds, text = axioms.TEMPLATES[step["name"]]
    mapping: dict[str, Tree] = {}
    arguments = []
    signs = []
    for (name, kind), value in zip(kinds.items(), step["args"], strict=True):
        mapping[name] = out.kernel.term(value, "matrix" if kind == "matrix" else "scalar")
        if kind == "matrix":
            arguments.append(out.printer.matrix(mapping[name]))
        else:
            arguments.append(f"({out.printer.number(mapping[name])})")
        if kind == "nonneg":
            sign = script.name("sign")
            script.lines.append(f"assert ({sign} : {out.printer.formula(('<=', ZERO, mapping[name]))}).")
            script.lines.append("{")
            out.conclude(script, ("<=", ZERO, mapping[name]), [])
            script.lines.append("}")
            signs.append(sign)
    tree = substitute(parse(text), mapping)
    proof = " ".join([step["name"], *arguments, *signs])
    script.lines.append(f"assert (axiom : {out.printer.formula(tree)}) by exact ({proof}).")
    out.conclude(script, fact.formula, [("axiom", tree, None)])


@template("layer")
def layer_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """The bound of the layers."""
    name = step["family"]
    bound = out.kernel.context.families[name]
    if bound is None:
        raise CertificateError(f"the family {name} has no bound")
    tree: Tree = ("<=", ("call", "N", ("call", name, out.kernel.term(step["at"]))), bound)
    text = f"({identifier(name)}_bound {out.printer.index(out.kernel.term(step['at']))})"
    out.conclude(script, fact.formula, [(text, tree, None)])


@template("window_empty")
def window_empty_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """W(a, a) = I, Y(a, a) = 0."""
    at, name = out.kernel.term(step["at"]), step["product"]
    one: Tree = ("sym", "I")
    multiplied = name in out.kernel.context.products
    tree: Tree = ("==", ("call", name, at, at), one if multiplied else ("mul", ZERO, one))
    lemma = "window_empty" if multiplied else "total_empty"
    out.conclude(script, fact.formula, [(f"({lemma} _ {out.printer.index(at)})", tree, None)])


@template("window_step")
def window_step_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """W(a, b + 1) = (I + D(b)) W(a, b), Y(a, b + 1) = Y(a, b) + D(b), for a <= b."""
    name = step["product"]
    multiplied = name in out.kernel.context.products
    family = (out.kernel.context.products if multiplied else out.kernel.context.totals)[name]
    start, stop = (out.kernel.term(step[end]) for end in ("start", "stop"))
    known = given(out, *out.premises(script, step, fact))
    sign = condition(out, script, fact, ("<=", start, stop), known)
    layer: Tree = ("call", family, stop)
    before: Tree = ("call", name, start, stop)
    value: Tree = ("mul", ("add", ("sym", "I"), layer), before) if multiplied else ("add", before, layer)
    longer: Tree = ("call", name, start, ("add", stop, ONE))
    tree: Tree = ("==", longer, value)
    ends = " ".join(out.printer.index(t) for t in (start, stop))
    lemma = "window_step" if multiplied else "total_step"
    text = f"({lemma} _ {ends} ltac:(push; exact {sign}))"
    out.conclude(script, fact.formula, [(text, tree, None)])


@template("definition")
def definition_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """The case of a definition whose conditions hold."""
    name, case = step["name"], step["case"]
    index, _, cases = out.kernel.context.definitions[name]
    at = out.kernel.term(step["at"])
    known = given(out, *out.premises(script, step, fact))
    conditions, term = cases[case]
    shown = [condition(out, script, fact, substitute(c, {index: at}), known) for c in conditions]
    sides = [f"ltac:(push; exact {s})" for s in shown]
    tree: Tree = ("==", ("call", name, at), substitute(term, {index: at}))
    text = f"({identifier(name)}_{case} {' '.join([out.printer.index(at), *sides])})"
    script.lines.append(f"pose proof {text} as case; push_in case.")
    out.conclude(script, fact.formula, [("case", tree, None)])


@template("sum_empty")
def sum_empty_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """G(0) = 0."""
    tree: Tree = ("==", ("call", step["sum"], ZERO), ZERO)
    out.conclude(script, fact.formula, [("(sum_empty _)", tree, None)])


@template("sum_step")
def sum_step_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """G(j + 1) = G(j) + term(j) for 0 <= j."""
    name = step["sum"]
    index, term = out.kernel.context.sums[name]
    at = out.kernel.term(step["at"])
    known = given(out, *out.premises(script, step, fact))
    sign = condition(out, script, fact, ("<=", ZERO, at), known)
    longer: Tree = ("call", name, ("add", at, ONE))
    tree: Tree = ("==", longer, ("add", ("call", name, at), substitute(term, {index: at})))
    script.lines.append(f"assert (sum : {out.printer.formula(tree)}).")
    longer_by_one = f"(sum_step _ {out.printer.index(at)} ltac:(push; exact {sign}))"
    script.lines.append(f"{{ unfold {identifier(name)}; rewrite {longer_by_one}; push; reflexivity. }}")
    out.conclude(script, fact.formula, [("sum", tree, None)])


@template("definite")
def definite_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """X = Y from F(X - Y) <= 0."""
    [(name, tree)] = out.premises(script, step, fact)
    _, left, right = fact.formula
    gap: Tree = ("call", "F", ("add", left, ("mul", ("num", Fraction(-1)), right)))
    wanted: Tree = (tree[0], gap, ZERO)
    shown = out.same(script, wanted, name, tree)
    sign = f"(Req_le _ _ {shown})" if tree[0] == "==" else shown
    script.lines.append(f"exact (F_definite _ _ {sign}).")


@template("matrix")
def matrix_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """Y - X = sum L_i (Y_i - X_i) R_i in the free algebra with transposition."""
    premises = out.premises(script, step, fact)
    outer = [
        [out.kernel.term(text, "matrix") for text in pair]
        for pair in zip(step.get("left", []), step.get("right", []), strict=True)
    ]
    trees = [fact.formula, *(tree for _, tree in premises), *(t for pair in outer for t in pair)]
    equations = Equations(out.printer, trees, script.name("eq"))
    script.lines += equations.lines
    m = out.printer.matrix
    total, proof = "mzero", "eq_refl"
    pairs = list(zip(premises, outer, strict=True))
    for position, ((name, (_, x, y)), (before, after)) in reversed(list(enumerate(pairs))):
        gap, zero = f"({m(y)} + (-1)%R *: {m(x)})%M", f"(gap_zero _ _ {name})"
        if position in step.get("transposed", []):
            gap, zero = f"(tsp {gap})", f"(flipped _ {zero})"
        total = f"({m(before)} * {gap} * {m(after)} + {total})%M"
        proof = f"(plus_mzero _ _ (sandwich _ _ _ {zero}) {proof})"
    _, left, right = fact.formula
    script.lines.append(f"assert (main : ({m(right)} + (-1)%R *: {m(left)})%M = {total}).")
    script.lines.append(f"{{ unfold mzero; {equations.rewriting()} matrix_eq. }}")
    script.lines.append(f"exact (equal_of _ _ _ main {proof}).")
