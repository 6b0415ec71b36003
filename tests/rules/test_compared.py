"""The comparison of rules: its runs against plain torch, its plans, what it says of records."""

from __future__ import annotations

import copy
import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from dlinear.bridge import load, method, model
from dlinear.bridge.data.losses import Supervised
from dlinear.bridge.training.batching import batches
from dlinear.errors import DomainError
from dlinear.rules.compared import cells, choice, losses, outcome, tables, training
from dlinear.rules.compared.training import Plan, optimizer_of, rate_factor, train
from dlinear.rules.published import RECIPES, RESULTS, Recipe, Result, recipe_of, result_of

RECIPE = Recipe(depth=2, width=7, batch=16, rate=0.05, head_rate=0.2, weight_decay=0.01, momentum=0.8)


@pytest.fixture(scope="module")
def split():
    return load("digits", samples=60, test_samples=40)


def net(split, **knobs):
    return model("layers", split.task, 3, depth=2, width=7, **knobs)


def test_a_run_is_the_optimizer_of_torch_step_by_step(split):
    stack, twin = net(split), net(split)
    recipe = dataclasses.replace(RECIPE, optimizer="nesterov", epochs=2, decay_at=(1,), decay=0.5)
    run = train(stack, split, method("backprop"), recipe, Plan(2, 0.0, 5, 20))
    head = list(twin.readout.parameters())
    groups = [
        {"params": list(twin.blocks.parameters()), "lr": 0.05, "weight_decay": 0.01},
        {"params": head, "lr": 0.2},
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.8, nesterov=True)
    lost = []
    for epoch in (1, 2):
        for some in batches(60, 16, 5, epoch):
            optimizer.zero_grad()
            loss = functional.cross_entropy(twin(split.x_train[some]), split.y_train[some])
            loss.backward()
            optimizer.step()
            lost.append(float(loss.detach()))
        for group in optimizer.param_groups:
            group["lr"] *= 0.5
    for one, other in zip(stack.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert run.loss[1:] == pytest.approx([np.mean(lost[:4]), np.mean(lost[4:])], rel=1e-5)
    assert run.steps.tolist() == [0, 4, 8]
    assert run.rate.tolist() == [0.05, 0.05, 0.025]
    right = (twin.eval()(split.x_test).argmax(1) == split.y_test).double().mean()
    assert run.accuracy[-1] == pytest.approx(float(right))
    assert run.cos == pytest.approx(1.0)
    assert not run.diverged


def test_the_angle_is_measured_without_dropout_and_changes_nothing(split):
    runs = []
    for probed in (20, 50):
        stack = net(split, dropout=0.3)
        run = train(stack, split, method("fa"), RECIPE, Plan(1, 0.0, 5, probed))
        runs.append((run.loss[1], [p.detach().clone() for p in stack.parameters()]))
        assert not any(math.isclose(c, 1.0, abs_tol=0.01) for c in run.cos)
    own = train(net(split, dropout=0.3), split, method("backprop"), RECIPE, Plan(1, 0.0, 5, 20))
    assert own.cos == pytest.approx(1.0), "two dropout masks would differ"
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(a, b) for a, b in zip(runs[0][1], runs[1][1], strict=True))


def test_a_limit_ends_a_run_and_its_plan_follows_the_time(split, monkeypatch):
    clock = iter(range(10_000))  # every look at the clock is a second later
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    recipe = dataclasses.replace(RECIPE, decay_at=(6,), epochs=10)
    run = train(net(split), split, method("backprop"), recipe, Plan(10, 12.0, 5, 20))
    assert 1 < len(run.steps) < 11
    assert run.rate[1] == 0.05
    assert run.rate[-1] == pytest.approx(0.005)
    assert len(train(net(split), split, method("backprop"), recipe, Plan(2, 0.0, 5, 20)).steps) == 3


def test_a_run_that_diverges_says_so(split):
    run = train(
        net(split), split, method("backprop"), dataclasses.replace(RECIPE, rate=1e6), Plan(5, 0, 5, 9)
    )
    assert run.diverged
    assert len(run.steps) < 6


