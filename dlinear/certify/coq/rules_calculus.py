"""Templates of the rules of calculus: Taylor, the fundamental theorem, ball arithmetic."""

from __future__ import annotations

from fractions import Fraction

from dlinear.certify.coq.equations import Equations
from dlinear.certify.coq.forms import Forms, divisor
from dlinear.certify.coq.printer import Printer, identifier
from dlinear.certify.coq.steps import Exporter, Lemma, template
from dlinear.certify.trusted.calculus import derivative
from dlinear.certify.trusted.kernel import Fact, Step
from dlinear.certify.trusted.normal_form import Scalar
from dlinear.certify.trusted.terms import Tree, free, substitute


def slopes(out: Exporter, form: Scalar, name: str, order: int) -> list[Scalar]:
    """A normal form and its first derivatives."""
    found = [form]
    for _ in range(order):
        found.append(derivative(found[-1], name, out.normal))
    return found


@template("taylor")
def taylor_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """0 <= f from 0 <= f^(k), where f and its derivatives below k vanish at 0."""
    name, order = step["variable"], step["order"]
    u = identifier(name)
    forms = slopes(out, out.normal.difference(fact.formula), name, order)
    writer = Forms(out.normal, divisor(forms))
    functions = [f"(fun {u} : R => {writer.number(form)})" for form in forms]
    if out.kernel.context.symbols[name] == "real":
        script.lines.append(f"assert (sign_{order} : forall point : R, 0 <= {functions[order]} point).")
        script.lines.append("{ intros point; cbv beta; manifest. }")
        for k in range(order - 2, -1, -2):
            script.lines.append(f"assert (sign_{k} : forall point : R, 0 <= {functions[k]} point).")
            triple = " ".join(functions[k : k + 3])
            goals = f"[derive | derive | at_zero | at_zero | exact sign_{k + 2}]"
            script.lines.append(f"{{ apply (taylor_even {triple}); {goals}. }}")
        use = f"(sign_0 {u})"
    else:
        bounded(out, script, step, fact, functions)
        use = f"(sign_0 {u} (conj sort_{name} (Rle_refl {u})))"
    script.lines.append(f"pose proof {use} as whole; cbv beta in whole.")
    left, right = (out.printer.number(side) for side in fact.formula[1:])
    equations = Equations(out.printer, [fact.formula], script.name("eq"))
    script.lines += equations.lines
    script.lines.append(f"assert (main : {right} - {left} = {writer.number(forms[0])}).")
    script.lines.append(f"{{ {equations.rewriting()} identity. }}")
    script.lines.append("exact (le_of _ _ _ main whole).")


def bounded(out: Exporter, script: Lemma, step: Step, fact: Fact, functions: list[str]) -> None:
    """Signs on [0, u], the last one manifest or from the premise."""
    name, order = step["variable"], step["order"]
    u = identifier(name)
    script.lines.append(
        f"assert (sign_{order} : forall point : R, 0 <= point <= {u} -> 0 <= {functions[order]} point)."
    )
    script.lines.append("{")
    if not step.get("from"):
        script.lines.append("intros point [low high]; cbv beta; manifest.")
    else:
        script.lines.append(f"rename {u} into top; rename sort_{name} into sort_top.")
        script.lines.append(f"intros {u} [sort_{name} high]; cbv beta.")
        for at, tree in enumerate(fact.hypotheses.values()):
            if name in free(tree):
                script.lines.append(
                    f"assert (low_{at} : {out.printer.formula(tree)}) by (clear - high hyp_{at}; nra)."
                )
                script.lines.append(f"clear hyp_{at}; rename low_{at} into hyp_{at}.")
        [(found, tree)] = out.premises(script, step, fact)
        a, b = (out.printer.number(side) for side in tree[1:])
        equations = Equations(out.printer, [tree], script.name("eq"))
        script.lines += equations.lines
        gap = "gap_lt_le" if tree[0] == "<" else "gap_le"
        script.lines.append(
            f"pose proof ({gap} _ _ {found}) as gap; revert gap; "
            f"match goal with |- _ -> 0 <= ?d => replace ({b} - {a}) with d; [easy|] end."
        )
        script.lines.append(f"{equations.rewriting()} identity.")
    script.lines.append("}")
    for k in range(order - 1, -1, -1):
        script.lines.append(
            f"assert (sign_{k} : forall point : R, 0 <= point <= {u} -> 0 <= {functions[k]} point)."
        )
        script.lines.append(
            f"{{ apply (taylor_step {functions[k]} {functions[k + 1]} {u}); "
            f"[derive | at_zero | exact sign_{k + 1}]. }}"
        )


@template("ftc")
def ftc_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """The integral of a derivative."""
    _, left, _ = fact.formula
    _, _, (_, name), lo, hi, body = left
    primitive = out.kernel.term(step["primitive"])
    inside = Printer(out.kernel.context, out.normal, {name: "real"})
    s = identifier(name)
    script.lines.append(f"try clear {s}.")
    upper, lower = (substitute(primitive, {name: end}) for end in (hi, lo))
    value: Tree = ("add", upper, ("mul", ("num", Fraction(-1)), lower))
    functions = [f"(fun {s} : R => {inside.number(t)})" for t in (primitive, body)]
    script.lines.append(f"assert (ftc : {out.printer.formula(('==', left, value))}).")
    script.lines.append("{")
    ends = [f"({out.printer.number(end)})" for end in (lo, hi)]
    script.lines.append(f"transitivity ({functions[0]} {ends[1]} - {functions[0]} {ends[0]});")
    script.lines.append("  [|cbv beta; rewrite ?Ropp_0; reflexivity].")  # -0 is written 0 in the certificate
    script.lines.append(f"apply (RInt_ftc {functions[1]} {functions[0]}).")
    script.lines.append(f"{{ intros {s}.")
    equations = Equations(inside, [primitive, body], script.name("eq"))
    script.lines += equations.lines
    script.lines.append(
        "auto_derive; [repeat split; first [easy | manifest] | cbv beta; "
        f"{equations.rewriting()} identity]. }}"
    )
    script.lines.append(f"{{ intros {s}; apply (ex_derive_continuous {functions[1]}); auto_derive; easy. }}")
    script.lines.append("}")
    result: Tree = ("==", left, value)
    out.conclude(script, fact.formula, [("ftc", result, None)])
