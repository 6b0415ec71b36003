"""Runs of forward-forward on images: cells, table, verdicts, and the extract for docs/rules.md."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dlinear.analysis import statistics
from dlinear.bridge.autograd.isolation import one_thread
from dlinear.bridge.data.loading import LoadedSplit
from dlinear.report.verdicts import Answer
from dlinear.rules.compared.cells import data_of
from dlinear.rules.ff.course import train_published
from dlinear.rules.ff.network import PREDICTIONS
from dlinear.rules.ff.published import SETTINGS, Setting, unit_pixels
from dlinear.rules.published import WHOLE, result_of
from dlinear.runs import sweeps
from dlinear.runs.knobs import changed
from dlinear.runs.records import Record

__all__ = ["COLUMNS", "Cell", "answers", "compute", "extract_of", "rows", "setting_of"]

EPOCHS = 100  # of the publication
CHANCE = 0.9  # error of ten classes
NETS = {"layers": "fully connected", "conv": "convolutional"}
COLUMNS = (
    *("net", "prediction", "passes", "epochs", "test error % [95 %]", "published", "gap", "why"),
    *("training: seconds", "prediction: microseconds an image"),
)


@dataclass(frozen=True)
class Cell:
    """One training run.

    Attributes:
        net: "layers" or "conv".
        width: as of `Setting`; 0 for that of the setting.
        below: K of `hybrid-K`; 0 for forward-forward in all layers.
        seed: of weights, order and negatives.
        data, digest, samples, test_samples: what is learned.
        epochs: E.
        every: epochs between evaluations; 0 for the last alone.
        device: "cpu" or "cuda".
        edition: raise it when the meaning of a cell changes.
    """

    net: str
    width: int
    below: int
    seed: int
    data: str
    digest: str
    samples: int | None
    test_samples: int | None
    epochs: int
    every: int
    device: str
    edition: int = 1


@functools.lru_cache(maxsize=1)
def _pixels(*what: Any) -> LoadedSplit:
    return unit_pixels(data_of(*what))


def setting_of(cell: Cell) -> Setting:
    """The net of a cell and its conventions; a hybrid's head sees what is below it."""
    setting = SETTINGS[cell.net]
    if cell.width:
        setting = replace(setting, width=cell.width)
    if cell.below:
        setting = replace(setting, below=cell.below, knobs=replace(setting.knobs, head="last"))
    return setting


def compute(cell: Cell, folder: str | None = None, download: bool = False) -> sweeps.Arrays:
    """The arrays of a cell, by epoch.

    Args:
        cell: what to compute.
        folder, download: where the data are, as of `data.load`.
    """
    split = _pixels(cell.data, cell.samples, cell.test_samples, folder, download)
    with one_thread():  # workers side by side have a core each
        found = train_published(
            split,
            setting_of(cell),
            cell.epochs,
            seed=cell.seed,
            device=cell.device,
            evaluate_every=cell.every,
        )[1]
    arrays: dict[str, Any] = {
        name: (("epoch",), [getattr(one, name) for one in found]) for name in ("epoch", "seconds", "loss")
    }
    for name in PREDICTIONS:
        arrays[f"error_{name}"] = (("epoch",), [one.error[name] for one in found])
        arrays[f"inference_{name}"] = (("epoch",), [one.inference[name] / len(split.x_test) for one in found])
        arrays[f"passes_{name}"] = ((), found[-1].passes[name])
    return arrays


def _groups(found: Sequence[Record]) -> dict[tuple[str, int], list[Record]]:
    """The runs of each net and split, over the seeds."""
    groups: dict[tuple[str, int], list[Record]] = {}
    for record in found:
        groups.setdefault((record.knobs["net"], record.knobs["below"]), []).append(record)
    return groups


def _name(net: str, below: int) -> str:
    return f"{NETS[net]}, hybrid-{below}" if below else NETS[net]


def _error(runs: Sequence[Record], prediction: str) -> statistics.Estimate:
    """The last test error in percent; NaN of runs that diverged."""
    if not all(np.isfinite(run.arrays["loss"]).all() for run in runs):
        return statistics.Estimate(math.nan, math.nan, math.nan)
    return statistics.mean_interval([100 * float(run.arrays[f"error_{prediction}"][-1]) for run in runs])


