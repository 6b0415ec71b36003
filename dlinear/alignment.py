"""The angle theta_h between the horizon gradient g_h and the true gradient g_T, without cancellation.

At T = 1e6 and shortfall m = 1, sin^2(theta_h) is of order 1e-18: `1 - cos**2` is noise in float64. Here the
small difference delta = g_h - g_T is itself computed from small quantities (`truncation`), and

    sin^2 = ( ||delta||^2 - <delta, g_T>^2 / ||g_T||^2 ) / ||g_h||^2                                  (S)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from dlinear.all_horizons import all_sums
from dlinear.checks import as_horizons
from dlinear.errors import DomainError, NonFiniteError, UndefinedAngleError
from dlinear.held import held_bytes, held_sums
from dlinear.networks.protocol import Matrix, Network, as_phi
from dlinear.streamed import far_sums, near_sums
from dlinear.truncation import Engine, Sums, explain_overflow

TRUE_GRADIENT_ZERO = "g_T = 0"
HORIZON_GRADIENT_ZERO = "g_h = 0"


@dataclass(frozen=True)
class AlignmentProfile:
    """Angles over horizons; entry i of each array belongs to `horizons[i]`.

    Attributes:
        depth: T.
        horizons: h, as asked for.
        shortfall: m = T - h.
        sin2: sin^2(theta_h) = 1 - cos^2(theta_h), with relative (not only absolute) accuracy.
        cos: cos(theta_h), signed.
        norm_ratio: ||g_h|| / ||g_T||; g_h cos(theta_h) / norm_ratio is the best rescaling in eq. (13).
        undefined: for each horizon "" or the gradient that vanishes ("g_T = 0", "g_h = 0"), in which case
            sin2 and cos are NaN.
    """

    depth: int
    horizons: Int[np.ndarray, " k"]
    shortfall: Int[np.ndarray, " k"]
    sin2: Float[np.ndarray, " k"]
    cos: Float[np.ndarray, " k"]
    norm_ratio: Float[np.ndarray, " k"]
    undefined: tuple[str, ...]


def alignment(
    net: Network,
    phi: np.ndarray,
    horizons: object,
    *,
    undefined: Literal["raise", "nan"] = "raise",
    engine: Engine | None = None,
) -> AlignmentProfile:
    """sin^2 and cos of the angle between g_h and g_T at each horizon.

    The relative error of sin^2 stays near T-independent rounding (below 1e-9 for networks whose products
    are well conditioned), down to sin^2 of 1e-25 and below. h = T gives exactly 0. Work: about four n x n
    products a layer for ||g_T||, two for each layer that a horizon misses (m <= T/2), six for m > T/2.
    Memory: six copies of the first M layers, M the largest shortfall <= T/2; of all layers if m > T/2.
    All horizons at once: a matrix product over every pair of layers, from a few thousand layers FFT, in time
    T log^2 T; bounded memory for a generated network (`all_horizons`; `crosscheck` compares a sample).

    Args:
        net: depth T, width n.
        phi: (n, n), E[y x^T] of whitened inputs.
        horizons: integers in 1..T, any order, repeats allowed; or "all": each of 1..T-1, worked out at once
            (T = 1 has none).
        undefined: what to do where g_T or g_h is zero, so that there is no angle: "raise", or "nan" and
            say so in `AlignmentProfile.undefined`.
        engine: where and how the work is done: backend, threads or processes, memory (default: numpy, here).

    Raises:
        UndefinedAngleError: a gradient is zero to working precision (unless `undefined="nan"`).
        ShapeError, HorizonError, NonFiniteError: see the message.
    """
    if undefined not in ("raise", "nan"):
        raise DomainError(f"undefined is {undefined!r}; expected 'raise' or 'nan'")
    phi = as_phi(phi, net)
    at_once = isinstance(horizons, str) and horizons == "all" and net.depth > 1
    asked = as_horizons(range(1, net.depth) if at_once else horizons, net.depth)
    shortfalls = net.depth - asked
    with np.errstate(over="ignore", invalid="ignore"):  # reported below, with the layer at fault
        sums = _sums(net, phi, {int(m) for m in shortfalls}, engine or Engine(), at_once)
    return profile_of(net.depth, asked, sums, (engine or Engine()).backend.eps, undefined)


@dataclass(frozen=True)
class _Moments:
    """What one shortfall contributes: ||g_T||^2, ||g_h||^2, <g_h, g_T> and the numerator of (S)."""

    true: float
    truncated: float
    inner: float
    numerator: float
    undefined: str = ""

    @property
    def sin2(self) -> float:
        return math.nan if self.undefined else max(0.0, self.numerator) / self.truncated

    @property
    def cos(self) -> float:
        if self.undefined:
            return math.nan
        return min(1.0, max(-1.0, self.inner / math.sqrt(self.true) / math.sqrt(self.truncated)))

    @property
    def norm_ratio(self) -> float:
        return math.nan if self.true == 0 else math.sqrt(self.truncated / self.true)


def _sums(net: Network, phi: Matrix, shortfalls: set[int], engine: Engine, at_once: bool) -> dict[int, Sums]:
    """The sums of every shortfall."""
    one_chunk = net.depth <= engine.chunk_layers(net)
    near = {m for m in shortfalls if m <= net.depth // 2 and not one_chunk}
    others = sorted(shortfalls - near)
    if at_once:
        sums = all_sums(net, phi, engine)
    else:
        sums = near_sums(net, phi, sorted(near), engine) if near else {}
        if one_chunk or held_bytes(net) <= engine.budget(net):
            sums |= held_sums(net, phi, others, engine) if others else {}
        else:
            for m in others:
                sums |= far_sums(net, phi, m, engine)
    if not all(math.isfinite(one.true) for one in sums.values()):
        explain_overflow(net, engine)
    return sums


def profile_of(
    depth: int,
    horizons: Int[np.ndarray, " k"],
    sums: Mapping[int, Sums],
    eps: float,
    undefined: Literal["raise", "nan"],
) -> AlignmentProfile:
    """The profile at `horizons` from the sums of each shortfall; `eps` is the precision they were taken in.

    Raises:
        UndefinedAngleError: a gradient is zero to that precision (unless `undefined="nan"`).
        NonFiniteError: sums beyond the range of float64.
    """
    rows = [_moments_of(depth - int(h), sums[depth - int(h)], eps) for h in horizons]
    reasons = tuple(row.undefined for row in rows)
    if undefined == "raise" and any(reasons):
        first = next(i for i, reason in enumerate(reasons) if reason)
        raise UndefinedAngleError(
            f"horizon {horizons[first]}: {reasons[first]} to working precision, so there is no angle; "
            'pass undefined="nan" to keep the other horizons'
        )
    return AlignmentProfile(
        depth=depth,
        horizons=horizons,
        shortfall=depth - horizons,
        sin2=np.array([row.sin2 for row in rows]),
        cos=np.array([row.cos for row in rows]),
        norm_ratio=np.array([row.norm_ratio for row in rows]),
        undefined=reasons,
    )


def _moments_of(m: int, sums: Sums, eps: float) -> _Moments:
    if sums.true == 0:
        return _Moments(0.0, 0.0, 0.0, 0.0, TRUE_GRADIENT_ZERO)
    if not math.isfinite(sums.square):
        raise NonFiniteError(
            f"shortfall {m}: the sizes of g_h and g_T differ by more than float64 can square; "
            "make the deviations smaller (the theory takes ||D||_2 <= c/T)"
        )
    is_zero = sums.truncated <= (64 * eps) ** 2 * max(sums.true, sums.square)
    undefined = HORIZON_GRADIENT_ZERO if is_zero else ""
    return _Moments(sums.true, sums.truncated, sums.true + sums.cross, sums.numerator, undefined)