@pytest.mark.parametrize(
    ("recipe", "share", "factor"),
    [
        (Recipe(decay_at=(60, 90), epochs=100), 0.59, 1.0),
        (Recipe(decay_at=(60, 90), epochs=100), 0.6, 0.1),
        (Recipe(decay_at=(60, 90), epochs=100), 0.95, 0.01),
        (Recipe(cooldown=True), 0.5, 1.0),
        (Recipe(cooldown=True), 0.75, 0.5),
    ],
)
def test_plans_of_the_rate(recipe, share, factor):
    assert rate_factor(recipe, share) == pytest.approx(factor)


def test_the_output_layer_is_a_group_of_its_own(split):
    stack = net(split)
    hidden, head = optimizer_of(stack, RECIPE).param_groups
    assert {id(p) for p in head["params"]} == {id(p) for p in stack.readout.parameters()}
    assert (hidden["lr"], head["lr"]) == (0.05, 0.2)
    assert optimizer_of(stack, dataclasses.replace(RECIPE, head_rate=None)).param_groups[1]["lr"] == 0.05
    with pytest.raises(DomainError, match="optimizer is 'newton'; expected sgd, nesterov or adam"):
        optimizer_of(stack, dataclasses.replace(RECIPE, optimizer="newton"))


def test_the_head_alone(split):
    stack = net(split)
    x, loss = split.x_train[:20], Supervised(functional.cross_entropy, split.y_train[:20])
    true = copy.deepcopy(stack)
    method("backprop")(true.blocks, x, loss, true.readout)
    value = choice.rule_of("head-only")(stack.blocks, x, loss, stack.readout)
    assert float(value) == pytest.approx(float(loss(stack(x)).detach()))
    assert all(p.grad is None for p in stack.blocks.parameters())
    for one, other in zip(stack.readout.parameters(), true.readout.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_options_of_a_recipe_reach_the_rule(split):
    x, loss = split.x_train[:20], Supervised(functional.cross_entropy, split.y_train[:20])

    def gradient(name, recipe=None):
        stack = net(split)
        choice.rule_of(name, recipe)(stack.blocks, x, loss, stack.readout)
        return next(stack.blocks.parameters()).grad

    scaled = dataclasses.replace(RECIPE, options=(("scale", 3.0),))
    torch.testing.assert_close(gradient("dfa", scaled), 3 * gradient("dfa"))
    torch.testing.assert_close(gradient("dfa", RECIPE), gradient("dfa"))
    for rate in (0.1, 0.5):  # PEPITA-local's own step has the recipe's rate
        own = gradient("pepita-local", dataclasses.replace(RECIPE, rate=rate))
        assert not torch.allclose(own, gradient("pepita-local"), rtol=1e-3)


def test_forward_forward_is_judged_by_goodness_and_by_its_head(split):
    recipe = dataclasses.replace(RECIPE, options=(("peer", 0.03),), inputs="unit")
    rule = choice.rule_of("ff", recipe)
    assert rule.predict.keywords["knobs"].peer == 0.03
    stack = net(split)
    run = train(stack, split, rule, recipe, Plan(1, 0.0, 5, 20))
    scores = choice.head_prediction(rule)(stack.blocks, split.x_test, stack.readout)
    right = (scores.argmax(1) == split.y_test).double().mean()
    assert run.head_accuracy == pytest.approx(float(right))
    goodness = rule.predict(stack.blocks, split.x_test, stack.readout)
    assert run.accuracy[-1] == pytest.approx(float((goodness.argmax(1) == split.y_test).double().mean()))
    assert choice.head_prediction(choice.rule_of("fa")) is None
    assert math.isnan(train(stack, split, method("fa"), RECIPE, Plan(0, 0.0, 5, 20)).head_accuracy)


def test_foton_is_made_orthonormal_after_each_step(split):
    stack = net(split)
    train(stack, split, method("foton"), RECIPE, Plan(1, 0.0, 5, 20))
    for block in stack.blocks:
        weight = next(block.parameters())
        torch.testing.assert_close(weight @ weight.T, torch.eye(7), rtol=0, atol=1e-5)


def test_all_rules_of_the_package_are_compared():
    names = choice.compared_rules(2, 50)
    assert names[:3] == ["backprop", "head-only", "horizon-1"]
    known = ("fa", "dfa", "sdfa", "drtp", "dfa-identity", "pepita", "pepita-hebbian", "pepita-local")
    assert {*known, "fa-mirror", "pepita-mirror", "foton"} <= set(names)
    assert len(names) == len(set(names))
    with pytest.raises(DomainError, match="backprop must be among them"):
        choice.check_names(["fa"])


def test_the_loss_of_sigmoids(split):
    z = torch.randn(6, 10, dtype=torch.float64, requires_grad=True)
    labels = split.y_train[:6]
    loss = losses.loss_named("sigmoid")(z, labels)
    p, y = torch.sigmoid(z.detach()).numpy(), np.eye(10)[labels.numpy()]
    assert loss.item() == pytest.approx(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))
    loss.backward()
    np.testing.assert_allclose(z.grad.numpy(), (p - y) / 60, rtol=1e-10)


