"""What a lemma has: formulas that are shown, and side conditions."""

from __future__ import annotations

from typing import Any

from dlinear.certify.coq.steps import Exporter, Lemma
from dlinear.certify.trusted.kernel import Fact
from dlinear.certify.trusted.terms import Tree

Given = dict[Any, tuple[str, Tree]]


def given(out: Exporter, *facts: tuple[str, Tree]) -> Given:
    """Formulas that are shown, by their normal form."""
    return {out.normal.formula(tree): (name, tree) for name, tree in facts}


def condition(out: Exporter, script: Lemma, fact: Fact, wanted: Tree, known: Given) -> str:
    """Name of a proof of a side condition: given, or manifest."""
    if out.normal.formula(wanted) in known or wanted[0] == "==":
        return out.hypothesis(script, fact, wanted, known)
    strict: Tree = ("<", *wanted[1:])
    name = script.name("side")
    script.lines.append(f"assert ({name} : {out.printer.formula(wanted)}).")
    script.lines.append("{")
    if out.normal.formula(strict) in known:
        script.lines.append(f"left; exact {out.hypothesis(script, fact, strict, known)}.")
    else:
        out.conclude(script, wanted, [])
    script.lines.append("}")
    return name
