"""What a statement of the theory is, and the verdicts it can carry.

A `Claim` binds a statement to the route that decides it. Verdicts are ordered by what they are worth:

- *proved*: a certificate of exact steps that the checker accepts;
- *certified*: ball arithmetic over a stated box that the checker accepts;
- *supported*: numbers only, however many;
- *refuted*: an exact or ball-certified counterexample that the checker accepts;
- *undecided*: the route ended without any of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dlinear.certify.letters import Letter


class Relation(StrEnum):
    """What a statement relates; it picks the check."""

    IDENTITY = "identity"
    TIGHT = "tight"
    UPPER_BOUND = "upper bound"
    ASYMPTOTIC = "asymptotic"


class Form(StrEnum):
    """Where the wording comes from: the paper as printed, its repair, or a statement of our own."""

    PRINTED = "printed"
    REPAIRED = "repaired"
    NEW = "new"


class Verdict(StrEnum):
    """What is known about a statement; see the module's docstring."""

    PROVED = "proved"
    CERTIFIED = "certified"
    SUPPORTED = "supported"
    REFUTED = "refuted"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Outcome:
    """What a route returned.

    Attributes:
        verdict: decided by the checker where there is a certificate, never by the route alone.
        method: how, in a few words ("exact steps", "ball arithmetic, 812 boxes", "64 random nets").
        evidence: the line a reader needs: the counterexample, the worst ratio, the fitted rate.
        certificate: JSON-serialisable steps that `dlinear.certify.trusted.check` re-checks, or None.
    """

    verdict: Verdict
    method: str
    evidence: str
    certificate: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Claim:
    """One statement and the route that decides it.

    Attributes:
        id: unique, lower case, for example `lemma_c1_lower_printed`.
        reference: where it stands, for example "Lemma C.1, eq. (50)".
        form: printed, repaired or new.
        statement: one line of plain text in the paper's letters.
        relation: identity, tight, upper bound or asymptotic.
        expected: the expected verdict; any other makes `python -m proofs` fail.
        prove: runs the route.
        twin: runs the same route on a slightly wrong statement; it must not reach `expected`.
        twin_statement: what the twin gets wrong.
        goal: the formal statement that a certificate must end with; the checker compares it.
        function: dotted name of the library function that computes the claimed quantity, or "".
        test: pytest node (file::name) that tests it beside the proof, or "".
        figure: stem of the figure that shows it, or "".
        letters: what each name of the goal stands for.
        assumes: what stands between the formal goal and the one line, in words: facts of analysis that the
            certificate takes as hypotheses or leaves to the reader, or "".
        uses: other claims that stand between them, by id.
    """

    id: str
    reference: str
    form: Form
    statement: str
    relation: Relation
    expected: Verdict
    prove: Callable[[], Outcome]
    twin: Callable[[], Outcome]
    twin_statement: str
    goal: Mapping[str, Any] = field(default_factory=dict)
    function: str = ""
    test: str = ""
    figure: str = ""
    letters: Mapping[str, Letter] = field(default_factory=dict)
    assumes: str = ""
    uses: tuple[str, ...] = ()

    @property
    def rests_on(self) -> tuple[str, ...]:
        """The other claims that its words rest on, by id."""
        shown = [letter.by for letter in self.letters.values() if letter.by]
        return tuple(sorted({*self.uses, *shown}))

    @property
    def conditional(self) -> bool:
        """Whether its verdict is given something that no certificate shows."""
        return bool(self.assumes)
