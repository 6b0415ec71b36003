"""From the inner products of delta = g_h - g_T and g_T to the angle, without cancellation:

sin^2 = ( ||delta||^2 - <delta, g_T>^2 / ||g_T||^2 ) / ||g_h||^2                                  (S)
cos   = ( ||g_T||^2 + <delta, g_T> ) / ( ||g_T|| ||g_h|| )
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, Int

from dlinear.errors import NonFiniteError, UndefinedAngleError
from dlinear.optional import needed

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


def square_over(a: float, b: float) -> float:
    """a^2/b, also where a^2 alone leaves the range of float64 (gradients beyond 1e77 or below 1e-77)."""
    square = a * a
    return square / b if sys.float_info.min < square < math.inf else a * (a / b)


@dataclass(frozen=True, slots=True)
class InnerProducts:
    """The inner products of one shortfall, summed over all layers, times the square of the common scale.

    Attributes:
        true: ||g_T||^2.
        rest: ||g_T||^2 over the layers that see the end of the network (t >= m).
        cross: <delta, g_T>.
        square: ||delta||^2.
        parted: ||delta - (cross/true) g_T||^2 where it was computed from the vectors, else None.
        direct: <g_h, g_T>, likewise.
        residual: ||R||_F times the scale (its square may leave float64), where there is an R.
    """

    true: float
    rest: float
    cross: float
    square: float
    parted: float | None = None
    direct: float | None = None
    residual: float | None = None

    @property
    def is_finite(self) -> bool:
        """Whether ||g_T||^2 and ||delta||^2 are float64 numbers."""
        return math.isfinite(self.true + self.square)

    @property
    def cancels(self) -> bool:
        """Whether delta is nearly parallel to g_T, or g_h nearly zero: then subtract vectors, not squares."""
        if not (self.true > 0 and self.is_finite):
            return False
        whole = math.fsum([self.true, 2 * self.cross, self.square])
        return self.numerator < 1e-4 * self.square or whole < 1e-4 * max(self.true, self.square)

    @property
    def numerator(self) -> float:
        """||delta||^2 - <delta, g_T>^2/||g_T||^2, the part of ||g_h||^2 across g_T."""
        if self.parted is not None:
            return self.parted
        return max(0.0, self.square - square_over(self.cross, self.true))

    @property
    def inner(self) -> float:
        """<g_h, g_T> = ||g_T||^2 + <delta, g_T>."""
        return self.true + self.cross if self.direct is None else self.direct

    @property
    def truncated(self) -> float:
        """||g_h||^2; where squares cancel, as the sum of its parts across and along g_T."""
        if self.cancels:
            return self.numerator + square_over(self.inner, self.true)
        return math.fsum([self.true, 2 * self.cross, self.square])

    @property
    def floor(self) -> float:
        """Largest rounding error of `truncated` where it was computed from squares in float64."""
        return 0.0 if self.parted is not None else 64 * _EPS * max(self.true, self.square)


_EPS = float(np.finfo(np.float64).eps)
TRUE_GRADIENT_ZERO = "g_T = 0"
HORIZON_GRADIENT_ZERO = "g_h = 0"


COLUMNS = {  # of a profile: what each is, for tables and axes
    "horizons": "horizon h",
    "shortfall": "shortfall m = T - h",
    "sin2": "sin^2 of the angle between g_h and g_T",
    "cos": "cosine of the angle between g_h and g_T",
    "norm_ratio": "norm of g_h over that of g_T",
}
SHOWN = 12  # rows of a profile that is printed


@dataclass(frozen=True, repr=False)
class AlignmentProfile:
    """Angles over horizons; entry i of each array belongs to `horizons[i]`.

    It shows itself: printed as a table, in a notebook too, by `plot()` as a figure, by `to_xarray()` as
    labelled data.

    Attributes:
        depth: T.
        horizons: h, as asked for.
        shortfall: m = T - h.
        sin2: sin^2(theta_h) = 1 - cos^2(theta_h) in [0, 1], with relative (not only absolute) accuracy.
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

    def __repr__(self) -> str:
        rows = [("h", "m", "sin^2", "cos", "|g_h|/|g_T|"), *self._rows()]
        lines = ["  ".join(cell.rjust(11) for cell in row).rstrip() for row in rows]
        return "\n".join([f"AlignmentProfile: T = {self.depth}, {len(self.horizons)} horizons", *lines])

    def _repr_html_(self) -> str:
        head = ("h", "m", "sin<sup>2</sup>", "cos", "|g<sub>h</sub>| / |g<sub>T</sub>|")
        lines = ["".join(f"<th>{name}</th>" for name in head)]
        lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in self._rows()]
        return f"<p>T = {self.depth}</p><table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"

    def _rows(self) -> list[tuple[str, ...]]:
        """Some of the horizons, the first and the last among them."""
        count = len(self.horizons)
        kept = range(count) if count <= SHOWN else np.rint(np.linspace(0, count - 1, SHOWN)).astype(int)
        return [
            (
                str(int(self.horizons[i])),
                str(int(self.shortfall[i])),
                *(
                    (self.undefined[i], "", f"{self.norm_ratio[i]:.4g}")
                    if self.undefined[i]
                    else (f"{self.sin2[i]:.4e}", f"{self.cos[i]:.6f}", f"{self.norm_ratio[i]:.4g}")
                ),
            )
            for i in kept
        ]

    def to_xarray(self) -> xarray.Dataset:
        """Labelled data along the dimension `shortfall`, with the horizons as a second coordinate.

        Variables say what they are (`long_name`, `units`: all are pure numbers); angles that are undefined
        are NaN, and the variable `undefined` says why.
        """
        with needed("labelled data"):
            import xarray

        names = ("sin2", "cos", "norm_ratio")
        data = xarray.Dataset(
            {name: ("shortfall", getattr(self, name)) for name in names}
            | {"undefined": ("shortfall", np.asarray(self.undefined, dtype=str))},
            coords={"shortfall": self.shortfall, "horizon": ("shortfall", self.horizons)},
            attrs={"depth": self.depth},
        )
        for name in names:
            data[name].attrs = {"long_name": COLUMNS[name], "units": "1"}
        data["shortfall"].attrs = {"long_name": COLUMNS["shortfall"], "units": "layers"}
        data["horizon"].attrs = {"long_name": COLUMNS["horizons"], "units": "layers"}
        return data

    def plot(self, **curves: Any) -> Figure:
        """sin^2 over the shortfall, a matplotlib figure one column wide.

        Args:
            curves: by label, what is drawn over the points: functions of an array of shortfalls m.

        Raises:
            MissingDependencyError: matplotlib is not installed.
            DomainError: a curve that is no function, or no angle to draw.
        """
        # The room of figures stands above this one, and is known by its name alone.
        figure: Figure = importlib.import_module("dlinear.report.profile_plot").profile_plot(self, curves)
        return figure


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
        return math.nan if self.undefined else min(1.0, self.numerator / self.truncated)

    @property
    def cos(self) -> float:
        if self.undefined:
            return math.nan
        return min(1.0, max(-1.0, self.inner / math.sqrt(self.true) / math.sqrt(self.truncated)))

    @property
    def norm_ratio(self) -> float:
        return math.nan if self.true == 0 else math.sqrt(self.truncated / self.true)


