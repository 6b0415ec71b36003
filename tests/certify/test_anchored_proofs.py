"""The statements about anchored horizons and surrogate tails, on numbers: definitions and bounds."""

from __future__ import annotations

import functools
import itertools
import math
import re
import sys
from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import sympy

import dlinear
from dlinear.certify import registry
from dlinear.certify.trusted.arithmetic import add, identity, product, scaled
from dlinear.certify.trusted.context import read_context
from dlinear.certify.trusted.evaluation import Model
from dlinear.certify.trusted.terms import parse
from dlinear.theory import bounds, limits
from proofs import __main__ as command

CLAIMS = {claim.id: claim for claims in registry.discover(command.FOLDER).values() for claim in claims}
RESIDUALS = {1: [[3]], 2: [[1, 2], [2, 4]], 3: [[2, 0, 1], [0, 2, 0], [4, 0, 0]]}  # ||R||_F = 3, 5, 5


def case(seed):
    """Layers within c/T, a target at which ||R||_F is rational, and T, h, m."""
    rng = np.random.default_rng(seed)
    n, depth = int(rng.integers(1, 4)), int(rng.integers(2, 7))
    horizon = int(rng.integers(1, depth + 1))
    c = Fraction(int(rng.integers(1, 6)), 4)
    size = c / depth / n / 8
    layers = [
        [[size * int(v) for v in row] for row in rng.integers(-8, 9, size=(n, n))] for _ in range(depth)
    ]
    radius = Fraction(int(rng.integers(1, 5)), 4)
    loss = scaled(radius, [[Fraction(v) for v in row] for row in RESIDUALS[n]])
    phi = add(window(layers, 0, depth), scaled(Fraction(-1), loss))
    values = {
        **{"T": depth, "h": horizon, "m": depth - horizon, "n": n, "c": c},
        **{"a": 1 + c / depth, "b": 1 - c / depth, "r": radius * (3 if n == 1 else 5)},
    }
    return values, layers, phi


def window(layers, start, stop):
    """W_start^stop, exact."""
    result = identity(len(layers[0]))
    for layer in layers[start:stop]:
        result = add(result, product(layer, result))
    return result


def coarse(layers, start):
    """I + the sum of the unseen layers: one run."""
    result = identity(len(layers[0]))
    for layer in layers[start:]:
        result = add(result, layer)
    return result


def model(name, seed, **more):
    """A model of a claim's statement, with the coarse tail of one run as its surrogate."""
    values, layers, phi = case(seed)
    context = read_context(CLAIMS[name].goal)
    everything = {
        **{key: str(value) for key, value in {**values, **more}.items()},
        "Phi": text(phi),
        "D": {str(t): text(layer) for t, layer in enumerate(layers)},
        "Z": {str(s): text(coarse(layers, s)) for s in range(len(layers) + 1)},
    }
    known = {*context.symbols, *context.families}
    found = Model(context, {key: value for key, value in everything.items() if key in known}, ())
    return found, values, np.array(layers, dtype=float), np.array(phi, dtype=float)


def text(matrix):
    return [[str(v) for v in row] for row in matrix]


def number(model, expression):
    value = model.number(parse(expression))
    return float(value if isinstance(value, Fraction) else value.mid())


