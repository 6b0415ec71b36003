"""Identities I1 to I13 of learning rules at 60 random nets each, to rounding; each has a false twin."""

from __future__ import annotations

import re

import numpy as np
import pytest
from paths import ROOT
from sklearn.datasets import load_digits

from dlinear.engine import feedback_gradients
from dlinear.errors import DomainError
from dlinear.report import blocks
from dlinear.theory.bounds import theorem_e1_closed
from dlinear.theory.rule_identities import IDENTITIES, goodness, measure
from dlinear.theory.rule_identities.depth import end_error, layers, sin2, tail, windows
from dlinear.theory.rule_identities.nets import ACTIVATIONS, STEP, Bound, case, derivative


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
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    named = {name for one in IDENTITIES.values() for name in one.claims.split(", ") if name}
    assert len(named) > 15
    for name in named:
        (row,) = (line for line in page.splitlines() if f"[{name}](../proofs/" in line)
        assert "| **proved**" in row


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
    assert max(ratios) == pytest.approx(0.712, abs=5e-4)  # of docs/rules_depth.md


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


def test_a_tail_of_identities_is_that_of_the_engine():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        d, _ = layers(rng)
        r, h = end_error(rng, d.shape[1]), int(rng.integers(1, len(d)))
        states, _ = windows(d, r)
        p = feedback_gradients.passes(d, states[-1] - r)
        size = np.linalg.norm(r)
        np.testing.assert_allclose(p.states, states, rtol=1e-10, atol=1e-12)
        expected = p.true, feedback_gradients.feedback_gap(p, np.zeros_like(r), h)
        for ours, theirs in zip(tail(d, r, h), expected, strict=True):
            np.testing.assert_allclose(ours / size, theirs / size, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope_and_integral_of_an_activation(name):
    sigma, at = ACTIVATIONS[name], np.linspace(-2.05, 2, 24)
    found = derivative(sigma.value, at, np.ones(24))
    np.testing.assert_allclose(sigma.slope(at), found, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(derivative(sigma.integral, at, np.ones(24)), sigma.value(at), rtol=1e-12)
    assert sigma.integral(np.zeros(1)) == pytest.approx(0, abs=1e-15)
    assert STEP < 1e-20


def one_step(p, labels, equal):
    """The label of most goodness after a step of 1e-3 from W^T W = I; all wrong labels, theta = units."""
    k = 10
    true = np.concatenate([p, np.eye(k)[:, labels]])
    good = np.tile(true, k - 1)
    bad = np.concatenate([np.concatenate([p, np.eye(k)[:, (labels + j) % k]]) for j in range(1, k)], axis=1)
    step = np.eye(len(good)) - 2e-3 * goodness.weighted(np.eye(len(good)), good, bad, equal, float(len(good)))
    seen = [np.concatenate([p, np.tile(np.eye(k)[:, [j]], p.shape[1])]) for j in range(k)]
    return np.argmax([np.sum((step @ x) ** 2, axis=0) for x in seen], axis=0)


def test_what_one_step_of_forward_forward_predicts_on_digits():
    """Numbers of docs/rules.md: all as the law, 99.9 % without the frequencies, 96 % by logistic weights."""
    x, labels = load_digits(return_X_y=True)
    u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    p = (u[:, s > 1e-8] * np.sqrt(len(x))).T
    y = np.eye(10)[:, labels]
    phi, frequency = y @ p.T / len(x), y.mean(axis=1, keepdims=True)
    law = np.argmax(20 * phi @ p + 10 * frequency, axis=0)
    found = one_step(p, labels, equal=True)
    assert np.array_equal(found, law)
    assert 0.998 < np.mean(found == np.argmax(phi @ p, axis=0)) < 0.9995
    assert np.mean(one_step(p, labels, equal=False) == law) == pytest.approx(0.96, abs=0.005)


def test_the_symmetrised_mean_of_the_hebbian_form_does_not_train():
    """T = 60 linear layers, F = -s I to first order in F: ||R|| by P R P^T, and by P (R + R^T) P^T."""
    rng = np.random.default_rng(0)
    phi, start = np.eye(4) + 0.4 * rng.normal(size=(4, 4)), rng.normal(size=(60, 4, 4)) * 0.3 / 60
    ends = []
    for symmetrised in (False, True):
        d = start
        for _ in range(300):
            states, _ = windows(d, phi)
            r = states[-1] - phi
            inner = r + r.T if symmetrised else r
            d = d - 0.005 * np.stack([states[t + 1] @ inner @ states[t].T for t in range(60)])
        ends.append(np.linalg.norm(r))
    assert ends[0] < 1e-14
    assert 0.5 < ends[1] < 2


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
