"""Many models trained at once: each member is what it is alone."""

import copy
import dataclasses
import math
import types

import numpy as np
import pytest
import torch

from dlinear.bridge import from_scratch
from dlinear.bridge.from_scratch import joint, tasks, training
from dlinear.bridge.methods import method
from dlinear.bridge.models import TaskShape, model
from dlinear.errors import DlinearError, DomainError, ShapeError

METHODS = ("backprop", "horizon-1", "horizon-2", "stages-2", "anchored-1", "anchored-2", "anchored-stages-2")
OTHERS = ("highway-1", "reconstruct-1", "revolve-2", "checkpoint-2", "loco-2")
READOUTS = {"fixed": (3, 3), "projected": (3, 2), "shared": (3, 2), "exits": (3, 2), "embedded": (5, 2)}


def stacks_of(kind, count=3):
    """Models of equal shape with different numbers; and inputs and labels of each."""
    inputs, outputs = READOUTS[kind]
    readout = kind if kind in ("shared", "exits") else "fixed"
    made = [
        model(
            "deep", TaskShape((inputs,), outputs), s, depth=4, width=3, readout=readout, dtype=torch.float64
        )
        for s in range(count)
    ]
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(count, 6, inputs, generator=draw, dtype=torch.float64)
    return made, x, torch.randint(0, outputs, (count, 6), generator=draw)


MODELS = {
    "conv": (TaskShape((3, 4, 4), 2), {"depth": 4, "width": 3, "patch": 2}),
    "autoencoder": (TaskShape((5,), 5), {"depth": 5, "width": 5, "code": 2}),
}


@pytest.mark.parametrize("readout", ["fixed", "shared", "exits"])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", ["backprop", "horizon-1", "anchored-stages-2", "highway-1"])
def test_members_of_every_model_receive_their_own_gradient(name, kind, readout):
    shape, knobs = MODELS[kind]
    knobs = {**knobs, "readout": readout, "dtype": torch.float64, "activation": "tanh"}
    made = [model(kind, shape, s, **knobs) for s in range(3)]
    draw = torch.Generator().manual_seed(2)
    x, y = (
        torch.randn(3, 6, *s, generator=draw, dtype=torch.float64) for s in (shape.inputs, [shape.outputs])
    )
    for stack in made:  # a middle that is no projection any more
        for weight in stack.blocks.parameters():
            weight.data += 0.3 * torch.randn(weight.shape, generator=draw, dtype=torch.float64)
    whole = joint.joint(made)
    found = method(name)(whole.blocks, x, lambda z: training.losses(z, y, None).sum(), whole.readout)
    total = 0.0
    for m, stack in enumerate(made):
        loss_fn = lambda z, m=m: torch.nn.functional.mse_loss(z, y[m])  # noqa: E731
        total += float(method(name)(stack.blocks, x[m], loss_fn, stack.readout))
        joined, own = ([p for p in some.parameters() if p.requires_grad] for some in (whole, stack))
        assert len(joined) == len(own)
        for ours, theirs in zip(joined, own, strict=True):
            assert (ours.grad is None) == (theirs.grad is None)
            if theirs.grad is not None:
                alone = ours.grad[m].reshape(theirs.shape)
                torch.testing.assert_close(alone, theirs.grad, rtol=1e-10, atol=1e-14)
    assert float(found) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("name", [*METHODS, *OTHERS])
def test_every_member_receives_the_gradient_that_it_has_alone(name):
    made, x, y = stacks_of("shared")
    whole = joint.joint(made)
    found = method(name)(whole.blocks, x, lambda z: training.losses(z, y, 2).sum(), whole.readout)
    total = 0.0
    for m, stack in enumerate(made):
        loss = method(name)(
            stack.blocks, x[m], lambda z, m=m: torch.nn.functional.cross_entropy(z, y[m]), stack.readout
        )
        total += float(loss)
        for block, own in zip(whole.blocks, stack.blocks, strict=True):
            torch.testing.assert_close(block.weight.grad[m], own.weight.grad, rtol=1e-10, atol=1e-14)
        head = stack.readout.head
        torch.testing.assert_close(
            whole.readout.heads[0].weight.grad[m], head.weight.grad, rtol=1e-10, atol=1e-14
        )
        torch.testing.assert_close(
            whole.readout.heads[0].bias.grad[m, 0], head.bias.grad, rtol=1e-10, atol=1e-14
        )
    assert float(found) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("kind", READOUTS)
