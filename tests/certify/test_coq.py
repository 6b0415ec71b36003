"""Certificates as Coq files: Coq accepts them, and what was changed in a certificate it refuses."""

from __future__ import annotations

import copy
import shutil
from functools import cache

import pytest

from dlinear.certify import CertificateError, check, coq, registry
from dlinear.certify.coq import folder as files
from dlinear.certify.coq import norms
from dlinear.certify.decide import CHECKED
from dlinear.certify.trusted import axioms
from dlinear.certify.trusted.check import FORMAT
from dlinear.certify.trusted.kernel import RULES
from dlinear.certify.trusted.terms import parse
from dlinear.errors import MissingDependencyError
from proofs import __main__ as command
from proofs.__main__ import Knobs

CLAIMS = {c.id: c for claims in registry.discover(command.FOLDER).values() for c in claims}
needs_coqc = pytest.mark.skipif(shutil.which("coqc") is None, reason="coqc is not installed")

REALS = {
    "ClassicalDedekindReals.sig_forall_dec",
    "ClassicalDedekindReals.sig_not_dec",
    "FunctionalExtensionality.functional_extensionality_dep",
    "Classical_Prop.classic",
}
"""The axioms of Coq's own real numbers."""


@cache
def certificate(name):
    return CLAIMS[name].prove().certificate


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Compiles the export of a certificate under a name; the prelude once."""
    place = tmp_path_factory.mktemp("coq")
    coq.write([], command.PRELUDE, place)

    def run(name, data):
        (place / f"{name}.v").write_text(coq.export(name, data))
        [found] = coq.compile_files([name], place)
        return found

    return run


# -- what Coq accepts
@needs_coqc
@pytest.mark.slow
@pytest.mark.parametrize("name", ["eq_18_repaired", "eq_37"])
def test_coq_proves_every_step_again(compiled, name):
    found = compiled(name, certificate(name))
    assert found.accepted, found.reason
    assert set(found.axioms) <= REALS
    assert name in found.line()
    assert "accepted" in found.line()
    if name == "eq_37":
        assert {"F_product_FN", "F_product_NF"} & set(found.hypotheses)
        assert "eq_37_real" in found.output  # for real matrices nothing is assumed of norms


@needs_coqc
@pytest.mark.slow
def test_coq_accepts_a_counterexample_and_no_other_values(compiled):
    data = copy.deepcopy(dict(certificate("eq_9_printed")))
    assert compiled("eq_9_printed", data).accepted
    data["refutation"]["values"]["t"] = 1  # min(t + h - 1, T) = 2 = T - 1
    found = compiled("eq_9_changed", data)
    assert not found.accepted
    assert "Error" in found.reason


def sum_of_cases(most):
    """g(0) = D(0), g(1) = 2 D(1), D = 1: |g|^2 = 5."""
    cases = [{"if": ["t + 1 <= 1"], "then": "D(t)"}, {"if": ["1 <= t"], "then": "2*D(t)"}]
    return {
        "format": FORMAT,
        "statement": {
            "symbols": {"n": "posint"},
            "families": {"D": None},
            "definitions": {"g": {"index": "t", "cases": cases}},
            "sums": {"H": {"index": "t", "term": "ip(g(t), g(t))"}},
            "conclusions": [f"H(2) <= {most}"],
        },
        "refutation": {"values": {"n": 1, "D": {"0": [["1"]], "1": [["1"]]}}, "fails": 0},
    }


@needs_coqc
@pytest.mark.slow
def test_coq_decides_the_cases_of_a_sum(compiled):
    check(sum_of_cases(4))
    found = compiled("cases", sum_of_cases(4))
    assert found.accepted, found.reason
    assert not compiled("cases_held", sum_of_cases(5)).accepted


def on_a_box(most):
    """phi(2, x) <= most for |x| <= 1; phi(2, 1) = e - 2."""
    box = {"x": ["-1", "1"]}
    sides = ["-1 <= x", "x <= 1"]
    goal = f"phi(2, -x) <= {most}"
    return {
        "format": FORMAT,
        "statement": {"symbols": {"x": "real"}, "hypotheses": sides, "conclusions": [goal]},
        "steps": [{"rule": "ball", "conclusion": goal, "box": box, "tree": "0.0..", "bits": 64}],
        "goals": [0],
    }


@needs_coqc
@pytest.mark.slow
def test_coq_shows_what_holds_on_a_box_and_nothing_else(compiled):
    check(on_a_box("18/25"))
    found = compiled("box", on_a_box("18/25"))
    assert found.accepted, found.reason
    assert found.line().endswith("of primitive numbers")
    with pytest.raises(CertificateError):
        check(on_a_box("71/100"))
    assert not compiled("box_too_small", on_a_box("71/100")).accepted


# -- what it refuses
def wrong_coefficient(data):
    step = next(s for s in data["steps"] if s["rule"] == "linear" and "multipliers" in s)
    step["multipliers"][0] = f"2*({step['multipliers'][0]})"


def wrong_direction(data):
    step = next(s for s in data["steps"] if s["rule"] == "linear" and "<=" in s["conclusion"])
    left, right = step["conclusion"].split("<=")
    step["conclusion"] = f"{right} <= {left}"


def wrong_statement(data):
    left, right = data["statement"]["conclusions"][0].split("<=")
    data["statement"]["conclusions"][0] = f"{right} <= {left}"


def missing_hypothesis(data):
    del data["statement"]["hypotheses"][0]


def missing_premise(data):
    step = next(s for s in data["steps"] if s["rule"] == "linear" and "multipliers" in s)
    step["from"].pop()
    step["multipliers"].pop()


TAMPERED = [wrong_coefficient, wrong_direction, wrong_statement, missing_hypothesis, missing_premise]


@needs_coqc
@pytest.mark.slow
@pytest.mark.parametrize("change", TAMPERED, ids=lambda change: change.__name__)
def test_coq_refuses_a_certificate_that_was_changed(compiled, change):
    data = copy.deepcopy(dict(certificate("eq_18_repaired")))
    change(data)
    with pytest.raises(CertificateError):
        check(data)
    found = compiled(f"changed_{change.__name__}", data)
    assert not found.accepted
    assert "Error" in found.reason
    assert "rejected" in found.line()


# -- without coqc
def test_every_rule_of_the_kernel_has_a_template():
    from dlinear.certify.coq.steps import RULES as TEMPLATES

    assert set(RULES) == set(TEMPLATES)


def test_the_statement_stands_in_the_file_as_the_claim_has_it():
    text = coq.export("eq_18_repaired", certificate("eq_18_repaired"))
    head = text[text.index("Theorem eq_18_repaired") :].split("Proof.")[0]
    goal = CLAIMS["eq_18_repaired"].goal
    assert head.count("->") == len(goal["hypotheses"]) + 3  # three symbols with a sign
    assert head.count("/\\") == len(goal["conclusions"]) - 1
    assert text.count("\nLemma step_") == len(certificate("eq_18_repaired")["steps"])
    assert "Admitted" not in text
    assert text.count("\nProof") == text.count("\nQed.")


def test_a_file_is_compiled_after_what_it_needs(tmp_path):
    coq.write([CLAIMS["eq_18_repaired"], CLAIMS["fixed_points_shorter"]], command.PRELUDE, tmp_path)
    assert files.libraries("eq_18_repaired", tmp_path) == ["numbers", "matrices"]
    assert files.libraries("fixed_points_shorter", tmp_path) == [x for x in coq.LIBRARY if x != "boxes"]


def test_the_prelude_assumes_nothing():
    for name in coq.LIBRARY:
        text = (command.PRELUDE / f"{name}.v").read_text(encoding="utf-8")
        for word in ("Admitted", "admit", "Axiom", "Parameter", "Conjecture"):
            assert word not in text.split(), (name, word)


def test_norms_enter_as_the_axioms_of_the_kernel():
    named = norms.norm_hypotheses()
    spoken = {name for name, (_, text) in axioms.TEMPLATES.items() if set("FNS") & set(heads(parse(text)))}
    assert set(named) - spoken == {"F_nonneg", "N_nonneg", "S_nonneg", "F_definite"}
    assert spoken <= set(named)
    assert named["N_product"].startswith("forall (X : Mat) (Y : Mat), (N (")
    assert set(norms.LEMMAS) == set(axioms.TEMPLATES) - spoken


def test_each_is_a_lemma_for_real_matrices():
    text = (command.PRELUDE / "real_matrices.v").read_text(encoding="utf-8")
    assert set(norms.REAL) == set(norms.norm_hypotheses())
    for name in norms.REAL.values():
        assert f"\nLemma {name} " in text, name


def heads(tree):
    """Names of the functions of a tree."""
    if isinstance(tree, tuple):
        if tree[0] == "call":
            yield tree[1]
        for part in tree[1:]:
            yield from heads(part)


def test_without_coqc_one_line_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(files.shutil, "which", lambda name: None)
    with pytest.raises(MissingDependencyError, match="apt-get install coq"):
        command.main(Knobs(names=("eq_18",), coq=str(tmp_path), compile=True))
    assert command.main(Knobs(names=("eq_18",), coq=str(tmp_path))) == 0
    assert "certificates written" in capsys.readouterr().out
    assert (tmp_path / "eq_18_repaired.v").read_text().startswith("From dlinear Require Import matrices.")


@pytest.mark.slow
def test_a_certificate_is_written_or_named(tmp_path, capsys):
    chosen = ("eq_9", "eq_17", "eq_45", "lemma_c1")
    assert command.main(Knobs(names=chosen, coq=str(tmp_path))) == 0
    said = capsys.readouterr().out
    for name, claim in CLAIMS.items():
        if claim.expected in CHECKED and name.startswith(chosen):
            assert (tmp_path / f"{name}.v").exists() != (f"not exported  {name}:" in said), name
