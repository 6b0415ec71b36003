"""Anchored horizons, rollouts and strides: every path of the engine against slow definitions, 60 digits."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import reference

import dlinear
from dlinear import Engine, HorizonRule
from dlinear.engine import Threads
from dlinear.engine.backends import TorchBackend
from dlinear.errors import DomainError
from dlinear.theory.bounds.anchored import pair_count, run_edges

COARSE = [
    {},
    {"runs": 1},
    {"runs": 3},
    {"runs": 2, "sampling": "start"},
    {"runs": 2, "sampling": "middle", "shrink": 0.7},
    {"runs": 1, "sampling": "end", "shrink": 0.5},
    {"runs": 1, "degree": 2},
    {"runs": 3, "degree": 2},
]
RULES = [
    HorizonRule(anchored=anchored, stride=stride, **coarse)
    for anchored, stride, coarse in itertools.product((False, True), (1, 2, 3, 7, 40), COARSE)
]
ENGINES = {
    "one chunk": Engine(),
    "in memory, chunks": Engine(chunk_numbers=45),
    "streamed": Engine(chunk_numbers=45, memory=1),
    "streamed, longer chunks, threads": Engine(chunk_numbers=180, memory=1, team=Threads(2)),
    "torch": Engine(backend=TorchBackend("cpu"), chunk_numbers=63, memory=1),
}


def net_of(depth, seed=1, width=3, size=1.0):
    rng = np.random.default_rng(seed)
    return size * rng.normal(size=(depth, width, width)) / depth, rng.normal(size=(width, width))


def angle_of(a, b):
    """sin^2 without cancellation, cos and the ratio of norms."""
    delta, inner, square = a - b, np.vdot(a, b), np.vdot(b, b)
    sin2 = (np.vdot(delta, delta) - np.vdot(delta, b) ** 2 / square) / np.vdot(a, a)
    return sin2, inner / math.sqrt(square * np.vdot(a, a)), math.sqrt(np.vdot(a, a) / square)


@pytest.mark.parametrize("depth", [1, 2, 5, 23])
def test_all_paths_of_all_rules_meet_the_definition(depth):
    deviations, phi = net_of(depth)
    net, true = dlinear.DenseNetwork(deviations), reference.gradients(deviations, phi, depth)
    for rule in RULES if depth < 20 else RULES[::3]:
        want = []
        for h in range(1, depth + 1):
            slow = reference.rule_gradients(deviations, phi, h, rule)
            fast = dlinear.horizon_gradients(net, phi, h, rule)
            assert np.abs(slow - fast).max() <= 1e-13 * np.abs(slow).max(), (rule, h)
            want.append(angle_of(slow, true))
        want = np.array(want)
        for name, engine in ENGINES.items():
            got = dlinear.alignment(net, phi, range(1, depth + 1), rule=rule, engine=engine)
            assert np.abs(np.stack([got.sin2, got.cos, got.norm_ratio], 1) - want).max() < 1e-12, (rule, name)
            if depth > 1:
                got = dlinear.alignment(net, phi, "all", rule=rule, engine=engine)
                assert np.abs(got.sin2 - want[:-1, 0]).max() < 1e-12, (rule, name)


def test_horizon_t_is_back_propagation_and_the_plain_rule_is_the_default():
    deviations, phi = net_of(9)
    net = dlinear.DenseNetwork(deviations)
    true = reference.gradients(deviations, phi, 9)
    for rule in RULES:
        assert np.allclose(dlinear.horizon_gradients(net, phi, 9, rule), true, rtol=1e-13, atol=1e-15)
        assert dlinear.alignment(net, phi, 9, rule=rule).sin2[0] == 0
    plain = dlinear.alignment(net, phi, "all")
    same = dlinear.alignment(net, phi, "all", rule=HorizonRule())
    assert np.array_equal(plain.sin2, same.sin2)


DIGITS = [
    HorizonRule(anchored=True),
    HorizonRule(anchored=True, runs=1),
    HorizonRule(runs=2),
    HorizonRule(anchored=True, runs=3, stride=2),
    HorizonRule(runs=1, sampling="middle"),
    HorizonRule(anchored=True, stride=4),
    HorizonRule(stride=3),
    HorizonRule(anchored=True, runs=2, sampling="start", shrink=0.6),
    HorizonRule(anchored=True, runs=2, degree=2),
    HorizonRule(runs=1, degree=2, stride=2),
]


def digits_cases():
    """Rough and smooth layers of sizes 1e-3 to 3, targets far off and as near as 1e-12 (trained networks)."""
    rng = np.random.default_rng(3)
    for trial in range(14):
        depth, width = int(rng.integers(3, 24)), int(rng.integers(1, 4))
        size = 10.0 ** rng.uniform(-3, 0.5) / depth
        deviations = size * rng.normal(size=(depth, width, width))
        if trial % 3 == 1:
            deviations = (
                size * rng.normal(size=(width, width)) * np.cos(np.arange(depth) / depth)[:, None, None]
            )
        phi = rng.normal(size=(width, width))
        if trial % 4 == 2:
            gap = rng.normal(size=(width, width))
            gap *= 10.0 ** rng.integers(-12, -3) / np.linalg.norm(gap)
            phi = reference.state(deviations, depth) + gap
        yield trial, deviations, phi


def test_sin2_has_nine_digits_against_sixty():
    worst, count, least = 0.0, 0, 1.0
    for trial, deviations, phi in digits_cases():
        depth, width, _ = deviations.shape
        engine = Engine(chunk_numbers=6 * width**2, memory=1) if trial % 2 else None
        for rule in DIGITS:
            for h in sorted({1, depth // 2, depth - 3, depth - 1} - {0}):
                if h < 1:
                    continue
                got = dlinear.alignment(
                    dlinear.DenseNetwork(deviations), phi, h, rule=rule, undefined="nan", engine=engine
                ).sin2[0]
                if got == 0:  # no blind layer, or runs of one layer each: back-propagation
                    slow = reference.rule_gradients(deviations, phi, h, rule)
                    true = reference.gradients(deviations, phi, depth)
                    assert np.allclose(slow, true, rtol=1e-12, atol=1e-14 * np.abs(true).max())
                    continue
                want = reference.alignment_60(deviations, phi, h, rule)
                if want > 1e-25:
                    worst, count = max(worst, float(abs(got / want - 1))), count + 1
                    least = min(least, float(want))
    print(f"\n{count} cases, worst relative error {worst:.1e}, smallest sin^2 {least:.1e}")
    assert count >= 200
    assert worst < 1e-9


def test_an_anchored_angle_does_not_grow_as_the_residual_falls():
    """Theorem E1 has no R; the plain horizon's angle goes to 1."""
    rng = np.random.default_rng(0)
    deviations = rng.normal(size=(40, 4, 4)) / 80
    final, gap = reference.state(deviations, 40), rng.normal(size=(4, 4))
    net = dlinear.DenseNetwork(deviations)
    anchored, plain = [], []
    for size in (1.0, 1e-4, 1e-8, 1e-12):
        phi = final - size * gap / np.linalg.norm(gap)
        anchored.append(dlinear.alignment(net, phi, 1, rule=HorizonRule(anchored=True)).sin2[0])
        plain.append(dlinear.alignment(net, phi, 1).sin2[0])
    assert np.ptp(anchored) < 1e-3 * anchored[0]  # Phi is rounded: R has 4 digits at 1e-12
    assert plain[0] < 0.5
    assert plain[-1] > 0.9


