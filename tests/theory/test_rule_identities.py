"""Identities I1 to I13 of learning rules at 60 random nets each, to rounding; each has a false twin."""

from __future__ import annotations

import re

import numpy as np
import pytest
from paths import ROOT

from dlinear.certify import registry
from dlinear.certify.claims import Verdict
from dlinear.errors import DomainError
from dlinear.report import blocks
from dlinear.theory.bounds import theorem_e1_closed
from dlinear.theory.rule_identities import IDENTITIES, measure
from dlinear.theory.rule_identities.depth import end_error, layers, sin2, tail
from dlinear.theory.rule_identities.nets import ACTIVATIONS, STEP, Bound, case, derivative
from proofs import __main__ as command


@pytest.mark.parametrize("name", IDENTITIES)
def test_identity_to_rounding_and_its_false_twin(name):
    deviations, twins = measure(name, cases=60)
    assert deviations.shape == (60,)
    assert deviations.max() < IDENTITIES[name].tolerance
    assert twins.min() > 1e-3 > 2 * IDENTITIES[name].tolerance


def test_every_identity_is_there():
    numbers = {name.partition(" ")[0] for name in IDENTITIES}
    assert numbers == {*(f"I{k}" for k in range(1, 14)), "3.4", "3.5"}
    statements = [one.statement for one in IDENTITIES.values()]
    assert len(set(statements)) == len(statements)


def test_the_claims_of_a_row_are_proved_rows_of_the_ledger():
    ledger = {c.id: c.expected for some in registry.discover(command.FOLDER).values() for c in some}
    named = {name for one in IDENTITIES.values() for name in one.claims.split(", ") if name}
    assert len(named) > 15
    assert {ledger[name] for name in named} == {Verdict.PROVED}


def test_a_tail_of_identities_keeps_its_bound_at_any_end_error():
    """Theorem E1 for 400 nets, R of size 1e-6 to 10: neither R nor the width is in the bound."""
    ratios, sizes = [], []
    for seed in range(400):
        rng = np.random.default_rng([seed, 34])
        d, c = layers(rng)
        r, h = end_error(rng, d.shape[1]), int(rng.integers(1, len(d)))
        sizes.append(np.linalg.norm(r))
        ratios.append(sin2(*tail(d, r, h)) / theorem_e1_closed(len(d), h, c))
    assert min(sizes) < 1e-5 < 1 < max(sizes)
    assert 0.3 < max(ratios) <= 1


def test_the_table_of_the_page_is_that_of_the_identities():
    """Its rows, and numbers that are supported; the digits of rounding depend on the machine."""
    page = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    lines = blocks.block(page, "identities").splitlines()
    found = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
    assert len(found) == len(IDENTITIES)
    for row, (name, one) in zip(found, IDENTITIES.items(), strict=True):
        said = [cell.replace("\\|", "|").replace("\\<", "<") for cell in row]
        assert said[:2] == [name, one.statement]
        assert said[3::2] == [one.twin, "supported"]
        assert said[6] == one.claims
        assert float(said[2]) < one.tolerance
        assert float(said[4]) > 1e-3


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope_and_integral_of_an_activation(name):
    sigma, at = ACTIVATIONS[name], np.linspace(-2.05, 2, 24)
    found = derivative(sigma.value, at, np.ones(24))
    np.testing.assert_allclose(sigma.slope(at), found, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(derivative(sigma.integral, at, np.ones(24)), sigma.value(at), rtol=1e-12)
    assert sigma.integral(np.zeros(1)) == pytest.approx(0, abs=1e-15)
    assert STEP < 1e-20


def test_deviations_are_relative_to_the_largest_entry():
    one = case([[1.0, 2.0], 4.0], [[1.0, 2.0], 4.0004], [[1.0, 3.0], 4.0])
    assert one.deviation == pytest.approx(1e-4, rel=1e-3)
    assert one.twin_deviation == pytest.approx(0.25)
    bound = Bound(2.0, 4.0, 3.0, 2.0)
    assert bound.deviation == 0
    assert bound.twin_deviation == pytest.approx(0.5)
    assert Bound(4.4, 4.0, 1.0, 2.0).deviation == pytest.approx(0.1)


def test_bad_calls():
    with pytest.raises(DomainError, match="unknown identity 'I1'"):
        measure("I1")
    with pytest.raises(DomainError, match="cases"):
        measure("I1 mean", cases=0)
    with pytest.raises(DomainError, match="seed"):
        measure("I1 mean", seed=-1)