def holds(model, name):
    """The hypotheses are exact, no conclusion is violated."""
    goal = CLAIMS[name].goal
    for hypothesis in goal["hypotheses"]:
        assert model.decide(parse(hypothesis)) is True, hypothesis
    for conclusion in goal["conclusions"]:
        assert model.decide(parse(conclusion)) is not False, conclusion


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["value", "anchored"])
def test_the_identities_hold_for_the_rules_of_the_library(kind, seed):
    name = f"theorem_e_identity_{kind}"
    found, values, layers, phi = model(name, seed, h=1, t=0)
    holds(found, name)
    rule = dlinear.HorizonRule(anchored=kind == "anchored", runs=1)
    mine = dlinear.horizon_gradients(dlinear.DenseNetwork(layers), phi, 1, rule)
    for t in range(values["T"]):
        stated = np.array(found.matrix(parse(f"gh({t})")), dtype=float)
        np.testing.assert_allclose(mine[t], stated, rtol=1e-12, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_theorem_e1_states_the_bounds_of_the_library(seed):
    found, values, layers, phi = model("theorem_e1", seed)
    holds(found, "theorem_e1")
    depth, horizon, c = values["T"], values["h"], float(values["c"])
    sharp = number(found, "K(m)/(T*b**(2*(T-1)))")
    closed, cubic = (
        number(found, text.split(" <= ")[1]) for text in CLAIMS["theorem_e1"].goal["conclusions"][3:]
    )
    assert sharp == pytest.approx(bounds.theorem_e1(depth, horizon, c), rel=1e-12)
    assert closed == pytest.approx(bounds.theorem_e1_closed(depth, horizon, c), rel=1e-12)
    assert closed <= cubic * (1 + 1e-12)
    rule = dlinear.HorizonRule(anchored=True)
    mine = dlinear.alignment(dlinear.DenseNetwork(layers), phi, [horizon], rule=rule).sin2[0]
    assert number(found, "1 - HT(T)**2/(HH(T)*TT(T))") == pytest.approx(mine, rel=1e-9, abs=1e-13)
    larger = Fraction(int(np.ceil(1000 * np.sqrt(sharp))) + 1, 1000)
    found, *_ = model("theorem_e1_descent", seed, e=larger)
    holds(found, "theorem_e1_descent")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["value", "anchored"])
def test_the_bound_for_any_surrogate_holds(kind, seed):
    name = f"theorem_e_surrogate_{kind}"
    found, *_ = model(name, seed)
    holds(found, name)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["value", "anchored"])
def test_theorem_e2_states_the_bounds_of_the_library(kind, seed):
    """Its rule is the library's, with the same runs; so are its two bounds and the number of pairs."""
    name, runs = f"theorem_e2_{kind}", 1 + seed % 3
    found, values, layers, phi = model(name, seed, q=runs)
    holds(found, name)
    depth, horizon, c = values["T"], values["h"], float(values["c"])
    rule = dlinear.HorizonRule(anchored=kind == "anchored", runs=runs)
    mine = dlinear.horizon_gradients(dlinear.DenseNetwork(layers), phi, horizon, rule)
    for t in range(depth):
        stated = np.array(found.matrix(parse(f"gh({t})")), dtype=float)
        np.testing.assert_allclose(mine[t], stated, rtol=1e-12, atol=1e-13)
    more = () if rule.anchored else (values["n"], float(values["r"]))
    sharp, closed = (number(found, part) for part in CLAIMS[name].goal["conclusions"][3].split(" <= "))
    assert sharp == pytest.approx(bounds.theorem_e2(depth, horizon, c, runs, *more), rel=1e-12)
    assert closed == pytest.approx(bounds.theorem_e2_closed(depth, horizon, c, runs, *more), rel=1e-12)


def test_the_scalar_part_of_theorem_e2_counts_pairs_as_the_library_does():
    conclusion = CLAIMS["theorem_e2_scalar"].goal["conclusions"][3].split(" <= ")[0]
    context = read_context(CLAIMS["theorem_e2_scalar"].goal)
    for k in range(12):
        for q in range(1, 6):
            values = {"T": 1, "c": 0, "a": 1, "q": q, "k": k, "m": 0}
            assert number(Model(context, values, ()), conclusion) == bounds.anchored.pair_count(k, q)


