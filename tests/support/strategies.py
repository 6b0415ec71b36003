"""hypothesis strategies for networks: structured layers from an integer seed and chosen singular values.

    @given(case=cases())
    def test(case): ...                       # case.deviations, case.phi, case.c, case.residual, ...

    @given(case_and_horizon=cases_with_horizon())

`DOMAIN` is the one place that says which networks count as "any network" in the tests; `build_case` makes a
case without hypothesis (for loops and examples). Every layer satisfies ||T D(t)||_2 <= c, with equality (to
rounding, from below) in the kinds named in `EXTREME_KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from reference import state

# rounding moves a norm by a few ulps; the margin keeps the nominal c a true bound
_MARGIN = 1 - 1e-13


@dataclass(frozen=True)
class Domain:
    """Where the statements are tested: 1 <= T <= max_depth, 1 <= n <= max_width, c <= min(max_c, ratio T)."""

    max_depth: int = 16
    max_width: int = 4
    max_c: float = 3.0
    largest_ratio: float = 0.95  # of c to T: the statements need c < T
    scales: tuple[float, ...] = (1e-7, 1e-3, 0.1, 0.5, 1.0)  # of c, relative to its largest value
    phi_kinds: tuple[str, ...] = ("random", "small", "large", "zero", "identity", "near")


DOMAIN = Domain()


@dataclass(frozen=True)
class Case:
    """A network, a target, and the bound c on its layers.

    Attributes:
        deviations: (T, n, n) float64, W(t) = I + deviations[t].
        phi: (n, n) float64.
        c: ||T deviations[t]||_2 <= c < T for every t.
        seed: rebuilds the case with `kind`, the shape and c.
        kind: a key of `KINDS`.
        phi_kind: a member of `DOMAIN.phi_kinds`.
    """

    deviations: np.ndarray = field(repr=False)
    phi: np.ndarray = field(repr=False)
    c: float
    seed: int
    kind: str
    phi_kind: str
    shape: tuple[int, int] = (0, 0)

    @property
    def depth(self) -> int:
        return self.deviations.shape[0]

    @property
    def width(self) -> int:
        return self.deviations.shape[1]

    @property
    def residual(self) -> np.ndarray:
        """R = P_T - Phi."""
        return state(self.deviations, self.depth) - self.phi

    @property
    def residual_norm(self) -> float:
        return float(np.linalg.norm(self.residual))


def random_orthogonal(rng, n):
    """An orthogonal matrix, uniformly distributed."""
    q, r = np.linalg.qr(rng.normal(size=(n, n)))
    return q * np.sign(np.diag(r))


def matrix_with_singular_values(rng, values):
    """U diag(values) V^T with U, V uniform."""
    n = len(values)
    return random_orthogonal(rng, n) @ np.diag(values) @ random_orthogonal(rng, n).T


def _unit_dense(rng, n):
    values = rng.uniform(0, 1, size=n)
    values[0] = 1
    return matrix_with_singular_values(rng, values)


def _normalised(layers):
    """Layers scaled together so that the largest spectral norm is one (all zero stays zero)."""
    norm = max(np.linalg.norm(layer, 2) for layer in layers)
    return layers / norm if norm > 0 else layers


def _dense(rng, depth, n):
    return np.array([_unit_dense(rng, n) for _ in range(depth)])


def _mixed_norms(rng, depth, n):
    return _dense(rng, depth, n) * rng.uniform(0, 1, size=(depth, 1, 1))


def _constant(rng, depth, n):
    return np.repeat(_unit_dense(rng, n)[None], depth, axis=0)


def _symmetric(rng, depth, n):
    q = random_orthogonal(rng, n)
    return np.repeat((q @ np.diag(rng.uniform(-1, 1, size=n)) @ q.T)[None], depth, axis=0)


def _plus_identity(rng, depth, n):
    return np.repeat(np.eye(n)[None], depth, axis=0)


def _minus_identity(rng, depth, n):
    return -_plus_identity(rng, depth, n)


def _alternating(rng, depth, n):
    return _plus_identity(rng, depth, n) * (-1.0) ** np.arange(depth)[:, None, None]


def _cumulative(rng, depth, n):
    """A random walk in depth: each layer is the mean of those before it and a new one."""
    return _normalised(np.cumsum(rng.normal(size=(depth, n, n)), axis=0))


def _orthogonal(rng, depth, n):
    return np.array([random_orthogonal(rng, n) for _ in range(depth)])


def _rank_one(rng, depth, n):
    u, v = rng.normal(size=(2, depth, n))
    return (
        np.einsum("ti,tj->tij", u, v) / (np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1))[:, None, None]
    )


def _nilpotent(rng, depth, n):
    return _normalised(np.triu(rng.normal(size=(depth, n, n)), 1))


def _zero(rng, depth, n):
    return np.zeros((depth, n, n))


def _identity_tail(rng, depth, n):
    layers = _dense(rng, depth, n)
    layers[rng.integers(0, depth + 1) :] = 0
    return layers


KINDS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "dense": _dense,
    "mixed norms": _mixed_norms,
    "constant": _constant,
    "symmetric": _symmetric,
    "plus identity": _plus_identity,
    "minus identity": _minus_identity,
    "alternating": _alternating,
    "cumulative": _cumulative,
    "orthogonal": _orthogonal,
    "rank one": _rank_one,
    "nilpotent": _nilpotent,
    "zero": _zero,
    "identity tail": _identity_tail,
}
EXTREME_KINDS = (
    "dense",
    "constant",
    "plus identity",
    "minus identity",
    "alternating",
    "orthogonal",
    "rank one",
)


def _target(rng, phi_kind, deviations):
    n = deviations.shape[1]
    dense = rng.normal(size=(n, n))
    return {
        "random": lambda: dense,
        "small": lambda: 1e-3 * dense,
        "large": lambda: 1e2 * dense,
        "zero": lambda: np.zeros((n, n)),
        "identity": lambda: np.eye(n),
        "near": lambda: state(deviations, len(deviations)) + 1e-3 * dense,  # almost fitted: small R
    }[phi_kind]()


def build_case(seed, depth, width, c, kind, phi_kind="random") -> Case:
    """A case from an integer seed; c < depth."""
    if not 0 <= c < depth:
        raise ValueError(f"c = {c} with depth {depth}: allowed is 0 <= c < depth")
    rng = np.random.default_rng(seed)
    deviations = KINDS[kind](rng, depth, width) * (c * _MARGIN / depth)
    phi = _target(rng, phi_kind, deviations)
    return Case(deviations, phi, c, seed, kind, phi_kind, (depth, width))


@st.composite
def cases(draw, kinds=tuple(KINDS), min_depth=1, domain: Domain = DOMAIN, max_depth=None, max_width=None):
    """Any network of the domain, of the given kinds."""
    depth = draw(st.integers(min_depth, max_depth or domain.max_depth))
    width = draw(st.integers(1, max_width or domain.max_width))
    c = draw(st.sampled_from(domain.scales)) * min(domain.max_c, domain.largest_ratio * depth)
    return build_case(
        draw(st.integers(0, 2**32 - 1)),
        depth,
        width,
        c,
        draw(st.sampled_from(list(kinds))),
        draw(st.sampled_from(domain.phi_kinds)),
    )


@st.composite
def cases_with_horizon(draw, **knobs):
    """(case, horizon) with 1 <= horizon <= T."""
    case = draw(cases(**knobs))
    return case, draw(st.integers(1, case.depth))


@st.composite
def cases_with_window(draw, **knobs):
    """(case, start, end) with 0 <= start <= end <= T."""
    case = draw(cases(**knobs))
    start = draw(st.integers(0, case.depth))
    return case, start, draw(st.integers(start, case.depth))
