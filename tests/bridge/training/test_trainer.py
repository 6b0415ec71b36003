"""The trainer: the paper's settings, numbers from their definitions, and runs that nothing can spoil."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import multiprocessing
import os
import random
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor

import children as processes
import numpy as np
import pytest
import torch
from paths import ROOT, SUPPORT
from tiny_stack import Split, Stack, backprop, labelled, numbers, tiny, weights
from torch import nn
from torch.nn import functional

from dlinear.bridge.autograd.isolation import step_isolated
from dlinear.bridge.data.split import random_part
from dlinear.bridge.methods import method
from dlinear.bridge.training import checkpoints, metrics, session
from dlinear.bridge.training.batching import batches
from dlinear.bridge.training.evaluation import evaluate
from dlinear.bridge.training.interrupts import Interrupts
from dlinear.bridge.training.settings import device_of
from dlinear.bridge.training.trainer import SETTINGS, Training, next_rate, setting, train
from dlinear.errors import DomainError, RecordError, ShapeError

CPU = torch.device("cpu")


def stopping(at, action):
    """Back-propagation that does something in the middle of its step number `at`, counted from 1."""
    steps = 0

    def method(blocks, x, loss_fn, readout):
        nonlocal steps
        loss = backprop(blocks, x, loss_fn, readout)
        steps += 1
        if steps == at:
            action()
        return loss

    method.__qualname__ = backprop.__qualname__
    return method


class Broken(Exception):
    pass


def broken():
    raise Broken


# ---------------------------------------------------------------- settings


def test_the_settings_are_those_of_table_d2():
    table = """
    linear    linear    linear         0.03   100  40  10000  sgd
    mlp       mlp       trigonometric  0.01   100  40 100000  sgd
    resnet    resnet62  cifar10        0.01    32  40  45000  sgd
    full      resnet50  cifar100       0.001   64  50  50000  adam
    finetune  vit       cifar100       0.001   32  20  50000  sgd
    """
    rows = [line.split() for line in table.strip().splitlines()]
    assert [row[0] for row in rows] == list(SETTINGS)
    for name, model, data, rate, size, epochs, samples, optimizer in rows:
        found = setting(name)
        assert (found.model, found.data) == (model, data)
        want = Training(float(rate), int(size), int(epochs), int(samples), optimizer)
        assert found.training == want
        assert want.decay == 0.9


def test_unknown_setting():
    with pytest.raises(DomainError, match=r"linear, mlp, resnet, full, finetune; received 'vgg'"):
        setting("vgg")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("learning_rate", "0.1"),
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("batch_size", True),
        ("epochs", -1),
        ("samples", 0),
        ("optimizer", "rmsprop"),
        ("decay", 1.1),
        ("seconds", 0),
        ("seconds", math.inf),
        ("steps", 0),
        ("loss", "hinge"),
        ("seed", -1),
        ("device", "tpu"),
        ("autocast", "float8"),
        ("evaluated", 0),
        ("evaluation_batch", 0),
    ],
)
def test_a_knob_outside_its_domain(name, value):
    with pytest.raises(DomainError, match=f"^{name} (must be .*; received|is .*; expected) ") as caught:
        Training(**{name: value})
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto") == CPU
    with pytest.raises(DomainError, match=r"device cuda is not there \(0 CUDA devices found\)"):
        tiny(device="cuda")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"stack": nn.Linear(6, 3)}, ShapeError, "Linear; expected a module with .blocks"),
        ({"samples": 24}, DomainError, "samples = 24 received for a training set of 23"),
        ({"loss": "mse"}, DomainError, "loss mse received for data with 3 classes"),
        ({"split": dataclasses.replace(labelled(), y_test=torch.zeros(2))}, ShapeError, "11 inputs and 2"),
        ({"stack": Stack().requires_grad_(False)}, DomainError, "no trainable parameter"),
    ],
)
def test_arguments_that_do_not_fit_together(change, error, words):
    with pytest.raises(error, match=words):
        tiny(**change)


# ---------------------------------------------------------------- numbers by their definitions


class Linear(nn.Module):
    """One linear block without bias, y = W x."""

    def __init__(self, weight):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(*weight.shape[::-1], bias=False, dtype=torch.float64)])
        self.blocks[0].weight.data = torch.from_numpy(weight.copy())

    def readout(self, z, s):
        return z

    def forward(self, x):
        return self.readout(self.blocks[0](x), 1)


def by_hand(split, weight, training):
    """Least squares by SGD or Adam in numpy: rows of (rate, loss, train loss, test loss)."""
    x, y, u, v = (t.numpy() for t in (split.x_train, split.y_train, split.x_test, split.y_test))
    w, rate, last, rows = weight.copy(), training.learning_rate, None, []
    first, second, steps = np.zeros_like(w), np.zeros_like(w), 0
    for epoch in range(1, training.epochs + 1):
        total = 0.0
        for chosen in batches(len(x), training.batch_size, training.seed, epoch):
            a, b = x[chosen], y[chosen]
            rest = a @ w.T - b
            total += (rest**2).mean() * len(a)
            g = 2 * rest.T @ a / rest.size
            steps += 1
            if training.optimizer == "adam":
                first = 0.9 * first + 0.1 * g
                second = 0.999 * second + 0.001 * g * g
                g = first / (1 - 0.9**steps) / (np.sqrt(second / (1 - 0.999**steps)) + 1e-8)
            w = w - rate * g
        loss = total / len(x)
        rows.append((rate, loss, ((x @ w.T - y) ** 2).mean(), ((u @ w.T - v) ** 2).mean()))
        if last is not None and loss > last:
            rate *= 0.9
        last = loss
    return np.array(rows)


def linear_case(noise=1.0):
    rng = np.random.default_rng(3)
    x, truth, weight = rng.normal(size=(31, 4)), rng.normal(size=(2, 4)), rng.normal(size=(2, 4))
    y = x @ truth.T + noise * rng.normal(size=(31, 2))
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    return weight, Split(x[:24], y[:24], x[24:], y[24:], classes=None, digest="least squares")


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.45), ("adam", 0.3)])
def test_a_run_is_that_of_the_definition(optimizer, rate):
    weight, split = linear_case()
    training = Training(rate, 7, 25, optimizer=optimizer, seed=4, device="cpu")
    run = train(Linear(weight), split, backprop, training)
    want = by_hand(split, weight, training)
    got = np.stack([run.learning_rate, run.loss, run.train_loss, run.test_loss], 1)
    np.testing.assert_allclose(got[1:], want, rtol=1e-10)
    assert 0.9**3 * rate > want[-1, 0], "the rate falls several times, or the rule is not tested"
    assert want[-1, 0] > 0.9**23 * rate, "and it does not always fall"
    assert run.status == "finished"
    assert math.isnan(run.loss[0])
    assert run.train_loss[0] == pytest.approx(
        ((split.x_train.numpy() @ weight.T - split.y_train.numpy()) ** 2).mean(), rel=1e-12
    )
    np.testing.assert_array_equal(run.epochs, np.arange(26))
    np.testing.assert_array_equal(run.steps, 4 * np.arange(26))
    assert np.isnan(run.test_accuracy).all()
    assert run.best_epoch == np.argmin(run.test_loss)


def test_the_rate_falls_when_the_loss_rises():
    assert next_rate(1.0, 2.0, 1.0, 0.9) == 0.9
    assert next_rate(1.0, 1.0, 1.0, 0.9) == 1.0
    assert next_rate(1.0, 1.0, 2.0, 0.9) == 1.0
    assert next_rate(1.0, 5.0, math.nan, 0.9) == 1.0, "there is no epoch before the first"


def test_loss_and_accuracy_count_samples():
    x, y = labelled().x_train, labelled().y_train
    stack = Stack().eval()
    with torch.no_grad():
        output = stack(x).double()
    right = sum(int(row.argmax()) == int(k) for row, k in zip(output, y, strict=True))
    losses = [math.log(row.exp().sum()) - row[k] for row, k in zip(output, y, strict=True)]
    stack.train()
    stack.blocks[1].eval()
    stack.readout.register_forward_hook(lambda *_: torch.rand(1) and None)  # draws in evaluation mode too
    modes = [module.training for module in stack.modules()]
    state, before = torch.get_rng_state(), checkpoints.fingerprint(stack.state_dict())
    for batch in (1, 7, 23, 1000):
        score = evaluate(stack, x, y, functional.cross_entropy, classes=True, batch=batch, device=CPU)
        assert score.accuracy == right / 23
        assert score.loss == pytest.approx(float(sum(losses)) / 23, rel=1e-6)
    assert modes == [module.training for module in stack.modules()]
    assert torch.equal(state, torch.get_rng_state())
    assert before == checkpoints.fingerprint(stack.state_dict())


def test_training_learns():
    run = tiny(epochs=25, learning_rate=0.02, stack=Stack(dropout=0.0))
    assert run.train_accuracy[-1] >= 0.9 > run.train_accuracy[0]
    assert run.train_loss[-1] < 0.6 * run.train_loss[0]
    assert run.best_epoch == np.argmax(run.test_accuracy)


def test_the_best_epoch():
    row = {"epoch": 0, "test_loss": 1.0, "test_accuracy": None}
    rows = [row, {**row, "epoch": 1, "test_loss": 0.5}, {**row, "epoch": 2, "test_loss": None}]
    assert metrics.best(rows)["epoch"] == 1
    accuracies = [None, 0.25, 0.5, 0.5]
    rows = [{"epoch": e, "test_loss": 1.0 - e, "test_accuracy": a} for e, a in enumerate(accuracies)]
    assert metrics.best(rows) == {"epoch": 2, "test_loss": -1.0, "test_accuracy": 0.5}


@pytest.mark.parametrize(("samples", "size"), [(10, 3), (10, 5), (10, 9), (3, 1), (1, 4), (9, 4)])
def test_an_epoch_takes_every_sample_once(samples, size):
    parts = batches(samples, size, 0, 1)
    assert sorted(torch.cat(parts).tolist()) == list(range(samples))
    assert min(map(len, parts)) > 1 or size == 1 or samples == 1
    assert {len(p) for p in parts[:-1]} <= {size}


def test_the_order_depends_on_seed_and_epoch_alone():
    orders = [tuple(torch.cat(batches(50, 7, s, e)).tolist()) for s in range(3) for e in range(1, 4)]
    assert len(set(orders)) == 9
    torch.manual_seed(99)
    assert tuple(torch.cat(batches(50, 7, 0, 1)).tolist()) == orders[0]
    assert tuple(torch.cat(batches(50, 9, 0, 1)).tolist()) == orders[0]


def test_a_part_of_the_samples_keeps_their_targets():
    x = torch.arange(100.0)[:, None]
    some, targets = random_part(x, torch.arange(100), 30)
    assert torch.equal(some[:, 0], targets.double())
    assert len(set(targets.tolist())) == 30
    assert targets.max() > 50, "sorted data must not lose its last classes"
    assert random_part(x, x, None)[0] is x
    run = tiny(samples=9, evaluated=4, epochs=1)
    assert run.steps[-1] == 2
    assert set(4 * run.train_accuracy) <= {0, 1, 2, 3, 4}


def test_seeds_change_the_run_and_the_caller_s_generator_stays():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second, again = tiny(epochs=1), tiny(epochs=1, seed=1), tiny(epochs=1)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    assert tiny(epochs=1).loss[1] == first.loss[1] == again.loss[1] != second.loss[1]


def test_the_seed_is_that_of_dropout_too():
    """All samples are the same, so that their order does not matter."""
    data = labelled()
    same = dataclasses.replace(
        data, x_train=data.x_train[:1].repeat(20, 1), y_train=data.y_train[:1].repeat(20)
    )
    for dropout in (0.0, 0.3):
        losses = [
            tiny(stack=Stack(dropout=dropout, norm=False), split=same, seed=seed, epochs=1).loss[1]
            for seed in (0, 1)
        ]
        assert (losses[0] == losses[1]) == (dropout == 0)


def test_training_is_in_training_mode():
    assert tiny(stack=Stack().eval(), epochs=1).loss[1] == tiny(epochs=1).loss[1]


@pytest.mark.parametrize("name", ["horizon-5", "checkpoint", "accumulate-2"])
def test_methods_that_are_exact_give_the_same_run(name):
    plain = tiny(stack=Stack(dropout=0.0, norm=False), epochs=2, optimizer="sgd")
    other = tiny(method=method(name), stack=Stack(dropout=0.0, norm=False), epochs=2, optimizer="sgd")
    np.testing.assert_allclose(other.test_loss, plain.test_loss, rtol=1e-5)


@pytest.mark.parametrize("name", ["horizon-2", "greedy", "loco-3", "checkpoint-2", "forward"])
def test_runs_of_every_method_resume(tmp_path, name):
    knobs = {"epochs": 2, "optimizer": "sgd"}
    tiny(tmp_path / "whole", method(name), Stack(norm=False), **knobs)
    with pytest.raises(Broken):
        tiny(tmp_path / "parts", Breaking(name), Stack(norm=False), **knobs)
    tiny(tmp_path / "parts", method(name), Stack(norm=False), **knobs)
    assert numbers(tmp_path / "parts") == numbers(tmp_path / "whole")
    with pytest.raises(RecordError, match="other knobs, model, method"):
        tiny(tmp_path / "parts", method("horizon-3"), Stack(norm=False), **knobs)


class Breaking:
    """A method that breaks in its eighth step."""

    def __init__(self, name):
        self.name, self.steps = name, 0

    def __call__(self, *args):
        self.steps += 1
        if self.steps == 8:
            raise Broken
        return method(self.name)(*args)


def test_mixed_precision():
    run, plain = tiny(autocast="bfloat16", stack=(stack := Stack())), tiny()
    assert {leaf.dtype for leaf in stack.parameters()} == {torch.float32}
    assert np.all(run.train_loss != plain.train_loss)
    np.testing.assert_allclose(run.train_loss, plain.train_loss, rtol=0.2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda(tmp_path):
    tiny(tmp_path / "whole", device="cuda")
    with pytest.raises(Broken):
        tiny(tmp_path / "parts", stopping(8, broken), device="cuda")
    tiny(tmp_path / "parts", device="cuda")
    assert [row["epoch"] for row in numbers(tmp_path / "parts")] == [0, 1, 2, 3, 4]
    for a, b in zip(numbers(tmp_path / "whole"), numbers(tmp_path / "parts"), strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-3)


# ---------------------------------------------------------------- metrics and folders


def test_without_a_folder_nothing_is_written(whole, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    run = tiny()
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")
    rows = metrics.read(whole / "metrics.jsonl")
    np.testing.assert_array_equal(run.loss, [np.nan, *[row["loss"] for row in rows[1:]]])
    np.testing.assert_array_equal(run.test_accuracy, [row["test_accuracy"] for row in rows])
    assert run.step_seconds > 0
    assert np.all(np.diff(run.seconds) > 0)


def test_a_finished_run_is_read_and_its_model_restored(whole):
    before = sorted((path.name, path.read_bytes()) for path in whole.iterdir())
    stack = Stack()
    run = tiny(whole, stack=stack, method=stopping(1, broken))
    assert run.status == "finished"
    assert len(run.epochs) == 5
    fresh = Stack()
    tiny(stack=fresh)
    assert checkpoints.fingerprint(stack.state_dict()) == checkpoints.fingerprint(fresh.state_dict())
    assert sorted((path.name, path.read_bytes()) for path in whole.iterdir()) == before
    assert sorted(name for name, _ in before) == ["checkpoint.pt", "metrics.jsonl"]
    assert checkpoints.load(whole / "checkpoint.pt").best["epoch"] == run.best_epoch


def test_no_epochs_is_the_untrained_model(tmp_path):
    run = tiny(tmp_path, epochs=0, probe=lambda epoch, stack, split: {"t": [epoch, 2.5]})
    assert list(run.epochs) == [0]
    assert math.isnan(run.step_seconds)
    np.testing.assert_array_equal(run.probes[0]["t"], [0, 2.5])


def test_damaged_metrics(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(RecordError, match="cannot read"):
        metrics.read(path)
    path.write_text('{"epoch": 0}\n{"epoch": 1}\n{"epo')
    assert [row["epoch"] for row in metrics.read(path)] == [0, 1]
    for text in (
        '{"epoch": 0}\nnonsense\n{"epoch": 2}\n',
        '{"epoch": 0}\n{"epoch": 2}\n',
        '{"epoch": 0}\n7\n',
    ):
        path.write_text(text)
        with pytest.raises(RecordError, match="damaged at line 2"):
            metrics.read(path)
    with pytest.raises(RecordError, match="no epoch"):
        metrics.run_of([])


# ---------------------------------------------------------------- interrupted and resumed


@pytest.mark.parametrize("at", [1, 3, 5, 6, 8, 10, 11, 13, 18, 20])  # 5 steps an epoch, 4 epochs
def test_a_broken_run_goes_on_with_the_same_numbers(whole, tmp_path, at):
    with pytest.raises(Broken):
        tiny(tmp_path, stopping(at, broken), every=0.0 if at % 2 else 600.0)
    assert len(numbers(tmp_path)) == (at - 1) // 5 + 1
    tiny(tmp_path)
    assert numbers(tmp_path) == numbers(whole)
    assert weights(tmp_path) == weights(whole)


def test_every_step_can_be_kept(whole, tmp_path):
    """With every = 0 the broken run resumes at the very step, not at its epoch's beginning."""
    with pytest.raises(Broken):
        tiny(tmp_path, stopping(9, broken), every=0.0)
    at = checkpoints.load(tmp_path / "checkpoint.pt").progress
    assert (at["epoch"], at["step"], at["steps"]) == (2, 3, 8)
    with pytest.raises(Broken):  # 20 - 8 steps are left
        tiny(tmp_path, stopping(12, broken), every=0.0)
    tiny(tmp_path)
    assert numbers(tmp_path) == numbers(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_step_keeps_it_and_says_how_to_go_on(whole, tmp_path, capsys, number):
    before = signal.getsignal(number)
    stack = Stack()
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path, stopping(8, lambda: signal.raise_signal(number)), stack=stack)
    assert signal.getsignal(number) is before
    line = capsys.readouterr().err
    assert line == (
        f"interrupted: epoch 2, step 3 of 5 is kept in {tmp_path}; run the same command again to go on\n"
    )
    with pytest.raises(KeyboardInterrupt):  # the same object, as in a notebook
        tiny(tmp_path, stopping(4, lambda: signal.raise_signal(number)), stack=stack)
    tiny(tmp_path)
    assert numbers(tmp_path) == numbers(whole)
    assert weights(tmp_path) == weights(whole)


