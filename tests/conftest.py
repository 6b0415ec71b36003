"""Shared settings of the tests: one BLAS thread, hypothesis profiles, precision restored after every test.

The profile `ci` (the default) draws the same examples every time; `HYPOTHESIS_PROFILE=dev` draws new ones.
Helpers of tests/support are imported by their file names: `from reference import gradients`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import pytest  # noqa: E402 - after the thread limits, which are read on import
from hypothesis import HealthCheck, settings  # noqa: E402

TESTS = Path(__file__).resolve().parent
for _folder in (TESTS.parent, TESTS / "support"):  # proofs/, sims/ and paper_figs/ are not installed
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

_common = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=60, database=None, **_common)
settings.register_profile("ci", max_examples=60, derandomize=True, database=None, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def _precision_restored():
    """mpmath and python-flint keep their precision in a global; no test inherits another's."""
    yield
    if "mpmath" in sys.modules:
        sys.modules["mpmath"].mp.dps = 15
    if "flint" in sys.modules:
        sys.modules["flint"].ctx.prec = 53
