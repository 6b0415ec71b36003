"""What the names of a goal stand for in the words of its claim, and what is left between the two.

A goal is a formula over declared names. Each of them is *free* (it stands for any value of its sort), or
*determined* by the goal itself (an equation, a definition, a sum), or its meaning rests on something that
the certificate does not check: another claim (`shown`), or a fact of analysis (`assumed`), which the claim
then lists under `assumes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dlinear.certify.trusted.terms import free, parse

FUNCTIONS = ("families", "products", "totals", "definitions", "sums")


class Tie(StrEnum):
    """How a name of a goal is tied to what it stands for."""

    FREE = "any value of its sort"
    DETERMINED = "determined by the goal"
    SHOWN = "shown by another claim"
    ASSUMED = "assumed"


@dataclass(frozen=True)
class Letter:
    """One name of a goal.

    Attributes:
        means: what it stands for, in the words of the statement.
        tie: what makes it stand for that.
        by: the claim that shows it, or "".
    """

    means: str
    tie: Tie
    by: str = ""

    def __str__(self) -> str:
        """The meaning, and the tie where a reader has to know it."""
        if self.tie is Tie.SHOWN:
            return f"{self.means} (`{self.by}`)"
        return f"{self.means} (assumed)" if self.tie is Tie.ASSUMED else self.means


def shown(means: str, by: str) -> Letter:
    """A name whose meaning rests on another claim."""
    return Letter(means, Tie.SHOWN, by)


def assumed(means: str) -> Letter:
    """A name whose meaning rests on what the claim assumes."""
    return Letter(means, Tie.ASSUMED)


def names_of(goal: Mapping[str, Any]) -> list[str]:
    """The names that a goal declares, symbols first."""
    tables = [name for key in FUNCTIONS for name in goal.get(key, {})]
    return [*goal.get("symbols", {}), *tables, *goal.get("sequences", [])]


def determined(name: str, goal: Mapping[str, Any]) -> bool:
    """Whether the goal says what a name is: a definition, or an equation with it alone on the left."""
    if any(name in goal.get(key, {}) for key in FUNCTIONS if key != "families"):
        return True
    equations = [parse(text) for text in goal.get("hypotheses", []) if " == " in text]
    return any(left == ("sym", name) and name not in free(right) for _, left, right in equations)


def letters_of(goal: Mapping[str, Any], meanings: Mapping[str, str | Letter]) -> dict[str, Letter]:
    """The letters of a goal among these meanings; a plain text is free or determined, as the goal says."""
    found = {}
    for name in names_of(goal):
        meaning = meanings.get(name)
        if isinstance(meaning, Letter):
            found[name] = meaning
        elif meaning is not None:
            found[name] = Letter(meaning, Tie.DETERMINED if determined(name, goal) else Tie.FREE)
    return found
