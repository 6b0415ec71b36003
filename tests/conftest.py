"""Shared settings of the tests: one BLAS thread, hypothesis profiles, precision restored after every test.

The profile `ci` (the default) draws the same examples every time; `HYPOTHESIS_PROFILE=dev` draws new ones.
Helpers of tests/support are imported by their file names: `from reference import gradients`.
`--shuffle SEED` runs the files, and the tests in each, in another order.

All temporary files, those of children too, go to one new folder. What the tests leave there beside pytest's
own folders is an error; then the folder is removed, unless a test has failed.
"""

from __future__ import annotations

import gc
import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import pytest  # noqa: E402 - after the thread limits, which are read on import
from hypothesis import HealthCheck, settings  # noqa: E402

TESTS = Path(__file__).resolve().parent
for _folder in (TESTS.parent, TESTS / "support"):  # proofs/, sims/ and paper_figs/ are not installed
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

import children  # noqa: E402 - tests/support is now on the path

_common = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=60, database=None, **_common)
settings.register_profile("ci", max_examples=60, derandomize=True, database=None, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run the tests in another order")


def pytest_configure(config):
    """One folder for temporary files; the processes of pytest-xdist are given that of their parent."""
    if not hasattr(config, "workerinput"):
        os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="dlinear-tests-")


def pytest_collection_modifyitems(config, items):
    seed = config.getoption("--shuffle")
    if seed is not None:
        shuffle, files = random.Random(seed), {}
        for item in items:
            files.setdefault(item.path, []).append(item)
        parts = list(files.values())
        for part in [parts, *parts]:
            shuffle.shuffle(part)
        items[:] = [item for part in parts for item in part]


def pytest_collection_finish(session):
    """What is imported and collected by now stays: `gc.collect` of the meters need not look at it."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    if hasattr(session.config, "workerinput"):
        return
    folder = Path(tempfile.gettempdir())
    known = ("pytest-of-", "torchinductor_")  # pytest's folders, torch's cache of this user
    left = sorted(path.name for path in folder.iterdir() if not path.name.startswith(known))
    if left:
        print(f"\nERROR: the tests left {', '.join(left[:10])} in {folder}")
        session.exitstatus = session.exitstatus or 1
    if session.exitstatus == 0:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _children_ended():
    """No process that a test has started outlives it."""
    yield
    children.end_all()


@pytest.fixture(autouse=True)
def _precision_restored():
    """mpmath and python-flint keep their precision in a global; no test inherits another's."""
    yield
    if "mpmath" in sys.modules:
        sys.modules["mpmath"].mp.dps = 15
    if "flint" in sys.modules:
        sys.modules["flint"].ctx.prec = 53
