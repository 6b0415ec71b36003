"""Every sentence about budgets, over made-up results: each says what its own numbers say."""

from __future__ import annotations

import math
import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dlinear.analysis import budgets
from dlinear.analysis.comparison import MethodResult

NAN = math.nan
WHOLE = 1e6  # bytes of back-propagation


def result(name, memory, values, *, exact=False, horizon=None):
    """A method with these test accuracies (NaN: diverged), the same at equal epochs and at equal time."""
    accuracy = np.array(values, float)
    scores = {"test_accuracy": accuracy, "test_loss": 1 - accuracy}
    scores |= {"train_loss": 2 - accuracy, "train_accuracy": accuracy}
    regimes = dict.fromkeys(("epochs", "time"), scores)
    numbers = {"exact": float(exact), "horizon": NAN if horizon is None else horizon, "depth": 64.0}
    steps, rates = dict.fromkeys(regimes, 10), dict.fromkeys(regimes, 0.1)
    cosines = np.ones((len(accuracy), 2))
    return MethodResult(
        name,
        memory * WHOLE,
        memory,
        (1.0, 1.0, 1.0),
        regimes,
        steps,
        rates,
        cosines,
        numbers | {"number": NAN},
    )


def horizon(h, memory, *values):
    return result(f"horizon-{h}", memory, values, horizon=h)


def exact(name, memory, *values):
    return result(name, memory, values, exact=True)


def said(*found, metric="test"):
    return [line.removeprefix("equal epochs, ") for line in budgets.findings(found, "epochs", metric)]


WHOLE_BATCH = exact("backprop", 1.0, 0.90, 0.91, 0.92)
NONE = "test accuracy: within no memory budget does a horizon beat every exact method that fits; "


def test_no_horizon_was_run():
    assert said(WHOLE_BATCH) == ["test accuracy: no horizon below T was run"]


def test_one_seed():
    found = [horizon(1, 0.1, 0.5), exact("backprop", 1.0, 0.9)]
    assert said(*found) == [
        "test accuracy: one seed gives no interval, so nothing is said about who wins",
    ]


def test_a_horizon_is_alone_and_wins_nowhere():
    assert said(horizon(1, 0.1, 0.5, 0.6, 0.7), WHOLE_BATCH) == [
        "test accuracy: from 10.0% (0.10 MB) to 100.0% no exact method of this run fits; the best horizon is "
        "horizon-1",
        NONE + "none of them can be compared with one",
    ]


def test_a_horizon_that_is_alone_and_diverged_is_not_the_best():
    lines = said(horizon(1, 0.1, 0.5, NAN, 0.7), horizon(2, 0.2, 0.4, 0.5, 0.6), WHOLE_BATCH)
    assert lines[:2] == [
        "test accuracy: from 10.0% (0.10 MB) to 20.0% no exact method of this run fits, and every horizon "
        "that does diverged",
        "test accuracy: from 20.0% (0.20 MB) to 100.0% no exact method of this run fits; the best horizon is "
        "horizon-2",
    ]


def test_beaten_by_all():
    found = [exact("thrifty", 0.05, 0.8, 0.81, 0.82), horizon(1, 0.1, 0.5, 0.51, 0.52), WHOLE_BATCH]
    assert said(*found) == [
        NONE + "the closest, horizon-1 at 10.0%, differs from thrifty at 5.0% by -0.3000 [-0.3000, -0.3000]"
    ]


def test_the_rival_that_is_named_is_one_that_was_not_beaten():
    """The best on average is beaten; the one that is not has seeds that differ more."""
    rough = exact("rough", 0.05, 0.10, 0.40, 0.80)
    steady = exact("steady", 0.06, 0.50, 0.51, 0.52)
    ours = horizon(1, 0.1, 0.60, 0.61, 0.62)
    assert steady.value("epochs").mean() > rough.value("epochs").mean()
    assert budgets.difference(ours, steady, "epochs").low > 0
    assert not budgets.difference(ours, rough, "epochs").low > 0
    (line,) = said(rough, steady, ours, WHOLE_BATCH)
    assert line.startswith(NONE + "the closest, horizon-1 at 10.0%, differs from rough at 5.0% by 0.1767 [-")


def test_the_closest_horizon_is_measured_against_what_it_fails_to_beat():
    """Neither beats the one whose seeds differ most; horizon-1 comes closer."""
    rough = exact("rough", 0.05, 0.2, 0.4, 0.9)
    first, second = horizon(1, 0.1, 0.55, 0.56, 0.57), horizon(2, 0.2, 0.50, 0.51, 0.52)
    (line,) = said(rough, first, second, WHOLE_BATCH)
    assert "the closest, horizon-1 at 10.0%, differs from rough at 5.0% by 0.0600 [" in line


