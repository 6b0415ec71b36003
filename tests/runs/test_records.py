import dataclasses
import errno
import hashlib
import json
import os
import sys

import children
import numpy as np
import pytest

from dlinear.errors import RecordError
from dlinear.runs import collection, provenance, records


@dataclasses.dataclass(frozen=True)
class Cell:
    ensemble: str = "smooth"
    depth: int = 100
    seed: int = 0
    sigma: float = 1.0
    shortfalls: tuple[int, ...] = (1, 2, 4)


def arrays(cell, labels=None):
    labels = np.array(cell.shortfalls if labels is None else labels)
    values = cell.depth + 10.0 * cell.seed + labels / 3.0
    return {
        "shortfall": (["shortfall"], labels),
        "sin2": (["shortfall"], values),
        "cubic": ([], cell.depth / 7.0),
    }


def written(folder, **change):
    cell = Cell(**change)
    return records.write(folder, cell, arrays(cell), 0.5)


def test_the_key_is_the_sha256_of_the_sorted_json():
    text = '{"depth":100,"ensemble":"smooth","seed":0,"shortfalls":[1,2,4],"sigma":1.0}'
    assert records.key(Cell()) == hashlib.sha256(text.encode()).hexdigest()
    assert records.key(dict(reversed(list(dataclasses.asdict(Cell()).items())))) == records.key(Cell())
    assert records.key(Cell(seed=1)) != records.key(Cell())


@pytest.mark.parametrize("bad", [{"a": np.ones(2)}, {"a": float("nan")}, {"a": print}, {"a": {1, 2}}])
def test_knobs_must_be_exact_json(bad):
    with pytest.raises(RecordError, match="JSON"):
        records.key(bad)


def test_round_trip_is_exact(tmp_path):
    path = written(tmp_path)
    record = records.read(path)
    assert path == tmp_path / "cells" / f"{records.key(Cell())}.npz"
    assert record.knobs == records.plain(Cell())
    assert np.array_equal(record.arrays["sin2"], 100.0 + np.array([1, 2, 4]) / 3.0)
    assert record.arrays["sin2"].dtype == np.float64
    assert record.dimensions == {"shortfall": ("shortfall",), "sin2": ("shortfall",), "cubic": ()}
    assert record.meta["seconds"] == 0.5
    assert record.meta["versions"]["numpy"] == np.__version__
    assert record.meta["revision"] is None or len(record.meta["revision"]) >= 40
    assert os.listdir(tmp_path / "cells") == [path.name]


def test_outside_a_checkout_the_revision_is_null(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "site" / "dlinear" / "runs" / "provenance.py"))
    provenance.revision.cache_clear()
    try:
        assert provenance.revision() is None
    finally:
        provenance.revision.cache_clear()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": (["shortfall"], [1.0])}, "label array 'shortfall'"),
        ({"a": ([], [1.0])}, "1 axes"),
        ({"a": ("s", [1.0])}, "dimensions"),
        ({"a": ([], "text")}, "real numbers"),
        ({"record": ([], 1.0)}, "record"),
        ({"allow_pickle": ([], 1.0)}, "must not be called 'allow_pickle'"),
        ({"file": ([], 1.0)}, "must not be called 'file'"),
        ({1: ([], 1.0)}, "must not be called 1"),
        ({"a": ([["s"]], [1.0])}, "label array"),
        ({"a": ([], 1j)}, "real numbers"),
    ],
)
def test_write_refuses(tmp_path, content, words):
    with pytest.raises(RecordError, match=words):
        records.write(tmp_path, Cell(), content)
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("keep", [0, 10, 300, -40, -1])
def test_truncated_file_is_named_and_skipped(tmp_path, keep):
    good, bad = written(tmp_path), written(tmp_path, seed=1)
    bad.write_bytes(bad.read_bytes()[:keep])
    with pytest.raises(RecordError, match="damaged"):
        records.read(bad)
    with pytest.warns(collection.RecordWarning, match=bad.stem):
        dataset = collection.load(tmp_path)
    assert dataset.attrs["cells"] == 1
    assert records.read(good).key == good.stem