def test_a_second_interrupt_does_not_wait(whole, tmp_path, capsys):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path, stopping(8, twice))
    assert f"the last checkpoint is kept in {tmp_path}" in capsys.readouterr().err
    assert checkpoints.load(tmp_path / "checkpoint.pt").progress["step"] == 0, "half a step is not kept"
    tiny(tmp_path)
    assert numbers(tmp_path) == numbers(whole)


def test_an_interrupt_in_a_probe_or_an_evaluation(whole, tmp_path, monkeypatch, capsys):
    def probe(epoch, stack, split):
        stack.blocks[0][0].weight.data.zero_()
        if epoch == 2:
            signal.raise_signal(signal.SIGINT)
        return {}

    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path / "probe", probe=probe)
    assert "epoch 2, step 5 of 5 is kept" in capsys.readouterr().err
    tiny(tmp_path / "probe", probe=lambda *_: {})
    rows = numbers(tmp_path / "probe")
    assert [row.pop("probe") for row in rows] == [{}] * 5
    assert rows == numbers(whole)

    calls = 0

    def evaluated(*args, **knobs):
        nonlocal calls
        calls += 1
        if calls == 6:  # the test set after epoch 2
            signal.raise_signal(signal.SIGTERM)
        return evaluate(*args, **knobs)

    monkeypatch.setattr(session, "evaluate", evaluated)
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path / "evaluation")
    tiny(tmp_path / "evaluation")
    assert numbers(tmp_path / "evaluation") == numbers(whole)
    assert weights(tmp_path / "evaluation") == weights(whole)


