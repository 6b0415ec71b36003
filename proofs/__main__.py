"""Decide the registered statements of the theory, or re-check certificates.

    python -m proofs                       every statement: table, counts, verdict; writes certificates
    python -m proofs theorem_a lemma_c1    some of them, by file or by claim id
    python -m proofs --json FILE           the table as data
    python -m proofs --check FILE ...      re-check certificates against the registered statements
    python -m proofs --folder FOLDER       the claims of your own files, see docs/templates/claim.py
    python -m proofs --docs                also regenerate docs/claims.md
    python -m proofs --coq FOLDER [NAME]   write certificates as Coq files, see docs/coq.md
    python -m proofs --coq FOLDER --compile   and let coqc check them

Certificates go to results/certificates. Exit status 0 iff every verdict is the one that its claim expects and
every false twin fails; 1 otherwise, or if a certificate is rejected; 2 for refused input.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from dlinear.errors import DomainError
from dlinear.runs import script
from dlinear.storage import write_text

with script.imports():
    import tyro
    from tqdm import tqdm

    from dlinear.certify import CertificateError, coq
    from dlinear.certify.decide import decide, verify
    from dlinear.certify.registry import Registry, discover, select
    from dlinear.certify.store import record, store
    from dlinear.report import claims_screen
    from dlinear.report.claims_page import claims_page
    from dlinear.report.claims_table import claims_table, conclusion
    from dlinear.report.verdicts import on_terminal

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
PRELUDE = FOLDER / "coq"
DOCS = ROOT / "docs" / "claims.md"
NOT_ASKED = ("",)  # `--check` without a file is an empty tuple


def _shown(metavar: str | None, default: str = "none") -> Any:
    """How the help shows an argument."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


@dataclass(frozen=True)
class Knobs:
    """What to decide, or to re-check."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional, _shown("[NAME ...]", "all")] = ()
    """Proof files or ids of claims."""
    folder: Annotated[str, _shown("FOLDER", "proofs")] = ""
    """Folder of the files that hold the claims; yours may lie anywhere."""
    results: Annotated[str, _shown("FOLDER", "results")] = "results"
    """Folder of records; certificates go to FOLDER/certificates."""
    json: Annotated[str, _shown("FILE")] = ""
    """File for the table as JSON data."""
    check: Annotated[tuple[str, ...], _shown("FILE ...")] = NOT_ASKED
    """Certificates to re-check; nothing else is done then, and no route runs."""
    docs: Annotated[bool, tyro.conf.FlagCreatePairsOff, _shown(None, "no")] = False
    """Also regenerate docs/claims.md; needs all claims."""
    coq: Annotated[str, _shown("FOLDER")] = ""
    """Folder for the certificates as Coq files; nothing else is done then."""
    compile: Annotated[bool, tyro.conf.FlagCreatePairsOff, _shown(None, "no")] = False
    """With --coq: compile them, one line for each."""


def run(registry: Registry, knobs: Knobs) -> int:
    """Decides the selected claims, keeps their certificates and reports."""
    rows, certificates = [], Path(knobs.results) / "certificates"
    with tqdm(select(registry, knobs.names), unit="statement", disable=None, leave=False) as bar:
        for claim in bar:
            bar.set_description(claim.id)
            rows.append(decide(claim))
            store(rows[-1], certificates)
    if on_terminal():
        claims_screen.show(rows)
        print("\n".join(conclusion(rows)))
    else:
        print(claims_table(rows))
    if knobs.json:
        write_text(Path(knobs.json), json.dumps([record(row) for row in rows], indent=1) + "\n")
    if knobs.docs:
        write_text(DOCS, claims_page(registry, {row.claim.id: str(row.outcome.verdict) for row in rows}))
    return 0 if all(row.expected for row in rows) else 1


def recheck(registry: Registry, paths: Sequence[str]) -> int:
    """One line for each certificate: accepted, or why it is rejected."""
    claims, rejected = select(registry, ()), 0
    for path in paths:
        try:
            print(f"accepted {path}: {verify(path, claims)}")
        except CertificateError as error:
            rejected += 1
            print(f"rejected {path}: {error}")
    return 1 if rejected else 0


def to_coq(registry: Registry, knobs: Knobs) -> int:
    """Writes the certificates as Coq files and, if asked, compiles them; 1 if one is not accepted."""
    folder = Path(knobs.coq)
    if knobs.compile:
        coq.coqc()
    found = coq.write(select(registry, knobs.names), PRELUDE, folder)
    written = [name for name, reason in found.items() if not reason]
    for name, reason in found.items():
        if reason:
            print(f"not exported  {name}: {reason}")
    print(f"{len(written)} of {len(found)} certificates written to {folder}")
    if not knobs.compile:
        return 0
    rejected = 0
    for compiled in coq.compile_files(written, folder):
        print(compiled.line(), flush=True)
        rejected += not compiled.accepted
    print(f"coqc accepts {len(written) - rejected} of {len(written)}")
    return 1 if rejected else 0


def main(knobs: Knobs) -> int:
    """Re-checks or decides; the exit status."""
    if knobs.docs and knobs.folder:
        raise DomainError("--docs with --folder: docs/claims.md is about the claims of this library")
    if knobs.docs and knobs.names:
        raise DomainError(f"--docs with {' '.join(knobs.names)}: it needs all claims, give no names")
    if knobs.compile and not knobs.coq:
        raise DomainError("--compile without --coq: give the folder of the Coq files, --coq FOLDER")
    if knobs.coq and (knobs.json or knobs.docs or knobs.check != NOT_ASKED):
        raise DomainError("--coq only writes Coq files: give no --json, --docs or --check beside it")
    if knobs.coq:
        return to_coq(_claims(knobs), knobs)
    if knobs.check == NOT_ASKED:
        return run(_claims(knobs), knobs)
    if not knobs.check:
        raise DomainError("--check without a file: give the certificates to re-check")
    if knobs.names or knobs.json or knobs.docs:
        raise DomainError("--check only re-checks certificates: give no names, --json or --docs beside it")
    return recheck(_claims(knobs), knobs.check)


def _claims(knobs: Knobs) -> Registry:
    """The claims of the folder that was asked for."""
    folder = Path(knobs.folder) if knobs.folder else FOLDER
    if not folder.is_dir():
        raise DomainError(f"--folder {knobs.folder}: there is no such folder")
    if not (found := discover(folder)):
        raise DomainError(f"--folder {knobs.folder}: no file NAME.py with a tuple CLAIMS lies there")
    return found


if __name__ == "__main__":
    raise SystemExit(script.run(main, Knobs, __doc__))
