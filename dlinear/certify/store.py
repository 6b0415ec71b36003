"""What is kept of a decided claim: its certificate as a file, and one row of data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dlinear.certify.decide import CHECKED, Row
from dlinear.storage import write_text


def store(row: Row, folder: Path) -> Path | None:
    """Writes the certificate of a row, if it has one, as `folder`/<id of the claim>.json."""
    if row.outcome.certificate is None or row.outcome.verdict not in CHECKED:
        return None
    data = {**row.outcome.certificate, "claim": row.claim.id, "verdict": str(row.outcome.verdict)}
    path = folder / f"{row.claim.id}.json"
    write_text(path, json.dumps(data, indent=1) + "\n")
    return path


def record(row: Row) -> dict[str, Any]:
    """One row as JSON data; `seconds` is the time of the route and of the checker."""
    claim, outcome = row.claim, row.outcome
    return {
        "id": claim.id,
        "reference": claim.reference,
        "form": str(claim.form),
        "relation": str(claim.relation),
        "verdict": str(outcome.verdict),
        "method": outcome.method,
        "seconds": round(row.seconds, 3),
        "evidence": outcome.evidence + (f"; assumes: {claim.assumes}" if claim.assumes else ""),
    }