def test_a_rate_is_chosen_on_images_that_the_run_has_not_seen(split):
    part = cells.held_out(split)
    assert (len(part.x_train), len(part.x_test)) == (48, 12)
    assert torch.equal(torch.cat([part.x_train, part.x_test]), split.x_train)


@pytest.mark.parametrize(
    ("seconds", "deadline", "expected"),
    [(0.0, None, 0.0), (9.0, None, 9.0), (9.0, 105.0, 5.0), (4.0, 105.0, 4.0), (0.0, 90.0, 1.0)],
)
def test_a_run_ends_at_its_limit_or_at_the_deadline(seconds, deadline, expected, split, monkeypatch):
    seen = []
    monkeypatch.setattr(cells, "time", SimpleNamespace(time=lambda: 100.0))
    monkeypatch.setattr(cells, "train", lambda *words: seen.append(words[-1].seconds) or 1 / 0)
    own = {"part": "train", "method": "fa", "seed": 0, "recipe": RECIPE.text(), "model": "layers", "depth": 2}
    what = {"data": "digits", "digest": "", "samples": 60, "test_samples": 40, "device": "cpu"}
    numbers = {"epochs": 1, "seconds": seconds, "probed": 9, "rounds": 0, "measured": 0.0}
    with pytest.raises(ZeroDivisionError):
        cells.compute(cells.Cell(**own, **what, **numbers), deadline=deadline)
    assert seen == [expected]


def test_pixels_between_0_and_1():
    what = ("digits", 60, 40, None, False)
    unit, standard = (cells._on_device("cpu", inputs, *what) for inputs in ("unit", "standard"))
    assert (float(unit.x_train.min()), float(unit.x_train.max())) == (0.0, 1.0)
    assert np.corrcoef(unit.x_test.flatten(), standard.x_test.flatten())[0, 1] == pytest.approx(1.0)


# Recipes and results


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_read_from_its_text_and_names_its_source(name):
    recipe = RECIPES[name]
    again = Recipe.read(recipe.text())
    assert dataclasses.replace(again, source=recipe.source) == recipe
    assert "source" not in recipe.text()
    assert recipe.verified
    assert "/" in recipe.source


def test_settings_as_their_sources_have_them():
    for name in ("backprop", "fa", "pepita"):
        one = recipe_of(name)
        assert (one.depth, one.width, one.batch, one.rate, one.momentum) == (1, 1024, 64, 0.1, 0.9)
        assert (one.dropout, one.decay_at, one.epochs, one.initial) == (0.1, (60,), 100, "he_uniform")
    ff = recipe_of("ff")
    assert (ff.depth, ff.width, ff.rate, ff.head_rate) == (3, 1000, 1e-3, 1e-2)
    assert (ff.weight_decay, ff.head_weight_decay, ff.batch) == (3e-4, 3e-3, 100)
    drtp = recipe_of("drtp")
    assert drtp.rate == pytest.approx(100 * drtp.head_rate)  # a sum over 100 samples against a mean
    assert recipe_of("foton") is None


