"""The tables of docs/rules.md, from extracts of records in docs/rules_measured.

A run of `sims.rules` with --docs writes its extract, one file for each model, data set and kind of setting,
and the part of docs/rules.md between two marks, which is a function of these files alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlinear.analysis import statistics
from dlinear.bridge.meters import NOT_MEASURABLE
from dlinear.errors import RecordError
from dlinear.report import blocks
from dlinear.rules.compared.outcome import Outcome
from dlinear.rules.compared.tables import RESULTS, SYSTEM, busy, degrees, percent, result_rows, system_rows
from dlinear.runs.knobs import changed
from dlinear.runs.records import Record
from dlinear.storage import read_json, replacing

__all__ = ["BLOCK", "FOLDER", "extract_of", "section", "update", "write"]

FOLDER, PAGE = "rules_measured", "rules.md"
BLOCK = "measured rules"  # of the page, see `dlinear.report.blocks`
INTRODUCTION = "Written from docs/rules_measured by `python -m sims.rules --docs docs`; do not edit."
RESULT_COLUMNS = ("rule", "published %", "ours % [95 %]", "gap", "why", "epochs", "degrees to backprop")
COST_COLUMNS = ("step time", "activations")


def extract_of(knobs: Any, found: Sequence[Outcome], whole: int, record: Record) -> dict[str, Any]:
    """What a run says, as JSON values.

    Args:
        knobs: of `sims.rules`.
        found: the outcome.
        whole: all training images there are.
        record: one of the runs, for the machine.
    """
    machine = record.meta["machine"]
    where = machine["device"] if knobs.device == "cuda" else f"one core of {machine['cpu']} a run"
    rows = []
    for one, row in zip(found, result_rows(found, whole), strict=True):
        cells = dict(zip(RESULTS, row, strict=True))
        rows.append(
            {
                "rule": one.rule,
                "published": cells["published"],
                "ours": _ours(one),
                "gap": cells["gap"],
                "why": cells["why"],
                "epochs": f"{cells['epochs']} of {one.recipe.epochs}" if knobs.published else cells["epochs"],
                "degrees": degrees(one),
                "ratio": _round(one.costs.get("ratio", math.nan)),
                "activations": _round(one.activations(found[0])),
            }
        )
    seeds = len(found[0].accuracy)
    words = [knobs.model, knobs.data, *["published"] * knobs.published, *["cuda"] * (knobs.device == "cuda")]
    words += ["runs"] * (not knobs.costs)
    return {
        "name": "_".join(words),
        "command": f"python -m sims.rules {changed(knobs)}".strip(),
        "size": f"{found[0].samples} training images, {seeds} seed{'s' * (seeds > 1)}; {where}",
        "rows": rows,
        "busy": busy(found),
        "system": [list(map(str, row)) for row in system_rows(found)],
    }


def _ours(one: Outcome) -> str:
    """Test accuracy; of forward-forward also by its head."""
    if not np.isfinite(one.head_accuracy).all():
        return percent(one.interval)
    other = statistics.mean_interval(100 * one.head_accuracy)
    return f"{percent(one.interval)} by goodness, {percent(other)} by its head"


def _round(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 2)


def write(docs: Path, extract: Mapping[str, Any]) -> str:
    """Write the extract, and the page anew; the name of the file.

    Raises:
        RecordError: a page without the marks, or a failed write.
    """
    name = f"{extract['name']}.json"
    (docs / FOLDER).mkdir(parents=True, exist_ok=True)
    with replacing(docs / FOLDER / name) as stream:
        stream.write((json.dumps(extract, indent=1, ensure_ascii=False) + "\n").encode())
    update(docs)
    return f"{FOLDER}/{name}"


def update(docs: Path) -> None:
    """Rewrite the part of docs/rules.md between the marks from the extracts that are there.

    Raises:
        RecordError: a page without the marks, an extract that is damaged, or a failed write.
    """
    blocks.write_block(docs / PAGE, BLOCK, section(docs / FOLDER))


def section(folder: Path) -> str:
    """The part of the page between the marks.

    Raises:
        RecordError: an extract that is damaged.
    """
    lines = [INTRODUCTION, ""]
    for path in sorted(folder.glob("*.json")):
        content = read_json(path, RecordError)
        try:
            lines += _of(content)
        except (KeyError, TypeError) as error:
            raise RecordError(f"{path} is damaged: {error!r}; run the command again") from error
    return "\n".join(lines).rstrip()


def _of(content: Mapping[str, Any]) -> list[str]:
    """One run: what was run, and a table of its own, or results and the machine."""
    if "columns" in content:
        table = [*_header(content["columns"]), *map(_line, content["table"])]
        return [f"`{content['command']}`: {content['size']}.", "", *table, ""]
    costs = any(row["ratio"] is not None for row in content["rows"])
    columns = RESULT_COLUMNS + (COST_COLUMNS if costs else ())
    lines = [f"`{content['command']}`: {content['size']}.", "", *_header(columns)]
    for row in content["rows"]:
        cells = [row[name] for name in ("rule", "published", "ours", "gap", "why", "epochs", "degrees")]
        if costs:
            cells += ["-" if row[name] is None else f"{row[name]:.2f}" for name in ("ratio", "activations")]
        lines.append(_line(cells))
    if content["system"] and content.get("busy"):
        lines += ["", f"The machine itself is not shown: {content['busy']}."]
    elif content["system"]:
        rows = content["system"]
        kept = [i for i in range(len(SYSTEM)) if any(row[i] != NOT_MEASURABLE for row in rows)]
        gone = [SYSTEM[i] for i in range(len(SYSTEM)) if i not in kept]
        lines += ["", *_header([SYSTEM[i] for i in kept])]
        lines += [_line([row[i] for i in kept]) for row in rows]
        lines += ["", f"{NOT_MEASURABLE[0].upper()}{NOT_MEASURABLE[1:]}: {', '.join(gone)}."] if gone else []
    return [*lines, ""]


def _header(columns: Sequence[str]) -> list[str]:
    return [_line(columns), f"|{'---|' * len(columns)}"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