def test_every_changed_byte_is_noticed_or_harmless(tmp_path):
    """A flip inside the stored numbers or header never gives other numbers in silence."""
    path = written(tmp_path)
    raw, want = path.read_bytes(), records.read(path)
    for place in range(0, len(raw), 7):
        damaged = bytearray(raw)
        damaged[place] ^= 0x41
        path.write_bytes(damaged)
        try:
            got = records.read(path)
        except RecordError:
            continue
        assert got.knobs == want.knobs
        assert all(np.array_equal(got.arrays[name], want.arrays[name]) for name in want.arrays)


def test_foreign_files_are_named_and_skipped(tmp_path):
    path = written(tmp_path)
    np.savez(path.with_name("other.npz"), a=np.ones(3))
    path.with_name("note.npz").write_text("hello")
    path.with_name("objects.npz").write_bytes(b"")
    np.savez(path.with_name("objects.npz"), record=np.array([None]))
    copied = path.with_name("0" * 64 + ".npz")
    copied.write_bytes(path.read_bytes())
    with pytest.warns(collection.RecordWarning) as caught:
        found = collection.scan(tmp_path)
    assert [record.key for record in found] == [path.stem]
    said = " ".join(str(item.message) for item in caught)
    assert all(name in said for name in ("other.npz", "note.npz", "objects.npz", copied.name))
    assert "another cell" in said
    assert len(caught) == 4


def edit_header(path, change):
    with np.load(path, allow_pickle=False) as file:
        content = {name: file[name] for name in file.files}
    head = json.loads(content["record"].tobytes())
    change(head)
    content["record"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    np.savez(path, **content)


def test_newer_version_is_named_and_skipped(tmp_path):
    written(tmp_path)
    newer = written(tmp_path, seed=1)
    edit_header(newer, lambda head: head.update(version=records.VERSION + 1))
    with pytest.raises(records.NewerRecordError, match=f"version {records.VERSION + 1}"):
        records.read(newer)
    with pytest.warns(collection.RecordWarning, match="version"):
        assert len(collection.scan(tmp_path)) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head["knobs"].update(sigma=2.0),
        lambda head: head.pop("meta"),
        lambda head: head.update(dimensions=3),
        lambda head: head["dimensions"].pop("sin2"),
        lambda head: head.update(version="1"),
        lambda head: head.update(version=True),
        lambda head: head.update(format="else"),
        lambda head: head.update(meta={}),
        lambda head: head.update(meta=None),
        lambda head: head["meta"].update(versions=3),
        lambda head: head["meta"].update(revision=[]),
        lambda head: head.update(knobs=[1]),
        lambda head: head["dimensions"].update(sin2="abc"),
        lambda head: head["dimensions"].update(sin2="s"),
        lambda head: head["dimensions"].update(sin2=["nope"]),
        lambda head: head["dimensions"].update(sin2=["cubic"]),
        lambda head: head["dimensions"].update(sin2=[]),
        lambda head: head["dimensions"].update(sin2=[["shortfall"]]),
        lambda head: head["dimensions"].update(sin2=None),
    ],
)
def test_tampered_header_is_refused(tmp_path, change):
    path = written(tmp_path)
    edit_header(path, change)
    with pytest.raises(RecordError, match=path.stem):
        records.read(path)


def rewritten(path, change, reseal=False):
    """Another valid file of the same key: the arrays changed, the header too where it must follow."""
    with np.load(path, allow_pickle=False) as file:
        content = {name: file[name] for name in file.files}
    head = json.loads(content.pop("record").tobytes())
    change(head, content)
    if reseal:
        head["content"] = records._digest(head, content)
    np.savez(path, record=np.frombuffer(json.dumps(head).encode(), np.uint8), **content)


@pytest.mark.parametrize(
    "change",
    [
        lambda head, arrays: arrays.update(sin2=arrays["sin2"] * (1 + 1e-15)),
        lambda head, arrays: arrays["sin2"].put(1, np.nan),
        lambda head, arrays: arrays.update(sin2=arrays["sin2"].astype(np.float32)),
        lambda head, arrays: arrays.update(shortfall=arrays["shortfall"][::-1].copy()),
        lambda head, arrays: (arrays.pop("sin2"), head["dimensions"].pop("sin2")),
        lambda head, arrays: (arrays.update(more=np.ones(())), head["dimensions"].update(more=[])),
        lambda head, arrays: head["meta"].update(revision="0" * 40),
        lambda head, arrays: head["meta"]["versions"].update(numpy="1.0"),
        lambda head, arrays: head["meta"].update(seconds=1.0),
        lambda head, arrays: head.update(content="0" * 64),
        lambda head, arrays: head.update(content=None),
    ],
)
def test_a_valid_file_of_the_same_key_with_other_content_is_refused(tmp_path, change):
    path = written(tmp_path)
    rewritten(path, change)
    with pytest.raises(RecordError, match=f"{path.stem}.npz is damaged: its numbers are not those that were"):
        records.read(path)