def test_an_interrupt_without_a_folder(capsys):
    with pytest.raises(KeyboardInterrupt):
        tiny(method=stopping(2, lambda: signal.raise_signal(signal.SIGINT)))
    assert capsys.readouterr().err == "interrupted: nothing is kept; pass a folder to go on\n"


def test_own_handlers_and_threads_are_left_alone():
    def own(*_):
        pass

    before = signal.signal(signal.SIGTERM, own)
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGTERM) is own
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(tiny(epochs=1).status))
    thread.start()
    thread.join()
    assert statuses == ["finished"]


def handlers():
    with Interrupts():
        return [signal.getsignal(number) == signal.SIG_DFL for number in (signal.SIGTERM,)]


@pytest.mark.slow
def test_a_process_of_a_pool_ends_when_its_parent_says_so():
    """Else each worker of an interrupted sweep would finish its step and tell the user to pass a folder."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(handlers).result() == [True]
    assert handlers() == [False]


CASES = {"kill": (14, 600.0), "terminate": (8, 600.0)}  # step, every


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    """Tiny runs in processes of their own, each waiting in the middle of a step; started together."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = {}
    with contextlib.ExitStack() as stack:
        for name, (pause_at, every) in CASES.items():
            folder = tmp_path_factory.mktemp("child")
            script = [sys.executable, str(SUPPORT / "tiny_stack.py")]
            command = [*script, str(folder), "4", str(pause_at), str(every)]
            process = stack.enter_context(processes.running(command, env=environment, **processes.PIPES))
            started[name] = folder, process
        yield started


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_process_goes_on_with_the_same_numbers(whole, children):
    folder, process = children["kill"]
    assert process.stdout.readline() == "there\n"
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert checkpoints.load(folder / "checkpoint.pt").progress["steps"] == 10
    assert len(numbers(folder)) == 3
    tiny(folder)
    assert numbers(folder) == numbers(whole)
    assert weights(folder) == weights(whole)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_terminated_process_keeps_its_steps(whole, children):
    folder, process = children["terminate"]
    assert process.stdout.readline() == "there\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate("\n")
    assert "interrupted: epoch 2, step 3 of 5 is kept in" in errors
    assert checkpoints.load(folder / "checkpoint.pt").progress["steps"] == 8
    tiny(folder)
    assert numbers(folder) == numbers(whole)


