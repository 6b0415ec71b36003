"""The ledger of claims: `python -m proofs [NAME ...]`.

    python -m proofs                       every statement: table, counts, verdict; writes certificates
    python -m proofs theorem_a lemma_c1    some of them, by file or by claim id
    python -m proofs --json FILE           the table as data
    python -m proofs --check FILE ...      re-check certificates against the registered statements
    python -m proofs --docs                also regenerate docs/claims.md

Exit status 0 iff every verdict is the one that its claim expects and every false twin fails.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlinear.claims import Claim, Outcome, Verdict
from dlinear.runs import script
from dlinear.storage import write_text

with script.imports():
    from dlinear.certify import CertificateError, check, read
    from dlinear.certify.ledger import confirm as recheck

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
CERTIFICATES = ROOT / "results" / "certificates"
DOCS = ROOT / "docs" / "claims.md"
CHECKED = (Verdict.PROVED, Verdict.CERTIFIED, Verdict.REFUTED)


@dataclass(frozen=True)
class Row:
    """What the ledger found about one claim."""

    claim: Claim
    outcome: Outcome
    twin: Outcome
    seconds: float

    @property
    def expected(self) -> bool:
        """The verdict is the expected one and the twin does not reach it."""
        return self.outcome.verdict == self.claim.expected and self.twin.verdict != self.claim.expected


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
        raise SystemExit(f"claim ids declared twice: {', '.join(twice)}")
    return found


def select(ledger: Mapping[str, tuple[Claim, ...]], names: Sequence[str]) -> list[Claim]:
    """Claims by file stem or id, in the order of the files; an unknown name ends the program."""
    everything = [claim for claims in ledger.values() for claim in claims]
    if not names:
        return everything
    known = {*ledger, *(claim.id for claim in everything)}
    for name in names:
        if name not in known:
            raise SystemExit(f"unknown name {name!r}; files and claims are: {', '.join(sorted(known))}")
    wanted = {claim.id for name in names for claim in ledger.get(name, ())} | set(names)
    return [claim for claim in everything if claim.id in wanted]


def confirm(claim: Claim, outcome: Outcome) -> Outcome:
    """The outcome if the checker confirms it for the registered goal; otherwise it is undecided."""
    if outcome.verdict not in CHECKED:
        return outcome
    if outcome.certificate is None:
        return Outcome(Verdict.UNDECIDED, outcome.method, "a verdict without a certificate", None)
    try:
        found = recheck(outcome.certificate, claim.goal)
    except CertificateError as error:
        return Outcome(Verdict.UNDECIDED, outcome.method, f"certificate rejected: {error}", None)
    if found.verdict != outcome.verdict:
        return Outcome(Verdict.UNDECIDED, outcome.method, f"the checker finds {found.verdict}", None)
    if not found.witnessed:
        reason = "no witness: its hypotheses might contradict each other, and then prove anything"
        return Outcome(Verdict.UNDECIDED, outcome.method, reason, None)
    return outcome


def decide(claim: Claim) -> Row:
    """Runs a claim and its twin."""
    start = time.perf_counter()
    outcome = confirm(claim, claim.prove())
    seconds = time.perf_counter() - start
    return Row(claim, outcome, claim.twin(), seconds)


def store(row: Row, folder: Path = CERTIFICATES) -> Path | None:
    """Writes the certificate of a row, if it has one."""
    if row.outcome.certificate is None or row.outcome.verdict not in CHECKED:
        return None
    data = {**row.outcome.certificate, "claim": row.claim.id, "verdict": str(row.outcome.verdict)}
    path = folder / f"{row.claim.id}.json"
    write_text(path, json.dumps(data, indent=1) + "\n")
    return path


def verify(path: str | Path, claims: Iterable[Claim]) -> str:
    """Line about one file that agrees with its registered claim; `CertificateError` if rejected."""
    data = read(path)
    by_id = {claim.id: claim for claim in claims}
    claim = by_id.get(str(data.get("claim")))
    if claim is None:
        raise CertificateError(
            f"the file is about {str(data.get('claim'))[:60]!r}, which is no claim of the ledger"
        )
    extra = set(data) - {
        "format",
        "claim",
        "verdict",
        "statement",
        "auxiliary",
        "steps",
        "goals",
        "refutation",
    }
    if extra:
        raise CertificateError(f"unknown parts {sorted(extra)}")
    found = check(data, claim.goal)
    for origin, verdict in (("the file", data.get("verdict")), ("the ledger", str(claim.expected))):
        if verdict != found.verdict:
            raise CertificateError(f"{origin} says {verdict}, the checker finds {found.verdict}")
    return f"{claim.id}: {found.verdict}, {found.steps} steps, {found.boxes} boxes"


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


def table(rows: Sequence[Row]) -> str:
    """Rows as aligned text."""
    head = ("reference", "claim", "form", "relation", "verdict", "method", "seconds")
    cells = [
        (
            row.claim.reference,
            row.claim.id,
            str(row.claim.form),
            str(row.claim.relation),
            str(row.outcome.verdict) + ("" if row.expected else "  !"),
            row.outcome.method,
            f"{row.seconds:.2f}",
        )
        for row in rows
    ]
    widths = [min(44, max(len(line[i]) for line in [head, *cells])) for i in range(len(head))]
    lines = [
        "  ".join(text[:w].ljust(w) for text, w in zip(line, widths, strict=True)) for line in [head, *cells]
    ]
    return "\n".join(line.rstrip() for line in [lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def claims_page(ledger: Mapping[str, tuple[Claim, ...]], verdicts: Mapping[str, str]) -> str:
    """docs/claims.md: each statement with its verdict, function, proof file, test and figure."""

    def cell(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    def code(text: str) -> str:
        return f"`{cell(text)}`" if text else "-"

    lines = [
        "# Claims",
        "",
        "Generated by `python -m proofs --docs`; do not edit. *proved*: exact steps that the checker",
        "accepts; *certified*: with ball arithmetic over the stated box; *supported*: numbers only;",
        "*refuted*: an explicit counterexample that the checker accepts. *Assumes*: what the",
        "certificate takes as a hypothesis, or leaves to the reader, between its formal goal and the",
        "statement in words. Hypotheses that contradict each other would prove anything: each certificate",
        "of a proved or certified statement names a point where they hold, and the checker verifies it.",
        "",
        "| Reference | Form | Statement | Assumes | Relation | Verdict | Function | Proof | Test | Figure |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for stem, claims in ledger.items():
        for claim in claims:
            parts = [
                cell(claim.reference),
                str(claim.form),
                cell(claim.statement),
                cell(claim.assumes) or "-",
                str(claim.relation),
                f"**{verdicts[claim.id]}**",
                code(claim.function),
                f"[{claim.id}](../proofs/{stem}.py)",
                code(claim.test),
                code(claim.figure),
            ]
            lines.append(f"| {' | '.join(parts)} |")
    lines += [
        "",
        "Lemmas C.2 and C.3 as printed, eqs. (29) and (30), have no row of their own: they only say that",
        "some y_1 and y_2 exist, and any y_1 >= max(1, e^{lambda_1}) and negative enough y_2 will do (the",
        "upper bounds of the repaired rows). The values in their proof are wrong: `lemma_c2_printed`.",
    ]
    counts = Counter(verdicts[claim.id] for claims in ledger.values() for claim in claims)
    total = sum(counts.values())
    lines += ["", f"{total} claims: {', '.join(f'{counts[v]} {v}' for v in sorted(counts))}.", ""]
    return "\n".join(lines)


def run(ledger: Mapping[str, tuple[Claim, ...]], arguments: argparse.Namespace) -> int:
    """Decides the selected claims and reports."""
    rows = []
    for claim in select(ledger, arguments.names):
        row = decide(claim)
        store(row)
        rows.append(row)
    print(table(rows))
    print()
    for row in rows:
        if row.outcome.verdict == Verdict.REFUTED and row.expected:
            print(f"counterexample to {row.claim.reference} ({row.claim.id}): {row.outcome.evidence}")
    wrong = [row for row in rows if not row.expected]
    for row in wrong:
        if row.outcome.verdict != row.claim.expected:
            reason = f"expected {row.claim.expected}, found {row.outcome.verdict}: {row.outcome.evidence}"
        else:
            reason = f"the false twin ({row.claim.twin_statement}) also reaches {row.twin.verdict}"
        print(f"UNEXPECTED {row.claim.id}: {reason}")
    counts = Counter(str(row.outcome.verdict) for row in rows)
    summary = ", ".join(f"{counts[v]} {v}" for v in map(str, Verdict) if counts[v])
    print(f"{len(rows)} statements: {summary}; {sum(row.seconds for row in rows):.1f} s")
    if arguments.json:
        write_text(Path(arguments.json), json.dumps([record(row) for row in rows], indent=1) + "\n")
    if arguments.docs and not arguments.names:
        write_text(DOCS, claims_page(ledger, {row.claim.id: str(row.outcome.verdict) for row in rows}))
    good = "every statement has its expected verdict and every false twin fails"
    print(f"verdict: {f'{len(wrong)} UNEXPECTED' if wrong else good}")
    return 1 if wrong else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m proofs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="proof file or claim id; default: all")
    parser.add_argument("--json", metavar="FILE", help="write the table as JSON")
    parser.add_argument("--check", nargs="+", metavar="FILE", help="re-check certificates and stop")
    parser.add_argument(
        "--docs", action="store_true", help="regenerate docs/claims.md (needs the whole ledger)"
    )
    arguments = parser.parse_args(argv)
    if arguments.docs and arguments.names:
        parser.error("--docs needs the whole ledger: give no names")
    ledger = discover()
    if not arguments.check:
        return run(ledger, arguments)
    claims = select(ledger, ())
    bad = 0
    for path in arguments.check:
        try:
            print(f"accepted {path}: {verify(path, claims)}")
        except CertificateError as error:
            bad += 1
            print(f"rejected {path}: {error}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(script.command(main))
