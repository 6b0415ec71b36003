"""The ledger of claims: `python -m proofs [NAME ...]`.

    python -m proofs                       every statement: table, counts, verdict; writes certificates
    python -m proofs theorem_a lemma_c1    some of them, by file or by claim id
    python -m proofs --json FILE           the table as data
    python -m proofs --check FILE ...      re-check certificates against the registered statements
    python -m proofs --docs                also regenerate docs/claims.md

Exit status 0 iff every verdict is the one that its claim expects and every false twin fails.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from dlinear import report
from dlinear.errors import DomainError
from dlinear.runs import script
from dlinear.storage import write_text

with script.imports():
    import tyro

    from dlinear.certify import CertificateError
    from dlinear.certify.claims import Claim, Verdict
    from dlinear.certify.decide import CHECKED, Row, decide, select, verify
    from dlinear.report.claims_page import claims_page

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
CERTIFICATES = ROOT / "results" / "certificates"
DOCS = ROOT / "docs" / "claims.md"


@dataclass(frozen=True)
class Knobs:
    """What to decide."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()  # proof files or claim ids; all by default
    json: str | None = None  # write the table to this file, as JSON
    check: tuple[str, ...] = ()  # re-check these certificates against the registered statements, and stop
    docs: bool = False  # also regenerate docs/claims.md


def discover(folder: Path = FOLDER) -> dict[str, tuple[Claim, ...]]:
    """Claims of each proof file, by stem; ids must be unique."""
    found: dict[str, tuple[Claim, ...]] = {}
    for path in sorted(folder.glob("[!_]*.py")):
        name = f"_proof_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            continue
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        found[path.stem] = tuple(getattr(module, "CLAIMS", ()))
    ids = Counter(claim.id for claims in found.values() for claim in claims)
    twice = [name for name, count in ids.items() if count > 1]
    if twice:
        raise DomainError(f"claim ids declared twice: {', '.join(twice)}")
    return found


def store(row: Row, folder: Path = CERTIFICATES) -> Path | None:
    """Writes the certificate of a row, if it has one."""
    if row.outcome.certificate is None or row.outcome.verdict not in CHECKED:
        return None
    data = {**row.outcome.certificate, "claim": row.claim.id, "verdict": str(row.outcome.verdict)}
    path = folder / f"{row.claim.id}.json"
    write_text(path, json.dumps(data, indent=1) + "\n")
    return path


def record(row: Row) -> dict[str, Any]:
    """One row as data."""
    return {
        "id": row.claim.id,
        "reference": row.claim.reference,
        "form": str(row.claim.form),
        "relation": str(row.claim.relation),
        "verdict": str(row.outcome.verdict),
        "method": row.outcome.method,
        "seconds": round(row.seconds, 3),
        "evidence": row.outcome.evidence + (f"; assumes: {row.claim.assumes}" if row.claim.assumes else ""),
    }


def cells(row: Row) -> list[str]:
    """A line of the table."""
    verdict = str(row.outcome.verdict) + ("" if row.expected else "  !")
    claim = row.claim
    about = [claim.reference, claim.id, str(claim.form), str(claim.relation)]
    return [*about, verdict, row.outcome.method, f"{row.seconds:.2f}"]


HEAD = ("reference", "claim", "form", "relation", "verdict", "method", "seconds")


def closing(rows: Sequence[Row]) -> list[str]:
    """What stands below the table: counterexamples, what was not expected, counts and the verdict."""
    lines = [
        f"counterexample to {row.claim.reference} ({row.claim.id}): {row.outcome.evidence}"
        for row in rows
        if row.outcome.verdict == Verdict.REFUTED and row.expected
    ]
    wrong = [row for row in rows if not row.expected]
    lines += [f"UNEXPECTED {row.claim.id}: {fault(row)}" for row in wrong]
    counts = Counter(str(row.outcome.verdict) for row in rows)
    summary = ", ".join(f"{counts[v]} {v}" for v in map(str, Verdict) if counts[v])
    lines.append(f"{len(rows)} statements: {summary}; {sum(row.seconds for row in rows):.1f} s")
    good = "every statement has its expected verdict and every false twin fails"
    return [*lines, f"verdict: {f'{len(wrong)} UNEXPECTED' if wrong else good}"]


def fault(row: Row) -> str:
    """Why a row is not the expected one."""
    if row.outcome.verdict != row.claim.expected:
        return f"expected {row.claim.expected}, found {row.outcome.verdict}: {row.outcome.evidence}"
    return f"the false twin ({row.claim.twin_statement}) also reaches {row.twin.verdict}"


def run(ledger: Mapping[str, tuple[Claim, ...]], knobs: Knobs) -> int:
    """Decides the selected claims and reports."""
    rows = []
    for claim in select(ledger, knobs.names):
        row = decide(claim)
        store(row)
        rows.append(row)
    print(report.table(HEAD, [cells(row) for row in rows], widest=44))
    print("", *closing(rows), sep="\n")
    if knobs.json:
        write_text(Path(knobs.json), json.dumps([record(row) for row in rows], indent=1) + "\n")
    if knobs.docs:
        write_text(DOCS, claims_page(ledger, {row.claim.id: str(row.outcome.verdict) for row in rows}))
    return 0 if all(row.expected for row in rows) else 1


def recheck(claims: Sequence[Claim], files: Sequence[str]) -> int:
    """A line about each certificate; 0 iff all are accepted."""
    bad = 0
    for path in files:
        try:
            print(f"accepted {path}: {verify(path, claims)}")
        except CertificateError as error:
            bad += 1
            print(f"rejected {path}: {error}")
    return 1 if bad else 0


def main(knobs: Knobs) -> int:
    """Decide claims, or re-check certificates; the exit status.

    Raises:
        DomainError: an unknown name, or --docs for a part of the ledger.
    """
    if knobs.docs and (knobs.names or knobs.check):
        raise DomainError("--docs needs the whole ledger: give no names and no --check")
    ledger = discover()
    return recheck(select(ledger, ()), knobs.check) if knobs.check else run(ledger, knobs)


if __name__ == "__main__":
    sys.exit(script.run(main, Knobs, __doc__))