@pytest.mark.parametrize("cut", [1, 40, 700])
def test_a_metrics_file_that_lost_its_end_is_completed(whole, tmp_path, cut):
    with pytest.raises(Broken):
        tiny(tmp_path, stopping(18, broken))
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    tiny(tmp_path)
    assert numbers(tmp_path) == numbers(whole)


def test_more_epochs_continue_a_run(whole, tmp_path):
    tiny(tmp_path, epochs=1)
    tiny(tmp_path, epochs=3)
    tiny(tmp_path, epochs=4)
    assert numbers(tmp_path) == numbers(whole)
    assert weights(tmp_path) == weights(whole)
    with pytest.raises(RecordError, match="has 4 epochs, 2 were asked for; ask for as many or more"):
        tiny(tmp_path, epochs=2)


# ---------------------------------------------------------------- full disk


@pytest.mark.parametrize("when", [1, 4, 5, 6, 7])  # of the syncs: three an epoch
def test_a_full_disk_is_one_line_and_nothing_is_lost(whole, tmp_path, monkeypatch, when):
    syncs, fsync = 0, os.fsync

    def full(handle):
        nonlocal syncs
        syncs += 1
        if syncs >= when:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordError, match=r"cannot write .*No space left.*, make room and run .*again$") as e:
        tiny(tmp_path)
    assert "\n" not in str(e.value)
    assert not list(tmp_path.glob("*.tmp"))
    monkeypatch.setattr(os, "fsync", fsync)
    tiny(tmp_path)
    assert numbers(tmp_path) == numbers(whole)
    assert weights(tmp_path) == weights(whole)