def test_every_readout_and_input_map(kind):
    made, x, _ = stacks_of(kind)
    whole = joint.joint(made)
    for s in (1, 2, 4):
        state = x
        for block in whole.blocks[:s]:
            state = block(state)
        alone = []
        for m, stack in enumerate(made):
            z = x[m]
            for block in stack.blocks[:s]:
                z = block(z)
            alone.append(stack.readout(z, s))
        torch.testing.assert_close(whole.readout(state, s), torch.stack(alone), rtol=1e-12, atol=1e-14)
    trained = sum(p.requires_grad for p in whole.readout.parameters())
    assert trained == {"shared": 2, "exits": 8}.get(kind, 0)


def test_models_of_several_shapes_are_refused():
    made, _, _ = stacks_of("fixed")
    other = model("deep", TaskShape((3,), 3), 0, depth=3, width=3)
    with pytest.raises(ShapeError, match="4 models of 2 shapes"):
        joint.joint([*made, other])
    with pytest.raises(ShapeError, match="of blocks DeepBlock, ConvBlock, NarrowBlock"):
        joint.joint([model("mlp", TaskShape((3,), 3), 0, depth=3, width=3)])


def test_a_method_that_mixes_members_is_refused():
    with pytest.raises(DomainError, match="forward-1 draws one random direction"):
        from_scratch.check_method("forward-1")
    with pytest.raises(DomainError, match="projected-1 takes one inner product over all models"):
        from_scratch.check_method("projected-1")
    assert from_scratch.check_method("anchored-1").name == "anchored-1"


def small(name, seeds=3, **sizes):
    return tasks.problem(name, seeds, **{"depth": 4, "width": 4, "samples": 12} | sizes)


PLAN = training.Plan(steps=6, batch=5, momentum=0.9, points=3)


def alone(task, name, seed, rate):
    """One run by torch's own optimizer on the unjoined model."""
    stack = copy.deepcopy(task.stacks[seed])
    optimizer = torch.optim.SGD(stack.parameters(), lr=rate, momentum=PLAN.momentum)
    draw, losses, queue = np.random.default_rng(seed), [], []
    x, y = task.x_train[seed], task.y_train[seed]
    criterion = torch.nn.functional.mse_loss if task.classes is None else torch.nn.functional.cross_entropy
    for step in range(PLAN.steps + 1):
        if step in training.evaluation_steps(PLAN):
            with torch.no_grad():
                losses.append(float(criterion(stack(x), y)))
        if not queue:
            order = draw.permutation(len(x))
            queue = [order[a : a + PLAN.batch] for a in range(0, len(x) - PLAN.batch + 1, PLAN.batch)]
        chosen = torch.from_numpy(queue.pop(0))
        optimizer.zero_grad()
        method(name)(stack.blocks, x[chosen], lambda z, c=chosen: criterion(z, y[c]), stack.readout)
        optimizer.step()
    return losses


@pytest.mark.parametrize(
    ("name", "rule"), [("tanh", "anchored-1"), ("tanh-head", "horizon-1"), ("digits", "stages-2")]
)
def test_a_member_trains_as_it_would_alone(name, rule):
    task = small(name)
    rates = np.array([0.05, 0.4])
    found = training.train_all(task, rule, rates, PLAN)
    assert found.train_loss.shape == (2, 3, 4)
    for r, rate in enumerate(rates):
        for seed in range(3):
            wanted = alone(task, rule, seed, rate)
            assert found.train_loss[r, seed] == pytest.approx(wanted, rel=2e-4)


def test_a_rate_that_explodes_leaves_the_others_alone():
    task = small("linear")
    plan = dataclasses.replace(PLAN, steps=60, batch=12, points=6)
    both = training.train_all(task, "backprop", np.array([0.3, 1e4]), plan)
    fine = training.train_all(task, "backprop", np.array([0.3]), plan)
    assert np.allclose(both.train_loss[0], fine.train_loss[0], rtol=1e-4)
    assert np.isfinite(both.train_loss[0]).all()
    assert np.isnan(both.train_loss[1, :, 1:]).all()
    assert np.isnan(both.cos[1, :, -1]).all()
    assert (fine.train_loss[0, :, -1] < 0.5 * fine.train_loss[0, :, 0]).all()


