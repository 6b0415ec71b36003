"""Checks at the public edge that several modules share."""

from __future__ import annotations

import numpy as np

from dlinear._edge import as_integers
from dlinear.errors import HorizonError, NonFiniteError, ShapeError
from dlinear.networks import Matrix, Network


def as_phi(phi: np.ndarray, net: Network) -> Matrix:
    """Phi as a finite float64 matrix of the network's width, or `ShapeError` / `NonFiniteError`."""
    if not isinstance(net, Network):
        raise ShapeError(
            f"the network is a {type(net).__name__}; expected depth, width and deviations(start, stop)"
        )
    try:
        matrix = np.asarray(phi)
    except ValueError as error:
        raise ShapeError(f"phi is a ragged list; expected ({net.width}, {net.width})") from error
    if matrix.shape != (net.width, net.width) or matrix.dtype.kind not in "fiu":
        raise ShapeError(
            f"phi has shape {matrix.shape} and dtype {matrix.dtype}; "
            f"expected real ({net.width}, {net.width}), the network's width"
        )
    matrix = matrix.astype(np.float64, copy=False)
    if not np.isfinite(matrix).all():
        raise NonFiniteError("phi holds NaN or infinity")
    return matrix


def as_horizons(horizons: object, depth: int) -> np.ndarray:
    """Horizons as a non-empty 1-d int64 array, each in 1..T, or `HorizonError`."""
    array = np.atleast_1d(as_integers("horizons", horizons, 1, depth, HorizonError))
    if array.ndim != 1:
        raise HorizonError(
            f"horizons has {array.ndim} dimensions: allowed is a sequence of integers in 1..{depth}"
        )
    return array.astype(np.int64)


def as_horizon(horizon: object, depth: int) -> int:
    """One horizon in 1..T, or `HorizonError`."""
    array = as_integers("horizon", horizon, 1, depth, HorizonError)
    if array.size != 1:
        raise HorizonError(f"horizon holds {array.size} values: allowed is one integer in 1..{depth}")
    return int(array.reshape(())[()])