def test_a_recalled_number_is_never_shown_without_that_word():
    assert any(not one.verified for one in RESULTS)
    for one in RESULTS:
        assert ("recalled" in str(one)) == (not one.verified)
    assert str(result_of("pepita", "mnist", "layers")) == "98.01 (recalled)"
    assert str(result_of("pepita", "mnist_10k", "layers")) == "98.01 (recalled)"
    assert result_of("pepita", "digits", "layers") is None


# What is said


def record(part, rule, recipe, accuracy=(0.1, 0.5, 0.6), cos=(0.0, 0.3, 0.4), steps=(0, 10, 20), **more):
    knobs = {"part": part, "method": rule, "recipe": recipe.text(), "data": "mnist", "model": "layers"}
    arrays = {"accuracy": np.array(accuracy), "cos": np.array(cos), "steps": np.array(steps)}
    arrays |= {
        "diverged": np.array(0.0),
        "head_accuracy": np.array(math.nan),
        "seconds": np.array([0.0, 1.0, 2.0]),
    }
    return SimpleNamespace(knobs=knobs, arrays=arrays | {k: np.array(v) for k, v in more.items()})


def test_the_best_rate_is_that_of_held_out_accuracy_and_not_of_a_run_that_diverged():
    some = [(0.01, 0.6, 0), (0.1, 0.7, 0), (0.3, 0.7, 0), (1.0, 0.9, 1)]
    found = [
        record("tune", "fa", dataclasses.replace(RECIPE, rate=rate), (0.1, end), diverged=failed)
        for rate, end, failed in some
    ]
    assert outcome.best_rate(found) == 0.1


def test_what_records_say_of_a_rule():
    found = [record("train", "fa", RECIPE), record("train", "fa", RECIPE, (0.1, 0.2, 0.7))]
    costs = SimpleNamespace(knobs={"part": "costs", "method": "fa"}, arrays={"ratio": np.array(2.0)})
    found.append(costs)
    (one,) = outcome.outcomes(found, 160, 0.5)
    assert one.epochs.tolist() == [2.0, 2.0]
    assert one.interval.value == pytest.approx(65)
    assert one.steps_to_target.tolist() == [10, 20]
    assert one.angles == pytest.approx([90, np.degrees(np.arccos(0.3)), np.degrees(np.arccos(0.4))])
    assert one.costs["ratio"] == 2.0
    assert one.gap == pytest.approx(65 - 98.42)
    reasons = one.reasons(60_000)
    assert reasons[0] == "other hyper-parameters"
    assert "2 of 100 epochs" in reasons
    assert "160 of 60000 images" in reasons
    assert "the published number is recalled" in reasons
    assert outcome.default_target([record("train", "backprop", RECIPE)]) == pytest.approx(0.95 * 0.6)


def judged(rule, cos, seeds=3, **words):
    noise = np.random.default_rng(0).normal(size=seeds) * 1e-3
    runs = [record("train", rule, RECIPE, cos=np.array(cos) + n, **words) for n in noise]
    return outcome.outcomes([record("train", "backprop", RECIPE, cos=(1, 1, 1)), *runs], 160, 0.5)


@pytest.mark.parametrize(
    ("rule", "cos", "holds"),
    [
        ("fa", (0.0, 0.3, 0.6), [True, True]),
        ("fa", (0.6, 0.3, 0.0), [True, False]),
        ("dfa", (0.995, 0.995, 0.5), [False, False]),
        ("pepita", (0.0, 0.3, 0.995), [False]),
        ("fa-mirror", (0.0, 0.3, 0.995), []),
    ],
)
def test_verdicts(rule, cos, holds):
    assert [answer.holds for answer in tables.answers(judged(rule, cos), 60_000)] == holds


