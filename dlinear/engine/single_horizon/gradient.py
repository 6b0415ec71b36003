"""g_T(t) = (W_{t+1}^T)^T R P_t^T of the layers of a chunk, from P before it and the costate after it."""

from __future__ import annotations

from typing import Any

from dlinear.engine.backends import Array, Backend
from dlinear.engine.device_chunk import DeviceChunk
from dlinear.engine.products import Chunk


def gradients_of(layers: Chunk, before: Array, after: Array) -> tuple[Array, Array]:
    """g_T(t) and P_t of each layer, (k, n, n) each."""
    if isinstance(layers, DeviceChunk):
        _, states, gradient = layers.gradients(before, after, keep=True)
        return gradient, states[:-1]
    states = layers.states(before)[:-1]
    return layers.costates(after)[1:] @ states.mT, states


def square_of_gradients(layers: Chunk, before: Array, after: Array, backend: Backend) -> Any:
    """||g_T||^2 summed over the layers, a number that may still be on the device; g_T itself is not kept."""
    if isinstance(layers, DeviceChunk):
        norms, _, _ = layers.gradients(before, after, keep=False)
        return norms.sum()
    gradient, _ = gradients_of(layers, before, after)
    return backend.inner(gradient, gradient)
