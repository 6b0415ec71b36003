"""Every inequality of the theory, written once over a small namespace of functions.

Notation: depth T, width n, layers W(t) = I + W~(t)/T with ||W~(t)||_2 <= c < T, a = 1 + c/T, b = 1 - c/T,
state map P_t = W(t-1)...W(0), residual R = P_T - Phi, horizon h, end of a window s = min(t + h, T),
shortfall m = T - h. "phi" is the target map Phi = E[y x^T].

Where `xp` is an argument it supplies `exp`, `log` and `sqrt`: numpy (the default), the module `sympy`, or
`ARB` (ball arithmetic). Plain numbers and arrays are validated and broadcast; symbols, balls and fractions
pass unchecked. Exact work hands them in as such (`sympy.Rational(1, 10)`, `flint.arb("0.1")`): a float
literal is the wrong number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dlinear.checks import (
    POSITIVE,
    as_depth,
    as_integral,
    as_layers,
    as_real,
    as_scale,
    as_width,
    elementwise,
    is_plain,
    received,
)
from dlinear.errors import DomainError, HorizonError
from dlinear.optional import needed

__all__ = [
    "ARB",
    "Interval",
    "ProductBounds",
    "TailBounds",
    "cosine_lower",
    "gradient_change",
    "gradient_norm_bounds",
    "gradient_norm_lower",
    "gradient_norm_upper",
    "product_frobenius_bounds",
    "product_norm_bounds",
    "sgd_floor",
    "sgd_gap",
    "sgd_largest_step",
    "state_change",
    "tail_deviation",
    "tail_start",
    "theorem_a",
    "theorem_a_constant",
    "theorem_a_cubic",
    "theorem_a_per_layer",
    "window_change",
]


class Interval(NamedTuple):
    """A lower and an upper bound."""

    lower: Any
    upper: Any


class ProductBounds(NamedTuple):
    """The chain exp_lower <= lower <= sigma_min <= ||.||_2 <= upper <= exp_upper of Lemma C.1, repaired."""

    exp_lower: Any
    lower: Any
    upper: Any
    exp_upper: Any


class TailBounds(NamedTuple):
    """Two upper bounds on ||W_{T-k}^T - I||_2, the first the smaller (Lemma C.4)."""

    power: Any
    exponential: Any


class _Arb:
    """exp, log, sqrt over python-flint balls; integers are converted exactly."""

    @staticmethod
    def _ball(x: Any) -> Any:
        with needed("ball arithmetic"):
            from flint import arb

        return arb(x)

    def exp(self, x: Any) -> Any:
        return self._ball(x).exp()

    def log(self, x: Any) -> Any:
        return self._ball(x).log()

    def sqrt(self, x: Any) -> Any:
        return self._ball(x).sqrt()


ARB = _Arb()


# ------------------------------------------------------------------------------------------ Lemma C.1


@elementwise
def product_norm_bounds(depth: Any, layers: Any, c: Any, xp: Any = np) -> ProductBounds:
    """Bounds on the singular values of a product of k layers (Lemma C.1, eqs (47)-(50), repaired).

    e^{-ck/(T-c)} <= (1-c/T)^k <= sigma_min(W_s^{s+k}) <= ||W_s^{s+k}||_2 <= (1+c/T)^k <= e^{ck/T}

    Args:
        depth: T >= 1.
        layers: k in 0..T, the number of layers in the product; integer or array.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        xp: namespace with exp.

    Raises:
        DomainError: an argument outside its domain.
    """
    depth = as_depth(depth)
    layers, c = as_layers(layers, depth), as_scale(c, depth, xp)
    return ProductBounds(
        exp_lower=xp.exp(-c * layers / (depth - c)),
        lower=(1 - c / depth) ** layers,
        upper=(1 + c / depth) ** layers,
        exp_upper=xp.exp(c * layers / depth),
    )


@elementwise
def product_frobenius_bounds(depth: Any, layers: Any, c: Any, width: Any, xp: Any = np) -> Interval:
    """Bounds on the Frobenius norm of a product of k layers (Lemma C.1, eq. (51), repaired).

    sqrt(n) (1-c/T)^k <= ||W_s^{s+k}||_F <= sqrt(n) (1+c/T)^k; both are attained by c = 0.

    Args:
        depth: T >= 1.
        layers: k in 0..T.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    root = xp.sqrt(as_width(width))
    chain = product_norm_bounds(depth, layers, c, xp)
    return Interval(root * chain.lower, root * chain.upper)