def profile_of(
    depth: int,
    horizons: Int[np.ndarray, " k"],
    sums: Mapping[int, InnerProducts],
    eps: float,
    undefined: Literal["raise", "nan"],
    vanishing: Mapping[int, str] | None = None,
) -> AlignmentProfile:
    """The profile at `horizons` from the inner products of each shortfall, computed with rounding `eps`.

    g_h counts as zero where ||g_h|| <= min(64 eps sqrt(T), 0.1) max(||g_T||, ||delta||) (in half precision
    the bound for rounding would exceed g_T itself), where ||g_h||^2 is below the rounding of the squares that
    it is a difference of, or where `vanishing` says so.

    Args:
        vanishing: the gradient that is known to be zero at a shortfall, if any.

    Raises:
        UndefinedAngleError: a gradient is zero to that precision (unless `undefined="nan"`).
        NonFiniteError: sums beyond the range of float64.
    """
    known = vanishing or {}
    rows = []
    for m in (depth - int(h) for h in horizons):
        rows.append(_moments_of(m, sums[m], min((64 * eps) ** 2 * depth, 0.1**2), known.get(m, "")))
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


def _moments_of(m: int, sums: InnerProducts, negligible: float, known: str) -> _Moments:
    """`negligible` is the ratio of ||g_h||^2 to the larger of ||g_T||^2, ||delta||^2 up to which g_h = 0."""
    if sums.true == 0:
        return _Moments(0.0, 0.0, 0.0, 0.0, TRUE_GRADIENT_ZERO)
    if not math.isfinite(sums.square):
        raise NonFiniteError(
            f"shortfall {m}: the sizes of g_h and g_T differ by more than float64 can square; "
            "make the deviations smaller (the theory takes ||D||_2 <= c/T)"
        )
    is_zero = sums.truncated <= max(negligible * max(sums.true, sums.square), sums.floor)
    undefined = known or (HORIZON_GRADIENT_ZERO if is_zero else "")
    return _Moments(sums.true, sums.truncated, sums.inner, sums.numerator, undefined)
