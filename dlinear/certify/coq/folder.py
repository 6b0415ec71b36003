"""Certificates in a folder as Coq files, and what `coqc` says of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dlinear.certify.claims import Claim
from dlinear.certify.coq.norms import REAL
from dlinear.certify.coq.statement import export
from dlinear.certify.decide import CHECKED
from dlinear.certify.trusted.terms import CertificateError
from dlinear.errors import MissingDependencyError
from dlinear.storage import write_text

LIBRARY = ("numbers", "matrices", "evaluation", "boxes", "real_matrices", "single", "pairs")
"""The files of the prelude, in the order in which they are compiled."""
COMMAND = ("-w", "-ambiguous-paths", "-Q", ".", "dlinear")
LIMIT = 600.0  # seconds for one file
PRIMITIVE = ("PrimInt63.", "Uint63.", "PrimFloat.", "FloatAxioms.")
"""Where Coq's integers and floats of the machine are; the tactic `interval` computes with them."""
HINT = "install it, on Debian: apt-get install coq libcoq-coquelicot libcoq-interval"


@dataclass(frozen=True)
class Compiled:
    """What `coqc` says of one file.

    Attributes:
        name: the file without its ending.
        accepted: every lemma and the theorem is proved.
        seconds: time of `coqc`.
        axioms: what `Print Assumptions` lists: axioms of Coq's real numbers, never the theory's.
        hypotheses: what the section assumes of the norms.
        reason: the first error, in one line, or "".
        output: all that `coqc` printed.
    """

    name: str
    accepted: bool
    seconds: float
    axioms: tuple[str, ...] = ()
    hypotheses: tuple[str, ...] = ()
    reason: str = ""
    output: str = ""

    def line(self) -> str:
        """One line for the terminal."""
        if not self.accepted:
            return f"rejected  {self.name:<28} {self.seconds:6.1f} s  {self.reason}"
        plain = [axiom.rsplit(".", 1)[-1] for axiom in self.axioms if not axiom.startswith(PRIMITIVE)]
        machine = len(self.axioms) - len(plain)
        axioms = ", ".join([*plain, *([f"{machine} of primitive numbers"] if machine else [])]) or "none"
        norms = f"; norms: {', '.join(self.hypotheses)}" if self.hypotheses else ""
        return f"accepted  {self.name:<28} {self.seconds:6.1f} s  axioms: {axioms}{norms}"


def write(claims: Iterable[Claim], prelude: Path, folder: Path) -> dict[str, str]:
    """Writes one file for each claim whose verdict rests on a certificate, and the prelude.

    Args:
        claims: the claims; their routes run.
        prelude: folder with the files of `LIBRARY`.
        folder: where the files go.

    Returns:
        id of each claim that has a certificate -> "" or why it has no counterpart in Coq.
    """
    for name in LIBRARY:
        write_text(folder / f"{name}.v", (prelude / f"{name}.v").read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    for claim in claims:
        certificate = claim.prove().certificate if claim.expected in CHECKED else None
        if certificate is None:
            continue
        try:
            write_text(folder / f"{claim.id}.v", export(claim.id, certificate))
            found[claim.id] = ""
        except CertificateError as error:
            (folder / f"{claim.id}.v").unlink(missing_ok=True)
            found[claim.id] = str(error)
    return found


def coqc() -> str:
    """Path of the compiler of Coq.

    Raises:
        MissingDependencyError: it is not installed.
    """
    path = shutil.which("coqc")
    if path is None:
        raise MissingDependencyError(f"coqc, the compiler of Coq, is not installed: {HINT}")
    return path


def compile_files(names: Iterable[str], folder: Path) -> Iterator[Compiled]:
    """Compiles what each file needs of the prelude, then the file; the whole output goes to NAME.log.

    Raises:
        MissingDependencyError: there is no `coqc`, or the libraries of the prelude are not installed.
    """
    command = coqc()
    made: set[str] = set()
    for name in names:
        for part in libraries(name, folder):
            if part in made:
                continue
            made.add(part)
            found = None if _fresh(part, folder) else _compile(command, part, folder)
            if found is not None and not found.accepted:
                raise MissingDependencyError(f"coqc does not accept {part}.v ({found.reason}); {HINT}")
        yield _compile(command, name, folder)


def libraries(name: str, folder: Path) -> list[str]:
    """The files of the prelude that a file needs, in the order in which they are compiled."""
    text = (folder / f"{name}.v").read_text(encoding="utf-8")
    needed: set[str] = set()
    for part in re.findall(r"^From dlinear Require (?:Import|Export) (\w+)\.", text, re.MULTILINE):
        needed |= {part, *libraries(part, folder)}
    return [part for part in LIBRARY if part in needed]


def _fresh(part: str, folder: Path) -> bool:
    """Whether a file of the prelude is compiled, after it and all that it needs were written."""
    made = folder / f"{part}.vo"
    sources = [folder / f"{name}.v" for name in (part, *libraries(part, folder))]
    return made.exists() and all(made.stat().st_mtime > source.stat().st_mtime for source in sources)


def _compile(command: str, name: str, folder: Path) -> Compiled:
    """Runs `coqc` on one file of a folder."""
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [command, *COMMAND, f"{name}.v"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        printed, output, code = done.stdout, done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired:
        printed, output, code = "", f"Error: no answer after {LIMIT:.0f} s", 1
    seconds = time.perf_counter() - start
    write_text(folder / f"{name}.log", output)
    if code:
        place = re.search(r", line (\d+)", output)
        error = output[output.find("Error") :].split("\n\n")[0] if "Error" in output else output
        reason = f"line {place[1]}: " if place else ""
        return Compiled(name, False, seconds, reason=(reason + " ".join(error.split()))[:200])
    # warnings, for example that there is no home folder, are on the other stream
    listed = printed[printed.rfind("Axioms:") :] if "Axioms:" in printed else ""
    axioms = tuple(re.findall(r"^([A-Za-z_][\w.]*)(?= *:|$)", listed.removeprefix("Axioms:"), re.MULTILINE))
    text = (folder / f"{name}.v").read_text(encoding="utf-8")
    hypotheses = tuple(name for name in REAL if f"\nHypothesis {name} :" in text)
    return Compiled(name, True, seconds, axioms, hypotheses, output=output)