def test_equal_values_are_no_win():
    same = (0.8, 0.9, 0.7)
    (line,) = said(exact("thrifty", 0.05, *same), horizon(1, 0.1, *same), WHOLE_BATCH)
    assert line == (
        NONE + "the closest, horizon-1 at 10.0%, differs from thrifty at 5.0% by 0.0000 [0.0000, 0.0000]"
    )


def test_a_win_between_two_exact_methods():
    found = [exact("slow", 0.05, 0.3, 0.31, 0.32), horizon(1, 0.1, 0.50, 0.51, 0.52)]
    found += [exact("checkpoint", 0.25, 0.9, 0.91, 0.92), WHOLE_BATCH]
    assert said(*found) == [
        "test accuracy: from 10.0% (0.10 MB) to 25.0% horizon-1 beats every exact method that fits, the best "
        "of them, slow, by 0.2000 [0.2000, 0.2000]"
    ]


def test_a_win_over_all_has_no_end():
    found = [horizon(1, 0.1, 0.95, 0.96, 0.97), WHOLE_BATCH]
    assert said(*found)[-1] == (
        "test accuracy: from 100.0% (1.00 MB) on horizon-1 beats every exact method that fits, the best of "
        "them, backprop, by 0.0500 [0.0500, 0.0500]"
    )


def test_the_best_of_several_winners_is_named():
    found = [exact("slow", 0.05, 0.3, 0.31, 0.32), horizon(1, 0.1, 0.50, 0.51, 0.52)]
    found += [horizon(2, 0.2, 0.60, 0.61, 0.62), WHOLE_BATCH]
    lines = said(*found)
    assert [re.search(r"from ([\d.]+)%.* (horizon-\d) beats", line).groups() for line in lines] == [
        ("10.0", "horizon-1"),
        ("20.0", "horizon-2"),
    ]


def test_exact_methods_that_all_diverged_are_beaten_and_no_number_is_made_up():
    found = [exact("wild", 0.05, NAN, 0.9, 0.9), horizon(1, 0.1, 0.5, 0.6, 0.7), WHOLE_BATCH]
    assert said(*found) == [
        "test accuracy: from 10.0% (0.10 MB) to 100.0% horizon-1 beats every exact method that fits: all of "
        "them diverged"
    ]


def test_the_best_of_the_rivals_is_one_that_did_not_diverge():
    found = [exact("wild", 0.05, 0.9, 0.9, NAN), exact("slow", 0.06, 0.3, 0.31, 0.32)]
    lines = said(*found, horizon(1, 0.1, 0.50, 0.51, 0.52), WHOLE_BATCH)
    assert "the best of them, slow, by 0.2000" in lines[0]


def test_a_horizon_that_diverged_is_compared_with_none():
    found = [exact("thrifty", 0.05, 0.8, 0.81, 0.82), horizon(1, 0.1, 0.9, NAN, 0.9), WHOLE_BATCH]
    assert said(*found) == [NONE + "none of them can be compared with one"]
    found = [exact("wild", 0.05, NAN, 0.8, 0.8), horizon(1, 0.1, 0.9, NAN, 0.9), WHOLE_BATCH]
    assert said(*found) == [NONE + "none of them can be compared with one"]


def test_the_training_loss_is_judged_by_itself():
    found = [exact("slow", 0.05, 0.3, 0.31, 0.32), horizon(1, 0.1, 0.50, 0.51, 0.52), WHOLE_BATCH]
    (line,) = said(*found, metric="train")
    assert line.startswith("minus the training loss: from 10.0%")


def other(name, memory, *values):
    return result(name, memory, values)


def test_every_inexact_method_is_weighed_and_horizons_keep_their_lines():
    """A horizon alone wins nowhere; anchored-1 wins below checkpointing."""
    found = [exact("slow", 0.05, 0.3, 0.31, 0.32), horizon(1, 0.1, 0.2, 0.21, 0.22)]
    found += [other("anchored-1", 0.12, 0.6, 0.61, 0.62), other("stages-4", 0.5, 0.7, 0.71, 0.72)]
    found += [exact("checkpoint", 0.25, 0.9, 0.91, 0.92), WHOLE_BATCH]
    assert said(*found) == [
        NONE + "the closest, horizon-1 at 10.0%, differs from slow at 5.0% by -0.1000 [-0.1000, -0.1000]",
        "test accuracy, all methods: from 12.0% (0.12 MB) to 25.0% anchored-1 beats every exact method that "
        "fits, the best of them, slow, by 0.3000 [0.3000, 0.3000]",
    ]
    (alone,) = [won for won in budgets.won_budgets(found, "epochs", side=budgets.INEXACT) if won.rival]
    assert (alone.low, alone.high, alone.winner.method) == (0.12, 0.25, "anchored-1")
    assert not [won for won in budgets.won_budgets(found, "epochs") if won.rival]


