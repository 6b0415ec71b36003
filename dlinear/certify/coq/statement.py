"""A certificate as a Coq file: one section, what the statement declares, a lemma a step, the theorem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlinear.certify.coq import (
    rules_boxes,
    rules_calculus,
    rules_logic,
    rules_matrices,
    rules_numbers,
    rules_replace,
)
from dlinear.certify.coq.flow import kernel_of
from dlinear.certify.coq.norms import NORMS, instance, needed
from dlinear.certify.coq.printer import Printer, by_cases, ending, has_matrices, identifier
from dlinear.certify.coq.refute import refuted
from dlinear.certify.coq.steps import Exporter, Lemma
from dlinear.certify.trusted.kernel import Fact, formula
from dlinear.certify.trusted.terms import Context

DEFAULTS = {"Mat": "mone", "Z": "1%Z", "R": "1"}
TEMPLATES = (rules_boxes, rules_calculus, rules_logic, rules_matrices, rules_numbers, rules_replace)


def declarations(out: Exporter, given: Mapping[str, str]) -> list[str]:
    """Variables and definitions of the section; `given` is assumed of the norms."""
    context, printer = out.kernel.context, out.printer
    lines = []
    if has_matrices(context):
        lines += ["Context {Mat : algebra}.", "Variables F N S : Mat -> R."]
        lines += [f"Hypothesis {name} : {text}." for name, text in given.items()]
        signs = " | ".join(f"apply {norm}_nonneg" for norm in NORMS)
        lines.append(f"Ltac extra_sign ::= first [{signs} | apply width_pos | left; apply width_pos].")
    for name in out.fixed:
        lines.append(f"Variable {identifier(name)} : {printer.kind(name)}.")
        if printer.sort(name):
            lines.append(f"Hypothesis sort_{name} : {printer.sort(name)}.")
    for name, bound in context.families.items():
        lines.append(f"Variable {identifier(name)} : Z -> Mat.")
        if bound is not None:
            text = printer.number(bound)
            lines.append(
                f"Hypothesis {identifier(name)}_bound : forall t : Z, N ({identifier(name)} t) <= {text}."
            )
    lines += windows(context, set(context.families))
    for name, (index, kind, cases) in context.definitions.items():
        lines += definition(out, name, index, kind, cases)
        lines += windows(context, {name})
    for name, (index, term) in context.sums.items():
        inside = Printer(context, out.normal, {index: "integer"})
        body = f"fun {identifier(index)} : Z => {inside.number(term)}"
        lines.append(f"Definition {identifier(name)} : Z -> R := sumZ ({body}).")
    return lines


def windows(context: Context, bases: set[str]) -> list[str]:
    """Products and totals over what is declared."""
    tables = (("window", context.products), ("total", context.totals))
    return [
        f"Definition {identifier(name)} : Z -> Z -> Mat := {kind} {identifier(base)}."
        for kind, table in tables
        for name, base in table.items()
        if base in bases
    ]


def definition(out: Exporter, name: str, index: str, kind: str, cases: Any) -> list[str]:
    """A definition by cases, and a lemma for each case."""
    typed, t = "Mat" if kind == "matrix" else "R", identifier(index)
    if not cases:
        return [f"Variable {identifier(name)} : Z -> {typed}."]
    inside = Printer(out.kernel.context, out.normal, {index: "integer"})
    body = by_cases(out.printer, index, kind, cases)
    lines = [f"Definition {identifier(name)} ({t} : Z) : {typed} := {body}."]
    for case, (conditions, term) in enumerate(cases):
        text = inside.matrix(term) if kind == "matrix" else inside.number(term)
        given = "".join(f"{inside.formula(c)} -> " for c in conditions)
        lines.append(
            f"Lemma {identifier(name)}_{case} : forall {t} : Z, {given}{identifier(name)} {t} = {text}."
        )
        lines.append(f"Proof. intros; unfold {identifier(name)}; cases_of_definition. Qed.")
    return lines


def theorem(out: Exporter, name: str, statement: Mapping[str, Any], goals: list[int]) -> list[str]:
    """The statement, from the facts that the certificate names as its goals."""
    plain = [x for x in out.free if x in statement.get("symbols", {})]
    hypotheses = [formula(text, out.kernel.context) for text in statement.get("hypotheses", [])]
    conclusions = [formula(text, out.kernel.context) for text in statement["conclusions"]]
    given = "".join(f"{out.printer.formula(h)} -> " for h in hypotheses)
    lines = [
        f"Theorem {name} : {out.binders(plain)}{given}",
        "  " + " /\\\n  ".join(out.printer.formula(c) for c in conclusions) + ".",
        "Proof using All.",
    ]
    names = [f"hyp_{i}" for i in range(len(hypotheses))]
    if plain or names:
        lines.append(f"intros {' '.join([out.arguments(plain), *names])}.")
    for symbol in out.free:
        if symbol not in plain:  # symbols of the proof alone: any value does
            kind = out.printer.kind(symbol)
            lines.append(f"pose ({identifier(symbol)} := {DEFAULTS[kind]} : {kind}).")
            if out.printer.sort(symbol):
                by = f"(unfold {identifier(symbol)}; lra)"
                lines.append(f"assert (sort_{symbol} : {out.printer.sort(symbol)}) by {by}.")
    for symbol in out.free + out.fixed:
        sort = out.kernel.context.symbols[symbol]
        if sort in ("posint", "positive"):
            source = f"pos_{symbol}" if sort == "posint" else f"sort_{symbol}"
            if sort == "posint":
                lines.append(f"pose proof (pos_of_one _ sort_{symbol}) as {source}.")
            lines.append(f"pose proof (le_of_pos _ {source}) as le_{symbol}.")
    fact = Fact({out.normal.formula(h): h for h in hypotheses}, conclusions[0])
    for number, (at, conclusion) in enumerate(zip(goals, conclusions, strict=True)):
        if number < len(conclusions) - 1:
            lines.append("split.")
        script = Lemma(["{"])
        found, tree = out.use(script, at, fact)
        out.conclude(script, conclusion, [(found, tree, None)])
        lines += [*script.lines, "}"]
    return [*lines, "Qed."]


def export(name: str, certificate: Mapping[str, Any]) -> str:
    """Coq text of a certificate with steps.

    Args:
        name: name of the theorem and of the file.
        certificate: JSON data with `statement`, `steps` and `goals`.

    Raises:
        CertificateError: a term or a rule has no counterpart in Coq.
    """
    if "steps" not in certificate:
        return refuted(name, certificate)
    kernel = kernel_of(certificate)
    out = Exporter(kernel)
    matrices = has_matrices(kernel.context)
    boxes = any(step["rule"] == "ball" for step in certificate["steps"])
    steps = [out.lemma(at, step) for at, step in enumerate(certificate["steps"])]
    proof = theorem(out, name, certificate["statement"], certificate["goals"])
    given = needed("\n".join([*steps, *proof])) if matrices else {}
    libraries = [*(["boxes"] if boxes else []), "real_matrices" if matrices else "matrices"]
    lines = [
        *(f"From dlinear Require Import {library}." for library in libraries),
        "Open Scope R_scope.",
        "",
        f"Section {name}.",
    ]
    lines += declarations(out, given)
    for lemma in steps:
        lines += ["", lemma]
    lines += ["", *proof, f"End {name}.", *ending(name)]
    return "\n".join([*lines, *(instance(name, given) if matrices else [])])
