"""The checker: re-derives every step of a certificate and accepts nothing else.

A statement is proved when each of its conclusions is a fact (see `kernel`) whose hypotheses are among its
own; a witness, where the statement names one, shows that these do not contradict each other. It is refuted
when explicit values satisfy its hypotheses and certainly violate one conclusion.

The trusted base is this module, witness, kernel, the three modules of rules, terms, normal_form,
calculus, balls, evaluation and the list of axioms; they import nothing of the provers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlinear.certify.trusted import rules_logic, rules_matrices, rules_numbers
from dlinear.certify.trusted.balls import precision
from dlinear.certify.trusted.context import read_context
from dlinear.certify.trusted.evaluation import Model, model_text
from dlinear.certify.trusted.kernel import Kernel, formula
from dlinear.certify.trusted.limits import limited
from dlinear.certify.trusted.terms import SORTS, CertificateError
from dlinear.certify.trusted.witness import check_witness

RULE_MODULES = (rules_logic, rules_numbers, rules_matrices)  # importing them fills the table of rules
FORMAT = "dlinear-certificate/1"
STATEMENT_KEYS = {
    "symbols", "families", "products", "totals", "sequences", "definitions", "sums",
    "exists", "hypotheses", "conclusions", "witness",
}  # fmt: skip
LISTS = ("sequences", "exists", "hypotheses", "conclusions")
MAX_STEPS = 5000
MAX_BYTES = 16_000_000


@dataclass(frozen=True)
class Checked:
    """What the checker found.

    Attributes:
        verdict: "proved", "certified" (some step is ball arithmetic) or "refuted".
        steps: number of steps accepted.
        boxes: number of leaves evaluated by ball arithmetic.
        evidence: the counterexample in one line, or "".
        witnessed: a proved statement's hypotheses, if any, are shown to hold together somewhere.
    """

    verdict: str
    steps: int
    boxes: int
    evidence: str
    witnessed: bool = True


def read(path: str | Path) -> dict[str, Any]:
    """A certificate from its file; truncated and foreign files are errors of one line."""
    path = Path(path)
    try:
        if not path.is_file():
            raise FileNotFoundError
        if path.stat().st_size > MAX_BYTES:
            raise CertificateError(f"{path.name} is larger than {MAX_BYTES} bytes")
        data = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except CertificateError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # damaged bytes, no JSON, too deep
        raise CertificateError(
            f"{path.name} is not a readable certificate ({type(error).__name__})"
        ) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CertificateError(f"{path.name} does not have the format {FORMAT}")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, each of whose names stands in it once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise CertificateError(f"{twice[:60]!r} stands twice in one object")
    return found


def check(certificate: Mapping[str, Any], goal: Mapping[str, Any] | None = None) -> Checked:
    """Verdict of a certificate, re-derived from its steps.

    Args:
        certificate: JSON data, see `dlinear.certify`.
        goal: the registered statement; the certificate's must equal it. None skips this comparison.

    Raises:
        CertificateError: any step is not what its rule allows, the statement is another one or declares
            what does not exist, or the work is above `limits.WORK`.
    """
    try:
        with limited():
            return _check(certificate, goal)
    except CertificateError:
        raise
    except Exception as error:  # whatever malformed data runs into: it is rejected
        reason = f"malformed certificate ({type(error).__name__}: {str(error)[:80]})"
        raise CertificateError(reason.replace("\n", " ")) from error


def _check(certificate: Mapping[str, Any], goal: Mapping[str, Any] | None) -> Checked:
    """`check`, with any error for malformed data."""
    if certificate.get("format") != FORMAT:
        raise CertificateError(f"format is not {FORMAT}")
    statement = certificate["statement"]
    if goal is not None and json.dumps(statement, sort_keys=True) != json.dumps(goal, sort_keys=True):
        raise CertificateError("the statement is not the registered goal of this claim")
    unknown = set(statement) - STATEMENT_KEYS
    if unknown or not statement.get("conclusions"):
        raise CertificateError(f"statement without conclusions, or with unknown parts {sorted(unknown)}")
    for key in LISTS:
        texts = statement.get(key, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise CertificateError(f"{key} must be a list of texts")
    if ("steps" in certificate) == ("refutation" in certificate):
        raise CertificateError("a certificate has either steps or a refutation")
    if "refutation" in certificate:
        return _refute(statement, certificate["refutation"])
    return _prove(statement, certificate)


def _refute(statement: Mapping[str, Any], data: Mapping[str, Any]) -> Checked:
    context = read_context(statement)
    hypotheses = [formula(text, context) for text in statement.get("hypotheses", [])]
    conclusions = [formula(text, context) for text in statement["conclusions"]]
    exists = statement.get("exists", [])
    fails = data["fails"]
    if isinstance(fails, bool) or not isinstance(fails, int) or not 0 <= fails < len(conclusions):
        raise CertificateError("the refutation must name the conclusion that fails")
    with precision(data.get("bits", 128)):
        model = Model(context, data["values"], exists)
        for text, tree in zip(statement.get("hypotheses", []), hypotheses, strict=True):
            if model.decide(tree) is not True:
                raise CertificateError(f"the example does not satisfy the hypothesis {text}")
        if model.decide(conclusions[fails]) is not False:
            raise CertificateError(f"the example does not violate {statement['conclusions'][fails]}")
        _, left, right = conclusions[fails]
        sides = " against ".join(model.text(side) for side in (left, right))
    evidence = f"{model_text(data['values'])}: {statement['conclusions'][fails]} fails, {sides}"
    return Checked("refuted", 0, 0, evidence)


def _prove(statement: Mapping[str, Any], certificate: Mapping[str, Any]) -> Checked:
    if statement.get("exists"):
        raise CertificateError("a statement with open constants can only be refuted")
    if "witness" in statement:
        check_witness(statement)
    plain = read_context(statement)
    auxiliary = certificate.get("auxiliary", {})
    functions = (plain.families, plain.products, plain.totals, plain.definitions, plain.sums)
    taken = {*plain.symbols, *(name for table in functions for name in table)}
    if set(auxiliary) & taken or any(sort not in SORTS for sort in auxiliary.values()):
        raise CertificateError("an auxiliary symbol is declared twice or has an unknown sort")
    merged = {**statement, "symbols": {**statement.get("symbols", {}), **auxiliary}}
    kernel = Kernel(read_context(merged))
    steps = certificate["steps"]
    if not isinstance(steps, list) or len(steps) > MAX_STEPS:
        raise CertificateError(f"steps must be a list of at most {MAX_STEPS}")
    for number, step in enumerate(steps):
        try:
            kernel.step(step)
        except Exception as error:  # a malformed step runs into anything
            rule = step.get("rule", "?") if isinstance(step, dict) else "?"
            reason = str(error) if isinstance(error, CertificateError) else f"{type(error).__name__}: {error}"
            raise CertificateError(f"step {number} ({rule}): {reason}"[:400].replace("\n", " ")) from error
    allowed = {kernel.normal.formula(formula(text, plain)) for text in statement.get("hypotheses", [])}
    goals = certificate["goals"]
    if len(goals) != len(statement["conclusions"]):
        raise CertificateError("the number of goals differs from the number of conclusions")
    for text, at in zip(statement["conclusions"], goals, strict=True):
        fact = kernel.fact(at)
        if kernel.normal.formula(fact.formula) != kernel.normal.formula(formula(text, plain)):
            raise CertificateError(f"step {at} does not conclude {text}"[:300])
        extra = [tree for name, tree in fact.hypotheses.items() if name not in allowed]
        if extra:
            raise CertificateError(f"{len(extra)} hypotheses of {text} are not in the statement"[:300])
    witnessed = "witness" in statement or not statement.get("hypotheses")
    return Checked("certified" if kernel.boxes else "proved", len(steps), kernel.boxes, "", witnessed)
