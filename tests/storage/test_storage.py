"""Files that are written whole or not at all, beside other writers, dead ones, and what is no file."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import sys
import threading
import time
from pathlib import Path

import children
import numpy as np
import pytest

from dlinear import storage
from dlinear.errors import RecordError
from dlinear.storage import leftovers, writing

posix = pytest.mark.skipif(os.name != "posix", reason="pipes, links and locks of POSIX")

WRITER = """
import sys, time
from pathlib import Path
from dlinear.storage import replacing
with replacing(Path(sys.argv[1])) as stream:
    stream.write(b"half")
    stream.flush()
    print("there", flush=True)
    sys.stdin.readline()
    stream.write(b" and half")
"""


@pytest.fixture
def writer(tmp_path):
    """A process in the middle of writing a file."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "file")]
    process = children.start(command, **children.PIPES)
    assert process.stdout.readline() == "there\n"
    return process


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file"
    storage.write_text(path, "one")

    def stopped():
        with storage.replacing(path) as stream:
            stream.write(b"two")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert path.read_text() == "one"
    assert names(path.parent) == ["file"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_many_threads_write_one_file_and_the_last_one_wins(tmp_path):
    path, contents = tmp_path / "file", [bytes([i]) * 100_000 for i in range(8)]
    failed = []

    def write(content):
        try:
            for _ in range(10):
                with storage.replacing(path) as stream:
                    stream.write(content)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=[content]) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert path.read_bytes() in contents
    assert names(tmp_path) == ["file"]


def test_processes_write_one_file_while_leftovers_are_removed(tmp_path):
    code = f"""
import sys
from pathlib import Path
from dlinear.storage import remove_leftovers, replacing
for _ in range(60):
    with replacing(Path({str(tmp_path)!r}, "file")) as stream:
        stream.write(sys.argv[1].encode() * 10_000)
    remove_leftovers(Path({str(tmp_path)!r}))
"""
    started = [children.start([sys.executable, "-c", code, str(i)]) for i in range(3)]
    for process in started:
        _, said = process.communicate(timeout=100)
        assert (process.returncode, said) == (0, "")
    assert (tmp_path / "file").read_text() in [str(i) * 10_000 for i in range(3)]
    assert names(tmp_path) == ["file"]