@pytest.mark.parametrize("runs", [1, 2, 5])
def test_runs_differ_by_one_layer_at_most(runs):
    for unseen in range(40):
        edges = run_edges(unseen, runs)
        lengths = np.diff(edges)
        assert edges[0] == 0
        assert edges[-1] == unseen
        assert np.ptp(lengths) <= 1
        assert pair_count(unseen, runs) == sum(j * (j - 1) // 2 for j in lengths.tolist())
        assert 2 * runs * pair_count(unseen, runs) <= unseen**2


@pytest.mark.parametrize(
    "knobs",
    [
        {"anchored": 1},
        {"anchored": "yes"},
        {"runs": -1},
        {"runs": 1.5},
        {"runs": True},
        {"stride": 0},
        {"stride": None},
        {"sampling": "random", "runs": 1},
        {"sampling": "start"},
        {"shrink": math.nan, "runs": 1},
        {"shrink": "1", "runs": 1},
        {"shrink": 0.5},
        {"degree": 2},
        {"degree": 3, "runs": 1},
        {"degree": 2, "runs": 1, "sampling": "middle"},
        {"degree": 2, "runs": 1, "shrink": 0.5},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(knobs):
    with pytest.raises(DomainError) as caught:
        HorizonRule(**knobs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rule", ["anchored", None, True, HorizonRule], ids=["text", "None", "flag", "class"])
def test_what_is_no_rule_is_refused(rule):
    deviations, phi = net_of(4)
    net = dlinear.DenseNetwork(deviations)
    for call in (dlinear.alignment, dlinear.horizon_gradients):
        with pytest.raises(DomainError, match=r"rule is .*; expected a HorizonRule"):
            call(net, phi, 1, rule=rule)
