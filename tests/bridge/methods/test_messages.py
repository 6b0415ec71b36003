"""Bad arguments of methods, meters and training: one line that says what was received and what is allowed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rank_checks import DEPTH, METHODS, SAMPLES, batch, build

from dlinear.bridge import (
    Training,
    alignment,
    horizon_backward,
    horizon_gradients,
    load,
    method,
    model,
    step_calls,
    step_memory,
    train,
)
from dlinear.bridge.methods import Family, Method, registry
from dlinear.bridge.methods.accumulation import accumulated_backward
from dlinear.bridge.methods.checkpointing import checkpointed_backward
from dlinear.bridge.methods.forward_gradient import forward_gradient
from dlinear.bridge.methods.loco import loco
from dlinear.bridge.methods.reconstruct import reconstructed_backward
from dlinear.bridge.methods.registry import register
from dlinear.bridge.methods.revolve import revolve_backward
from dlinear.errors import DlinearError, DomainError, HorizonError, ShapeError

NUMBERS = {
    "tangents": (forward_gradient, "expected an integer >= 1"),
    "parts": (accumulated_backward, "expected an integer >= 1"),
    "segments": (checkpointed_backward, f"expected an integer in 1..{DEPTH}"),
    "stages": (loco, f"expected an integer in 2..{DEPTH}"),
    "states": (revolve_backward, "expected an integer >= 1"),
    "steps": (reconstructed_backward, "expected an integer >= 1"),
}
NO_NUMBERS = (2.5, 2.0, "2", True, 0, -1, [2], np.float64(2), float("nan"), 1j)
STEPS = {
    **{name: method(name) for name in METHODS},
    "horizon_backward": lambda *words: horizon_backward(*words[:3], 2, *words[3:]),
    "horizon_gradients": lambda *words: horizon_gradients(*words[:3], 2, *words[3:]),
    "alignment": lambda *words: alignment(*words[:3], "all", *words[3:]),
}


def refused(error, words, call, *arguments, **named):
    """The error in one line, with the words; no gradient is touched."""
    with pytest.raises(error) as caught:
        call(*arguments, **named)
    text = str(caught.value)
    assert isinstance(caught.value, DlinearError)
    assert words in text
    assert "\n" not in text
    assert len(text) < 300


@pytest.fixture
def net():
    net = build()
    yield net
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("value", [*NO_NUMBERS, 10**30], ids=str)
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_parts_are_integers(name, value, net):
    run, words = NUMBERS[name]
    if value == 10**30 and name in ("tangents", "parts", "states", "steps"):
        return  # a number, if one for the patient
    x, loss_fn = batch()
    refused(DomainError, f"{name} is {value!r}; {words}", run, net[:-1], x, loss_fn, net[-1], **{name: value})


@pytest.mark.parametrize(
    "value", [None, *(v for v in NO_NUMBERS if v not in (2, [2])), DEPTH + 1, 10**30], ids=str
)
def test_a_horizon_is_an_integer_up_to_t(value, net):
    x, loss_fn = batch()
    for call in (horizon_backward, horizon_gradients):
        refused(HorizonError, f"an integer in 1..{DEPTH}", call, net[:-1], x, loss_fn, value, net[-1])


@pytest.mark.parametrize("value", [np.int64(2), np.uint8(2), np.int64([2])[0]])
def test_numpys_integers_are_integers(value):
    x, loss_fn = batch()
    for name, (run, _) in NUMBERS.items():
        ours, plain = build(), build()
        torch.manual_seed(0)
        run(ours[:-1], x, loss_fn, ours[-1], **{name: value})
        torch.manual_seed(0)
        run(plain[:-1], x, loss_fn, plain[-1], **{name: 2})
        assert torch.equal(ours[0].linear.weight.grad, plain[0].linear.weight.grad), name


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        (f"horizon-{DEPTH + 1}", HorizonError, f"an integer in 1..{DEPTH}"),
        ("horizon-" + "9" * 18, HorizonError, f"an integer in 1..{DEPTH}"),
        (
            f"checkpoint-{DEPTH + 1}",
            DomainError,
            f"segments is {DEPTH + 1}; expected an integer in 1..{DEPTH}",
        ),
        (f"loco-{DEPTH + 1}", DomainError, f"stages is {DEPTH + 1}; {NUMBERS['stages'][1]}"),
    ],
)
def test_numbers_beyond_the_depth(name, error, words, net):
    x, loss_fn = batch()
    refused(error, words, method(name), net[:-1], x, loss_fn, net[-1])


def test_more_micro_batches_than_samples_go_one_by_one():
    x, loss_fn = batch()
    one, other = build(), build()
    method("accumulate-" + "9" * 18)(one[:-1], x, loss_fn, one[-1])
    method(f"accumulate-{2 * SAMPLES}")(other[:-1], x, loss_fn, other[-1])
    assert torch.equal(one[0].linear.weight.grad, other[0].linear.weight.grad)


@pytest.mark.parametrize("blocks", [None, 5, torch.tanh], ids=["None", "5", "function"])
@pytest.mark.parametrize("name", STEPS)
def test_blocks_are_a_sequence(name, blocks, net):
    x, loss_fn = batch()
    refused(ShapeError, "expected a sequence of T >= 1 blocks", STEPS[name], blocks, x, loss_fn, net[-1])


@pytest.mark.parametrize("loss_fn", [None, 5, "loss", torch.zeros(3)], ids=str)
@pytest.mark.parametrize("name", STEPS)
def test_a_loss_is_a_function(name, loss_fn, net):
    words = f"loss_fn is a {type(loss_fn).__name__}; expected a function z -> scalar tensor"
    refused(ShapeError, words, STEPS[name], net[:-1], batch()[0], loss_fn, net[-1])


@pytest.mark.parametrize("readout", [5, "head", [torch.tanh]], ids=["5", "text", "list"])
@pytest.mark.parametrize("name", STEPS)
def test_a_readout_is_a_function(name, readout, net):
    words = f"readout is a {type(readout).__name__}; expected a function (z, s) -> z, or None"
    refused(ShapeError, words, STEPS[name], net[:-1], *batch(), readout)


NO_METHODS = {
    "horizon-2": "method is 'horizon-2'; expected what dlinear.bridge.method('horizon-2') gives",
    None: "method is None; expected what dlinear.bridge.method('horizon-4') gives",
    3: "method is 3; expected",
    Method: "method is <class 'dlinear.bridge.methods.base.Method'>; expected",
    "x" * 500: "method is 'xxxxx",
    "a\nb": "method is 'a\\nb'; expected",
}


@pytest.mark.parametrize("value", NO_METHODS, ids=lambda value: str(value)[:20])
def test_a_name_is_no_method(value, net, tmp_path):
    words = NO_METHODS[value]
    for meter in (step_memory, step_calls):
        refused(DomainError, words, meter, value, net[:-1], *batch(), net[-1])
    split = load("digits", samples=20, test_samples=10)
    stack = model("mlp", split.task, depth=2, width=3, readout="shared")
    refused(DomainError, words, train, stack, split, value, folder=tmp_path / "run", progress=False)


@pytest.mark.parametrize("split", [None, 3, "digits", {}], ids=str)
def test_data_are_data(split):
    stack = model("mlp", load("digits", samples=20, test_samples=10).task, depth=2, width=3, readout="shared")
    words = f"split is a {type(split).__name__} without x_train; expected data, such as dlinear.bridge.load("
    refused(DomainError, words, train, stack, split, method("backprop"), progress=False)


@pytest.mark.parametrize("training", [3, "long", {}, {"epochs": 1}, Training], ids=str)
def test_knobs_of_training_are_knobs(training):
    split = load("digits", samples=20, test_samples=10)
    stack = model("mlp", split.task, depth=2, width=3, readout="shared")
    words = f"training is a {type(training).__name__}; expected a Training(...) or None"
    refused(DomainError, words, train, stack, split, method("backprop"), training, progress=False)


@pytest.mark.parametrize(
    ("family", "words"),
    [
        (None, "family is a NoneType; expected a dlinear.bridge.methods.Family"),
        ("ours", "family is a str; expected"),
        (Family, "family is a type; expected"),
        (Family("ours", None), "family 'ours' has no function: make takes a number and gives a Method"),
        (Family("ours", method, least=0), "least of family 'ours' is 0; expected an integer >= 1"),
        (Family("ours", method, least=1.5), "least of family 'ours' is 1.5; expected an integer >= 1"),
        (Family("ours", method, least="1"), "least of family 'ours' is '1'; expected an integer >= 1"),
    ],
)
def test_families(family, words):
    before = dict(registry._FAMILIES)
    refused(DomainError, words, register, family)
    assert before == registry._FAMILIES


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (None, "family 'ours' gives a NoneType; expected a Method called 'ours-2'"),
        (method("greedy"), "family 'ours' gives one called 'greedy'; expected a Method called 'ours-2'"),
    ],
)
def test_a_family_that_gives_something_else(made, words, monkeypatch):
    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))
    register(Family("ours", lambda number: made))
    refused(DomainError, words, method, "ours-2")


class Changed:
    """Data with other attributes."""

    def __init__(self, split, **changes):
        for name in ("x_train", "y_train", "x_test", "y_test", "classes", "digest"):
            setattr(self, name, changes.get(name, getattr(split, name)))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        *(
            (lambda s, n=n: {"y_train": s.y_train.clone().fill_(n)}, DomainError, f"y_train holds label {n};")
            for n in (-100, -1, 10, 255)
        ),
        (lambda s: {"y_test": s.y_test - 10}, DomainError, "y_test holds label -"),
        (
            lambda s: {"y_train": s.y_train.float()},
            ShapeError,
            "y_train is of torch.float32;",
        ),
        (
            lambda s: {"y_train": s.y_train[:, None]},
            ShapeError,
            "y_train has shape (20, 1);",
        ),
        (lambda s: {"classes": "10"}, DomainError, "classes is '10'; expected an integer"),
        (lambda s: {"classes": 0}, DomainError, "classes is 0; expected an integer"),
    ],
)
def test_labels_are_classes(change, error, words):
    split = load("digits", samples=20, test_samples=10)
    stack = model("mlp", split.task, depth=2, width=3, readout="shared")
    refused(error, words, train, stack, Changed(split, **change(split)), method("backprop"), progress=False)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        *(({"folder": v}, f"folder is {v!r}; expected a path") for v in (3, b"run", [1])),
        *(({"every": v}, "every") for v in ("5", None, -1, float("nan"))),
        *(({"probe": print, "probe_at": v}, "probe_at is ") for v in ("5", 5)),
        *(({"probe": print, "probe_at": [v]}, "an epoch of probe_at is ") for v in (-1, 0.5, "0", None)),
    ],
    ids=str,
)
def test_where_and_when_a_run_is_kept_and_probed(named, words):
    split = load("digits", samples=20, test_samples=10)
    stack = model("mlp", split.task, depth=2, width=3, readout="shared")
    refused(DomainError, words, train, stack, split, method("backprop"), progress=False, **named)


def test_a_run_is_kept_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    split = load("digits", samples=20, test_samples=10)
    stack = model("mlp", split.task, depth=2, width=3, readout="shared")
    train(stack, split, method("backprop"), Training(epochs=0), folder="~/runs/one", progress=False)
    assert (tmp_path / "runs" / "one" / "metrics.jsonl").exists()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("task", [None, 3, (10, 2), "digits"], ids=str)
def test_a_model_is_built_for_a_task(task):
    words = f"task is a {type(task).__name__}; expected a TaskShape, such as load('digits').task"
    refused(DomainError, words, model, "mlp", task)


@pytest.mark.parametrize("gain", [float("nan"), float("inf"), "a", None.__class__])
def test_gains_are_numbers(gain):
    task = load("digits", samples=20, test_samples=10).task
    refused(DomainError, "gain", model, "mlp", task, depth=2, width=3, gain=gain)
