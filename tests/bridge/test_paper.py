"""The paper's experiments: runs, laws, counts and verdicts against definitions, each with a false twin."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from paths import ROOT
from torch import nn

from dlinear.bridge import load, meters, model
from dlinear.bridge.data.losses import Supervised
from dlinear.bridge.models import TaskShape
from dlinear.bridge.models.small_vit import Adapted, adapters
from dlinear.bridge.paper import angles, course, extracts, losses, memory, plan, selected, settings, tuning
from dlinear.bridge.selection.columns import Column
from dlinear.bridge.selection.outcome import Algorithm, Table
from dlinear.errors import DataError, DomainError, RecordError
from dlinear.report import reproduction
from dlinear.runs.records import Record

SIZE = settings.Size(data="digits", epochs=1, samples=60, test_samples=20, base_epochs=1, learning_rate=0.1)


@pytest.fixture(scope="module")
def small():
    """A tiny course of the ViT, and its data."""
    knobs = plan.PaperRun(blocks=2, units=8)
    return plan.settled(knobs, "small_vit", SIZE)


# --- data and models ---------------------------------------------------------------------------------------


def test_halves_have_no_class_in_common_and_count_from_zero():
    split = load("digits", samples=100, test_samples=50)
    first, second = course.halves(split)
    assert (first.classes, second.classes) == (5, 5)
    assert len({split.digest, first.digest, second.digest}) == 3
    for part in ("train", "test"):
        labels = getattr(split, f"y_{part}")
        for one, low in ((first, 0), (second, 5)):
            chosen = (labels >= low) & (labels < low + 5)
            assert torch.equal(getattr(one, f"y_{part}"), labels[chosen] - low)
            assert torch.equal(getattr(one, f"x_{part}"), getattr(split, f"x_{part}")[chosen])
    with pytest.raises(DataError, match="trigonometric has None classes; a base needs four or more"):
        course.halves(load("trigonometric", samples=5, test_samples=5))


def test_what_a_tuned_vit_trains_and_what_it_starts_from(small):
    split = course.split_for(small, None, False)
    base, second = course.halves(split)
    stack = course.adapted(small, second, None, False)
    trained = {id(p) for p in stack.parameters() if p.requires_grad}
    assert trained == {id(p) for p in [*adapters(stack), *stack.readout.parameters()]}
    fresh = course.build(small, second)
    moved = {n for n, p in stack.named_parameters() if not torch.equal(p, dict(fresh.named_parameters())[n])}
    assert any("patches" in name for name in moved), "the base was trained"
    assert not any("up" in name or "down" in name or "head.1" in name for name in moved), "these start anew"
    again = course.adapted(dataclasses.replace(small, method="horizon-1"), second, None, False)
    assert all(torch.equal(a, b) for a, b in zip(stack.parameters(), again.parameters(), strict=True))
    assert not torch.equal(base.x_train[:1], second.x_train[:1])


def test_low_rank_factors_are_those_of_the_merged_weight():
    torch.manual_seed(0)
    layer = Adapted(6, 2, alpha=3.0)
    with torch.no_grad():
        layer.up.normal_()
    z = torch.randn(4, 6)
    merged = nn.functional.linear(z, layer.base.weight + 1.5 * layer.up @ layer.down, layer.base.bias)
    torch.testing.assert_close(layer(z), merged)


def test_each_stage_of_the_small_resnet_keeps_half():
    stack = model("small_resnet50", TaskShape((3, 16, 16), 4), depth_per_stage=2, base_channels=4)
    states = meters.states_of(stack.eval(), torch.randn(2, 3, 16, 16))
    sizes = [state.numel() for state in states[2::2]]  # the second block of each stage
    assert [a / b for a, b in itertools.pairwise(sizes)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"width": 9}, "width is 9; expected a multiple of heads = 4"),
        ({"patch": 3}, r"small_vit takes images .* in patches of 3, not \(1, 8, 8\)"),
        ({"depth": 0}, "depth is 0; expected"),
    ],
)
def test_what_a_small_vit_refuses(knobs, words):
    with pytest.raises((DomainError, ValueError), match=words):
        model("small_vit", TaskShape((1, 8, 8), 3), **knobs)


# --- plans -------------------------------------------------------------------------------------------------


def test_sizes_are_table_d2_where_nothing_else_is_said():
    full = settings.numbers(settings.Size(), "mlp", plan.PaperRun())
    assert (full["epochs"], full["samples"], full["batch_size"], full["learning_rate"]) == (
        40,
        1e5,
        100,
        0.01,
    )
    own = settings.numbers(SIZE, "small_vit", plan.PaperRun(epochs=7))
    assert (own["epochs"], own["samples"], own["data"]) == (7, 60, "digits")
    images = settings.numbers(SIZE, "small_vit", plan.PaperRun(images="cifar100"))
    assert images["data"] == "cifar100"
    assert (
        settings.numbers(settings.Size(), "mlp", plan.PaperRun(images="cifar100"))["data"] == "trigonometric"
    )


def test_runs_of_a_model_differ_in_horizon_and_seed_alone(small):
    found = plan.family(small, [3, 1], 2)
    assert [(one.method, one.seed) for one in found] == [
        *(("horizon-1", 0), ("backprop", 0), ("horizon-1", 1), ("backprop", 1)),
    ]
    assert len({dataclasses.replace(one, method="", seed=0) for one in found}) == 1
    with pytest.raises(DomainError, match="--horizons holds 4; small_vit has T = 3 blocks"):
        plan.family(small, [4], 1)


def test_a_run_ends_with_losses_of_both_sets_and_its_memory(small, tmp_path):
    found = course.compute(dataclasses.replace(small, method="horizon-1"), str(tmp_path), None, False)
    whole = course.compute(small, str(tmp_path), None, False)
    for name in course.CURVES:
        assert np.isfinite(found[name][1]).all()
        assert len(found[name][1]) == 2
    assert found["activations"][1] < whole["checkpoint"][1] + whole["activations"][1]
    assert "checkpoint" not in found
    assert not list(tmp_path.iterdir())


# --- the law of Figure 2 -----------------------------------------------------------------------------------


def test_the_law_is_found_again_and_drawn_without_cancellation():
    m, law = np.arange(1.0, 15), angles.Law(0.3, 0.0, 2.0)
    found = angles.fitted(m, law.tan2(m, 15), 15)
    np.testing.assert_allclose(found, law, atol=1e-10)
    assert law.tan2(np.array([1.0]), 15) == pytest.approx(0.3 / 15 + 2.0 * 3 / 15**3)
    small, large = np.array([1e-14]), np.array([3.0])
    np.testing.assert_allclose(angles.one_minus_cos(small), small / 2, rtol=1e-12)
    np.testing.assert_allclose(angles.one_minus_cos(large), 0.5)


def panel_of(power, epoch, factor=1.0, seeds=4):
    """A panel whose 1 - cos is factor m^power/1000, with little noise between the seeds."""
    m = np.arange(1.0, 15)
    gap = factor * m**power / 1000 * (1 + 0.01 * np.arange(seeds)[:, None])
    cos = 1 - gap
    return angles.Panel("mlp", 15, epoch, m, 1 - cos**2, cos, np.ones(seeds), np.ones(seeds))


def test_slopes_and_verdicts_of_figure_2(monkeypatch):
    for power, order in ((1.0, True), (4.0, False)):
        some = [panel_of(power, 0), panel_of(power, 40, 2.0)]
        assert some[0].slope().value == pytest.approx(power)
        monkeypatch.setattr(angles, "panels", lambda _, some=some: {"mlp": some})
        found = {one.claim: one for one in angles.findings([])}
        assert found["figure2-polynomial"].holds is True
        assert found["figure2-grows"].holds is True
        assert found["figure2-order"].holds is order
    twin = [panel_of(1.0, 0, 2.0), panel_of(1.0, 40)]
    monkeypatch.setattr(angles, "panels", lambda _: {"mlp": twin})
    assert {one.claim: one.holds for one in angles.findings([])}["figure2-grows"] is False


# --- Figure E1 ---------------------------------------------------------------------------------------------


def test_bytes_of_windows_by_hand():
    """Five linear layers of width 3, batch 7: a window keeps its inputs and the error at its end."""
    stack = model("linear", TaskShape((3,), 3), depth=5, width=3, readout="fixed").train()
    x, state = torch.randn(7, 3), 7 * 3 * 4
    loss, states = Supervised(nn.functional.mse_loss, torch.zeros(7, 3)), meters.states_of(stack, x)
    for h in range(1, 6):
        windows = 6 - h
        own = h + 1 if h < 5 else h  # x(0) was there before
        assert meters.largest_window(stack, states, loss, h) == own * state
        assert meters.all_windows(stack, states, loss, h) == (windows * (h + 1) - 1) * state


def test_lines_and_parabolas_are_told_from_other_curves(monkeypatch):
    h = np.arange(1, 16)
    line = memory.Bytes("mlp", 15, h, 40 + 10 * h, 40 + 10 * h, (3 * h + 1) * (16 - h))
    assert line.line().r_squared == pytest.approx(1)
    assert line.parabola() == pytest.approx(1)
    twin = dataclasses.replace(line, static=h**3)
    assert twin.parabola() < 0.9
    monkeypatch.setattr(memory, "read", lambda found: found)
    assert all(answer.holds for answer in memory.answers([dataclasses.replace(line, static=line.eager)]))
    assert not any(answer.holds for answer in memory.answers([dataclasses.replace(twin, window=2 * h)]))


# --- Figures 3, 4 and E2 -----------------------------------------------------------------------------------


def run_of(h, seed, ends, accuracy=0.9, activations=None):
    """A record of a model of T = 9 whose losses start at 1 and go to `ends` after epochs 1 and 2."""
    noise = 1 + 0.01 * seed
    loss = np.array([1.0, *(noise * end for end in ends)])
    arrays = {"train_loss": loss, "test_loss": 2 * loss, "activations": np.array(activations or 10 * h + 5)}
    arrays["saved"] = arrays["activations"]
    arrays |= {name: np.full(3, accuracy + 0.001 * seed) for name in ("test_accuracy", "train_accuracy")}
    arrays |= {"checkpoint": np.array(40)} if h == 9 else {}
    knobs = {"model": "small_vit", "method": settings.method_of(h, 9), "depth": 9, "seed": seed}
    return Record("", knobs, {k: np.asarray(v) for k, v in arrays.items()}, {}, {})


def verdicts(module, *kinds):
    found = [run_of(h, seed, *rest) for h, *rest in kinds for seed in range(3)]
    return {one.claim: one.holds for one in module.findings(found)}


def test_verdicts_of_training_and_their_false_twins():
    told = verdicts(losses, (1, (0.6, 0.4)), (8, (0.6, 0.1)), (9, (0.6, 0.1)))
    assert told == {"figureE2-early": True, "figureE2-diverge": True, "figureE2-large": True}
    twin = verdicts(losses, (1, (1.2, 0.1)), (8, (0.6, 0.4)), (9, (0.6, 0.1)))
    assert twin == {"figureE2-early": False, "figureE2-diverge": False, "figureE2-large": False}
    assert verdicts(losses, (1, (0.6, 0.4))) == {}


def test_verdicts_of_figure_3_and_their_false_twins():
    told = verdicts(tuning, (1, (0.6, 0.4), 0.5), (3, (0.6, 0.4), 0.7), (6, (0.6, 0.4), 0.8), (9, (0.6, 0.1)))
    assert told["figure3-depends"] is True
    assert told["figure3-converges"] is False
    assert told["figure3-memory"] is True
    assert told["figure3-batch"] is False  # 95/15 is not 9
    assert told["review-local"] is False  # 6.3 times less
    assert told["review-checkpointing"] is False  # h = 3 is below 40 of 95 and reaches less
    twin = verdicts(
        tuning, (1, (0.6, 0.1), 0.9, 30), (3, (0.6, 0.1), 0.9, 35), (6, (0.6, 0.1), 0.8), (9, (0.6, 0.1), 0.8)
    )
    assert twin["figure3-depends"] is False
    assert twin["figure3-memory"] is False
    assert twin["review-checkpointing"] is True


@pytest.mark.parametrize(("whole", "holds"), [(4004, True), (4100, False), (2960, True), (2900, False)])
def test_a_factor_of_4_to_one_digit_is_one_of_3_to_4(whole, holds):
    kinds = ((1, (0.6, 0.4), 0.5, 1000), (9, (0.6, 0.1), 0.9, whole))
    assert verdicts(tuning, *kinds)["review-local"] is holds


# --- the page ----------------------------------------------------------------------------------------------


def test_the_page_is_that_of_the_records():
    """A stale docs/reproduction.md: run python -m paper_figs --reproduction."""
    statements, found = reproduction.read(ROOT / "docs" / "records")
    page = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
    assert page == reproduction.page(statements, found)
    assert set(extracts.EXPERIMENTS) - {"bridge_selection"} <= set(found)
    asked = {one["id"] for one in statements if "tested" not in one and "why" not in one}
    assert asked <= {one["claim"] for content in found.values() for one in content["findings"]}
    for one in statements:
        assert (ROOT / one.get("tested", "docs")).exists()


def test_a_changed_number_changes_the_page(tmp_path):
    statements, found = reproduction.read(ROOT / "docs" / "records")
    content = json.loads(json.dumps(found["paper_memory"]))
    content["findings"][0]["measured"] = "0.5"
    assert reproduction.page(statements, found) != reproduction.page(
        statements, {**found, "paper_memory": content}
    )
    reproduction.write(tmp_path, "paper", statements)
    reproduction.write(tmp_path, "paper_memory", content)
    assert reproduction.read(tmp_path)[1]["paper_memory"] == content
    content["findings"][0]["claim"] = "figure9"
    reproduction.write(tmp_path, "paper_memory", content)
    with pytest.raises(RecordError, match=r"paper_memory.json speaks of 'figure9', which paper.json has not"):
        reproduction.read(tmp_path)


def test_extracts_say_what_the_records_say(tmp_path, monkeypatch):
    """From a run of Figure E1 to the file: the same findings, and the command that gives them."""
    monkeypatch.syspath_prepend(ROOT)
    from sims import paper_memory

    run = paper_memory.Knobs(results=str(tmp_path), models=("linear",), batch=5, points=3)
    assert paper_memory.main(run) == 0
    found = extracts.extract_of(str(tmp_path), "paper_memory")
    assert found["command"] == "python -m sims.paper_memory --models linear --batch 5 --points 3"
    assert found["sizes"] == {"linear residual net": "no seeds, bytes are counts; batches of 5"}
    assert [one["claim"] for one in found["findings"]] == ["figureE1-eager", "figureE1-static"]


def test_sentences_about_figure_5_are_judged_by_rel(monkeypatch):
    """A table in which selection is best everywhere, and its twin in which it is worst."""
    rows = ["BP", "FF (h = 1)", "LoCo 3", "polynomial", "theory", "checkpointed"]
    kinds = [Algorithm(one, "" if one in rows[3:5] else "m", "e" if one in rows[3:5] else "") for one in rows]
    kinds[-1] = Algorithm("checkpointed", "checkpoint", paper=False)
    columns = [Column(name, "C1", kind, 0.5) for name in ("mlp", "resnet62") for kind in ("O1", "O2")]
    best = np.array([0.9, np.inf, 0.5, 0.2, 0.2, 0.1])

    def verdicts_of(values):
        grid = np.repeat(np.repeat(np.asarray(values)[:, None, None], 4, 1), 3, 2)
        table = Table(kinds, columns, grid, np.full(grid.shape, np.nan))
        monkeypatch.setattr(selected, "tables", lambda _: ({}, table))
        return {(one.claim, one.model): one.holds for one in selected.findings([])}

    told = verdicts_of(best)
    assert told["figure5-better", "all, selection by theory"] is True
    assert told["figure5-stable", "all, selection by theory"] is True
    assert told["figure5-loco", "all, selection by theory"] is False  # far better than comparable
    assert told["review-exact", "all"] is True
    twin = verdicts_of(np.array([0.1, 0.2, 0.3, np.inf, np.inf, 0.5]))
    assert twin["figure5-better", "all, selection by polynomial"] is False
    assert twin["figure5-stable", "all, selection by polynomial"] is False
    assert twin["review-exact", "all"] is False


def test_the_page_says_what_counts_as_alike():
    words = " ".join(reproduction.INTRODUCTION.split())
    assert f"within a factor of {losses.ALIGNED:g}" in words
    assert f"accuracies within {tuning.CLOSE:g}".replace("0.", ".") in words
    assert f"within {tuning.NEARLY:.0%}".replace("%", " %") in words
    assert all(f"R^2 = {line:g}".replace("0.", ".") in words for line in (memory.LINE, tuning.LINE))