def test_a_refused_step_counts_as_diverged_at_its_rate_alone(monkeypatch):
    """Reconstruction refuses blocks that do not contract; a rate that makes such blocks fails by itself."""
    task, asked = small("linear", depth=8), []
    plan = dataclasses.replace(PLAN, steps=12, batch=12, points=2)
    fill = training._Members.fill

    def watched(self, name, chosen):
        try:
            fill(self, name, chosen)
        except DlinearError:
            asked.append(len(self.rate) // self.seeds)
            raise

    monkeypatch.setattr(training._Members, "fill", watched)
    found = training.train_all(task, "reconstruct-1", np.array([0.001, 0.002, 300.0]), plan)
    assert asked == [3, 1], "together, then the largest alone"
    assert np.isfinite(found.train_loss[:2]).all()
    assert np.isfinite(found.train_loss[2, :, 0]).all()
    assert np.isnan(found.train_loss[2, :, -1]).all()
    monkeypatch.undo()
    alone_ = training.train_all(task, "reconstruct-1", np.array([0.001]), plan)
    assert np.allclose(found.train_loss[0], alone_.train_loss[0], rtol=1e-5)


def test_the_angle_and_the_unit_of_the_rate():
    task = small("tanh")
    found = training.train_all(task, "horizon-1", np.array([0.1]), PLAN)
    for seed, stack in enumerate(task.stacks):
        x, y = task.x_train[seed, : PLAN.batch], task.y_train[seed, : PLAN.batch]
        grads = {}
        for name in ("horizon-1", "backprop"):
            own = copy.deepcopy(stack)
            method(name)(own.blocks, x, lambda z, y=y: torch.nn.functional.mse_loss(z, y), own.readout)
            grads[name] = torch.cat([p.grad.flatten() for p in own.parameters()])
        own, true = grads["horizon-1"], grads["backprop"]
        cos = float(own @ true / (own.norm() * true.norm()))
        assert found.cos[0, seed, 0] == pytest.approx(cos, rel=1e-5)
        grads["ratio"] = float(true.norm() / own.norm())
        if seed == 0:
            assert training.units(task, "horizon-1", PLAN.batch, 1) == pytest.approx(grads["ratio"], rel=1e-5)
    assert training.units(task, "backprop", PLAN.batch, 2) == pytest.approx(1.0, rel=1e-6)
    exact = training.train_all(task, "backprop", np.array([0.1]), PLAN)
    assert exact.cos == pytest.approx(np.ones_like(exact.cos), rel=1e-6)


def test_tasks_are_what_they_say():
    parity = small("parity", seeds=2)
    assert parity.x_train.shape == (2, 16, 4)
    assert torch.equal(parity.y_train[..., 0], parity.x_train.prod(-1))
    tanh = small("tanh", seeds=2)
    assert not torch.equal(tanh.x_train[0], tanh.x_train[1])
    assert not torch.equal(tanh.x_train, tanh.x_test)
    linear = small("linear", seeds=1, samples=40)
    x, y = linear.x_train[0].double(), linear.y_train[0].double()
    fitted = x @ torch.linalg.lstsq(x, y).solution
    assert torch.allclose(fitted, y, atol=1e-4)
    assert not torch.allclose(tanh.y_train[0], tanh.x_train[0], atol=0.1), "a teacher that does something"
    digits = small("digits-fixed", seeds=2, samples=30)
    assert (digits.classes, tuple(digits.x_train.shape)) == (10, (2, 30, 64))
    assert not any(p.requires_grad for p in digits.stacks[0].readout.parameters())
    coded = small("autoencoder", seeds=2, width=64, samples=30)
    assert coded.classes is None
    assert torch.equal(coded.x_train, digits.x_train)
    assert torch.equal(coded.y_train, coded.x_train)
    assert torch.equal(coded.y_test, coded.x_test)
    assert coded.stacks[0].readout(coded.x_test[0], 4).equal(coded.x_test[0]), "the loss is of the state"
    with pytest.raises(DomainError, match="task"):
        small("sine")


def test_images_of_a_convolutional_task_keep_their_shape(monkeypatch):
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8), np.arange(60, dtype=np.uint8) % 10
    images = types.SimpleNamespace(
        x_train=x, y_train=y, x_test=np.tile(x, (17, 1, 1, 1)), y_test=np.tile(y, 17)
    )
    monkeypatch.setattr("dlinear.data.datasets.load", lambda *_: images)
    task = small("cifar", seeds=2, samples=40)
    assert (task.classes, tuple(task.x_train.shape)) == (10, (2, 40, 3, 32, 32))
    assert len(task.x_test[0]) == 250
    flat = small("cifar10", seeds=1, samples=40)
    assert torch.equal(flat.x_train[0], task.x_train[0].flatten(1))
    found = training.train_all(task, "anchored-1", np.array([0.1]), PLAN)
    assert np.isfinite(found.test_accuracy).all()


def test_evaluations_hold_the_first_and_the_last_step():
    assert training.evaluation_steps(training.Plan(10, 1, 0.9, 4)).tolist() == [0, 2, 5, 8, 10]
    assert training.evaluation_steps(training.Plan(2, 1, 0.9, 9)).tolist() == [0, 1, 2]


def test_losses_are_means_of_each_member():
    z, y = torch.ones(2, 3, 4), torch.zeros(2, 3, 4)
    assert training.losses(z, y, None).tolist() == [1.0, 1.0]
    assert training.losses(z, torch.zeros(2, 3, dtype=torch.int64), 4).tolist() == pytest.approx(
        [math.log(4)] * 2
    )
