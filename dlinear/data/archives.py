"""The official archives of image sets: idx files of MNIST and Fashion-MNIST, the binary tar of CIFAR."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlinear import storage
from dlinear.errors import DataError

Bytes = NDArray[np.uint8]
_DAMAGE = (OSError, EOFError, ValueError, KeyError, zlib.error, tarfile.TarError)


def read_idx(path: str | os.PathLike[str], rank: int) -> Bytes:
    """The uint8 array of an idx file, gzipped or not: bytes 0 0 8 rank, big-endian sizes, then the values.

    Raises:
        DataError: damaged, truncated, or not a uint8 idx file of that rank; the message names the file.
    """
    try:
        raw = Path(path).read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    if raw[:4] != bytes([0, 0, 8, rank]):
        raise DataError(f"{path} is not an idx file of uint8 with {rank} axes, but starts {raw[:4].hex(' ')}")
    start = 4 + 4 * rank
    if len(raw) < start:
        raise DataError(f"{path} is truncated: {len(raw)} bytes")
    shape = tuple(int(size) for size in np.frombuffer(raw[4:start], ">u4"))
    values = np.frombuffer(raw, np.uint8, offset=start)
    if values.size != np.prod(shape, dtype=np.int64):
        raise DataError(f"{path} is truncated or too long: {values.size} values for shape {shape}")
    return values.reshape(shape).copy()


def read_cifar(path: str | os.PathLike[str], fine: bool) -> dict[str, Bytes]:
    """The four arrays of a CIFAR binary archive, images as (N, 32, 32, 3).

    A record is one label byte (CIFAR-10) or two, coarse and fine (CIFAR-100), then 3072 channel-first
    pixels. Nothing is unpacked to disk.

    Raises:
        DataError: damaged, truncated or without the expected members; the message names the file.
    """
    train = ["train.bin"] if fine else [f"data_batch_{i}.bin" for i in range(1, 6)]
    tests = ["test.bin"] if fine else ["test_batch.bin"]
    try:
        parts = dict(_members(path, {*train, *tests}))
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    missing = [member for member in [*train, *tests] if member not in parts]
    if missing:
        raise DataError(f"{path} has no {', '.join(missing)}")
    labels = 2 if fine else 1
    arrays: dict[str, Bytes] = {}
    for key, members in (("train", train), ("test", tests)):
        for member in members:
            if len(parts[member]) % (labels + 3072):
                raise DataError(f"{path}: {member} is truncated: {len(parts[member])} bytes")
        raw = np.concatenate([np.frombuffer(parts[member], np.uint8) for member in members])
        records = raw.reshape(-1, labels + 3072)
        arrays[f"y_{key}"] = records[:, labels - 1].copy()
        arrays[f"x_{key}"] = records[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy()
    return arrays


def _members(path: str | os.PathLike[str], wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            stream = archive.extractfile(member) if Path(member.name).name in wanted else None
            if stream is not None:
                content = stream.read()
                if len(content) != member.size:
                    raise EOFError(f"{member.name} ends early")
                yield Path(member.name).name, content


def _damaged(path: str | os.PathLike[str], error: Exception) -> DataError:
    return DataError(
        f"{path} is damaged or of another format ({storage.reason(error)}); remove or replace it"
    )
