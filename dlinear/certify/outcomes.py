"""From certificates to claims: the verdict is always the checker's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from dlinear.certify.claims import Claim, Form, Outcome, Relation, Verdict
from dlinear.certify.letters import Letter, letters_of
from dlinear.certify.prover.proof import plain, refutation
from dlinear.certify.trusted.check import Checked, check
from dlinear.certify.trusted.terms import CertificateError


@lru_cache(maxsize=256)
def _checked(certificate: str, goal: str) -> Checked:
    return check(json.loads(certificate), json.loads(goal))


def rechecked(certificate: Mapping[str, Any], goal: Mapping[str, Any] | None = None) -> Checked:
    """`check`, remembered for data already checked in this process (the checker is deterministic)."""
    return _checked(json.dumps(certificate), json.dumps(goal, sort_keys=True))


def outcome(
    certificate: Mapping[str, Any], evidence: str = "", goal: Mapping[str, Any] | None = None
) -> Outcome:
    """Runs the checker on a certificate; its verdict and nothing else becomes the outcome's.

    Args:
        certificate: data as `Proof.finish` or `refutation` returns it.
        evidence: the line a reader needs; a counterexample describes itself.
        goal: the statement that the certificate must be about.

    Raises:
        CertificateError: the checker rejects it.
    """
    found = rechecked(certificate, goal)
    evidence = evidence or f"for all values: {certificate['statement']['conclusions'][0]}"
    if found.verdict == "refuted":
        return Outcome(Verdict.REFUTED, "exact counterexample", found.evidence, certificate)
    method = f"{found.steps} exact steps"
    if found.verdict == "certified":
        method = f"{found.steps} steps, ball arithmetic on {found.boxes} boxes"
    return Outcome(Verdict(found.verdict), method, evidence, certificate)


def attempt(
    route: Callable[[Mapping[str, Any]], dict[str, Any]], goal: Mapping[str, Any], evidence: str = ""
) -> Outcome:
    """Outcome of a route that writes a certificate for a goal; a rejected step means undecided."""
    try:
        return outcome(route(goal), evidence, goal)
    except CertificateError as error:
        return Outcome(Verdict.UNDECIDED, "the checker rejects the route", str(error), None)


def claim(
    id: str,
    reference: str,
    form: Form,
    statement: str,
    relation: Relation,
    expected: Verdict,
    *,
    goal: Mapping[str, Any],
    route: Callable[[Mapping[str, Any]], dict[str, Any]],
    twin_goal: Mapping[str, Any],
    twin_statement: str,
    evidence: str = "",
    letters: Mapping[str, str | Letter] | None = None,
    uses: tuple[str, ...] = (),
    twin_values: Mapping[str, Any] | None = None,
    twin_fails: int = 0,
    witness: Mapping[str, Any] | None = None,
    **more: str,
) -> Claim:
    """A claim decided by a certificate; its twin takes the same route to a slightly wrong goal.

    Where the twin of a true statement is known to be false at explicit values, that is checked instead:
    then no sound route can reach it. Arguments that are not named here: see `Claim`.

    Args:
        route: writes a certificate for a goal (see `dlinear.certify`).
        twin_goal: the wrong (or, for a refuted statement, the repaired) goal.
        evidence: what a reader should see; counterexamples describe themselves.
        letters: what the names of the goal stand for; others are ignored, so that files share a table.
        twin_values, twin_fails: values at which that conclusion of the twin is false; it is then "refuted".
        witness: values at which the hypotheses of the goal hold, see `dlinear.certify.trusted.witness`.
        more: function, test, figure and assumes of `Claim`.

    Raises:
        CertificateError: (from `twin`) the twin holds at `twin_values`.
    """
    if witness is not None:
        goal = {**goal, "witness": plain(witness)}

    def twin() -> Outcome:
        if twin_values is None:
            return attempt(route, twin_goal, evidence)
        return outcome(refutation(twin_goal, twin_values, twin_fails), goal=twin_goal)

    return Claim(
        id=id,
        reference=reference,
        form=form,
        statement=statement,
        relation=relation,
        expected=expected,
        prove=lambda: attempt(route, goal, evidence),
        twin=twin,
        twin_statement=twin_statement,
        goal=goal,
        letters=letters_of(goal, letters or {}),
        uses=uses,
        **more,
    )
