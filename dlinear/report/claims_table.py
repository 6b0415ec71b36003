"""What `python -m proofs` prints: a table of the decided claims, counterexamples, and one verdict line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dlinear.certify.claims import Verdict
from dlinear.certify.decide import CHECKED, Row
from dlinear.report.verdicts import table

HEADER = ("reference", "claim", "form", "relation", "verdict", "method", "seconds")
WIDEST = 44  # characters of a cell


def claims_table(rows: Sequence[Row]) -> str:
    """Everything that a run says, as text; the last line is the verdict on the run."""
    lines = [table(HEADER, [_cells(row) for row in rows], widest=WIDEST), ""]
    lines += [_counterexample(row) for row in rows if row.outcome.verdict == Verdict.REFUTED and row.expected]
    given = any(row.claim.conditional for row in rows)
    closing = conclusion(rows)
    lines += [*closing[:-1], *["if: given what the claim assumes, see docs/claims.md"] * given, closing[-1]]
    return "\n".join(lines)


def conclusion(rows: Sequence[Row]) -> list[str]:
    """Lines: each row with another verdict than the expected one, the counts, the verdict on the run."""
    wrong = [row for row in rows if not row.expected]
    counts = Counter(str(row.outcome.verdict) for row in rows)
    summary = ", ".join(f"{counts[v]} {v}" for v in map(str, Verdict) if counts[v])
    good = "every statement has its expected verdict and every false twin fails"
    return [
        *map(_surprise, wrong),
        f"{len(rows)} statements: {summary}; {sum(row.seconds for row in rows):.1f} s",
        f"verdict: {f'{len(wrong)} UNEXPECTED' if wrong else good}",
    ]


def _cells(row: Row) -> list[str]:
    claim = row.claim
    given = ", if" if claim.conditional and row.outcome.verdict in CHECKED else ""
    verdict = str(row.outcome.verdict) + given + ("" if row.expected else "  !")
    about = [claim.reference, claim.id, str(claim.form), str(claim.relation)]
    return [*about, verdict, row.outcome.method, f"{row.seconds:.2f}"]


def _counterexample(row: Row) -> str:
    return f"counterexample to {row.claim.reference} ({row.claim.id}): {row.outcome.evidence}"


def _surprise(row: Row) -> str:
    """Why a row is not the expected one."""
    claim, outcome = row.claim, row.outcome
    if outcome.verdict != claim.expected:
        reason = f"expected {claim.expected}, found {outcome.verdict}: {outcome.evidence}"
    else:
        reason = f"the false twin ({claim.twin_statement}) also reaches {row.twin.verdict}"
    return f"UNEXPECTED {claim.id}: {reason}"
