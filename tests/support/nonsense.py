"""Values that make no sense for an argument, by what the argument should be.

A kind is a name -> value table; `for_kind` gives those of a kind but for the ones that an argument accepts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

NAN = float("nan")

# What is no number of any kind. Made anew for every case: some hold state.
NO_NUMBER: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "text": lambda: "3",
    "bytes": lambda: b"3",
    "nan": lambda: NAN,
    "True": lambda: True,
    "complex": lambda: 1j,
    "empty": lambda: [],
    "ragged": lambda: [[1.0], [2.0, 3.0]],
    "object": lambda: object(),
    "mapping": lambda: {"a": 1},
    "set": lambda: {1, 2},
    "function": lambda: abs,
    "type": lambda: int,
    "generator": lambda: (i for i in range(3)),
    "array of text": lambda: np.array(["a", "b"]),
    "array of None": lambda: np.array([None, None]),
    "dates": lambda: np.array(["2020-01-01"], dtype="datetime64[D]"),
    "needs a gradient": lambda: torch.ones(2, requires_grad=True),
    "needs a gradient, one number": lambda: torch.tensor(2.0, requires_grad=True),
}
INTEGER = NO_NUMBER | {
    "fraction": lambda: 2.5,
    "inf": lambda: float("inf"),
    "negative": lambda: -3,
    "huge": lambda: 10**400,
    "several": lambda: [1, 2],
    "a table": lambda: np.ones((2, 3)),
}
FINITE = NO_NUMBER | {"inf": lambda: float("inf"), "-inf": lambda: -float("inf"), "huge": lambda: 10**400}
NONNEGATIVE = FINITE | {"negative": lambda: -3.0}
POSITIVE = NONNEGATIVE | {"zero": lambda: 0.0}
MATRIX = {name: make for name, make in NO_NUMBER.items() if "one number" not in name} | {
    "number": lambda: 3.0,
    "vector": lambda: np.ones(4),
    "wrong shape": lambda: np.ones((2, 3)),
    "no rows": lambda: np.ones((0, 0)),
    "nan inside": lambda: np.array([[1.0, NAN], [0.0, 1.0]]),
    "inf inside": lambda: np.array([[1.0, 0.0], [0.0, np.inf]]),
    "complex inside": lambda: np.array([[1j, 0], [0, 1]]),
    "text inside": lambda: np.array([["1", "2"], ["3", "4"]]),
    "flags": lambda: np.ones((2, 2), dtype=bool),
    "needs a gradient": lambda: torch.ones(2, 2, requires_grad=True),
}
CHOICE: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "unknown": lambda: "magic",
    "no text": lambda: "",
    "bytes": lambda: b"raise",
    "number": lambda: 3,
    "nan": lambda: NAN,
    "list": lambda: ["a"],
    "set": lambda: {1, 2},
    "object": lambda: object(),
    "array": lambda: np.ones(3),
    "tensor": lambda: torch.ones(3),
}
