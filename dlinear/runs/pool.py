"""A pool of spawned processes that ends with its parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any

THREADS = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "DLINEAR_THREADS",
)


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    """Spawned processes with one BLAS thread each; ended at once when the sweep is interrupted."""
    before = set(multiprocessing.active_children())
    saved = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_obey_parent)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _obey_parent() -> None:
    """Ctrl-C reaches the whole process group, only the parent answers it; a worker ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=[multiprocessing.parent_process()], daemon=True).start()


def _follow(parent: Any) -> None:
    """Wait for the parent's end, however it comes (SIGKILL as well), and end without ado."""
    parent.join()
    os._exit(1)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM is an interrupt too, so that workers are ended and the message printed; own handlers stay."""
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
