"""What is recorded while networks are trained along g_h, and what follows from it.

Arrays are over times x horizons x starts, (K, H, S), or with one more axis for layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlinear.checks import as_number
from dlinear.errors import HorizonError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trajectory:
    """Training of H x S networks, seen at K times. NaN where a network has diverged before.

    Attributes:
        depth: T.
        horizons: h, (H,).
        times: tau, (K,): of the flow, or step size times the number of steps.
        loss: J = 1/2 ||R||_F^2.
        residual: ||R||_F, R = P_T - Phi.
        sin2: sin^2(theta_h) at the weights that horizon h has led to.
        cos: cos(theta_h).
        norm_ratio: ||g_h||/||g_T||.
        steepness: ||g_T||^2/J, the rate at which the flow of g_T itself reduces ln J.
        curvature: kappa(g_T)/kappa(g_h), kappa(v) = <v, J'' v>/||v||^2, the curvature of the loss along v.
        best_step: the decrease of J by the best step along g_h over that by the best step along g_T.
        predicted_sin2: the law of Theorem B (anchored: E1) with P_T, R, N of the network and A(1) = T D(T-1);
            NaN for rules that have none.
        inner_residual: ||P_h - Phi||_F; 0 at a fixed point of the plain horizon.
        layer_norms: ||D(t)||_F, (K, H, S, T).
        imbalance: ||B(t)||_F, B(t) = W(t+1)^T W(t+1) - W(t) W(t)^T, (K, H, S, T - 1).
        drift: ||B(t) - B(t) at time 0||_F, (K, H, S, T - 1).
        predicted_drift: the norm of what Theorem G5 makes of that change, added up along the path.
        drift_error: ||change - prediction||_F.
        diverged: time at which a layer exceeded the limit, infinite if never, (H, S).
        layers: D(t) at the last time, (H, S, T, n, n).
    """

    depth: int
    horizons: NDArray[np.int64]
    times: Floats
    loss: Floats
    residual: Floats
    sin2: Floats
    cos: Floats
    norm_ratio: Floats
    steepness: Floats
    curvature: Floats
    best_step: Floats
    predicted_sin2: Floats
    inner_residual: Floats
    layer_norms: Floats
    imbalance: Floats
    drift: Floats
    predicted_drift: Floats
    drift_error: Floats
    diverged: Floats
    layers: Floats

    @property
    def cos2(self) -> Floats:
        """cos^2(theta_h), (K, H, S)."""
        return 1 - self.sin2

    @property
    def equal_step(self) -> Floats:
        """The decrease of J by a short step along g_h over that by an equal step along g_T, (K, H, S).

        In the limit of short steps <g_h, g_T>/||g_T||^2 = cos(theta_h) ||g_h||/||g_T||.
        """
        return self.cos * self.norm_ratio

    @property
    def best_step_law(self) -> Floats:
        """`best_step` to second order in the step: cos^2(theta_h) kappa(g_T)/kappa(g_h), (K, H, S)."""
        return self.cos2 * self.curvature

    @property
    def rate(self) -> Floats:
        """r(h) = ln(J_h(tau)/J_0)/ln(J_T(tau)/J_0), eq. (14), (K, H, S); NaN at time 0.

        Raises:
            HorizonError: back-propagation, h = T, is not among the horizons.
        """
        full = np.flatnonzero(self.horizons == self.depth)
        if not full.size:
            raise HorizonError(
                f"eq. (14) compares with back-propagation: train h = {self.depth} beside the horizons "
                f"{self.horizons.tolist()}"
            )
        with np.errstate(divide="ignore", invalid="ignore"):
            falls = np.log(self.loss / self.loss[0])
            ratio: Floats = np.where(self.times[:, None, None] > 0, falls / falls[:, full], np.nan)
        return ratio

    def tail_start(self, tolerance: float) -> Floats:
        """The depth from which on all layers are identities: least t with ||D(s)||_F <= tolerance for s >= t.

        (K, H, S); NaN where a network has diverged.
        """
        far = self.layer_norms > as_number("tolerance", tolerance)
        last = self.depth - np.argmax(far[..., ::-1], axis=-1)  # one after the last layer that is far
        found = np.where(far.any(axis=-1), last, 0).astype(float)
        found[~np.isfinite(self.loss)] = np.nan
        return found
