"""The state of a run in one file: written whole or not at all, read without pickles, of this run alone."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlinear import storage
from dlinear.bridge.training import integrity
from dlinear.errors import RecordError
from dlinear.runs import records
from dlinear.storage.reading import reading

FORMAT = "dlinear checkpoint"
VERSION = 1
ADVICE = "move it away to start anew"
FIELDS: dict[str, type | tuple[type, ...]] = {
    "key": str,
    "initial": str,
    "history": list,
    "progress": dict,
    "best": dict,
    "model": dict,
    "unlisted": dict,
    "optimizer": dict,
    "generators": dict,
}


@dataclass(frozen=True)
class Checkpoint:
    """A run between two steps.

    Attributes:
        key: of the knobs, the model's structure and the data.
        initial: `fingerprint` of the model before the first step.
        history: the lines of the metrics file.
        progress: where the run is; numbers by name.
        best: the best epoch so far.
        model: the model's `state_dict`.
        unlisted: buffers that the `state_dict` leaves out.
        optimizer: the optimizer's `state_dict`.
        generators: states of torch's random generators.
    """

    key: str
    initial: str
    history: list[str]
    progress: dict[str, Any]
    best: dict[str, Any]
    model: dict[str, Any]
    unlisted: dict[str, Tensor]
    optimizer: dict[str, Any]
    generators: dict[str, Tensor]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write the file, whole or not at all, in place of an older one.

    Raises:
        WriteError: a full disk, for example; the older file is kept.
    """
    content = {"format": FORMAT, "version": VERSION, **vars(checkpoint)}
    buffer = io.BytesIO()  # torch's own writer aborts the process when a disk is full
    torch.save(content, buffer)
    with storage.replacing(path) as stream:
        for part in integrity.seal(buffer.getbuffer()):
            stream.write(part)


def load(path: Path, key: str | None = None) -> Checkpoint:
    """Read a checkpoint onto the CPU; with `key`, only that run's.

    Raises:
        records.NewerRecordError: written by a newer version.
        RecordError: unreadable, damaged, foreign, or of another run; the message says what to do. What was
            damaged after it was written is refused by a content hash (`integrity`).
    """
    with reading(path, RecordError) as stream:
        data = stream.read()
    if (fault := integrity.fault(data)) is not None:
        raise RecordError(f"{path} is damaged or no checkpoint ({fault}); {ADVICE}")
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch's parser raises nearly anything on foreign bytes
        raise RecordError(f"{path} is no checkpoint ({type(error).__name__}); {ADVICE}") from error
    version = content.get("version") if isinstance(content, dict) else None
    if not isinstance(content, dict) or content.get("format") != FORMAT or type(version) is not int:
        raise RecordError(f"{path} is not a {FORMAT}; {ADVICE}")
    if version > VERSION:
        raise records.NewerRecordError(
            f"{path} is of version {version}, this library reads up to {VERSION}; "
            "update the library or move the file away"
        )
    for name, kind in FIELDS.items():
        if not isinstance(content.get(name), kind):
            raise RecordError(f"{path} is damaged: {name} is missing or of another type; {ADVICE}")
    if key is not None and content["key"] != key:
        raise RecordError(
            f"{path} is of a run with other knobs, model, method or data; use another folder or {ADVICE}"
        )
    return Checkpoint(**{name: content[name] for name in FIELDS})


def fingerprint(tensors: Mapping[str, Any]) -> str:
    """sha256 of the tensors' names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, value in tensors.items():
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def structure(stack: nn.Module) -> list[list[Any]]:
    """Names and classes of modules; names, shapes, types and `requires_grad` of parameters and buffers."""
    modules = [[name, type(module).__qualname__] for name, module in stack.named_modules()]
    leaves = [
        [name, list(t.shape), str(t.dtype), t.requires_grad]
        for name, t in (*stack.named_parameters(), *stack.named_buffers())
    ]
    return modules + leaves


def unlisted(stack: nn.Module) -> dict[str, Tensor]:
    """The buffers that the `state_dict` leaves out."""
    listed = stack.state_dict()
    return {name: buffer for name, buffer in stack.named_buffers() if name not in listed}