# ------------------------------------------------------------------------------- Lemmas C.2, C.3, C.4


def _around_loss(depth: Any, end: Any, c: Any, xp: Any) -> ProductBounds:
    """Bounds on what eq. (27') puts around the loss gradient: s - 1 layers, in W_{t+1}^s and P_t together."""
    depth = as_depth(depth)
    return product_norm_bounds(depth, as_integral("end", end, 1, depth, DomainError) - 1, c, xp)


@elementwise
def gradient_norm_bounds(depth: Any, end: Any, c: Any, loss_norm: Any, xp: Any = np) -> Interval:
    """Bounds on ||g_h(t)||_F from the norm of the loss gradient at the window's end (Lemmas C.2, C.3).

    b^{s-1} ||P_s - Phi||_F <= ||g_h(t)||_F <= a^{s-1} ||P_s - Phi||_F: the window W_{t+1}^s and the state map
    P_t have s - 1 layers together. s = t + h is Lemma C.2, s = T is Lemma C.3.

    Args:
        depth: T >= 1.
        end: s = min(t + h, T), in 1..T.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        loss_norm: ||P_s - Phi||_F >= 0.
        xp: namespace with exp.

    Raises:
        DomainError: an argument outside its domain.
    """
    around, loss_norm = _around_loss(depth, end, c, xp), as_real("loss_norm", loss_norm)
    return Interval(around.lower * loss_norm, around.upper * loss_norm)


@elementwise
def gradient_norm_upper(depth: Any, end: Any, c: Any, width: Any, phi_frobenius: Any, xp: Any = np) -> Any:
    """Upper envelope of ||g_h(t)||_F (Lemmas C.2 and C.3, eqs (29), (30), repaired).

    a^{s-1} (sqrt(n) a^s + ||Phi||_F)

    Args:
        depth: T >= 1.
        end: s = min(t + h, T), in 1..T.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        phi_frobenius: ||Phi||_F >= 0.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    around, phi_frobenius = _around_loss(depth, end, c, xp), as_real("phi_frobenius", phi_frobenius)
    return around.upper * (product_frobenius_bounds(depth, end, c, width, xp).upper + phi_frobenius)


@elementwise
def gradient_norm_lower(depth: Any, end: Any, c: Any, width: Any, phi_spectral: Any, xp: Any = np) -> Any:
    """Lower envelope of ||g_h(t)||_F (Lemmas C.2 and C.3, eqs (29), (30), repaired).

    b^{s-1} sqrt(n) max(0, b^s - ||Phi||_2): vacuous (zero) once ||Phi||_2 >= b^s.

    Args:
        depth: T >= 1.
        end: s = min(t + h, T), in 1..T.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        phi_spectral: ||Phi||_2 >= 0.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    around, phi_spectral = _around_loss(depth, end, c, xp), as_real("phi_spectral", phi_spectral)
    gap = product_norm_bounds(depth, end, c, xp).lower - phi_spectral
    return around.lower * xp.sqrt(as_width(width)) * ((gap + abs(gap)) / 2)


@elementwise
def tail_deviation(depth: Any, layers: Any, c: Any, xp: Any = np) -> TailBounds:
    """Bounds on ||W_{T-k}^T - I||_2 (Lemma C.4, eq. (59), with a layer count k instead of a fraction).

    ||W_{T-k}^T - I||_2 <= (1+c/T)^k - 1 <= e^{ck/T} - 1

    Args:
        depth: T >= 1.
        layers: k in 0..T.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        xp: namespace with exp.

    Raises:
        DomainError: an argument outside its domain.
    """
    chain = product_norm_bounds(depth, layers, c, xp)
    return TailBounds(chain.upper - 1, chain.exp_upper - 1)