@posix
def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    """Also where somebody knew the temporary name beforehand."""
    monkeypatch.setattr(secrets, "token_hex", lambda _: "0" * 16)
    (tmp_path / "precious").write_text("precious")
    partial = writing.temporary_name(tmp_path / "file")
    partial.symlink_to(tmp_path / "precious")
    with pytest.raises(storage.WriteError, match="File exists"):
        storage.write_text(tmp_path / "file", "new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "file").exists()


def test_names_are_not_repeated(tmp_path):
    assert len({writing.temporary_name(tmp_path / "file") for _ in range(1000)}) == 1000
    assert leftovers.NAME.fullmatch(writing.temporary_name(tmp_path / "file").name)


@posix
def test_a_link_in_place_of_the_file_is_replaced_itself(tmp_path):
    (tmp_path / "precious").write_text("precious")
    for target in ("precious", "nothing"):
        (tmp_path / "file").symlink_to(tmp_path / target)
        storage.write_text(tmp_path / "file", "new")
        assert not (tmp_path / "file").is_symlink()
        (tmp_path / "file").unlink()
    assert names(tmp_path) == ["precious"]
    assert (tmp_path / "precious").read_text() == "precious"


@posix
def test_what_is_in_the_way_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place, why in (
        ("folder", "a folder is in its place: move it away"),
        ("plain/file", f"{tmp_path}/plain is not a folder"),
        ("link/file", f"{tmp_path}/link is a link to nothing"),
    ):
        with pytest.raises(storage.WriteError, match=f"^cannot write {tmp_path}/{place}: {why}$"):
            storage.write_text(tmp_path / place, "new")


def test_a_folder_that_is_removed_meanwhile_is_one_line(tmp_path):
    folder = tmp_path / "folder"

    def removed():
        with storage.replacing(folder / "file") as stream:
            stream.write(b"new")
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()

    with pytest.raises(storage.WriteError, match=r"cannot write .*file: No such file or directory"):
        removed()


@posix
@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(storage.WriteError, match="Permission denied"):
            storage.write_text(tmp_path / "file", "new")
    finally:
        tmp_path.chmod(0o700)


@posix
@pytest.mark.parametrize("read", [storage.read_npz, storage.read_json], ids=["npz", "json"])
def test_what_is_no_file_is_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(tmp_path, os.O_RDONLY)  # the path of a socket is short
        try:
            server.bind(f"/proc/self/fd/{here}/socket")
        finally:
            os.close(here)
        kinds = {"pipe": "a named pipe", "folder": "a folder", "socket": "a socket", "link": "a named pipe"}
        start = time.monotonic()
        for name, kind in kinds.items():
            with pytest.raises(RecordError, match=f"{name} is {kind}, not a file: move it away"):
                read(tmp_path / name, RecordError)
        with pytest.raises(RecordError, match="/dev/zero is a device"):
            read(Path("/dev/zero"), RecordError)
        assert time.monotonic() - start < 30


def test_json_that_is_nested_too_deep_is_damaged(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("[" * 200_000 + "]" * 200_000)
    with pytest.raises(RecordError, match=f"{re.escape(str(path))} is damaged"):
        storage.read_json(path, RecordError)
    with pytest.raises(FileNotFoundError):
        storage.read_json(tmp_path / "none", RecordError)


@pytest.mark.parametrize(
    ("head", "words"),
    [("(3,)", "more bytes"), ("(2, 2)", "more bytes"), ("(6,)", "damaged"), ("()", "more bytes")],
)
def test_a_shape_that_does_not_use_up_its_bytes_is_damaged(tmp_path, head, words):
    """`numpy.load` would not look at the check sum of such an array."""
    import io
    import zipfile

    content = io.BytesIO()
    np.lib.format.write_array(content, np.arange(5.0))
    changed = content.getvalue().replace(b"(5,)", head.encode().ljust(4)[:6], 1)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", changed)
    with pytest.raises(RecordError, match=words):
        storage.read_npz(tmp_path / "a.npz", RecordError)


def test_an_array_that_is_there_twice_is_damaged(tmp_path):
    import zipfile

    np.savez(tmp_path / "a.npz", a=np.ones(2))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("a.npy", archive.read("a.npy"))
    with pytest.raises(RecordError, match="twice"):
        storage.read_npz(tmp_path / "a.npz", RecordError)


# -- leftovers ----------------------------------------------------------------------------------------------
@posix
def test_what_a_killed_writer_left_is_removed(tmp_path, writer):
    assert len(names(tmp_path)) == 1
    assert storage.remove_leftovers(tmp_path) == 0, "it lives"
    writer.kill()
    writer.wait(30)
    assert storage.remove_leftovers(tmp_path) == 1
    assert names(tmp_path) == []


@posix
def test_a_living_writer_ends_its_file(tmp_path, writer, monkeypatch):
    """Also when its process and its age look as if it were dead: it holds the lock."""
    monkeypatch.setattr(leftovers, "_is_alive", lambda pid: False)
    monkeypatch.setattr(leftovers, "DAY", -1.0)
    for host in (None, "another"):
        if host:
            monkeypatch.setattr(leftovers.platform, "node", lambda: "another")
        assert storage.remove_leftovers(tmp_path) == 0
    out, _ = writer.communicate("\n", timeout=60)
    assert (writer.returncode, out) == (0, "")
    assert (tmp_path / "file").read_text() == "half and half"
    assert names(tmp_path) == ["file"]


def planted(folder, host, pid, age=0.0, name="file.npz", token=".0123456789abcdef"):
    path = folder / f"{name}.{host}.{pid}{token}.tmp"
    path.write_text("left")
    os.utime(path, (time.time() - age,) * 2)
    return path


DEAD = 2**22 + 5  # more than a process number can be


@posix
def test_which_leftovers_are_removed(tmp_path):
    here = writing.plain_host(writing.platform.node())
    day = 86_400
    gone = [
        planted(tmp_path, here, DEAD),
        planted(tmp_path, here, os.getpid()),  # nobody holds its lock: the number was given again
        planted(tmp_path, writing.platform.node(), DEAD, token=""),  # of an earlier version
        planted(tmp_path, "elsewhere", DEAD, 2 * day),
        planted(tmp_path, "elsewhere", os.getpid(), 2 * day),
    ]
    kept = [
        planted(tmp_path, "other", DEAD, 0.5 * day),  # it may be writing
        planted(tmp_path, writing.platform.node(), os.getpid(), token="", name="a.npz"),  # the same
        planted(tmp_path, here, DEAD, token=".0123"),  # not ours
        tmp_path / "notes.tmp",
        tmp_path / "file.npz",
    ]
    for path in kept[-2:]:
        path.write_text("kept")
    (tmp_path / "below").mkdir()
    gone.append(planted(tmp_path / "below", here, DEAD))
    assert storage.remove_leftovers(tmp_path) == len(gone)
    assert not [path for path in gone if path.exists()]
    assert all(path.exists() for path in kept)
    assert len(names(tmp_path)) == len(kept) + 1, "nor is anything new there"
    assert storage.remove_leftovers(tmp_path / "none") == 0


@posix
def test_where_there_are_no_locks_the_process_decides(tmp_path, monkeypatch):
    import fcntl

    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", none)
    here = writing.plain_host(writing.platform.node())
    dead, alive = planted(tmp_path, here, DEAD), planted(tmp_path, here, os.getpid())
    storage.write_text(tmp_path / "file", "written without a lock")
    assert storage.remove_leftovers(tmp_path) == 1
    assert (dead.exists(), alive.exists()) == (False, True)


@posix
def test_a_file_that_is_taken_for_a_leftover_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    lock, count = writing._lock_of, []

    def late(stream):
        if not count:
            count.append(storage.remove_leftovers(tmp_path))
        return lock(stream)

    monkeypatch.setattr(writing, "_lock_of", late)
    storage.write_text(tmp_path / "file", "new")
    assert count == [1]
    assert (tmp_path / "file").read_text() == "new"
    assert names(tmp_path) == ["file"]


def test_a_run_says_what_it_was_computed_with(tmp_path):
    """torch's version only where torch was imported."""
    code = """
import json, sys
from dlinear.runs import provenance
before = provenance.of_this_process()
import torch
print(json.dumps([before, provenance.of_this_process()]))
"""
    done = children.run([sys.executable, "-c", code], check=True)
    before, after = json.loads(done.stdout)
    assert "torch" not in before["versions"]
    assert set(after["versions"]) == {"python", "numpy", "dlinear", "torch"}
    machine = after["machine"]
    assert machine["cores"] == os.cpu_count()
    assert machine["device"] == "cpu" or machine["device"]
    assert len(machine["cpu"]) > 2
    assert re.search(r"\d", machine["blas"])
    assert machine["threads"]["torch"] >= 1
