"""Template of the rule of ball arithmetic: a Taylor polynomial for each phi, then intervals with bisection.

The subdivision of the certificate is not used: the tactic `interval` of Coq finds one of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil

from dlinear.certify.coq.printer import identifier
from dlinear.certify.coq.steps import Exporter, Lemma, template
from dlinear.certify.trusted.balls import Tape, interval
from dlinear.certify.trusted.kernel import Fact, Step
from dlinear.certify.trusted.terms import Tree, children

TERMS = 12  # of each series; the rest is at most |x|^12 e^x/(12 + k)!
DEPTH = 40  # of the bisection


@template("ball")
def ball_(out: Exporter, script: Lemma, step: Step, fact: Fact) -> None:
    """A <= B on a box."""
    sides = {name: (Fraction(lo), Fraction(hi)) for name, (lo, hi) in step["box"].items()}
    most = max((upper(x, sides) for side in fact.formula[1:] for x in arguments(side)), default=Fraction(0))
    script.lines.append(f"series {TERMS}%nat {max(ceil(most), 0)}.")
    cut = [f"i_bisect {identifier(name)}" for name, (lo, hi) in sides.items() if lo != hi]
    script.lines.append(f"interval with ({', '.join([*cut, f'i_depth {DEPTH}'])}).")


def arguments(tree: Tree) -> Iterator[Tree]:
    """x of every phi(k, x) in a term."""
    if tree[:2] == ("call", "phi"):
        yield tree[3]
    for child in children(tree):
        yield from arguments(child)


def upper(tree: Tree, sides: dict[str, tuple[Fraction, Fraction]]) -> Fraction:
    """A number that a term does not exceed on a box; Coq shows it again."""
    value = Tape(tree, list(sides)).values([interval(*ends) for ends in sides.values()])[-1]
    return Fraction(str(value.upper().fmpq()))