@elementwise
def tail_start(tolerance: Any, c: Any, width: Any, xp: Any = np) -> Any:
    """alpha_0 of Lemma C.4: sqrt(n) ||W_s^T - I||_2 <= tolerance for every s >= alpha_0 T.

    alpha_0 = 1 - ln(1 + tolerance/sqrt(n))/c. It is negative where the tolerance holds for the whole network.

    Args:
        tolerance: epsilon > 0.
        c: bound on ||W~(t)||_2, c > 0.
        width: n >= 1.
        xp: namespace with log and sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    tolerance = as_real("tolerance", tolerance, POSITIVE, strict=True)
    c = as_real("c", c, POSITIVE, strict=True)
    return 1 - xp.log(1 + tolerance / xp.sqrt(as_width(width))) / c


# ------------------------------------------------------------------------- differences, eqs (37)-(42)


@elementwise
def window_change(depth: Any, start: Any, end: Any, c: Any, width: Any, xp: Any = np) -> Any:
    """Bound on ||W_t^s - W_t^T||_F (eq. (37), repaired: the factor (W_s^T - I) stands on the left of W_t^s).

    (a^{T-s} - 1) sqrt(n) a^{s-t}

    Args:
        depth: T >= 1.
        start: t in 0..T, at most `end`.
        end: s in 0..T.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    depth = as_depth(depth)
    start, end = (as_integral(k, v, 0, depth, DomainError) for k, v in (("start", start), ("end", end)))
    if is_plain(start) and is_plain(end) and np.any(np.asarray(start) > end):
        raise DomainError(f"{received('start', start)}, {received('end', end)}: allowed is start <= end")
    window = product_frobenius_bounds(depth, end - start, c, width, xp).upper
    return tail_deviation(depth, depth - end, c, xp).power * window


@elementwise
def state_change(depth: Any, end: Any, c: Any, width: Any, xp: Any = np) -> Any:
    """Bound on ||P_s - P_T||_F, the change of the loss gradient (eq. (38), repaired): eq. (37) from layer 0.

    Args:
        depth: T >= 1.
        end: s in 0..T.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    return window_change(depth, 0, end, c, width, xp)


@elementwise
def gradient_change(depth: Any, end: Any, c: Any, width: Any, residual_norm: Any, xp: Any = np) -> Any:
    """Bound on ||g_h(t) - g_T(t)||_F for a layer whose window ends at s (eq. (39), repaired).

    a^{s-1} (a^{T-s} - 1) (sqrt(n) a^s + ||R||_F); zero at s = T. It is `gradient_norm_upper` with R for Phi,
    times the deviation of the tail (Lemma C.4).

    Args:
        depth: T >= 1.
        end: s = min(t + h, T), in 1..T.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        residual_norm: ||R||_F = ||P_T - Phi||_F >= 0.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    residual_norm = as_real("residual_norm", residual_norm)
    whole = gradient_norm_upper(depth, end, c, width, residual_norm, xp)
    depth = as_depth(depth)
    tail = tail_deviation(depth, depth - as_integral("end", end, 1, depth, DomainError), c, xp)
    return tail.power * whole


@elementwise
def cosine_lower(relative_deviation: Any, xp: Any = np) -> Any:
    """Least cosine of the angle between u and v when ||u - v|| <= r ||v|| with r <= 1 (eq. (42)).

    sqrt(1 - r^2): u lies in a ball around v that is seen from the origin under the angle arcsin(r). Attained.
    Its own inverse: also the largest r that guarantees a given cosine, the form that the paper uses.

    Args:
        relative_deviation: r in [0, 1].
        xp: namespace with sqrt.

    Raises:
        DomainError: r outside [0, 1].
    """
    r = as_real("relative_deviation", relative_deviation, "a number in [0, 1]")
    if is_plain(r) and not np.all(inside := np.asarray(r) <= 1):
        what = received("relative_deviation", r, np.asarray(r), inside)
        raise DomainError(f"{what}: allowed is a number in [0, 1]")
    return xp.sqrt(1 - r**2)