def test_a_record_without_a_hash_is_read_and_its_gaps_are_named(tmp_path):
    """As they were written before there was one."""
    path, other = written(tmp_path), written(tmp_path, seed=1)
    rewritten(path, lambda head, arrays: head.pop("content"))
    found = records.read(path)
    assert not found.sealed
    assert np.array_equal(found.arrays["sin2"], 100.0 + np.array([1, 2, 4]) / 3.0)
    assert collection.load(tmp_path).attrs["cells"] == 2
    rewritten(path, lambda head, arrays: arrays["sin2"].put(1, np.nan))
    with pytest.warns(
        collection.RecordWarning, match=f"1 records .* NaN, the first {path.stem} in sin2: .*run"
    ):
        collection.load(tmp_path)
    nothing = {"x": ([], np.nan)}  # what is written as NaN is meant
    records.write(tmp_path / "b", {"seed": 1}, nothing)
    assert np.isnan(collection.load(tmp_path / "b")["x"]).all()
    assert records.read(other).sealed


@pytest.mark.parametrize("late", [0, 1, 2, 3])
def test_cells_of_one_kind_hold_the_same_arrays(tmp_path, late):
    """A version of the code that wrote fewer is named with what to remove; other kinds may hold others."""
    paths = [written(tmp_path, seed=seed) for seed in range(4)]
    records.write(tmp_path, Cell(ensemble="other"), {"else": ([], 1.0)})
    assert len(collection.load(tmp_path)["seed"]) == 4
    lacks = lambda head, arrays: (arrays.pop("cubic"), head["dimensions"].pop("cubic"))  # noqa: E731
    rewritten(paths[late], lacks, reseal=True)
    with pytest.raises(
        RecordError, match=f"3 of 4 cells .* 'cubic'.*: remove {paths[late].stem} .revision.* and run"
    ):
        collection.load(tmp_path)
    for path in set(paths) - {paths[late], paths[late - 1]}:
        rewritten(path, lacks, reseal=True)
    with pytest.raises(RecordError, match=f"1 of 4 cells .* 'cubic'.*: remove {paths[late - 1].stem} "):
        collection.load(tmp_path)


def test_another_edition_may_hold_other_arrays(tmp_path):
    for edition, arrays_ in ((1, {"x": ([], 1.0)}), (2, {"x": ([], 1.0), "y": ([], 2.0)})):
        for seed in range(2):
            records.write(tmp_path, {"seed": seed, "edition": edition}, arrays_)
    assert collection.load(tmp_path)["y"].sel(edition=2).values.ravel().tolist() == [2.0, 2.0]


