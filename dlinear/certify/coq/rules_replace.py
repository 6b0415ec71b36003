"""Template of the replacement of equals: in R, as an index in Z, or among matrices."""

from __future__ import annotations

from typing import Any

from dlinear.certify.coq.equations import Equations
from dlinear.certify.coq.printer import RELATIONS
from dlinear.certify.coq.steps import Exporter, Lemma, template
from dlinear.certify.trusted.kernel import Fact, Step
from dlinear.certify.trusted.normal_form import key
from dlinear.certify.trusted.terms import Tree


@template("substitute")
def substitute_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """Rewrites the premise and the conclusion with the equation; what is left has one normal form."""
    (name, equation), (target, tree) = out.premises(script, step, fact)
    _, old, new = equation
    if step.get("reversed", False):
        old, new = new, old
    matrix = out.normal.is_matrix(old)
    whole = not matrix and out.printer.whole(old) and out.printer.whole(new)
    if whole:
        script.lines.append(
            f"assert (whole : {out.printer.index(old)} = {out.printer.index(new)}) "
            f"by (apply IZR_eq; push; lra)."
        )
    for number_, (text, value, proof) in enumerate(replacements(out, [tree, fact.formula], old, new)):
        script.lines.append(f"assert (put_{number_} : {text} = {value}).")
        if proof[0] == "whole":
            equations = Equations(out.printer, [], script.name("eq"))
            equations.index(proof[1])
            equations.index(old)
            script.lines += [
                "{",
                f"transitivity ({out.printer.index(old)}); [|exact whole].",
                *equations.lines,
            ]
            script.lines.append(f"{equations.rewriting()} ring. }}")
        else:
            script.lines.append("{")
            u: Tree = proof
            out.conclude(script, ("==", u, new), [(name, ("==", equation[1], equation[2]), None)])
            script.lines.append("}")
        script.lines.append(f"try rewrite put_{number_} in {target}; try rewrite put_{number_}.")
    after, goal = (out.kernel.replace(t, old, new) for t in (tree, fact.formula))
    out.conclude(script, goal, [(target, after, None)])


def replacements(out: Exporter, trees: list[Tree], old: Tree, new: Tree) -> list[tuple[str, str, Any]]:
    """(text, text of `new`, proof) for the terms equal to `old`, as they stand in R, Z or as matrices."""
    matrix = out.normal.is_matrix(old)
    form = key(out.normal.matrix(old) if matrix else out.normal.scalar(old))
    found: dict[str, tuple[str, Any]] = {}

    def visit(t: Tree, integer: bool) -> None:
        if t[0] == "num":
            return
        if t[0] in RELATIONS:
            visit(t[1], False)
            visit(t[2], False)
            return
        if out.normal.is_matrix(t) == matrix:
            own = key(out.normal.matrix(t) if matrix else out.normal.scalar(t))
            if own == form:
                if matrix:
                    found.setdefault(out.printer.matrix(t), (out.printer.matrix(new), t))
                elif integer:
                    found.setdefault(out.printer.index(t), (out.printer.index(new), ("whole", t)))
                else:
                    found.setdefault(out.printer.number(t), (out.printer.number(new), t))
                return
        indexed = t[0] == "call" and (
            t[1] in out.kernel.context.families
            or t[1] in out.kernel.context.products
            or t[1] in out.kernel.context.totals
            or t[1] in out.kernel.context.definitions
            or t[1] in out.kernel.context.sums
        )
        power = t[0] == "pow" and t[2][0] != "num" and out.printer.whole(t[2])
        for place, part in enumerate(t[1:]):
            if isinstance(part, tuple):
                visit(part, indexed or (power and place == 1) or (integer and t[:2] != ("call", "floor")))

    for tree in trees:
        visit(tree, False)
    # numbers first: an index such as m stands in IZR m too; then outer terms before inner ones
    order = sorted(found, key=lambda text: (found[text][1][0] == "whole", -len(text)))
    return [(text, *found[text]) for text in order]