def test_sentences_about_inexact_methods():
    near = other("stages-4", 0.2, 0.7, 0.71, 0.72)
    assert said(near, WHOLE_BATCH) == [
        "test accuracy: no horizon below T was run",
        "test accuracy, all methods: from 20.0% (0.20 MB) to 100.0% no exact method of this run fits; "
        "the best inexact method is stages-4",
        NONE.replace(":", ", all methods:", 1).replace("a horizon", "an inexact method")
        + "none of them can be compared with one",
    ]
    wild = other("anchored-1", 0.2, 0.7, NAN, 0.72)
    assert "and every inexact method that does diverged" in said(wild, WHOLE_BATCH)[1]
    one = [other("stages-4", 0.1, 0.5), exact("backprop", 1.0, 0.9)]
    assert said(*one)[1].endswith("one seed gives no interval, so nothing is said about who wins")


@given(st.data())
def test_all_inexact_methods_win_wherever_horizons_do(data):
    """The second side contains the first: at every budget that a horizon wins, some method wins."""
    found = data.draw(comparisons())
    more = [other(f"stages-{i}", one.memory, *one.value("epochs")) for i, one in enumerate(found[1:3])]
    together = [*found, *more]
    inside = budgets.won_budgets(together, "epochs", side=budgets.INEXACT)
    for won in budgets.won_budgets(found, "epochs"):
        assert any(wide.low <= won.low < wide.high for wide in inside)
    lines = budgets.findings(together, "epochs")
    assert lines[: len(budgets.findings(found, "epochs"))] == budgets.findings(found, "epochs")
    assert all("all methods" in line for line in lines[len(budgets.findings(found, "epochs")) :])
    assert (len(lines) > len(budgets.findings(found, "epochs"))) == bool(more)


@st.composite
def comparisons(draw):
    """Few different numbers: ties, equal values and diverged seeds occur."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    found = [exact("backprop", 1.0, *_values(rng))]
    for i in range(rng.integers(0, 4)):
        found.append(exact(f"exact-{i}", float(rng.choice([0.1, 0.2, 0.4, 0.7])), *_values(rng)))
    for h in range(1, 1 + rng.integers(1, 4)):
        found.append(horizon(h, float(rng.choice([0.1, 0.2, 0.3, 0.5])), *_values(rng)))
    return found


def _values(rng):
    values = (
        rng.integers(0, 3) / 4
        + rng.integers(0, 3) / 8 * rng.random(3)
        + rng.integers(0, 2) / 100 * rng.random(3)
    )
    return np.where(rng.random(3) < 0.07, NAN, values)


@given(comparisons())
def test_no_sentence_contradicts_the_results(found):
    """Each is read again and checked against the definition: budget by budget, difference by difference."""
    methods = {one.method: one for one in found}
    rivals, ours = [r for r in found if r.exact], [h for h in found if h.truncated]

    def beats(one, other):
        return budgets.difference(one, other, "epochs").low > 0

    def mean(one):
        return float(np.nan_to_num(one.value("epochs").mean(), nan=-1))

    covered = []
    for line in said(*found):
        if " from " in line and "within no" not in line:
            low, high = re.search(r"from ([\d.]+)% \([\d.]+ MB\) (?:to ([\d.]+)%|on)", line).groups()
            low, high = float(low) / 100, math.inf if high is None else float(high) / 100
            covered.append((low, high, "beats" in line))
            fits = [r for r in rivals if r.memory <= low + 1e-9]
            assert bool(fits) == ("beats" in line)
            if named := re.search(r"(horizon-\d)", line):
                one = methods[named[1]]
                assert one.memory <= low + 1e-9
                assert all(beats(one, r) for r in fits)
                winners = [h for h in ours if h.memory <= low + 1e-9 and all(beats(h, r) for r in fits)]
                assert one.value("epochs").mean() == max(
                    np.nan_to_num(h.value("epochs").mean(), nan=-1) for h in winners
                )
            if rival := re.search(r"the best of them, ([\w-]+), by (-?[\d.]+) \[(-?[\d.]+)", line):
                assert mean(methods[rival[1]]) == max(map(mean, fits))
                assert float(rival[3]) >= 0
            if "all of them diverged" in line:
                assert all(np.isnan(r.value("epochs")).any() for r in fits)
            assert "nan" not in line
            assert "inf" not in line
        elif close := re.search(
            r"closest, (horizon-\d) at .*, differs from ([\w-]+) at .* by (\S+) \[(\S+),", line
        ):
            one, rival = methods[close[1]], methods[close[2]]
            assert rival.memory <= one.memory
            assert not beats(one, rival), "the rival that is named is one that was not beaten"
            assert float(close[4]) <= 0
        if "within no memory budget" in line:
            assert not any(won for *_, won in covered)
    for budget in (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0):
        fits = [r for r in rivals if r.memory <= budget]
        wins = any(h.memory <= budget and all(beats(h, r) for r in fits) for h in ours)
        here = [won for low, high, won in covered if low - 1e-9 <= budget < high - 1e-9]
        assert here == ([bool(fits)] if wins else [])