def test_bits_that_flip_never_give_other_numbers(tmp_path):
    path = written(tmp_path)
    raw, want = path.read_bytes(), records.read(path)
    rng, refused = np.random.default_rng(0), []
    for place in rng.integers(8 * len(raw), size=300):
        damaged = bytearray(raw)
        damaged[place // 8] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            got = records.read(path)
        except RecordError as error:
            refused.append(str(error))
            continue
        assert (got.knobs, got.meta, got.dimensions) == (want.knobs, want.meta, want.dimensions)
        assert all(np.array_equal(got.arrays[name], want.arrays[name]) for name in want.arrays)
    assert len(refused) > 200
    assert not any("\n" in message for message in refused)


@pytest.mark.parametrize(
    ("knobs", "content", "words"),
    [
        (None, {"a": ([], 1.0)}, "knobs must be a dataclass or a mapping .* received None"),
        (Cell, {"a": ([], 1.0)}, "knobs must be a dataclass or a mapping"),
        ([("a", 1)], {"a": ([], 1.0)}, "knobs must be a dataclass or a mapping"),
        ({1: 2}, {"a": ([], 1.0)}, "knobs must be a dataclass or a mapping of names"),
        ({"a": 1}, None, r"arrays must map names to \(dimensions, values\), not None"),
        ({"a": 1}, [1.0], "arrays must map names"),
        ({"a": 1}, {"a": 1.0}, r"array 'a' must be given as \(dimensions, values\), not 1.0"),
        ({"a": 1}, {"a": ([], 1.0, 2.0)}, "array 'a' must be given as"),
        ({"a": 1}, {"a": ([], [[1.0], [1.0, 2.0]])}, "array 'a' must hold real numbers"),
        ({"a": 1}, {"a": (None, 1.0)}, "array 'a' has 0 axes but dimensions None"),
        ({"a": 1}, {"": ([], 1.0)}, "must not be called ''"),
        ({"a": 1}, {"a\x00": ([], 1.0)}, "must not be called"),
        ({"a": 1}, {"\ud800": ([], 1.0)}, "must not be called"),
        ({"a": 1}, {"a": ([], None)}, "must hold real numbers, not object"),
    ],
)
def test_write_says_what_it_received(tmp_path, knobs, content, words):
    with pytest.raises(RecordError, match=words) as caught:
        records.write(tmp_path, knobs, content)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*"))


def test_write_refuses_a_folder_and_seconds_that_are_none(tmp_path):
    for folder in (None, 3, b"x"):
        with pytest.raises(RecordError, match="folder must be a path"):
            records.write(folder, {"a": 1}, {"a": ([], 1.0)})
    for seconds in ("a", float("nan")):
        with pytest.raises(RecordError, match="seconds must be a finite number"):
            records.write(tmp_path, {"a": 1}, {"a": ([], 1.0)}, seconds)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RecordError, match="JSON values"):
        records.key({"a": deep})


def test_a_record_says_what_it_was_computed_with(tmp_path):
    meta = records.read(written(tmp_path)).meta
    assert set(meta) == {"versions", "revision", "machine", "kernels", "seconds"}
    assert meta == {**provenance.of_this_process(), "seconds": 0.5}
    data = collection.load(tmp_path)
    assert json.loads(data.attrs["machine"]) == [meta["machine"]]
    origin = {"versions": {"numpy": "9"}, "revision": None, "machine": {"cpu": "other"}}
    path = records.write(tmp_path, Cell(seed=1), arrays(Cell(seed=1)), 1.0, origin)
    assert records.read(path).meta == {**origin, "seconds": 1.0}


def test_text_in_a_record_is_refused(tmp_path):
    path = written(tmp_path)
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    content["sin2"] = np.array(["a", "b", "c"])
    np.savez(path, **content)
    with pytest.raises(RecordError, match=r"damaged: array 'sin2' must hold real numbers"):
        records.read(path)


def test_failing_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = written(tmp_path)
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordError, match=r"cannot write .*No space left on device"):
        written(tmp_path)
    with pytest.raises(RecordError, match="No space left"):
        written(tmp_path, seed=1)
    assert os.listdir(tmp_path / "cells") == [path.name]
    assert path.read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="file size limits")
def test_disk_that_fills_up_half_way(tmp_path):
    """A real failing write: the file size limit stops it after 4096 bytes."""
    code = f"""
import resource, signal, sys
import numpy as np
from dlinear.runs import records
records.write({str(tmp_path)!r}, {{"seed": 0}}, {{"a": ([], 1.0)}})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
noise = np.random.default_rng(0).random(10000)
try:
    records.write({str(tmp_path)!r}, {{"seed": 1}}, {{"x": (["x"], np.arange(10000)), "a": (["x"], noise)}})
except records.RecordError as error:
    print(error)
"""
    done = children.run([sys.executable, "-c", code], check=True)
    assert "cannot write" in done.stdout
    assert [path.stem for path in (tmp_path / "cells").iterdir()] == [records.key({"seed": 0})]
    assert len(collection.scan(tmp_path)) == 1