# ---------------------------------------------------------------- divergence and time


def test_a_loss_that_is_no_number_is_a_result(tmp_path):
    weight, split = linear_case()
    training = Training(1e40, 7, 9, device="cpu")
    run = train(Linear(weight), split, backprop, training, folder=tmp_path, probe=lambda *_: {"a": 1})
    assert run.diverged
    assert run.status == f"diverged at epoch {run.epochs[-1]}"
    assert run.epochs[-1] < 9
    assert np.isnan([run.train_loss[-1], run.test_loss[-1]]).all()
    assert run.best_epoch == 0
    again = train(Linear(weight), split, stopping(1, broken), training, folder=tmp_path, probe=lambda *_: {})
    assert again.status == run.status
    assert numbers(tmp_path)[-1]["status"] == run.status
    json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1], parse_constant=pytest.fail)


def test_the_step_that_diverges_leaves_the_weights(tmp_path, capsys):
    def method(blocks, x, loss_fn, readout):
        nonlocal steps
        steps += 1
        loss = backprop(blocks, x, loss_fn, readout)
        if steps == 7:
            kept.append(checkpoints.fingerprint(dict(stack.named_parameters())))
            if interrupt:
                signal.raise_signal(signal.SIGINT)
        return loss * math.inf if steps == 7 else loss

    method.__qualname__ = backprop.__qualname__
    runs, kept = [], []
    for interrupt in (False, True):
        steps, stack = 0, Stack()
        folder = tmp_path / str(interrupt)
        if interrupt:
            with pytest.raises(KeyboardInterrupt):
                tiny(folder, method, stack=stack)
            method = backprop
        runs.append(tiny(folder, method, stack=stack))
        assert kept.pop() == checkpoints.fingerprint(dict(stack.named_parameters()))
    assert [run.status for run in runs] == ["diverged at epoch 2"] * 2
    assert runs[0].steps[-1] == 7
    assert numbers(tmp_path / "False") == numbers(tmp_path / "True")