def _said(error: statistics.Estimate) -> str:
    if math.isnan(error.value):
        return "diverged"
    return f"{error:.2f}" if math.isfinite(error.low) else f"{error.value:.2f}"


def _published(knobs: Mapping[str, Any]) -> float | None:
    """The published test error in percent, of the fully connected net."""
    one = None if knobs["below"] else result_of("ff", knobs["data"], knobs["net"])
    return None if one is None else 100 - one.accuracy


def _reasons(knobs: Mapping[str, Any], samples: int) -> list[str]:
    """What is not as in the publication, in words."""
    found = []
    if knobs["epochs"] < EPOCHS:
        found.append(f"{knobs['epochs']} of {EPOCHS} epochs")
    if samples < WHOLE.get(str(knobs["data"]).partition("_")[0], samples):
        found.append(f"{samples} images")
    else:
        found.append(f"{samples} images, 50000 there")
    if knobs["width"]:
        found.append(f"layers of {knobs['width']}")
    return found


def rows(found: Sequence[Record], samples: int) -> list[list[str]]:
    """What was measured, under `COLUMNS`; `samples`: training images."""
    table = []
    for (net, below), runs in _groups(found).items():
        knobs, published = runs[0].knobs, _published(runs[0].knobs)
        for prediction in PREDICTIONS:
            error = _error(runs, prediction)
            gap = "" if published is None or math.isnan(error.value) else f"{error.value - published:+.2f}"
            seconds = float(np.mean([run.arrays["seconds"][-1] for run in runs]))
            inference = float(np.mean([run.arrays[f"inference_{prediction}"][-1] for run in runs]))
            passes = int(runs[0].arrays[f"passes_{prediction}"])
            row = [_name(net, below), prediction, str(passes), str(knobs["epochs"]), _said(error), "", "", ""]
            if published is not None:
                row[-3:] = [f"{published:.2f}", gap, "; ".join(_reasons(knobs, samples))]
            table.append([*row, f"{seconds:.3g}", f"{1e6 * inference:.3g}"])
    return table


def answers(found: Sequence[Record], samples: int) -> list[Answer]:
    """Whether each net learns, and, at the published setting in full, whether the published error is met."""
    out = []
    for (net, below), runs in _groups(found).items():
        errors = {prediction: _error(runs, prediction).value for prediction in PREDICTIONS}
        least = min(errors, key=lambda name: errors[name])
        numbers = ", ".join(f"{name} {value:.2f} %" for name, value in errors.items())
        question = f"{_name(net, below)}: the better prediction errs less than half as often as chance"
        learnt = not math.isnan(errors[least]) and errors[least] < 50 * CHANCE
        out.append(Answer(question, learnt, numbers))
        published, knobs = _published(runs[0].knobs), runs[0].knobs
        full = samples >= WHOLE.get(knobs["data"], math.inf) and knobs["epochs"] >= EPOCHS
        if published is not None and full and not knobs["width"]:
            question = f"{_name(net, below)}: by its head within 0.3 points of the published {published:.2f}"
            out.append(Answer(question, abs(errors["head"] - published) <= 0.3, numbers))
    return out


def extract_of(knobs: Any, found: Sequence[Record], samples: int) -> dict[str, Any]:
    """What the run says, as JSON values for `compared.page.write`.

    Args:
        knobs: of `sims.forward_forward`.
        found: its records.
        samples: training images.
    """
    machine = found[0].meta["machine"]
    where = machine["device"] if knobs.device == "cuda" else f"one core of {machine['cpu']} a run"
    options = changed(knobs).replace(f" --docs {knobs.docs}", "").replace(f"--docs {knobs.docs}", "")
    return {
        "name": "_".join(["forward_forward", *knobs.nets, knobs.data, *["cuda"] * (knobs.device == "cuda")]),
        "command": f"python -m sims.forward_forward {options}".strip(),
        "size": f"{samples} training images, {knobs.seeds} seed{'s' * (knobs.seeds > 1)}; {where}",
        "columns": list(COLUMNS),
        "table": rows(found, samples),
    }
