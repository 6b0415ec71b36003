"""Calls that take paths, records, data sets or a run folder, with one argument that makes no sense."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nonsense
import numpy as np
import torch
from bad_calls import Kind, Row, few, without
from nonsense import CHOICE, INTEGER, NONNEGATIVE, POSITIVE

from dlinear import bridge, datasets
from dlinear.bridge.training.settings import Training
from dlinear.data.tasks import load_task, random_task
from dlinear.runs import collection, consolidate, load, load_latest, records, sweeps

NO_PATH: Kind = {
    "None": lambda: None,
    "number": lambda: 3,
    "bytes": lambda: b"x",
    "nan": lambda: nonsense.NAN,
    "list": lambda: ["a"],
    "object": object,
    "array": lambda: np.ones(3),
    "True": lambda: True,
    "no text": lambda: "",
    "zero byte": lambda: "a\0b",
}
MISSING: Kind = {**NO_PATH, "missing": lambda: "missing", "below a file": lambda: f"{__file__}/missing"}
KNOBS: Kind = {
    "None": lambda: None,
    "number": lambda: 3,
    "text": lambda: "ab",
    "list": lambda: [1, 2],
    "nan inside": lambda: {"a": nonsense.NAN},
    "array inside": lambda: {"a": np.ones(2)},
    "function inside": lambda: {"a": abs},
    "object": object,
    "bytes": lambda: b"x",
    "set": lambda: {1},
    "number as a name": lambda: {1: 3},
    "class": lambda: int,
}
ARRAYS: Kind = {
    "None": lambda: None,
    "text": lambda: "a",
    "list": lambda: [1, 2],
    "no pair": lambda: {"a": 3},
    "text inside": lambda: {"a": ((), "x")},
    "complex inside": lambda: {"a": ((), 1j)},
    "wrong dimensions": lambda: {"a": (("m",), [1.0, 2.0])},
    "number as a name": lambda: {3: ((), 1.0)},
    "reserved": lambda: {"record": ((), 1.0)},
    "object inside": lambda: {"a": ((), object())},
    "ragged": lambda: {"a": ((), [[1], [2, 3]])},
    "too few": lambda: {"a": ((),)},
    "needs a gradient": lambda: {"a": ((), torch.ones((), requires_grad=True))},
}
CELLS: Kind = {
    "None": lambda: None,
    "number": lambda: 3,
    "text": lambda: "ab",
    "mapping": lambda: {"a": 1},
    "list of None": lambda: [None],
    "list of arrays": lambda: [np.ones(2)],
    "nan inside": lambda: [{"a": nonsense.NAN}],
}
SHARDS: Kind = {
    **without(CHOICE, "None"),
    "0/3": lambda: "0/3",
    "4/3": lambda: "4/3",
    "half": lambda: "1/",
    "huge": lambda: "1/" + "9" * 50,
}


def empty(factory: Any) -> Path:
    """An empty folder, the same for all tests of a session."""
    place: Path = factory.getbasetemp() / "empty"
    place.mkdir(exist_ok=True)
    return place


def _result(cell: Any) -> sweeps.Arrays:
    return {"v": ((), 1.0)}


def _beside_a_record(function: Callable[..., Any], *names: str) -> Callable[..., Any]:
    """The function with arguments of these names from a new folder with one record, where none are given."""

    def call(**given: Any) -> Any:
        with tempfile.TemporaryDirectory() as place:
            path = records.write(place, {"a": 1}, {"v": ((), 1.0)})
            collection.mark_latest(place, [path.stem])
            known = {"folder": place, "path": path, "knobs": {"a": 1}, "arrays": {"v": ((), 1.0)}}
            known |= {"cells": [{"a": 2}], "compute": _result, "workers": 0}
            return function(**{name: known[name] for name in names} | given)

    return call


@functools.cache
def _split() -> Any:
    return bridge.load("linear", samples=20, test_samples=5, width=3)


def _train(**given: Any) -> Any:
    split = _split()
    stack = bridge.model("mlp", split.task, depth=2, width=4)
    words = {"stack": stack, "split": split, "method": bridge.method("backprop"), "progress": False}
    return bridge.train(**{**words, "training": Training(0.1, 20, 1), **given})


def calls() -> list[Row]:
    """All rows."""
    training = dict.fromkeys(("batch_size", "epochs", "seed", "evaluation_batch"), few(INTEGER))
    training |= dict.fromkeys(("samples", "evaluated", "steps"), without(few(INTEGER), "None"))
    training |= dict.fromkeys(("optimizer", "loss", "device", "autocast"), CHOICE)
    training |= {"learning_rate": POSITIVE, "decay": few(POSITIVE), "seconds": without(POSITIVE, "None")}
    return [
        Row(
            "train",
            _train,
            {"every": 600.0},
            {
                "stack": CHOICE,
                "split": CHOICE,
                "method": CHOICE,
                "training": without(CHOICE, "None"),
                "folder": without(NO_PATH, "None", "no text", "zero byte"),
                "probe": without(CHOICE, "None"),
                "identity": without(KNOBS, "None"),
                "every": without(POSITIVE, "zero", "inf"),
                "progress": CHOICE,
            },
        ),
        Row("Training", Training, {}, training),
        Row(
            "bridge.load",
            bridge.load,
            {"name": "linear", "samples": 20, "test_samples": 5},
            {
                "name": CHOICE,
                "samples": without(INTEGER, "None"),
                "test_samples": few(without(INTEGER, "None")),
                "seed": INTEGER,
                "width": INTEGER,
                "dtype": CHOICE,
            },
        ),
        Row(
            "datasets.load",
            datasets.load,
            {"name": "digits"},
            {
                "name": CHOICE,
                "folder": without(NO_PATH, "None", "bytes", "no text", "zero byte"),
                "download": CHOICE,
            },
        ),
        Row(
            "load_task",
            load_task,
            {"name": "random", "width": 3},
            {"name": CHOICE, "width": INTEGER, "folder": without(NO_PATH, "None")},
        ),
        Row(
            "random_task",
            random_task,
            {"width": 3, "samples": 50},
            {"width": few(INTEGER), "samples": INTEGER, "seed": INTEGER, "kind": CHOICE, "reading": CHOICE},
        ),
        Row("records.key", records.key, {"knobs": {"a": 1}}, {"knobs": KNOBS}),
        Row(
            "records.write",
            _beside_a_record(records.write, "folder", "knobs", "arrays"),
            {},
            {
                "folder": NO_PATH,
                "knobs": KNOBS,
                "arrays": ARRAYS,
                "seconds": without(NONNEGATIVE, "None", "zero"),
            },
        ),
        Row("records.read", _beside_a_record(records.read, "path"), {}, {"path": MISSING}),
        Row(
            "runs.load",
            _beside_a_record(load, "folder"),
            {},
            {"folder": MISSING, "keys": without(CHOICE, "None", "list")},
        ),
        Row("runs.load_latest", _beside_a_record(load_latest, "folder"), {}, {"folder": MISSING}),
        Row(
            "runs.consolidate",
            _beside_a_record(consolidate, "folder"),
            {},
            {"folder": MISSING, "target": without(NO_PATH, "None")},
        ),
        Row(
            "sweeps.run",
            _beside_a_record(sweeps.run, "folder", "cells", "compute", "workers"),
            {},
            {
                "folder": NO_PATH,
                "cells": CELLS,
                "compute": CHOICE,
                "workers": without(INTEGER, "None"),
                "executor": without(CHOICE, "None", "tensor"),
                "shard": SHARDS,
            },
        ),
    ]