def test_a_published_number_is_judged_only_at_its_own_settings_in_full():
    recipe = recipe_of("pepita")
    steps = (0, 50 * 938, 100 * 938)
    for end, holds in ((0.979, True), (0.96, False)):
        runs = [record("train", "pepita", recipe, (0.1, 0.9, end), steps=steps) for _ in range(2)]
        (one,) = outcome.outcomes(runs, 60_000, 0.5)
        (*_, answer) = tables.answers([one], 60_000)
        assert answer.holds is holds
        assert "recalled" in answer.question
        assert len(tables.answers([one], 70_000)) == 1
        assert one.reasons(60_000) == ["the published number is recalled"]
    other = [record("train", "drtp", recipe_of("drtp"), (0.1, 0.9, 0.9), steps=(0, 30_000, 60_000))] * 2
    (one,) = outcome.outcomes(other, 60_000, 0.5)
    assert len(tables.answers([one], 60_000)) == 1, "the number is that of another network"


def test_activations_are_over_those_of_back_propagation_on_the_same_net():
    runs = [record("train", name, RECIPE) for name in ("backprop", "fa")]
    base, one = outcome.outcomes(runs, 160, 0.5)
    base = dataclasses.replace(base, costs={"activations": 10.0})
    assert math.isnan(one.activations(base))
    measured = dataclasses.replace(one, costs={"activations": 30.0})
    assert measured.activations(base) == 3.0
    wide = dataclasses.replace(measured, recipe=dataclasses.replace(RECIPE, width=9))
    assert math.isnan(wide.activations(base)), "back-propagation ran on another net"
    own = {"activations": 30.0, "reference_activations": 20.0}
    assert dataclasses.replace(wide, costs=own).activations(base) == 1.5


def test_memory_of_the_process_is_not_shown_where_rules_share_it():
    for device, shown in (("cpu", True), ("cuda", False)):
        knobs = {"part": "costs", "method": "fa", "device": device}
        costs = SimpleNamespace(
            knobs=knobs, arrays={"train_peak_memory": np.array(2e8), "ratio": np.array(2.0)}
        )
        (one,) = outcome.outcomes([record("train", "fa", RECIPE), costs], 160, 0.5)
        assert math.isfinite(one.costs["train_peak_memory"]) == shown
        assert one.costs["ratio"] == 2.0


def test_a_busy_machine_is_said():
    found = outcome.outcomes([record("train", "backprop", RECIPE)], 160, 0.5)
    for wanted, said in ((0.6, ""), (3.2, "the machine had other work (load of 3.2 a core)")):
        some = [dataclasses.replace(found[0], costs={"load": wanted})]
        assert tables.busy(some).startswith(said)
        assert bool(tables.busy(some)) == bool(said)
    assert tables.busy(found) == ""


def test_sentences_compare_with_the_head_alone_seed_by_seed():
    base = [record("train", "head-only", RECIPE, (0.1, 0.1, x), (np.nan,) * 3) for x in (0.5, 0.7, 0.6)]
    better = [record("train", "fa", RECIPE, (0.1, 0.1, x + 0.1)) for x in (0.5, 0.7, 0.6)]
    worse = [record("train", "drtp", RECIPE, (0.1, 0.1, x - 0.1)) for x in (0.5, 0.7, 0.6)]
    near = [record("train", "fa-mirror", RECIPE, (0.1, 0.1, x), (0, 0, 0.995)) for x in (0.7, 0.5, 0.6)]
    first, second = tables.sentences(outcome.outcomes([*base, *better, *worse, *near], 160, 0.5))
    assert first.endswith("better: fa; not told apart: fa-mirror; worse: drtp")
    assert second == "nearly back-propagation at the end (cos > 0.99): fa-mirror"


def test_a_published_result_is_shown_as_it_is():
    one = Result("x", "mnist", "layers", 98.5, "here", True)
    assert str(one) == "98.50"