def test_weights_that_diverge_with_the_last_step():
    run = tiny(epochs=1, method=stopping(5, lambda: None), stack=(stack := Stack()))
    assert run.status == "finished"

    def spoil(blocks, x, loss_fn, readout):
        loss = backprop(blocks, x, loss_fn, readout)
        blocks[0][0].weight.grad.fill_(math.nan)
        return loss

    run = tiny(epochs=1, method=spoil, stack=stack, batch_size=23)
    assert run.status == "diverged at epoch 1"
    assert math.isfinite(run.loss[1])


def test_the_untrained_model_is_not_judged(monkeypatch):
    """Its batch norm has no statistics yet."""
    calls = 0

    def evaluated(*args, **knobs):
        nonlocal calls
        calls += 1
        return evaluate(*args, **knobs)._replace(**({"loss": math.inf} if calls in (2, 6) else {}))

    monkeypatch.setattr(session, "evaluate", evaluated)
    run = tiny()
    assert run.status == "diverged at epoch 2"
    np.testing.assert_array_equal(np.isnan(run.test_loss), [True, False, True])


class Clock:
    """A second for every look at it: a step takes one."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


def test_a_time_budget_counts_steps_alone(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(session, "clock", clock)

    def slow(*_):
        clock.now += 1000.0
        return {}

    def evaluated(*args, **knobs):
        clock.now += 1000.0
        return evaluate(*args, **knobs)

    monkeypatch.setattr(session, "evaluate", evaluated)
    run = tiny(tmp_path / "whole", seconds=12.5, epochs=1000, probe=slow)
    assert run.status == "out of time at epoch 3"
    assert list(run.steps) == [0, 5, 10, 13]
    assert list(run.seconds) == [0, 5, 10, 13]
    assert run.step_seconds == 1.0
    spans = iter([1.0, 1, 2, 9, 9, 4, 4, 5, 8, 8])  # of the steps of two epochs, medians 2 and 5
    slower = tiny(epochs=2, method=lambda *args: clock.pass_by(next(spans) - 1) or backprop(*args))
    assert list(slower.seconds) == [0, 22, 51]
    assert slower.step_seconds == 3.5
    interrupt = stopping(12, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path / "parts", interrupt, seconds=12.5, epochs=1000, probe=slow)
    again = tiny(tmp_path / "parts", seconds=12.5, epochs=1000, probe=slow)
    assert list(again.steps) == [0, 5, 10, 13]
    assert numbers(tmp_path / "parts") == numbers(tmp_path / "whole")
    assert (
        tiny(tmp_path / "parts", stopping(1, broken), seconds=12.5, epochs=1001, probe=slow).steps[-1] == 13
    )
    exact = tiny(seconds=10.0, epochs=7)
    assert exact.status == "out of time at epoch 2"
    assert list(exact.steps) == [0, 5, 10]


def test_a_budget_of_steps_ends_inside_an_epoch_and_resumes(tmp_path):
    whole = tiny(tmp_path / "whole", epochs=1000, steps=13)
    assert whole.status == "out of steps at epoch 3"
    assert list(whole.steps) == [0, 5, 10, 13]
    longer = tiny(tmp_path / "longer", epochs=3)
    assert np.array_equal(longer.test_loss[:3], whole.test_loss[:3])
    assert longer.test_loss[3] != whole.test_loss[3]
    with pytest.raises(KeyboardInterrupt):
        tiny(
            tmp_path / "parts",
            stopping(12, lambda: signal.raise_signal(signal.SIGINT)),
            epochs=1000,
            steps=13,
        )
    again = tiny(tmp_path / "parts", epochs=1000, steps=13)
    assert np.array_equal(again.test_loss, whole.test_loss)
    assert list(tiny(epochs=7, steps=10).steps) == [0, 5, 10]


# ---------------------------------------------------------------- probes


def wicked(epoch, stack, split):
    """Does everything that a probe must not."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    stack.note = "was here"
    stack(split.x_train).sum().backward()  # batch norm, dropout, the counter and .grad
    stack.eval()
    for leaf in stack.parameters():
        leaf.data = torch.zeros(1, dtype=torch.float64)
        leaf.grad = None
        leaf.grad = torch.ones_like(leaf)
    stack.blocks[0][0].requires_grad_(False)
    stack.blocks[0][0].weight = nn.Parameter(torch.ones(6, 6))
    stack.blocks[1] = nn.Identity()
    stack.blocks[2].register_forward_hook(lambda module, x, y: y * 0)
    stack.blocks[3][1].momentum = 0.9
    stack.blocks[4].count += 100
    stack.blocks[4].register_buffer("another", torch.zeros(1))
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)
    return {"epoch": epoch, "profile": torch.tensor([1.0, math.inf]), "one": np.float32(0.5)}


