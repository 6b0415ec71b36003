"""Decide a claim: its route, the checker's word on the certificate, its false twin; re-check a file."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dlinear.certify.claims import Claim, Outcome, Verdict
from dlinear.certify.outcomes import rechecked
from dlinear.certify.trusted.check import check, read
from dlinear.certify.trusted.terms import CertificateError

CHECKED = (Verdict.PROVED, Verdict.CERTIFIED, Verdict.REFUTED)
NO_WITNESS = "no witness: its hypotheses might contradict each other, and then prove anything"
PARTS = {"format", "claim", "verdict", "statement", "auxiliary", "steps", "goals", "refutation"}


@dataclass(frozen=True)
class Row:
    """What was found about one claim.

    Attributes:
        claim: the registered claim.
        outcome: what its route returned, as far as the checker confirms it.
        twin: what the route of its false twin returned.
        seconds: time of the route and of the checker, without the twin.
    """

    claim: Claim
    outcome: Outcome
    twin: Outcome
    seconds: float

    @property
    def expected(self) -> bool:
        """The verdict is the expected one and the twin does not reach it."""
        return self.outcome.verdict == self.claim.expected and self.twin.verdict != self.claim.expected


def confirmed(claim: Claim, outcome: Outcome) -> Outcome:
    """The outcome if the checker confirms it for the registered goal; otherwise it is undecided."""
    if outcome.verdict not in CHECKED:
        return outcome
    if outcome.certificate is None:
        return Outcome(Verdict.UNDECIDED, outcome.method, "a verdict without a certificate", None)
    try:
        found = rechecked(outcome.certificate, claim.goal)
    except CertificateError as error:
        return Outcome(Verdict.UNDECIDED, outcome.method, f"certificate rejected: {error}", None)
    if found.verdict != outcome.verdict:
        return Outcome(Verdict.UNDECIDED, outcome.method, f"the checker finds {found.verdict}", None)
    if not found.witnessed:
        return Outcome(Verdict.UNDECIDED, outcome.method, NO_WITNESS, None)
    return outcome


def decide(claim: Claim) -> Row:
    """Runs a claim and its twin."""
    start = time.perf_counter()
    outcome = confirmed(claim, claim.prove())
    seconds = time.perf_counter() - start
    return Row(claim, outcome, claim.twin(), seconds)


def verify(path: str | Path, claims: Iterable[Claim]) -> str:
    """Line about one file that agrees with its registered claim; `CertificateError` if rejected."""
    data = read(path)
    by_id = {claim.id: claim for claim in claims}
    claim = by_id.get(str(data.get("claim")))
    if claim is None:
        raise CertificateError(
            f"the file is about {str(data.get('claim'))[:60]!r}, which is no registered claim"
        )
    extra = set(data) - PARTS
    if extra:
        raise CertificateError(f"unknown parts {sorted(extra)}")
    found = check(data, claim.goal)
    origins = (("the file", data.get("verdict")), ("the registered claim", str(claim.expected)))
    for origin, verdict in origins:
        if verdict != found.verdict:
            raise CertificateError(f"{origin} says {verdict}, the checker finds {found.verdict}")
    if not found.witnessed:
        raise CertificateError(NO_WITNESS)
    return f"{claim.id}: {found.verdict}, {found.steps} steps, {found.boxes} boxes"
