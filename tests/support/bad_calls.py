"""Calls of the public names with one argument that makes no sense, as data for `tests/test_bad_input.py`.

A row is a call that works, with the kind of each argument (`nonsense`); a case is the row with one argument
replaced.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from nonsense import CHOICE, FINITE, INTEGER, MATRIX, NO_NUMBER, NONNEGATIVE, POSITIVE
from torch import nn
from torch.nn import functional

import dlinear
from dlinear import bounds, bridge, costs, dynamics, limits, scalar, selection
from dlinear.bridge import meters

Kind = dict[str, Callable[[], Any]]
FEW = {
    "None",
    "text",
    "nan",
    "True",
    "ragged",
    "object",
    "needs a gradient",
    "fraction",
    "inf",
    "negative",
    "zero",
}


class Row(NamedTuple):
    """A call that works, and what its arguments may not be.

    Attributes:
        name: of the function.
        call: takes the arguments by name.
        valid: arguments with which it works.
        kinds: for each argument that is replaced, the values that it must refuse.
    """

    name: str
    call: Callable[..., Any]
    valid: dict[str, Any]
    kinds: dict[str, Kind]


def without(kind: Kind, *names: str) -> Kind:
    """A kind but for the values that an argument accepts."""
    return {name: make for name, make in kind.items() if name not in names}


def few(kind: Kind) -> Kind:
    """The values that differ most."""
    return {name: make for name, make in kind.items() if name in FEW}


def cases(rows: list[Row]) -> Iterator[tuple[str, Row, str, Callable[[], Any]]]:
    """(id, row, argument, value) of every case."""
    for row in rows:
        for argument, kind in row.kinds.items():
            for name, make in kind.items():
                yield f"{row.name}({argument}={name})", row, argument, make


# ---------------------------------------------------------------- formulas

_ONE = {
    name: make for name, make in INTEGER.items() if name not in ("several", "a table")
}  # arrays are welcome
_RELAXED = {name: make for name, make in _ONE.items() if name != "fraction"}  # real horizons
SYMBOLS: dict[str, tuple[Kind, Any]] = {
    **dict.fromkeys(("depth",), (_ONE, 10)),
    **dict.fromkeys(("horizon", "shortfall", "layers", "steps", "runs"), (_ONE, 3)),
    **dict.fromkeys(("end",), (_ONE, 5)),
    **dict.fromkeys(("start",), (_ONE, 1)),
    **dict.fromkeys(("width",), (_ONE, 2)),
    **dict.fromkeys(
        (
            "c",
            "relative_deviation",
            "phi_spectral",
            "loss_norm",
            "phi_frobenius",
            "residual_norm",
            "gap",
            "noise",
        ),
        (NONNEGATIVE, 0.1),
    ),
    **dict.fromkeys(("offset", "noise_slope"), (NONNEGATIVE, 1.0)),
    **dict.fromkeys(("step", "convexity", "tolerance"), (POSITIVE, 0.1)),
    **dict.fromkeys(("weight",), (NONNEGATIVE, 0.1)),
    **dict.fromkeys(("smoothness", "mu", "mu_g", "coefficient", "slope"), (POSITIVE, 1.0)),
}
RELAXED = ("decay_model", "memory_model", "horizon_objective")
COSTS = (*RELAXED, "optimal_horizon", "stored_blocks_eager", "stored_blocks_static", "block_vjps")


def _formulas() -> Iterator[Row]:
    named = [(bounds, name) for name in bounds.__all__] + [(costs, name) for name in COSTS]
    for module, name in named:
        function = getattr(module, name)
        if not inspect.isfunction(function):
            continue
        names = [one for one in inspect.signature(function).parameters if one != "xp"]
        valid = {one: SYMBOLS[one][1] for one in names}
        kinds = {one: few(SYMBOLS[one][0]) for one in names}
        if name in RELAXED:
            kinds["horizon"] = few(_RELAXED)
        if name.startswith("theorem_e2"):  # both or none of them
            kinds["width"], kinds["residual_norm"] = (without(kinds[one], "None") for one in names[-2:])
        yield Row(f"{module.__name__.rpartition('.')[2]}.{name}", function, valid, kinds)


_PATH: Kind = {
    "None": lambda: None,
    "text": lambda: "a",
    "number": lambda: 3.0,
    "returns text": lambda: lambda s: "a",
    "returns wrong shape": lambda: lambda s: np.ones((2, 3)),
    "returns nan": lambda: lambda s: np.full((2, 2), np.nan),
    "returns None": lambda: lambda s: None,
}
_REAL = without(FINITE, "empty")  # empty arrays give empty arrays


def _constants() -> list[Row]:
    def path(s: float) -> Any:
        return np.eye(2) * s

    two, phi = {"c": 0.5, "y": 0.3}, np.eye(2) * 0.3
    flat = without(MATRIX, "None")
    return [
        *(
            Row(f"scalar.{f.__name__}", f, two, dict.fromkeys(two, few(_REAL)))
            for f in (scalar.constant, scalar.degeneracy, scalar.limit_at_zero, scalar.slope_at_zero)
        ),
        Row(
            "scalar.sin2", scalar.sin2, {"alpha": 0.5, **two}, dict.fromkeys(("alpha", "c", "y"), few(_REAL))
        ),
        Row(
            "scalar.sin2_commuting",
            scalar.sin2_commuting,
            {"alpha": 0.5, "a": [0.1, 0.2], "p": [0.5, 0.6]},
            {"alpha": few(_REAL), "a": FINITE, "p": FINITE},
        ),
        Row(
            "limits.cubic_constant",
            limits.cubic_constant,
            {"path": path, "phi": phi},
            {"path": _PATH, "phi": MATRIX},
        ),
        Row(
            "limits.rough_constants",
            limits.rough_constants,
            {"mean": None, "sigma": 1.0, "phi": phi, "depth": 10},
            {"sigma": NONNEGATIVE, "phi": MATRIX, "depth": INTEGER},
        ),
        Row(
            "limits.response",
            limits.response,
            {"x": np.eye(2), "residual": phi, "layer": np.eye(2)},
            dict.fromkeys(("x", "residual", "layer"), MATRIX),
        ),
        Row(
            "limits.crossover",
            limits.crossover,
            {"quadratic": 1.0, "cubic": 2.0, "depth": 10.0},
            {"quadratic": few(NONNEGATIVE), "depth": few(POSITIVE)},
        ),
        Row(
            "limits.realised_constants",
            limits.realised_constants,
            {"x": np.eye(2), "residual": phi, "energy": 1.0, "sigma": 1.0},
            {"x": flat, "energy": few(POSITIVE), "sigma": few(NONNEGATIVE)},
        ),
    ]


# ---------------------------------------------------------------- networks, the engine and fits


def _networks() -> list[Row]:
    layers = np.full((4, 2, 2), 0.1)
    net, phi = dlinear.DenseNetwork(layers), np.eye(2) * 0.3
    rng = np.random.default_rng(0)
    profile = dlinear.alignment(
        dlinear.DenseNetwork(rng.normal(size=(30, 2, 2)) / 30), phi, [29, 28, 27, 26, 25]
    )
    table = without(MATRIX, "wrong shape")
    random = {"depth": INTEGER, "scale": CHOICE, "sigma": NONNEGATIVE, "seed": INTEGER}
    valid = {"depth": 5, "scale": "1/T", "sigma": 1.0, "seed": 0}
    return [
        Row("DenseNetwork", dlinear.DenseNetwork, {"deviations": layers}, {"deviations": table}),
        Row("GaussianNetwork", dlinear.GaussianNetwork, {**valid, "width": 2}, {**random, "width": INTEGER}),
        Row(
            "OrthogonalNetwork",
            dlinear.OrthogonalNetwork,
            {**valid, "width": 2},
            {**random, "width": INTEGER},
        ),
        Row(
            "MixedNetwork",
            dlinear.MixedNetwork,
            {**valid, "path": lambda s: np.eye(2) * s},
            {**{name: few(kind) for name, kind in random.items()}, "path": _PATH},
        ),
        Row(
            "SmoothNetwork",
            dlinear.SmoothNetwork,
            {"path": lambda s: np.eye(2) * s, "depth": 5, "vectorized": False},
            {"path": _PATH, "depth": INTEGER, "vectorized": CHOICE},
        ),
        Row(
            "ConstantNetwork",
            dlinear.ConstantNetwork,
            {"matrix": np.eye(2), "depth": 5},
            {"matrix": MATRIX, "depth": INTEGER},
        ),
        Row(
            "alignment",
            dlinear.alignment,
            {"net": net, "phi": phi, "horizons": [1, 2], "undefined": "raise"},
            {
                "net": CHOICE,
                "phi": MATRIX,
                "horizons": without(INTEGER, "several"),
                "undefined": CHOICE,
                "engine": without(CHOICE, "None"),
            },
        ),
        Row(
            "horizon_gradients",
            dlinear.horizon_gradients,
            {"net": net, "phi": phi, "horizon": 2},
            {"net": CHOICE, "phi": MATRIX, "horizon": INTEGER},
        ),
        Row(
            "dynamics.descent",
            dynamics.descent,
            {"nets": [net], "phi": phi, "horizons": [1, 2], "step": 0.1, "steps": 1},
            {
                **{"nets": few(CHOICE), "phi": few(MATRIX), "horizons": few(INTEGER), "step": few(POSITIVE)},
                **{"steps": without(few(INTEGER), "zero"), "every": few(INTEGER), "limit": few(POSITIVE)},
                **{"rule": few(CHOICE), "scaling": few(CHOICE)},
            },
        ),
        Row(
            "dynamics.flow",
            dynamics.flow,
            {"nets": [net], "phi": phi, "horizons": [1, 2], "times": [0.0, 0.01]},
            {"times": without(FINITE, "several"), "accuracy": few(POSITIVE)},
        ),
        Row("dynamics.imbalance", dynamics.imbalance, {"net": net}, {"net": CHOICE}),
        Row(
            "dynamics.imbalance_rate",
            dynamics.imbalance_rate,
            {"net": net, "phi": phi, "horizon": 2},
            {"net": few(CHOICE), "phi": few(MATRIX), "horizon": INTEGER},
        ),
        Row(
            "HorizonRule",
            dlinear.HorizonRule,
            {"anchored": True, "runs": 2, "stride": 1, "shrink": 1.0},
            {"anchored": CHOICE, "runs": INTEGER, "stride": INTEGER, "sampling": CHOICE, "shrink": NO_NUMBER},
        ),
        Row(
            "whitened_task",
            dlinear.whitened_task,
            {"x": rng.normal(size=(9, 3)), "y": np.arange(9) % 2, "width": 2},
            {"x": MATRIX, "y": MATRIX, "width": INTEGER},
        ),
        Row(
            "fit_decay",
            dlinear.fit_decay,
            {"profile": profile, "max_fraction": 0.5},
            {"profile": CHOICE, "max_fraction": POSITIVE},
        ),
    ]


# ---------------------------------------------------------------- selection


def _selection() -> list[Row]:
    cost = selection.LadderCost(1.0, 2.0)
    weighted = selection.WeightedObjective(0.1, cost)
    measured = {"horizons": [1, 2, 4], "cos": [0.5, 0.8, 1.0], "memory": [1.0, 2.0, 4.0], "depth": 4}
    every = [1, 2, 3, 4]
    oracle = selection.select_horizon(every, [0.5, 0.8, 0.9, 1.0], every, 4, weighted, "measured")
    prices = dict.fromkeys(("unit", "node"), POSITIVE)
    return [
        Row(
            "select_horizon",
            selection.select_horizon,
            {**measured, "objective": weighted, "estimator": "theory", "blocks": [1.0, 1.0, 2.0, 1.0]},
            {
                "horizons": without(INTEGER, "several"),
                "cos": FINITE,
                "memory": NONNEGATIVE,
                "depth": INTEGER,
                "objective": CHOICE,
                "estimator": CHOICE,
                "blocks": without(NONNEGATIVE, "None"),
            },
        ),
        Row(
            "estimate_curves",
            selection.estimate_curves,
            {**measured, "estimator": "polynomial"},
            {"horizons": without(few(INTEGER), "several"), "cos": few(FINITE), "estimator": CHOICE},
        ),
        Row(
            "best_horizon",
            selection.best_horizon,
            {"curves": selection.estimate_curves(**measured), "objective": weighted},
            {"curves": CHOICE, "objective": CHOICE},
        ),
        *(Row(f.__name__, f, {"unit": 1.0, "node": 2.0}, prices) for f in (selection.LinearCost, type(cost))),
        Row(
            "AccuracyConstraint",
            selection.AccuracyConstraint,
            {"epsilon": 0.1, "cost": cost},
            {"epsilon": NONNEGATIVE | {"above 1": lambda: 1.5}, "cost": CHOICE},
        ),
        Row(
            "WeightedObjective",
            selection.WeightedObjective,
            {"weight": 0.1, "cost": cost},
            {"weight": NONNEGATIVE, "cost": CHOICE},
        ),
        Row("MemoryLimit", selection.MemoryLimit, {"limit": 1.0}, {"limit": NONNEGATIVE}),
        Row(
            "regret",
            selection.regret,
            {"horizon": 2, "oracle": oracle},
            {"horizon": INTEGER, "oracle": CHOICE},
        ),
        Row(
            "relative_performance",
            selection.relative_performance,
            {"values": [1.0, np.inf], "infeasible": 1.5},
            {"values": without(NO_NUMBER, "needs a gradient, one number"), "infeasible": NO_NUMBER},
        ),
    ]


# ---------------------------------------------------------------- real models

_BLOCKS: Kind = {
    "None": lambda: None,
    "number": lambda: 3,
    "text": lambda: "ab",
    "bytes": lambda: b"ab",
    "empty": list,
    "list of None": lambda: [None],
    "list of numbers": lambda: [1, 2],
    "class": lambda: [nn.Linear],
    "tensor": lambda: torch.ones(3, 2),
    "mapping": lambda: {"a": nn.Linear(4, 4)},
    "set": lambda: {1},
    "object": object,
}
_LOSS: Kind = {
    "None": lambda: None,
    "number": lambda: 3,
    "text": lambda: "mse",
    "object": object,
    "returns None": lambda: lambda z: None,
    "returns a number": lambda: lambda z: 1.0,
    "returns a vector": lambda: lambda z: z,
}
_READOUT: Kind = {
    "number": lambda: 3,
    "text": lambda: "shared",
    "object": object,
    "list": lambda: [nn.Linear(4, 3)],
}
_DATA: Kind = {"None": lambda: None, "number": lambda: 3, "text": lambda: "ab", "object": object}


def _inside(group: Any) -> None:
    with bridge.process_group(group):
        pass


def _models() -> list[Row]:
    shape = bridge.TaskShape((4,), 3)
    model = bridge.model("mlp", shape, depth=3, width=4)
    step = {
        "blocks": model.blocks,
        "x": torch.ones(6, 4),
        "loss_fn": bridge.Supervised(functional.cross_entropy, torch.arange(6) % 3),
        "readout": model.readout,
    }
    kinds = {"blocks": _BLOCKS, "x": _DATA, "loss_fn": _LOSS, "readout": _READOUT}
    run = {"run": bridge.method("backprop"), **step}
    names = (
        *("backprop", "horizon-2", "checkpoint-2", "accumulate-2", "combined-2", "loco-2", "forward-1"),
        *("anchored-1", "stages-2", "anchored-stages-2", "revolve-2", "reconstruct-2", "highway-1"),
        *("projected-1", "fa", "dfa", "sdfa", "drtp", "dfa-identity"),
        *("pepita", "pepita-hebbian", "pepita-local", "foton"),
        *("fa-mirror", "pepita-mirror", "oja", "activation", "pff"),
        *("ff", "ff-mean", "ff-matched", "ff-hard", "hybrid-1"),
    )
    rule = {"anchored": CHOICE, "stride": INTEGER, "runs": INTEGER}
    sharing = {"segment": few(without(INTEGER, "None")), "batched": CHOICE}
    plain = {"anchored": True, "stride": 1, "runs": 0}
    deep = {"depth": 3, "width": 4, "activation": "tanh", "layers": "mixed", "scale": "1/T", "sigma": 1.0}
    ones = [torch.ones(3)]
    return [
        Row(
            "horizon_backward",
            bridge.horizon_backward,
            {**step, "horizon": 2, **plain, "segment": 1, "batched": False},
            {**kinds, "horizon": INTEGER, **rule, **sharing},
        ),
        Row(
            "bridge.horizon_gradients",
            bridge.horizon_gradients,
            {**step, "horizon": 2, **plain},
            {**kinds, "horizon": few(INTEGER), **rule},
        ),
        Row(
            "bridge.alignment",
            bridge.alignment,
            {**step, "horizons": [1, 2], **plain},
            {**kinds, "horizons": without(INTEGER, "several"), "undefined": CHOICE, **rule},
        ),
        Row(
            "bridge.check_model",
            bridge.check_model,
            {**step, "horizons": [1, 2], "share": 1.0, "rounds": 1},
            {
                **{name: few(kind) for name, kind in kinds.items()},
                "horizons": few(without(INTEGER, "several", "None")),
                "share": few(NO_NUMBER),
                "rounds": few(INTEGER),
            },
        ),
        Row(
            "bridge.alignment_forward",
            bridge.alignment_forward,
            {**step, "horizons": [1, 2], **plain},
            {
                **kinds,
                "horizons": without(INTEGER, "several"),
                "undefined": CHOICE,
                "exact_norm": CHOICE,
                **{name: few(INTEGER) for name in ("probes", "seed")},
                "level": NO_NUMBER,
                **rule,
            },
        ),
        *(
            Row(f"method {name}", bridge.method(name), step, {**kinds, "blocks": few(_BLOCKS)})
            for name in names
        ),
        Row(
            "HorizonSchedule",
            bridge.HorizonSchedule,
            {"objective": selection.WeightedObjective(0.1, selection.LinearCost(1.0, 2.0))},
            {
                **{name: INTEGER for name in ("every", "samples", "probes")},
                **{name: CHOICE for name in ("angles", "estimator", "grows")},
                "objective": without(CHOICE, "None"),
                "memory": without(NO_NUMBER, "None"),
            },
        ),
        *(Row(f.__name__, f, run, {**kinds, "run": CHOICE}) for f in (bridge.step_calls, bridge.step_memory)),
        Row(
            "meters.block_sizes",
            meters.block_sizes,
            {"blocks": model.blocks, "x": step["x"]},
            {"blocks": _BLOCKS, "x": _DATA},
        ),
        Row(
            "step_times",
            bridge.step_times,
            {"steps": {"backprop": lambda: None}, "rounds": 1, "warm_up": 0},
            {
                "steps": CHOICE,
                "rounds": INTEGER,
                "warm_up": few(INTEGER),
                "reference": CHOICE,
                "progress": CHOICE,
            },
        ),
        Row(
            "fit_memory",
            bridge.fit_memory,
            {"horizons": [1, 2, 3], "memory": [1.0, 2.0, 3.1]},
            {"horizons": NO_NUMBER, "memory": {**NO_NUMBER, "negative": lambda: [-1.0, 2.0, 3.0]}},
        ),
        Row(
            "angle",
            bridge.angle,
            {"a": ones, "b": ones},
            {
                "a": without(CHOICE, "tensor"),
                "b": {
                    "short": lambda: [torch.ones(2)],
                    "zero": lambda: [torch.zeros(3)],
                    "nan": lambda: [torch.full((3,), np.nan)],
                    "complex": lambda: [torch.ones(3, dtype=torch.complex64)],
                },
            },
        ),
        Row(
            "method",
            bridge.method,
            {"name": "backprop"},
            {
                "name": {
                    **CHOICE,
                    "horizon": lambda: "horizon",
                    "horizon-0": lambda: "horizon-0",
                    "end of line": lambda: "horizon-4\n",
                    "huge": lambda: "horizon-" + "9" * 400,
                }
            },
        ),
        Row(
            "model",
            bridge.model,
            {"name": "mlp", "task": shape, "depth": 3, "width": 4, "gain": 0.5},
            {
                "name": CHOICE,
                "task": CHOICE,
                "seed": INTEGER,
                "dtype": CHOICE,
                "depth": INTEGER,
                "width": INTEGER,
                "gain": without(FINITE, "None"),
                "readout": CHOICE,
            },
        ),
        Row(
            "model deep",
            bridge.model,
            {"name": "deep", "task": shape, **deep},
            {
                "depth": few(INTEGER),
                "width": INTEGER,
                "activation": CHOICE,
                "layers": CHOICE,
                "scale": CHOICE,
                "sigma": few(NONNEGATIVE),
                "readout": CHOICE,
            },
        ),
        Row(
            "TaskShape",
            bridge.TaskShape,
            {"inputs": (4,), "outputs": 3},
            {"inputs": without(INTEGER, "several"), "outputs": INTEGER},
        ),
        Row(
            "Stack",
            bridge.Stack,
            {"blocks": [nn.Linear(4, 4)], "readout": nn.Linear(4, 3)},
            {"blocks": _BLOCKS, "readout": {**_READOUT, "None": lambda: None}},
        ),
        Row(
            "Supervised",
            bridge.Supervised,
            {"criterion": functional.mse_loss, "target": torch.ones(3)},
            {"criterion": CHOICE, "target": without(CHOICE, "tensor")},
        ),
        Row("process_group", _inside, {"group": "none"}, {"group": without(CHOICE, "None")}),
    ]


def public_calls() -> list[Row]:
    """All rows that need no files."""
    return [*_formulas(), *_constants(), *_networks(), *_selection(), *_models()]