def test_a_probe_disturbs_nothing(whole, tmp_path):
    torch.set_num_threads(1)
    state = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    run = tiny(tmp_path, probe=wicked, stack=(stack := Stack()))
    assert not hasattr(stack, "note")
    rows = numbers(tmp_path)
    for row in rows:
        assert row.pop("probe") == {"epoch": row["epoch"], "profile": [1.0, None], "one": 0.5}
    assert rows == numbers(whole)
    assert weights(tmp_path) == weights(whole)
    assert torch.get_num_threads() == 1
    assert torch.is_grad_enabled()
    assert np.array_equal(state[0], np.random.get_state()[1])  # noqa: NPY002
    assert state[1] == random.getstate()
    np.testing.assert_array_equal(run.probes[2]["profile"], [1.0, np.nan])


def test_gradients_survive_a_probe():
    stack, split = Stack(), labelled()
    stack(split.x_train).sum().backward()
    grads = {name: (leaf.grad, leaf.grad.clone()) for name, leaf in stack.named_parameters()}

    def look():
        with step_isolated(stack, CPU):
            wicked(0, stack, split)
            grads["readout.linear.bias"][0].zero_()
            raise Broken

    with pytest.raises(Broken):
        look()
    for name, leaf in stack.named_parameters():
        assert leaf.grad is grads[name][0]
        assert torch.equal(leaf.grad, grads[name][1])


def test_a_probe_must_leave_the_data_alone():
    with pytest.raises(DomainError, match="changed the training or test data in place; let it"):
        tiny(probe=lambda epoch, stack, split: {"a": split.x_test.zero_().sum()})


def test_chosen_epochs_are_probed(tmp_path):
    run = tiny(probe=lambda epoch, stack, split: {"twice": 2 * epoch}, probe_at=(0, 3, 77))
    assert {epoch: float(values["twice"]) for epoch, values in run.probes.items()} == {0: 0.0, 3: 6.0}


@pytest.mark.parametrize("answer", [None, 3.0, {"a": "text"}, {"a": {"b": 1}}, {"a": 1j}])
def test_a_probe_returns_numbers(answer):
    with pytest.raises(DomainError, match="a probe must return numbers"):
        tiny(probe=lambda *_: answer)
