"""Files of a run that are damaged, foreign or no files: refused in one line, never read as other numbers."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import random
import re
import zipfile

import pytest
import torch
from tiny_stack import Stack, backprop, labelled, numbers, tiny, weights

from dlinear.bridge.training import checkpoints
from dlinear.errors import DomainError, RecordError
from dlinear.runs import records
from dlinear.storage.writing import temporary_name


def test_metrics_of_another_run_are_not_overwritten(whole, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes((whole / "metrics.jsonl").read_bytes())
    with pytest.raises(RecordError, match="checkpoint does not know, from line 1 on; move it away to go on"):
        tiny(tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes((whole / "checkpoint.pt").read_bytes())
    path.write_bytes(path.read_bytes().replace(b'"epoch": 2', b'"epoch": 3'))
    before = path.read_bytes()
    with pytest.raises(RecordError, match="checkpoint does not know, from line 3 on; move it away to go on"):
        tiny(tmp_path)
    assert path.read_bytes() == before


def copied(whole, folder, change):
    """The uninterrupted run's checkpoint with something changed in it."""
    content = torch.load(whole / "checkpoint.pt", weights_only=True)
    change(content)
    torch.save(content, folder / "checkpoint.pt")


def test_a_truncated_checkpoint(whole, tmp_path):
    content = (whole / "checkpoint.pt").read_bytes()
    for size in (0, 1, 100, len(content) // 2, len(content) - 1):
        (tmp_path / "checkpoint.pt").write_bytes(content[:size])
        with pytest.raises(
            RecordError, match=r"damaged or no checkpoint .*; move it away to start anew$"
        ) as e:
            tiny(tmp_path)
        assert "\n" not in str(e.value)


def content_of(path):
    """All that a checkpoint holds, as a hash."""
    found = checkpoints.load(path)
    numbers = {f"{i} {name}": v for i, s in found.optimizer["state"].items() for name, v in s.items()}
    rest = (
        found.key,
        found.initial,
        found.history,
        found.progress,
        found.best,
        found.optimizer["param_groups"],
    )
    return checkpoints.fingerprint({**found.model, **found.unlisted, **found.generators, **numbers}), rest


def earlier(path):
    """The checkpoint as earlier versions wrote it, without a hash."""
    torch.save(torch.load(path, weights_only=True), path)


@pytest.mark.parametrize("hashed", [True, False])
def test_a_flipped_bit_never_gives_other_numbers(whole, tmp_path, hashed):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes((whole / "checkpoint.pt").read_bytes())
    if not hashed:
        earlier(path)
    good, known, refused = path.read_bytes(), content_of(path), 0
    generator = random.Random(0)
    for _ in range(150):
        data = bytearray(good)
        bit = generator.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        said = ""
        try:
            assert content_of(path) == known  # the bit is in no part of the content, in a date for example
        except RecordError as error:
            said = str(error)
        refused += bool(said)
        assert not said or re.fullmatch(r".*(damaged|no checkpoint|version).*; move it away.*", said)
    assert refused == 150 if hashed else 100 < refused < 150


@pytest.mark.parametrize("hashed", [True, False])
def test_bytes_before_or_after_a_checkpoint(whole, tmp_path, hashed):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes((whole / "checkpoint.pt").read_bytes())
    if not hashed:
        earlier(path)
    good = path.read_bytes()
    for data in (good + b"x", good + bytes(100), b"x" + good, good + good, good[:3000] + good[3100:]):
        path.write_bytes(data)
        with pytest.raises(RecordError, match=r"damaged or no checkpoint \(.*\); move it away"):
            checkpoints.load(path)


def test_an_entry_that_was_exchanged_is_refused(whole, tmp_path):
    """The archive is valid, each entry has its check sum: the hash alone knows."""
    path, other = tmp_path / "checkpoint.pt", tmp_path / "other.pt"
    path.write_bytes((whole / "checkpoint.pt").read_bytes())
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(other, "w", zipfile.ZIP_STORED) as changed:
        entries = {name: archive.read(name) for name in archive.namelist()}
        names = [name for name, content in entries.items() if "/data/" in name and len(content) == 144]
        entries[names[0]], entries[names[1]] = entries[names[1]], entries[names[0]]
        for name, content in entries.items():
            changed.writestr(name, content)
        changed.comment = archive.comment
    other.replace(path)
    with pytest.raises(RecordError, match="its sha256 is not the one written with it"):
        checkpoints.load(path)


def test_a_checkpoint_of_an_earlier_version_is_resumed(whole, tmp_path):
    tiny(tmp_path, epochs=2)
    earlier(tmp_path / "checkpoint.pt")
    tiny(tmp_path)
    assert numbers(tmp_path) == numbers(whole)
    assert weights(tmp_path) == weights(whole)
    assert torch.load(whole / "checkpoint.pt", weights_only=True)["version"] == 1  # torch reads the new ones


def test_flipped_bits_in_the_metrics_of_a_run(whole, tmp_path):
    for name in ("checkpoint.pt", "metrics.jsonl"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    path, good = tmp_path / "metrics.jsonl", (whole / "metrics.jsonl").read_bytes()
    for place in range(0, len(good), 97):
        path.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
        line = good.count(b"\n", 0, place) + 1
        with pytest.raises(RecordError, match=f"does not know, from line {line} on; move it away to go on"):
            tiny(tmp_path)
    path.unlink()
    tiny(tmp_path)  # written again from the checkpoint
    assert path.read_bytes() == good


@pytest.mark.parametrize("name", ["checkpoint.pt", "metrics.jsonl"])
@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_something_that_is_no_file_in_its_place(whole, tmp_path, name, kind):
    (tmp_path / "checkpoint.pt").write_bytes((whole / "checkpoint.pt").read_bytes())
    path = tmp_path / name
    path.unlink(missing_ok=True)
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(RecordError, match=f"{name} is a (folder|named pipe), not a file: move it away"):
        tiny(tmp_path)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RecordError, match=r"the run cannot be kept in .*; use another folder") as error:
            tiny(folder)
        assert "\n" not in str(error.value)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_may_not_be_written(whole, tmp_path, monkeypatch):
    """Refused before any work, unless nothing is left to do."""
    monkeypatch.setattr(os, "access", lambda *_: False)  # the permissions mean nothing to root
    with pytest.raises(RecordError, match=r"cannot be kept in .*: Permission denied; use another folder"):
        tiny(tmp_path, probe=lambda *_: pytest.fail("the model was evaluated"))
    assert not tiny(whole).diverged
    with pytest.raises(RecordError, match="Permission denied"):
        tiny(whole, epochs=5)


@pytest.mark.parametrize("every", ["5", None, -1, math.nan, [1.0, 2.0]])
def test_seconds_between_checkpoints_are_a_number(tmp_path, every):
    with pytest.raises(DomainError, match="every"):
        tiny(tmp_path, every=every)


@pytest.mark.parametrize("every", [0, 0.0, 1, math.inf])
def test_legal_seconds_between_checkpoints(tmp_path, every):
    tiny(tmp_path, every=every, epochs=1)


def test_temporary_files_of_a_killed_run_are_removed(whole, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes((whole / "checkpoint.pt").read_bytes())
    for name in ("checkpoint.pt", "metrics.jsonl"):
        temporary_name(tmp_path / name).write_bytes(b"half")
    tiny(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "metrics.jsonl"]


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_a_pickle_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": "dlinear checkpoint", "version": 1, "key": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(RecordError, match=r"no checkpoint \(UnpicklingError\)"):
        tiny(tmp_path)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(format="other"), "is not a dlinear checkpoint; move it away"),
        (lambda c: c.update(version="1"), "is not a dlinear checkpoint"),
        (lambda c: c.pop("optimizer"), "damaged: optimizer is missing"),
        (lambda c: c.update(history=3), "damaged: history is missing or of another type"),
        (lambda c: c.update(history=["x"]), r"damaged \(JSONDecodeError\); move it away"),
        (lambda c: c["progress"].pop("rate"), r"damaged \(TypeError\)"),
        (lambda c: c["model"].pop("readout.linear.bias"), r"damaged \(RuntimeError\)"),
        (lambda c: c["unlisted"].clear(), r"damaged \(KeyError\)"),
        (lambda c: c["generators"].clear(), r"damaged \(KeyError\)"),
    ],
)
def test_a_foreign_or_damaged_checkpoint(whole, tmp_path, change, words):
    copied(whole, tmp_path, change)
    with pytest.raises(RecordError, match=words) as caught:
        tiny(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_newer_checkpoint(whole, tmp_path):
    copied(whole, tmp_path, lambda c: c.update(version=2))
    with pytest.raises(records.NewerRecordError, match=r"version 2, .* reads up to 1; update the library"):
        tiny(tmp_path)


def other_method(blocks, x, loss_fn, readout):
    return backprop(blocks, x, loss_fn, readout)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.03},
        {"batch_size": 6},
        {"seed": 1},
        {"decay": 0.8},
        {"seconds": 100.0},
        {"method": other_method},
        {"method": functools.partial(backprop)},
        {"stack": Stack(outputs=4)},
        {"split": dataclasses.replace(labelled(), digest="other")},
        {"identity": {"activation": "relu"}},
        {"probe": lambda *_: {}},
    ],
)
def test_a_checkpoint_of_another_run(whole, change):
    with pytest.raises(RecordError, match="other knobs, model, method or data; use another folder or move"):
        tiny(whole, **change)


def test_a_checkpoint_that_began_with_other_weights(whole):
    with pytest.raises(RecordError, match="began with other weights; build the model with the same seed"):
        tiny(whole, stack=Stack(seed=1))
