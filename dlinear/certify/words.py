"""A goal in words, beside the statement of its claim, and what is missing between the two."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dlinear.certify.claims import Claim
from dlinear.certify.letters import Tie, names_of

SORTS = {
    "real": "real",
    "nonneg": ">= 0",
    "positive": "> 0",
    "integer": "whole",
    "natural": "0, 1, ...",
    "posint": "1, 2, ...",
    "matrix": "n x n matrix",
}
OUTSIDE = re.compile(
    r"\blim(its?)?\b|\bO\(|\bthe gradient\b|\bE\b|\bE\|\|| -> |\bd/d|\bd ln\b|\(0\+\)|[A-Za-z]' =| ~ "
    r"|\bC1\b|\bTheorem [A-D]\b(?!\.)"
)
"""Words for what no goal can say: limits, orders, derivatives, expectations, other theorems."""
INTEGRAL = re.compile(r"\bint_|\bintegrals?\b")
LONGEST = 240  # characters of a formula


def in_words(claim: Claim) -> list[str]:
    """The goal of a claim: its names with their sorts and meanings, its hypotheses, its conclusions.

    Args:
        claim: a claim with a goal.

    Returns:
        Parts of one sentence; formulas stand between backquotes, in the language of certificates.
    """
    said = meanings(claim)
    opened = [said.pop(name) for name in claim.goal.get("exists", [])]
    parts = [f"For all {'; '.join(said.values())}" if said else "Always"]
    if given := claim.goal.get("hypotheses", []):
        parts.append(f"if {_listed(given)}")
    first = f"there is {'; '.join(opened)}, such that " if opened else ""
    parts.append(f"then {first}{_listed(claim.goal['conclusions'])}")
    return parts


def meanings(claim: Claim) -> dict[str, str]:
    """Each name of a claim's goal with its sort or definition and what it stands for, symbols first."""
    return {name: f"{_declared(name, claim.goal)}: {_meaning(name, claim)}" for name in names_of(claim.goal)}


def _meaning(name: str, claim: Claim) -> str:
    return str(claim.letters[name]) if name in claim.letters else "no meaning"


def _listed(formulas: list[str]) -> str:
    return ", ".join(f"`{_short(text)}`" for text in formulas)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 20]} ... {text[-10:]}"


def _declared(name: str, goal: Mapping[str, Any]) -> str:
    """A name with what the goal says of it."""
    if name in goal.get("symbols", {}):
        return f"`{name}` ({SORTS[goal['symbols'][name]]})"
    if name in goal.get("families", {}):
        bound = goal["families"][name]
        return f"`{name}(t)` (n x n matrices" + (f", `N({name}(t)) <= {bound}`)" if bound else ")")
    if name in goal.get("products", {}):
        family = goal["products"][name]
        return f"`{name}(a, b)` = `(I + {family}(b-1))*...*(I + {family}(a))`"
    if name in goal.get("totals", {}):
        family = goal["totals"][name]
        return f"`{name}(a, b)` = `{family}(a) + ... + {family}(b-1)`"
    if name in goal.get("sums", {}):
        index, term = goal["sums"][name]["index"], goal["sums"][name]["term"]
        return f"`{name}(j)` = sum of `{_short(term)}` over `0 <= {index} < j`"
    if name in goal.get("definitions", {}):
        entry = goal["definitions"][name]
        cases = [
            f"`{_short(case['then'])}`" + (f" if {_listed(case['if'])}" if case.get("if") else "")
            for case in entry["cases"]
        ]
        return f"`{name}({entry['index']})` = {', '.join(cases)}"
    return f"`{name}(t)` (a real sequence)"


def gaps(claim: Claim, claims: Mapping[str, Claim]) -> Iterator[str]:
    """What is missing between the goal of a claim and its words, a line each; nothing if they agree.

    Args:
        claim: a claim with a goal.
        claims: all registered claims, by id.
    """
    declared = names_of(claim.goal)
    for name in declared:
        if name not in claim.letters:
            yield f"{name} of the goal has no meaning in words"
    for name in claim.letters:
        if name not in declared:
            yield f"{name} is no name of the goal"
    for name, letter in claim.letters.items():
        if letter.tie is Tie.ASSUMED and not claim.assumes:
            yield f"{name} is {letter.means} by assumption, and `assumes` is empty"
    for by in claim.rests_on:
        other = claims.get(by)
        if other is None or by == claim.id or str(other.expected) not in ("proved", "certified"):
            yield f"{by} is no other claim that is proved"
    word = OUTSIDE.search(claim.statement)
    if not word and "Int(" not in str(claim.goal):
        word = INTEGRAL.search(claim.statement)
    if word and not (claim.assumes or claim.uses):
        yield f"no goal can say {word.group().strip()!r}, and neither `assumes` nor `uses` says what ties it"
