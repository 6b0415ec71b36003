"""What docs/records keeps of the records of the paper's experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlinear.bridge.paper import angles, losses, memory, reading, tuning
from dlinear.bridge.paper.experiment import Reading
from dlinear.bridge.paper.settings import title
from dlinear.report import reproduction
from dlinear.runs import collection
from dlinear.runs.records import Record

__all__ = ["EXPERIMENTS", "extract_of", "update"]

EXPERIMENTS: Mapping[str, Reading] = {
    "paper_angles": angles.READING,
    "paper_losses": losses.READING,
    "paper_memory": memory.READING,
    "paper_tuning": tuning.READING,
}


def extract_of(results: str, name: str, which: str = "latest") -> dict[str, Any]:
    """The extract of the latest complete run of an experiment.

    Raises:
        RecordError: no complete run.
    """
    run = collection.run_of(Path(results) / name, which)
    found = run.records()
    command = f"python -m sims.{name} {run.changed}".strip()
    return reproduction.extract(command, _sizes(name, found), EXPERIMENTS[name].findings(found))


def _sizes(name: str, found: Sequence[Record]) -> dict[str, str]:
    """model -> seeds and size in words."""
    if name == "paper_memory":
        batch = {r.knobs["model"]: r.knobs["batch"] for r in found}
        names = [one.model for one in memory.read(found)]
        return {title(one): f"no seeds, bytes are counts; batches of {batch[one]}" for one in names}
    out = {}
    for one, group in reading.by_model(found).items():
        some = next(iter(group.values()))
        out[title(one)] = reading.size_of(some[0], len(some))
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
