"""The gradient of every window by hand, metered: what the counts of `costs` are checked against."""

from __future__ import annotations

import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlinear.checks import as_flag, as_floats, as_horizon
from dlinear.errors import NonFiniteError, ShapeError


@dataclass(frozen=True)
class WindowRun:
    """What an instrumented run of all windows used and computed.

    Attributes:
        gradients: (T, n, n), g_h.
        stored_blocks: the largest number of block inputs that were alive at once.
        block_vjps: vector-Jacobian products of single blocks.
    """

    gradients: np.ndarray[Any, np.dtype[np.float64]]
    stored_blocks: int
    block_vjps: int


class _StoredInput:
    """The input that a block keeps for its vector-Jacobian product; counted while something refers to it."""

    def __init__(self, value: Any, living: weakref.WeakSet[_StoredInput]) -> None:
        self.value = value
        living.add(self)


def run_windows(deviations: Any, phi: Any, horizon: int, *, eager: bool = True) -> WindowRun:
    """g_h by one forward and one backward sweep per window, metered: a model of execution, not the fast path.

    Storage is counted as living objects, not by a formula.

    Args:
        deviations: (T, n, n), W(t) = I + deviations[t].
        phi: (n, n), the target map.
        horizon: h in 1..T.
        eager: windows slide, a stored input is dropped once its last window is done; otherwise every window
            is a part of one static graph and keeps its own inputs.

    Raises:
        ShapeError: deviations that are not (T, n, n) real numbers, or phi that is not (n, n).
        NonFiniteError: NaN or infinity in either.
        HorizonError: a horizon that is not one integer in 1..T.
    """
    layers = as_floats("deviations", deviations, "real (T, n, n)", ShapeError)
    phi = as_floats("phi", phi, "real (n, n)", ShapeError)
    if layers.ndim != 3 or not layers.size or layers.shape[1:] != phi.shape or phi.shape[0] != phi.shape[1]:
        raise ShapeError(
            f"deviations of shape {layers.shape} and phi of {phi.shape} received; allowed: (T, n, n), (n, n)"
        )
    if not (np.isfinite(layers).all() and np.isfinite(phi).all()):
        raise NonFiniteError("deviations or phi hold NaN or infinity")
    depth, width, _ = layers.shape
    horizon, eager = as_horizon(horizon, depth), as_flag("eager", eager)
    weights = np.eye(width) + layers
    gradients = np.zeros_like(weights)
    living: weakref.WeakSet[_StoredInput] = weakref.WeakSet()
    graph: list[Any] = []  # what a static graph keeps alive
    window: deque[_StoredInput] = deque()
    head, largest, products = np.eye(width), 0, 0
    for start in range(depth - horizon + 1):
        for t in range(start + len(window), start + horizon):
            window.append(_StoredInput(head, living))
            head = weights[t] @ head
        largest = max(largest, len(living))
        back = head - phi
        for t in reversed(range(start, start + horizon)):
            own, back = back @ window[t - start].value.T, weights[t].T @ back
            products += 1
            if t == start or start == depth - horizon:
                gradients[t] = own
        if eager:
            window.popleft()
        else:
            graph.append(list(window))
            window = deque(_StoredInput(kept.value, living) for kept in list(window)[1:])
    return WindowRun(gradients, largest, products)
