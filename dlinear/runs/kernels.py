"""One experiment is computed one way: by compiled kernels or by numpy, whose last digits differ.

A record says which (`meta["kernels"]`; records from before say nothing and are numpy's): "compiled" are large
networks, small ones as well where DLINEAR_KERNELS is "on" ("all compiled"). A sweep that goes on keeps to the
way of the records that are there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlinear.engine.options import VARIABLE, Compiled, compiled_by_default, way
from dlinear.errors import RecordError
from dlinear.runs.computation import Arrays, Compute

_ASKED: dict[str, Compiled] = {"numpy": "off", "compiled": "auto", "all compiled": "on"}


@dataclass(frozen=True)
class OneWay:
    """compute(cell), in whatever process, with DLINEAR_KERNELS as it is here."""

    compute: Compute
    kernels: str

    def __call__(self, cell: Any) -> Arrays:
        """What the function returns."""
        return self.compute(cell)

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        """The variable set as in the process that began the sweep; as it was before at the end."""
        before = os.environ.get(VARIABLE)
        os.environ[VARIABLE] = self.kernels
        try:
            yield
        finally:
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before


def one_way(place: Path, compute: Compute, metas: Iterable[Mapping[str, Any]]) -> OneWay:
    """The function by which the missing cells are computed, from the metadata of the records that are there.

    Raises:
        RecordError: the records were computed both ways, or by kernels that this process does not use.
    """
    ways = sorted({meta.get("kernels", "numpy") for meta in metas})
    if len(ways) > 1:
        both = (
            "by numpy and by compiled kernels"
            if "numpy" in ways
            else "with and without kernels for small networks"
        )
        raise RecordError(
            f"the records in {place} were computed {both}, whose digits differ: move those of one kind away"
        )
    if ways and ways != ["numpy"] and way() == "numpy":
        raise RecordError(
            f"the records in {place} were computed by compiled kernels, which this process does not use: "
            f"install llvmlite (pip install 'dlinear[fast]'), unset {VARIABLE}, or move them away"
        )
    return OneWay(compute, _ASKED[ways[0]] if ways else compiled_by_default())