def test_labelled_dataset(tmp_path):
    for ensemble in ("smooth", "mixed"):
        for depth in (100, 20):
            for seed in range(3):
                if (ensemble, seed) != ("mixed", 2):
                    written(tmp_path, ensemble=ensemble, depth=depth, seed=seed)
    data = collection.load(tmp_path)
    assert data["sin2"].dims == ("seed", "depth", "ensemble", "shortfall")
    assert data["cubic"].dims == ("seed", "depth", "ensemble")
    assert data["depth"].values.tolist() == [20, 100]
    assert data["ensemble"].values.tolist() == ["mixed", "smooth"]
    for name in data.data_vars:
        assert data[name].dtype == np.float64
    assert float(data["sin2"].sel(seed=2, depth=20, ensemble="smooth", shortfall=4)) == 20 + 20.0 + 4 / 3.0
    assert np.isnan(data["sin2"].sel(seed=2, ensemble="mixed")).all()
    assert json.loads(data.attrs["knobs"]) == {"shortfalls": [1, 2, 4], "sigma": 1.0}


def test_cells_with_other_shortfalls_are_aligned_by_label(tmp_path):
    for depth, labels in ((100, (1, 2, 8)), (20, (2, 3))):
        cell = Cell(depth=depth)
        records.write(tmp_path, cell, arrays(cell, labels))
    data = collection.load(tmp_path)["sin2"].sel(seed=0, ensemble="smooth")
    assert data["shortfall"].values.tolist() == [1, 2, 3, 8]
    assert np.isnan(data.sel(depth=20, shortfall=8))
    assert float(data.sel(depth=20, shortfall=3)) == 21.0


def test_a_knob_that_varies_is_a_dimension_and_keys_select(tmp_path):
    a, b = written(tmp_path), written(tmp_path, sigma=2.5)
    data = collection.load(tmp_path)
    assert data["sin2"].dims == ("seed", "depth", "ensemble", "sigma", "shortfall")
    assert data["sigma"].values.tolist() == [1.0, 2.5]
    assert "sigma" not in collection.load(tmp_path, keys=[b.stem]).dims
    assert a.exists()


def test_cells_too_unlike_are_refused(tmp_path):
    written(tmp_path)
    written(tmp_path, shortfalls=(1, 2))
    with pytest.raises(RecordError, match="shortfalls"):
        collection.load(tmp_path)
    cell = Cell()
    records.write(tmp_path / "b", cell, arrays(cell))
    records.write(tmp_path / "b", {"seed": 1, "depth": 100, "ensemble": 3}, {"sin2": ([], 1.0)})
    with pytest.raises(RecordError, match="cells differ"):
        collection.load(tmp_path / "b")


def test_no_record_is_said(tmp_path):
    with pytest.raises(RecordError, match="no readable record"):
        collection.load(tmp_path / "nothing")


def test_consolidated_netcdf_is_float64_and_equal(tmp_path):
    import h5py
    import xarray

    for seed in range(2):
        written(tmp_path / "exp", seed=seed)
    path = collection.consolidate(tmp_path / "exp")
    assert path == tmp_path / "exp" / "exp.nc"
    with xarray.open_dataset(path, engine="h5netcdf") as back:
        xarray.testing.assert_identical(back.load(), collection.load(tmp_path / "exp"))
    with h5py.File(path) as raw:
        assert raw["sin2"].dtype == np.float64
    assert sorted(os.listdir(tmp_path / "exp")) == ["cells", "exp.nc"]


def test_latest(tmp_path):
    with pytest.raises(RecordError, match="no run has been completed"):
        collection.latest(tmp_path)
    collection.mark_latest(tmp_path, ["a", "b"])
    assert collection.latest(tmp_path) == ["a", "b"]
    (tmp_path / "latest.json").write_text('{"version": 99, "keys": []}')
    with pytest.raises(records.NewerRecordError, match="99"):
        collection.latest(tmp_path)
    for text in (
        '{"vers',
        "[]",
        '{"version": 1}',
        '{"version": 1, "keys": 5}',
        '{"version": 1, "keys": "abc"}',
        '{"version": 1, "keys": [5]}',
        '{"version": "a", "keys": []}',
        '{"version": null, "keys": []}',
        '{"version": 1, "keys": [], "changed": 3}',
        "[" * 100_000 + "]" * 100_000,
    ):
        (tmp_path / "latest.json").write_text(text)
        with pytest.raises(RecordError, match="damaged"):
            collection.latest(tmp_path)
    for keys in ("abc", [1]):
        with pytest.raises(RecordError, match="sequence of strings"):
            collection.mark_latest(tmp_path, keys)
