"""Norms of products of layers: Lemmas C.1 and C.4."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dlinear.checks import POSITIVE, as_depth, as_layers, as_real, as_scale, as_width, elementwise


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
