"""What travels to a Dask worker and what runs there."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from typing import Any

from dlinear.runs.computation import Compute, Computed, timed
from dlinear.runs.pool import THREADS


def packed(compute: Compute, cell: Any) -> bytes:
    """A function and its cell as bytes for `compute_packed`.

    What a script's own module defines travels by value, for the workers cannot import it; installed modules
    travel by name.
    """
    import cloudpickle

    function = compute
    while isinstance(function, functools.partial):
        function = function.func
    names = {getattr(function, "__module__", None), type(cell).__module__}
    own = [sys.modules[name] for name in names - {None, "builtins", "__main__"} if name in sys.modules]
    own = [module for module in own if module.__name__.partition(".")[0] != "dlinear"]
    fresh = [module for module in own if module.__name__ not in cloudpickle.list_registry_pickle_by_value()]
    try:
        for module in fresh:
            cloudpickle.register_pickle_by_value(module)
        content: bytes = cloudpickle.dumps((compute, cell))
    finally:
        for module in fresh:
            cloudpickle.unregister_pickle_by_value(module)
    return content


def compute_packed(content: bytes) -> Computed:
    """The arrays of one cell and its seconds, on a worker, with one BLAS thread."""
    import cloudpickle

    compute, cell = cloudpickle.loads(content)
    _pin_threads()
    return timed(compute, cell)


@functools.cache
def _pin_threads() -> None:
    """One BLAS thread in this process: the libraries loaded already, and those still to come."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    with contextlib.suppress(ImportError):
        from threadpoolctl import threadpool_limits

        threadpool_limits(1)
