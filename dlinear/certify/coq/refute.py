"""A counterexample as a Coq file: the statement is false, shown at the values of the certificate.

The theorem is the negation of the statement, which is quantified over all that it speaks of; definitions and
sums are local functions. The values are put in, and each hypothesis and the violated conclusion are then
closed facts, by `evaluate`: powers and sums are unfolded, floors and roots replaced by the values that are
written here, and what is left is linear arithmetic or interval arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import isqrt
from typing import Any

from dlinear.certify.coq.printer import Printer, by_cases, ending, has_matrices, identifier, literal
from dlinear.certify.trusted.arithmetic import rational
from dlinear.certify.trusted.context import read_context
from dlinear.certify.trusted.evaluation import Model
from dlinear.certify.trusted.kernel import formula
from dlinear.certify.trusted.normal_form import Normaliser
from dlinear.certify.trusted.terms import (
    INTEGER_SORTS,
    MATRIX_FUNCTIONS,
    CertificateError,
    Context,
    Tree,
    children,
)


def refuted(name: str, certificate: Mapping[str, Any]) -> str:
    """Coq text of a certificate with a refutation.

    Raises:
        CertificateError: the statement has no counterpart in Coq.
    """
    statement, data = certificate["statement"], certificate["refutation"]
    context = read_context(statement)
    given = [formula(text, context) for text in statement.get("hypotheses", [])]
    violated = formula(statement["conclusions"][data["fails"]], context)
    opened = statement.get("exists", [])
    model = Model(context, data["values"], opened)
    width = int(model.width or 0) if has_matrices(context) else 0
    if width not in TACTICS:
        raise CertificateError("counterexamples with matrices wider than 2 have no counterpart in Coq")
    library, tactic = TACTICS[width]
    printer = Printer(context, Normaliser(context))
    names = [x for x in context.symbols if x not in opened and x != "n"]
    head = f"exists {' '.join(f'({identifier(x)} : {printer.kind(x)})' for x in opened)}, " if opened else ""
    sorts = [printer.sort(x) for x in names if printer.sort(x)]
    bounds = [
        f"(forall t : Z, N ({identifier(name)} t) <= {printer.number(bound)})"
        for name, bound in context.families.items()
        if bound is not None
    ]
    typed = " ".join(
        [f"({identifier(x)} : {printer.kind(x)})" for x in names]
        + [f"({identifier(x)} : Z -> Mat)" for x in context.families]
    )
    lines = [
        f"From dlinear Require Import {library}.",
        "Open Scope R_scope.",
        "",
    ]
    lines.append(f"Theorem {name} : ~ ({head}")
    lines += SIZE if width else []
    lines.append(f"  forall {typed}," if typed else "")
    lines += [f"  {text} ->" for text in [*sorts, *bounds]]
    lines += local_functions(context, printer, [*given, violated])
    lines += [f"  {printer.formula(tree)} ->" for tree in given]
    lines += [f"  {printer.formula(violated)}).", "Proof."]
    lines.append(f"intros {''.join(f'[{identifier(x)} ' for x in opened)}claim{']' * len(opened)}.")
    values = [f"{width - 1}%nat"] if width else []
    values += [value(context, x, data["values"][x]) for x in names]
    values += [layers(model.layers[x], width) for x in context.families]
    holes = " ".join("_" for _ in (*sorts, *bounds, *given))
    lines.append(f"unshelve refine (_ (claim {' '.join(values)} {holes}));")
    lines.append("  cbv zeta beta; cbv zeta beta in claim; clear claim.")
    lines += [f"all: {known(model, [*given, violated])}{tactic}.", "Qed."]
    return "\n".join([*lines, *ending(name)])


TACTICS = {
    0: ("evaluation", "evaluate"),
    1: ("single", "evaluate_single"),
    2: ("pairs", "evaluate_pair"),
}
"""Width of the matrices, 0 without any -> file of the prelude and the tactic for closed facts."""
SIZE = [
    "  forall k : nat, let Mat := reals k in",
    "  let F := frob k in let N := spec k in let S := least k in",
]


def value(context: Context, name: str, data: Any) -> str:
    """The value of a symbol."""
    if context.symbols[name] == "matrix":
        return explicit([[rational(entry) for entry in row] for row in data])
    text = literal(rational(data))
    return f"({text})%Z" if context.symbols[name] in INTEGER_SORTS else f"({text})"


def explicit(rows: Sequence[Sequence[Fraction]]) -> str:
    """A matrix of width 1 or 2."""
    entries = " ".join(literal(entry) for row in rows for entry in row)
    return f"({'single' if len(rows) == 1 else 'pair'} {entries})"


def layers(table: Mapping[int, Any], width: int) -> str:
    """Layers by their index, zero where none is given; entry by entry."""
    entries = []
    for row in range(width):
        for column in range(width):
            text = "0"
            for at, rows in sorted(table.items(), reverse=True):
                text = f"if Z.eqb t {at} then {literal(rows[row][column])} else {text}"
            entries.append(f"({text})")
    return f"(fun t : Z => {'single' if width == 1 else 'pair'} {' '.join(entries)})"


def local_functions(context: Context, printer: Printer, trees: Sequence[Tree]) -> list[str]:
    """Windows, definitions without cases, and sums, as local functions, as far as formulas name them."""
    used = named(context, trees)
    lines = []
    for name, base in context.products.items():
        lines.append(f"  let {identifier(name)} := window {identifier(base)} in")
    for name, (index, kind, cases) in context.definitions.items():
        if name in used:
            body = f"fun {identifier(index)} : Z => {by_cases(printer, index, kind, cases)}"
            lines.append(f"  let {identifier(name)} := {body} in")
    for name, (index, term) in context.sums.items():
        inside = Printer(context, printer.normal, {index: "integer"})
        body = f"fun {identifier(index)} : Z => {inside.number(term)}"
        lines.append(f"  let {identifier(name)} := sumZ ({body}) in")
    return lines


def known(model: Model, trees: list[Tree]) -> str:
    """Tactics that put in the floors and rational roots of formulas at the values of a model."""
    floors, roots = set(), set()
    for tree in trees:
        for part in parts(tree):
            if part[:2] not in (("call", "floor"), ("call", "sqrt")):
                continue
            inside = model.number(part[2]) if not speaks_of_norms(part) else None
            if isinstance(inside, Fraction) and part[1] == "floor":
                floors.add(f"({inside.numerator // inside.denominator})%Z")
            elif isinstance(inside, Fraction):
                roots.add(literal(Fraction(isqrt(inside.numerator), isqrt(inside.denominator))))
    text = ""
    for head, lemma, values in (("Int_part", "floor_is", floors), ("sqrt", "root_is", roots)):
        if values:
            first = " | ".join(f"rewrite ({lemma} x {v}) by evaluate" for v in sorted(values))
            text += f"repeat match goal with |- context [{head} ?x] => first [{first}] end; "
    return text


def named(context: Context, trees: Sequence[Tree]) -> set[str]:
    """The functions that formulas name, and those that these are defined by."""
    found: set[str] = set()
    left = list(trees)
    while left:
        for part in parts(left.pop()):
            if part[0] != "call" or part[1] in found:
                continue
            found.add(part[1])
            for conditions, term in context.definitions.get(part[1], ("", "", ()))[2]:
                left += [*conditions, term]
            if part[1] in context.sums:
                left.append(context.sums[part[1]][1])
    return found


def speaks_of_norms(tree: Tree) -> bool:
    """Whether the value of a term rests on norms or on the width, which Coq evaluates itself."""
    return any(
        (part[0] == "call" and part[1] in MATRIX_FUNCTIONS) or part == ("sym", "n") for part in parts(tree)
    )


def parts(tree: Tree) -> Iterator[Tree]:
    """All parts of a tree."""
    yield tree
    for child in children(tree):
        yield from parts(child)
