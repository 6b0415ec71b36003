r"""Gradients of rules with another feedback, for deep linear networks and whitened data.

Layers W(t) = I + D(t), P_t = W(t-1)...W(0), R = P_T - Phi, F a Gaussian matrix. Back-propagation is
g_T(t) = (W(T-1)...W(t+1))^T R P_t^T; the other rules put

    broadcast   G(t) = R P_t^T                                                direct feedback, B = I
    feedback    G(t) = (W_{t+1}^s)^T B(s)...B(T-1) R P_t^T,  B = I + C        exact through h layers
    foton       G(t) = P_{t+1} P_T^T R P_t^T                                  in the first m layers, g_T above
    local       G(t) = (P_{t+1} - Phi) P_t^T                                  horizon 1
    direct      G(t) = B(t) M P_t^T                                           M = R, or Phi for DRTP
    pepita      G(t) = -s P_{t+1} F R P_t^T - P_{t+1} F R R^T F^T P_t^T       s = +1 or -1

The first four are near g_T in a residual net: they come as gaps G - g_T, computed from small quantities, so
that no digit of sin^2 is lost. All functions take stacks of networks, (..., T, n, n), and give stacks of
gradients of that shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlinear.checks import as_choice, as_floats, as_integer
from dlinear.engine.angle import InnerProducts, square_over
from dlinear.errors import HorizonError, NonFiniteError, ShapeError, UndefinedAngleError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Passes:
    """The products of a stack of networks that every rule is made of, with the identity taken off.

    Attributes:
        layers: D(t), (..., T, n, n).
        before: P_t - I at t = 0..T, (..., T + 1, n, n).
        after: W_t^T - I = W(T-1)...W(t) - I at t = 0..T.
        residual: R = P_T - Phi, (..., n, n).
    """

    layers: Floats
    before: Floats
    after: Floats
    residual: Floats

    @property
    def depth(self) -> int:
        """T."""
        return int(self.layers.shape[-3])

    @cached_property
    def states(self) -> Floats:
        """P_t at t = 0..T."""
        return self.before + np.eye(self.layers.shape[-1])

    @cached_property
    def true(self) -> Floats:
        """g_T(t) = (W_{t+1}^T)^T R P_t^T."""
        eye = np.eye(self.layers.shape[-1])
        tail = self.after[..., 1:, :, :] + eye
        found: Floats = tail.mT @ self.residual[..., None, :, :] @ self.states[..., :-1, :, :].mT
        return found


def passes(deviations: ArrayLike, phi: ArrayLike) -> Passes:
    """The forward and backward products of networks.

    Args:
        deviations: D(t), (..., T, n, n).
        phi: Phi, (n, n), E[y x^T] of whitened inputs.

    Raises:
        ShapeError, NonFiniteError: no such arrays, or products that leave float64.
    """
    layers = as_floats("deviations", deviations, "layers, (..., T, n, n)", ShapeError)
    target = as_floats("phi", phi, "a matrix of real numbers", ShapeError)
    if layers.ndim < 3 or layers.shape[-1] != layers.shape[-2] or not layers.size:
        raise ShapeError(f"deviations must be (..., T, n, n), T >= 1, n >= 1; got {layers.shape}")
    if target.shape != layers.shape[-2:]:
        raise ShapeError(f"phi must be {layers.shape[-2:]}, as the layers are; got {target.shape}")
    if not (np.isfinite(layers).all() and np.isfinite(target).all()):
        raise NonFiniteError("deviations and phi must be finite")
    before = np.zeros((*layers.shape[:-3], layers.shape[-3] + 1, *layers.shape[-2:]))
    after = np.zeros_like(before)
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(layers.shape[-3]):  # W P - I = (P - I) + D + D (P - I)
            d, p = layers[..., t, :, :], before[..., t, :, :]
            before[..., t + 1, :, :] = p + d + d @ p
        for t in reversed(range(layers.shape[-3])):
            d, q = layers[..., t, :, :], after[..., t + 1, :, :]
            after[..., t, :, :] = q + d + q @ d
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise NonFiniteError("a product of the layers leaves float64; make the deviations smaller")
    return Passes(layers, before, after, before[..., -1, :, :] + (np.eye(len(target)) - target))


def broadcast_gap(p: Passes) -> Floats:
    """G - g_T = -(W_{t+1}^T - I)^T R P_t^T of G(t) = R P_t^T, (..., T, n, n)."""
    found: Floats = -p.after[..., 1:, :, :].mT @ p.residual[..., None, :, :] @ p.states[..., :-1, :, :].mT
    return found


def local_gap(p: Passes) -> Floats:
    """G - g_T of horizon 1: [(P_{t+1} - P_T) - (W_{t+1}^T - I)^T R] P_t^T, P_T = W_{t+1}^T P_{t+1}."""
    tail, state = p.after[..., 1:, :, :], p.states
    missed = tail @ state[..., 1:, :, :] + tail.mT @ p.residual[..., None, :, :]
    found: Floats = -missed @ state[..., :-1, :, :].mT
    return found


def foton_gap(p: Passes, layers: int | None = None) -> Floats:
    """G - g_T = (P_{t+1} P_{t+1}^T - I) g_T(t) of FOTON in the first m layers, 0 above them.

    V = P P^T - I follows V -> W V W^T + (D + D^T + D D^T), which keeps its digits for nearly orthogonal W.

    Args:
        p: of `passes`.
        layers: m in 0..T; None: all.

    Raises:
        HorizonError: m outside 0..T.
    """
    m = p.depth if layers is None else as_integer("layers", layers, 0, p.depth, HorizonError)
    true, eye = p.true, np.eye(p.layers.shape[-1])
    gap, v = np.zeros_like(true), np.zeros_like(p.residual)
    for t in range(m):
        d = p.layers[..., t, :, :]
        w = eye + d
        v = w @ v @ w.mT + (d + d.mT + d @ d.mT)
        gap[..., t, :, :] = v @ true[..., t, :, :]
    return gap


def feedback_gap(p: Passes, feedback: ArrayLike, horizon: int = 1) -> Floats:
    """G - g_T of feedback alignment behind h layers that are transposed exactly, (..., T, n, n).

    With s = min(t + h, T) and Y_s = B(s)...B(T-1) - (W_s^T)^T it is (W_{t+1}^s)^T Y_s R P_t^T, where
    Y_s = B(s) Y_{s+1} + (C(s) - D(s)^T) (W_{s+1}^T)^T, so that near products are never subtracted.

    Args:
        p: of `passes`.
        feedback: C(t) of B(t) = I + C(t), an array that broadcasts to the layers; B stands for W^T. 0: the
            identity (broadcast at h = 1, the anchored horizon at any h).
        horizon: h in 1..T; 1: feedback alignment in every layer.

    Raises:
        HorizonError, ShapeError, NonFiniteError: an argument outside its domain.
    """
    h = as_integer("horizon", horizon, 1, p.depth, HorizonError)
    c = as_floats("feedback", feedback, "a matrix for each layer", ShapeError)
    try:
        c = np.broadcast_to(c, p.layers.shape)
    except ValueError:
        raise ShapeError(f"feedback must broadcast to the layers {p.layers.shape}; got {c.shape}") from None
    if not np.isfinite(c).all():
        raise NonFiniteError("feedback must be finite")
    signal = np.zeros_like(p.before)  # Y_s R at s = 0..T
    y = np.zeros_like(p.residual)
    eye = np.eye(c.shape[-1])
    for s in reversed(range(p.depth)):
        here = c[..., s, :, :]
        y = y + here @ y + (here - p.layers[..., s, :, :].mT) @ (p.after[..., s + 1, :, :] + eye).mT
        signal[..., s, :, :] = y @ p.residual
    gap = np.zeros_like(p.layers)
    for t in range(p.depth - h):
        handed = signal[..., t + h, :, :]
        for u in reversed(range(t + 1, t + h)):  # (W_{t+1}^s)^T, layer by layer
            handed = handed + p.layers[..., u, :, :].mT @ handed
        gap[..., t, :, :] = handed @ p.states[..., t, :, :].mT
    return gap


def direct_gradients(p: Passes, feedback: ArrayLike, signal: ArrayLike | None = None) -> Floats:
    """G(t) = B(t) M P_t^T, feedback without the skip: direct feedback alignment, DRTP for M = Phi.

    Args:
        p: of `passes`.
        feedback: B(t), an array that broadcasts to (..., T, n, n); a single matrix is shared by all layers.
        signal: M, (n, n); None is R.

    Raises:
        ShapeError: shapes that do not fit.
    """
    b = as_floats("feedback", feedback, "a matrix for each layer", ShapeError)
    m = p.residual if signal is None else as_floats("signal", signal, "a matrix", ShapeError)
    try:
        found: Floats = np.broadcast_to(b, p.layers.shape) @ m[..., None, :, :] @ p.states[..., :-1, :, :].mT
    except ValueError:
        raise ShapeError(
            f"feedback {b.shape} and signal {m.shape} do not fit layers {p.layers.shape}"
        ) from None
    return found


def pepita_gradients(p: Passes, f: ArrayLike, sign: int = 1, modulated: bool = True) -> Floats:
    """G(t) = -s P_{t+1} F R P_t^T - P_{t+1} F K F^T P_t^T, K = E[e e^T] = R R^T (targets without noise).

    The mean of (h - herr) herr^T, h the activities of the clean pass and herr those of the modulated pass,
    whose input is x + s F e.

    Args:
        p: of `passes`.
        f: F, (..., n, n).
        sign: s, +1 or -1.
        modulated: False for the clean activity as the presynaptic one: the first term alone.

    Raises:
        DomainError, ShapeError: another sign, or shapes that do not fit.
    """
    as_choice("sign", {1: "+1", -1: "-1"}.get(sign, str(sign)), ("+1", "-1"))
    feedback = as_floats("f", f, "a matrix", ShapeError)
    if feedback.shape[-2:] != p.residual.shape[-2:]:
        raise ShapeError(
            f"f must be (..., {p.residual.shape[-1]}, {p.residual.shape[-1]}); got {feedback.shape}"
        )
    error = (feedback @ p.residual)[..., None, :, :]
    inner = -sign * error - (error @ error.mT if modulated else 0)
    found: Floats = p.states[..., 1:, :, :] @ inner @ p.states[..., :-1, :, :].mT
    return found


def angle(true: ArrayLike, gap: ArrayLike) -> tuple[float, float]:
    """sin^2 and cos of the angle between g_T and g_T + gap, one network, by eq. (S) of `engine.angle`.

    Args:
        true, gap: (T, n, n).

    Raises:
        ShapeError: arrays of two shapes.
        UndefinedAngleError: one of the two gradients is zero.
    """
    g = as_floats("true", true, "gradients", ShapeError)
    delta = as_floats("gap", gap, "gradients", ShapeError)
    if g.shape != delta.shape:
        raise ShapeError(f"true and gap must have one shape; got {g.shape} and {delta.shape}")
    size, cross = float(np.sum(g**2)), float(np.sum(delta * g))
    if size == 0 or not np.any(g + delta):
        raise UndefinedAngleError("one of the two gradients is zero: there is no angle")
    across = float(np.sum((delta - cross / size * g) ** 2))
    sums = InnerProducts(size, 0.0, cross, float(np.sum(delta**2)), across, float(np.sum((g + delta) * g)))
    whole = across + square_over(sums.inner, size)
    return min(1.0, sums.numerator / whole), float(np.clip(sums.inner / np.sqrt(size * whole), -1, 1))
