"""What docs/records keeps of the records of the paper's experiments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlinear.bridge.paper import angles, losses, memory, reading, selected, tuning
from dlinear.bridge.paper.settings import column, title
from dlinear.report import reproduction
from dlinear.report.reproduction import Finding
from dlinear.runs import collection
from dlinear.runs.records import Record

Findings = Callable[[Sequence[Record]], list[Finding]]

__all__ = ["EXPERIMENTS", "extract_of", "update"]

EXPERIMENTS: Mapping[str, Findings] = {
    "bridge_selection": selected.findings,
    "paper_angles": angles.findings,
    "paper_losses": losses.findings,
    "paper_memory": memory.findings,
    "paper_tuning": tuning.findings,
}


def extract_of(results: str, name: str, which: str = "latest") -> dict[str, Any]:
    """The extract of the latest complete run of an experiment.

    Raises:
        RecordError: no complete run.
    """
    run = collection.run_of(Path(results) / name, which)
    found = run.records()
    command = f"python -m sims.{name} {run.changed}".strip()
    return reproduction.extract(command, _sizes(name, found), EXPERIMENTS[name](found))


def _sizes(name: str, found: Sequence[Record]) -> dict[str, str]:
    """model -> seeds and size in words."""
    if name == "paper_memory":
        batch = {r.knobs["model"]: r.knobs["batch"] for r in found}
        names = [one.model for one in memory.read(found)]
        return {title(one): f"no seeds, bytes are counts; batches of {batch[one]}" for one in names}
    if name == "bridge_selection":
        return _sizes_of_selection(found)
    out = {}
    for one, group in reading.by_model(found).items():
        some = next(iter(group.values()))
        out[title(one)] = reading.size_of(some[0], len(some))
    return out


def _sizes_of_selection(found: Sequence[Record]) -> dict[str, str]:
    """The same of Figure 5, whose records have the settings of its script."""
    out = {}
    for one, some in selected.tables(found)[0].items():
        setting = str(some.curves[some.seeds[0]].knobs["setting"]).replace(" N'=None", "")
        whole = f"N={column(one).training.samples} " in setting
        size = f"T = {some.depth}, {setting} (width n, N samples, batch B, E epochs)"
        out[title(one)] = f"{len(some.seeds)} seeds; {'' if whole else 'reduced: '}{size}"
    return out


def update(results: str, docs: Path, which: str = "latest") -> list[str]:
    """Rewrite docs/records for the experiments that have run, and docs/reproduction.md; which have.

    Raises:
        RecordError: a damaged file or a failed write.
    """
    written = []
    for name in EXPERIMENTS:
        if (Path(results) / name / f"{which}.json").exists():
            reproduction.write(docs / "records", name, extract_of(results, name, which))
            written.append(name)
    reproduction.write_page(docs)
    return written