@pytest.mark.slow
def test_theorem_f1_is_the_schedule_of_the_library():
    """Every T < 15, h and k: ends, lengths of windows and products, counted from the library's own ends."""
    end = parse(CLAIMS["theorem_f1_windows"].goal["conclusions"][2].split(" <= ")[0])
    for depth in range(1, 15):
        for horizon in range(1, depth + 1):
            for stride in range(1, depth + 2):
                ends = dlinear.HorizonRule(stride=stride).ends(depth, horizon, np.arange(depth))
                for t in range(depth - horizon + 1):
                    values = {"T": depth, "h": horizon, "k": stride, "t": t, "i": 0}
                    context = read_context(CLAIMS["theorem_f1_windows"].goal)
                    assert Model(context, values, ()).number(end) == ends[t]
                whole = horizon + stride - 1
                lengths = [int(s - np.flatnonzero(ends == s)[0]) for s in np.unique(ends)]
                assert max(lengths) == min(whole, depth)
                g = max(0, -(-(depth - whole) // stride))
                first = depth - whole - (g - 1) * stride
                calls = g * whole + horizon + first - 1 if g else depth
                assert sum(lengths) == calls


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["plain", "anchored"])
def test_theorem_g5_holds_for_the_gradients_of_the_library(kind, seed):
    name = f"theorem_g5_{kind}"
    _, values, layers, phi = model(name, seed, t=0, h=1)
    rule = dlinear.HorizonRule(anchored=kind == "anchored")
    for t in range(values["T"] - 1):
        found, *_ = model(name, seed, t=t, h=1)
        holds(found, name)
        stated = np.array(found.matrix(parse(f"gh({t})")), dtype=float)
        mine = dlinear.horizon_gradients(dlinear.DenseNetwork(layers), phi, 1, rule)[t]
        np.testing.assert_allclose(mine, stated, rtol=1e-12, atol=1e-13)
        found, *_ = model("theorem_g5_tail", seed, t=t, h=values["T"])
        holds(found, "theorem_g5_tail")


@pytest.mark.slow
def test_theorem_g6_holds_and_is_met():
    """Its radius is that of Theorem A's constant; the hypotheses hold in some of the cases."""
    met = 0
    for seed in range(24):
        values = case(seed)[0]
        depth, horizon, width = values["T"], values["h"], values["n"]
        c, r, m = float(values["c"]), float(values["r"]), values["m"]
        kappa = (
            c
            * np.exp(c)
            * np.sqrt(m * (m + 1) * (2 * m + 1) / 6 / depth**3)
            / float(values["b"]) ** (depth - 1)
        )
        size = (np.sqrt(width) * np.exp(c) + r) / r
        assert (kappa * size) ** 2 == pytest.approx(bounds.theorem_a(depth, horizon, c, width, r), rel=1e-12)
        larger = Fraction(int(1000 * kappa) + 1, 1000)
        found, *_ = model("theorem_g6", seed, kap=larger)
        if all(found.decide(parse(text)) is True for text in CLAIMS["theorem_g6"].goal["hypotheses"]):
            met += 1
            holds(found, "theorem_g6")
    assert met >= 4


@pytest.mark.parametrize("seed", range(6))
def test_theorem_g1_describes_a_step_of_the_library(seed):
    """Its new layers are those of a step along the library's gradient, and its bounds hold for it."""
    values, layers, phi = case(seed)
    scale = Fraction(1, 16)
    c, depth = values["c"] * scale, values["T"]
    layers = [scaled(scale, layer) for layer in layers]
    phi = add(window(layers, 0, depth), add(phi, scaled(Fraction(-1), window(case(seed)[1], 0, depth))))
    a, b, r = 1 + c / depth, 1 - c / depth, values["r"]
    kappa = Fraction(int(1000 * np.sqrt(bounds.theorem_e1(depth, values["h"], float(c)))) + 1, 1000)
    eta = (
        (1 - kappa) * b ** (2 * (depth - 1)) / depth / (a ** (4 * (depth - 1)) + 3 * a ** (3 * depth - 4) * r)
    )
    given = {**values, "c": c, "a": a, "b": b, "kap": kappa, "eta": eta, "t": 0}
    context = read_context(CLAIMS["theorem_g1_step"].goal)
    numbers = {name: str(value) for name, value in given.items() if name in context.symbols}
    family = {str(t): text(layer) for t, layer in enumerate(layers)}
    found = Model(context, {**numbers, "Phi": text(phi), "D": family}, ())
    holds(found, "theorem_g1_step")
    start = np.array(layers, dtype=float)
    rule = dlinear.HorizonRule(anchored=True)
    target = np.array(phi, dtype=float)
    gradients = dlinear.horizon_gradients(dlinear.DenseNetwork(start), target, values["h"], rule)
    moved = np.eye(values["n"])
    for deviation in start - float(eta) * gradients:
        moved = moved + deviation @ moved
    new = float(np.linalg.norm(moved - target))
    assert number(found, "F(Wn(0, T) - Phi)") == pytest.approx(new, rel=1e-12)
    assert new <= (1 - float(eta * (1 - kappa) * depth * b ** (2 * (depth - 1))) / 2) * float(r)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_paths_of_highway_are_those_of_their_definition(order, seed):
    """e_j sums ordered products of j layers, and the bound holds; K = T - 1 is back-propagation."""
    name = f"highway_{order}"
    found, values, layers, phi = model(name, seed)
    holds(found, name)
    depth, width = values["T"], values["n"]
    for s in range(depth + 1):
        for j in range(1, order + 1):
            total = np.zeros((width, width))
            for chosen in itertools.combinations(range(s, depth), j):
                total += functools.reduce(lambda x, t: layers[t] @ x, chosen, np.eye(width))
            stated = np.array(found.matrix(parse(f"Y{j}({s}, T)")), dtype=float)
            np.testing.assert_allclose(stated, total, rtol=1e-12, atol=1e-14)
    if order >= depth - values["h"]:
        exact = dlinear.horizon_gradients(dlinear.DenseNetwork(layers), phi, depth)
        stated = np.array(found.matrix(parse("gh(0)")), dtype=float)
        np.testing.assert_allclose(stated, exact[0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("seed", range(6))
def test_every_iterate_of_highway_has_its_level(seed):
    """Z_K by its recursion is the sum over paths, misses what the step allows, and sin^2 keeps the bound."""
    values, layers, phi = case(seed)
    depth, c, a, b = values["T"], float(values["c"]), float(values["a"]), float(values["b"])
    layers, phi, one = np.array(layers, dtype=float), np.array(phi, dtype=float), np.eye(values["n"])
    tails = [functools.reduce(lambda x, d: x + d @ x, layers[s:], one) for s in range(depth + 1)]
    full = dlinear.horizon_gradients(dlinear.DenseNetwork(layers), phi, depth)
    starts = [functools.reduce(lambda x, d: x + d @ x, layers[:t], one) for t in range(depth + 1)]
    residual, before = starts[depth] - phi, [one] * (depth + 1)
    for order in range(depth + 1):
        if order:
            more = [before[s + 1] @ layers[s] for s in range(depth)]
            before = [one + sum(more[s:], 0 * one) for s in range(depth + 1)]
        level, factor = order + 1, (c / depth) ** (order + 1) / math.factorial(order + 1)
        paths = sum(
            (
                functools.reduce(lambda x, t: layers[t] @ x, chosen, one)
                for size in range(order + 1)
                for chosen in itertools.combinations(range(depth), size)
            ),
            0 * one,
        )
        np.testing.assert_allclose(before[0], paths, rtol=1e-12, atol=1e-14)
        for s in range(depth + 1):
            k = depth - s
            assert np.linalg.norm(tails[s] - before[s], 2) <= factor * a**k * k**level * (1 + 1e-12) + 1e-15
        for h in range(1, depth):
            seen = [min(t + h, depth) for t in range(depth)]
            windows = [
                functools.reduce(lambda x, d: x + d @ x, layers[t + 1 : s], one) for t, s in enumerate(seen)
            ]
            ours = [
                w.T @ before[s].T @ residual @ x.T for w, s, x in zip(windows, seen, starts, strict=False)
            ]
            cosine = np.vdot(ours, full) / np.linalg.norm(ours) / np.linalg.norm(full)
            most = math.exp(2 * c) * depth ** (2 * level) * factor**2 / (2 * level + 1) / b ** (2 * depth - 2)
            assert 1 - cosine**2 <= most * ((depth - h + 1) / depth) ** (2 * level + 1) + 1e-14


def horizon_flow(depth, horizon):
    """K of the flow near the identity, D' = -(K D + const)."""
    return np.array([[float(j < min(t + horizon, depth)) for j in range(depth)] for t in range(depth)])


def test_theorem_g4_counts_modes_at_any_depth():
    """The formula of the claim against the coefficients of det(x - K), exact, beyond the depths proved."""
    proof = sys.modules["_proof_theorem_g4"]
    x = sympy.Symbol("x")
    for depth in range(1, 9):
        for horizon in range(1, depth + 1):
            flow = sympy.Matrix(horizon_flow(depth, horizon).astype(int))
            stated = sympy.sympify(proof.modes(depth, horizon))
            assert sympy.expand(flow.charpoly(x).as_expr() - stated) == 0
            rest = sympy.Poly(stated, x)
            zeros = min(power for (power,) in rest.monoms())
            assert depth - zeros == -(-depth // horizon)


def test_theorem_g4_plateau_and_ringing_are_flows_of_all_layers():
    """Against the matrix exponential of the flow of all states, e = 1 + sums of D, D(0) = 0."""
    for depth, horizon in ((4, 2), (7, 4), (9, 6), (5, 5), (6, 1), (3, 1)):
        flow = horizon_flow(depth, horizon)
        grown = np.block([[-flow, -np.ones((depth, 1))], [np.zeros((1, depth + 1))]])
        m = depth - horizon
        root = np.sqrt(depth**2 - 2 * m * (m + 1) + 0j)
        fast, slow = (depth + root) / 2, (depth - root) / 2
        for tau in (0.1, 0.7, 3.0):
            layers = scipy.linalg.expm(tau * grown)[:depth, depth]
            end = 1 + layers.sum()
            if m <= horizon:
                stated = (1 + slow / root) * np.exp(-fast * tau) - slow / root * np.exp(-slow * tau)
                assert end == pytest.approx(stated.real, abs=1e-12)
            if horizon == 1:
                states = 1 + np.cumsum(layers)
                for s in range(1, depth + 1):
                    stated = np.exp(-tau) * scipy.special.eval_laguerre(s - 1, tau)
                    assert states[s - 1] == pytest.approx(stated, abs=1e-12)


@pytest.mark.parametrize("target", [0.4, 2.0])
def test_the_flows_of_g2_and_g3_go_as_stated(target):
    """Euler steps of the library's gradients, one eigenvalue, from the identity."""
    depth = 6
    for horizon in range(1, depth):
        rate, step = depth * min(1.0, target**2), 4e-3
        layers, size = np.zeros((depth, 1, 1)), abs(1 - target)
        for count in range(1, 200):
            net = dlinear.DenseNetwork(layers)
            layers = layers - step * dlinear.horizon_gradients(
                net, np.array([[target]]), horizon, dlinear.HorizonRule(anchored=True)
            )
            gap = np.prod(1 + layers) - target
            assert gap * (1 - target) > 0
            assert abs(gap) <= size * np.exp(-rate * step * count) * (1 + 2e-2)
            assert ((layers * (target - 1)) >= 0).all()
        layers, crossed = np.zeros((depth, 1, 1)), False
        for _ in range(4000):
            crossed = (np.prod(1 + layers) - target) * (1 - target) < 0
            if crossed:
                break
            gradient = dlinear.horizon_gradients(dlinear.DenseNetwork(layers), np.array([[target]]), horizon)
            assert (gradient * (target - 1) <= 1e-12).all()
            layers = layers - 5 * step * gradient
        assert crossed


def test_the_laws_of_the_rows_are_those_of_the_library():
    """What the rows are measured against, where the library has the same law."""
    proof = sys.modules["_proof_rule_laws"]
    rng = np.random.default_rng(0)
    a, phi = rng.normal(size=(2, 3, 3)) / 2
    limit = limits.depth_limit(lambda s: a * (1 + s), phi)
    at = proof.SHORTFALLS
    for rule in (*proof.ANCHORED, *proof.STRIDES, *(r for r in proof.SAMPLED if r.sampling == "average")):
        mine = limits.smooth_law(limit, 100, 100 - at, rule.anchored, rule.runs, rule.stride)
        np.testing.assert_allclose(proof.law(limit, a, rule, 100), mine, rtol=1e-12)
    plain = proof.law(limit, a, dlinear.HorizonRule(anchored=True), 100)
    cubic = limits.anchored_constant(lambda s: a * (1 + s), phi)
    np.testing.assert_allclose(plain, limits.decay_law(0.0, cubic, at, 100), rtol=1e-8)
    start = proof.weights(dlinear.HorizonRule(runs=2, sampling="start"), 0.1)[:3]
    np.testing.assert_allclose(start, [0.0, 0.0, 0.01 * (1 + 1)])
    assert proof.weights(dlinear.HorizonRule(stride=2), 0.1)[:4] == pytest.approx([0.0, 0.02, 0.02, 0.04])


def test_the_page_names_rows_that_exist_and_says_how_they_stand():
    """Every row of the page is registered; the supported ones stand where it says supported."""
    page = (command.ROOT / "docs" / "anchored.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:theorem|highway)_\w+)`", page))
    mine = {name for name in CLAIMS if re.match(r"theorem_[e-h]\d?(_|\b)|highway_", name)}
    assert named <= set(CLAIMS)
    assert mine - named <= {"highway_narrow", "theorem_g5_tail"}
    for name in named:
        assert CLAIMS[name].expected in ("proved", "supported"), name