# ------------------------------------------------------------------------------------------ Theorem A


@elementwise
def theorem_a_constant(depth: Any, c: Any, width: Any, residual_norm: Any, xp: Any = np) -> Any:
    """K_A of Theorem A.

    K_A = c^2 e^{2c} (sqrt(n) e^c + ||R||_F)^2 / ((1 - c/T)^{2(T-1)} ||R||_F^2)

    Args:
        depth: T >= 1.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        residual_norm: ||R||_F = ||P_T - Phi||_F > 0 (a fitted network has no angle).
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    depth = as_depth(depth)
    c, width = as_scale(c, depth, xp), as_width(width)
    residual_norm = as_real("residual_norm", residual_norm, POSITIVE, strict=True)
    smallest = (1 - c / depth) ** (depth - 1) * residual_norm
    return (c * xp.exp(c) * (xp.sqrt(width) * xp.exp(c) + residual_norm) / smallest) ** 2


def _shortfall(depth: Any, horizon: Any) -> tuple[Any, Any]:
    """T and m = T - h."""
    depth = as_depth(depth)
    return depth, depth - as_integral("horizon", horizon, 1, depth, HorizonError)


@elementwise
def theorem_a(depth: Any, horizon: Any, c: Any, width: Any, residual_norm: Any, xp: Any = np) -> Any:
    """Theorem A: an upper bound on sin^2(theta_h) for every depth, horizon, target and bounded layers.

    sin^2(theta_h) <= K_A m(m+1)(2m+1)/(6 T^3), m = T - h. It may exceed one (then it says nothing).

    Args:
        depth: T >= 1.
        horizon: h in 1..T; integer or array of them.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        residual_norm: ||R||_F = ||P_T - Phi||_F > 0.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
        HorizonError: a horizon that is not an integer in 1..T.
    """
    depth, m = _shortfall(depth, horizon)
    constant = theorem_a_constant(depth, c, width, residual_norm, xp)
    return constant * (m * (m + 1) * (2 * m + 1)) / (6 * depth**3)


@elementwise
def theorem_a_cubic(depth: Any, horizon: Any, c: Any, width: Any, residual_norm: Any, xp: Any = np) -> Any:
    """Theorem A in its cubic form: sin^2(theta_h) <= K_A (1 - h/T)^3, never below `theorem_a`.

    Args:
        depth: T >= 1.
        horizon: h in 1..T; integer or array of them.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        residual_norm: ||R||_F = ||P_T - Phi||_F > 0.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
        HorizonError: a horizon that is not an integer in 1..T.
    """
    depth, m = _shortfall(depth, horizon)
    return theorem_a_constant(depth, c, width, residual_norm, xp) * m**3 / depth**3


@elementwise
def theorem_a_per_layer(
    depth: Any, shortfall: Any, c: Any, width: Any, residual_norm: Any, xp: Any = np
) -> Any:
    """The step of Theorem A's proof: a simpler bound than eq. (39) for the layer with T - s = k.

    ||g_h(t) - g_T(t)||_F <= e^c (c k/T) (sqrt(n) e^c + ||R||_F)

    Args:
        depth: T >= 1.
        shortfall: k = T - s in 0..T.
        c: bound on ||W~(t)||_2, 0 <= c < T.
        width: n >= 1.
        residual_norm: ||R||_F >= 0.
        xp: namespace with exp and sqrt.

    Raises:
        DomainError: an argument outside its domain.
    """
    depth = as_depth(depth)
    shortfall = as_integral("shortfall", shortfall, 0, depth, DomainError)
    c, residual_norm = as_scale(c, depth, xp), as_real("residual_norm", residual_norm)
    return xp.exp(c) * (c * shortfall / depth) * (xp.sqrt(as_width(width)) * xp.exp(c) + residual_norm)


# ---------------------------------------------------------------------------------------- Theorem C.8


@elementwise
def sgd_largest_step(smoothness: Any, mu: Any, mu_g: Any, noise_slope: Any) -> Any:
    """The largest step that Theorem C.8 allows: mu / (L (M_V + mu_G^2)).

    Args:
        smoothness: L > 0.
        mu: least alignment, eq. (62a), 0 < mu <= mu_G.
        mu_g: largest relative mean, eq. (62b).
        noise_slope: M_V >= 0, eq. (62c).

    Raises:
        DomainError: an argument outside its domain.
    """
    smoothness = as_real("smoothness", smoothness, POSITIVE, strict=True)
    mu = as_real("mu", mu, POSITIVE, strict=True)
    mu_g, noise_slope = as_real("mu_g", mu_g), as_real("noise_slope", noise_slope)
    if is_plain(mu) and is_plain(mu_g) and np.any(np.asarray(mu) > mu_g):
        raise DomainError(f"{received('mu', mu)}, {received('mu_g', mu_g)}: allowed is mu <= mu_g")
    return mu / (smoothness * (noise_slope + mu_g**2))


@elementwise
def sgd_floor(step: Any, convexity: Any, smoothness: Any, mu: Any, noise: Any) -> Any:
    """K of Theorem C.8 (repaired): the level that the expected gap approaches, eta L M/(2 c mu).

    Args:
        step: eta > 0.
        convexity: c > 0 of strong convexity, eq. (61a).
        smoothness: L >= c, eq. (61b).
        mu: least alignment, eq. (62a), > 0.
        noise: M >= 0, eq. (62c).

    Raises:
        DomainError: an argument outside its domain.
    """
    step, convexity = as_real("step", step, POSITIVE, True), as_real("convexity", convexity, POSITIVE, True)
    smoothness, mu = as_real("smoothness", smoothness, POSITIVE, True), as_real("mu", mu, POSITIVE, True)
    return step * smoothness * as_real("noise", noise) / (2 * convexity * mu)


@elementwise
def sgd_gap(steps: Any, gap: Any, step: Any, convexity: Any, smoothness: Any, mu: Any, noise: Any) -> Any:
    """Theorem C.8, eq. (63), repaired: a bound on E J(u^tau) - J* after tau steps from u^0.

    K + (1 - eta c mu)^tau (J(u^0) - J* - K), K = `sgd_floor`. Valid for steps up to `sgd_largest_step`. The
    exponent counts the steps taken: tau - 1 belongs to a sequence that starts at u^1, and from u^0 it fails
    where J(u^0) - J* < K.

    Args:
        steps: tau >= 0, an integer or array.
        gap: J(u^0) - J* >= 0.
        step: eta > 0.
        convexity: c > 0, eq. (61a).
        smoothness: L >= c, eq. (61b).
        mu: least alignment, eq. (62a), > 0.
        noise: M >= 0, eq. (62c).

    Raises:
        DomainError: an argument outside its domain, or eta c mu > 1 (a step that no hypothesis allows).
    """
    steps = as_integral("steps", steps, 0, None, DomainError)
    gap, floor = as_real("gap", gap), sgd_floor(step, convexity, smoothness, mu, noise)
    contraction = 1 - step * convexity * mu
    if is_plain(contraction) and np.any(np.asarray(contraction) < 0):
        raise DomainError(f"{received('step * convexity * mu', 1 - contraction)}: allowed is at most 1")
    if is_plain(floor) and not np.all(finite := np.isfinite(floor)):
        what = received("the floor", floor, np.asarray(floor), finite)
        raise DomainError(f"{what}: allowed are arguments that keep it within float64")
    return floor + contraction**steps * (gap - floor)
