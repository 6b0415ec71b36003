"""The angle of real torch models against definitions, against the linear theory, and in float32."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stacks import MIXED, Pair, Residual, batch, grads, slow, squares, stack_of
from torch import nn

import dlinear
from dlinear import HorizonRule
from dlinear.bridge import alignment, horizon_gradients
from dlinear.errors import DomainError, HorizonError, NonFiniteError, ShapeError, UndefinedAngleError

KINDS = ("residual", "two", "tanh", "frozen", "norm", "shared", "identity", "linear", "in place")


def slow_angle(found, true):
    """1 - cos^2 by concatenation; good where sin^2 is not small."""
    keys = list({**found, **true})
    a, b = (
        torch.cat([some.get(p, torch.zeros_like(p)).flatten() for p in keys]).double()
        for some in (found, true)
    )
    cos = float(a @ b / a.norm() / b.norm())
    return 1 - cos**2, cos, float(a.norm() / b.norm())


@pytest.mark.slow
@settings(max_examples=40)
@given(
    kinds=st.lists(
        st.sampled_from(
            ("residual", "two", "tanh", "frozen", "norm", "shared", "identity", "linear", "in place")
        ),
        min_size=2,
        max_size=7,
    ),
    seed=st.integers(0, 1000),
)
def test_random_stacks_meet_the_definition(kinds, seed):
    blocks, x, y = stack_of(["residual", *kinds], seed), batch(seed), batch(seed + 1)
    depth = len(blocks)
    profile = alignment(blocks, x.clone(), squares(y), range(1, depth + 1), undefined="nan")
    true = slow(blocks, x, squares(y), depth)
    for i, h in enumerate(range(1, depth + 1)):
        sin2, cos, ratio = slow_angle(slow(blocks, x, squares(y), h), true)
        assert profile.sin2[i] == pytest.approx(sin2, rel=1e-6, abs=1e-12)
        assert profile.cos[i] == pytest.approx(cos, rel=1e-9)
        assert profile.norm_ratio[i] == pytest.approx(ratio, rel=1e-9)
    assert profile.sin2[-1] == 0


class Linear(nn.Module):
    """x + D x, with D a trainable deviation."""

    def __init__(self, deviation, dtype):
        super().__init__()
        self.deviation = nn.Parameter(torch.tensor(deviation, dtype=dtype))

    def forward(self, z):
        return z + z @ self.deviation.T


def linear_case(depth, dtype, layers="smooth", size=0.5):
    """A linear network on whitened data, as torch blocks and as the theory's network."""
    rng = np.random.default_rng(depth)
    n = 4
    x, _ = np.linalg.qr(rng.normal(size=(40, n)))
    x *= 40**0.5  # E[x x^T] = I
    phi = rng.normal(size=(n, n))
    deviations = rng.normal(size=(depth if layers == "rough" else 1, n, n)) * size / depth
    deviations = np.broadcast_to(deviations, (depth, n, n)).astype(np.float32).astype(np.float64)
    net = dlinear.DenseNetwork(deviations)
    blocks = [Linear(d, dtype) for d in deviations]
    x, y = torch.tensor(x, dtype=dtype), torch.tensor(x @ phi.T, dtype=dtype)
    return net, phi, blocks, x, lambda z: ((z - y) ** 2).sum() / (2 * len(y))


@pytest.mark.slow
@pytest.mark.parametrize("layers", ["smooth", "rough"])
def test_linear_blocks_give_the_theorys_angle(layers):
    """Down to sin^2 of 1e-9 and below, where 1 - cos^2 keeps no digit: two independent ways."""
    net, phi, blocks, x, loss_fn = linear_case(200, torch.float64, layers)
    horizons = 200 - np.array([1, 2, 3, 5, 9, 20, 60, 150, 199])
    found, wanted = alignment(blocks, x, loss_fn, horizons), dlinear.alignment(net, phi, horizons)
    np.testing.assert_allclose(found.sin2, wanted.sin2, rtol=1e-8)
    np.testing.assert_allclose(found.cos, wanted.cos, rtol=1e-12)
    np.testing.assert_allclose(found.norm_ratio, wanted.norm_ratio, rtol=1e-12)
    assert wanted.sin2.min() < 1e-6


def test_float32_has_no_floor():
    """One missed layer of 300: sin^2 near 1e-9, while 1 - cos^2 of float32 gradients is noise near 1e-7."""
    net, phi, blocks, x, loss_fn = linear_case(300, torch.float32, size=0.05)
    horizons = 300 - np.array([1, 2, 4, 10, 30])
    found, wanted = alignment(blocks, x, loss_fn, horizons), dlinear.alignment(net, phi, horizons)
    assert wanted.sin2[0] < 1e-8
    np.testing.assert_allclose(found.sin2, wanted.sin2, rtol=2e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_has_an_angle(dtype):
    rng = np.random.default_rng(0)
    coarse = [Linear(0.02 * rng.normal(size=(5, 5)), dtype) for _ in range(32)]
    fine = [copy.deepcopy(block).double() for block in coarse]
    x, y = (torch.tensor(rng.normal(size=(7, 5)), dtype=dtype) for _ in range(2))
    horizons = [1, 16, 30, 32]
    found = alignment(coarse, x, squares(y), horizons)
    assert found.sin2 == pytest.approx(
        alignment(fine, x.double(), squares(y.double()), horizons).sin2, rel=0.3
    )
    assert found.sin2[-1] == 0


@pytest.mark.slow
def test_the_order_of_a_linear_stack_is_fitted():
    *_, blocks, x, loss_fn = linear_case(300, torch.float32)
    fit = dlinear.fit_decay(alignment(blocks, x, loss_fn, 300 - np.arange(1, 25)))
    assert fit.kind == "cubic"
    assert abs(fit.order - 3) < 0.1


def test_nothing_is_disturbed():
    blocks = nn.ModuleList([*stack_of(MIXED, 0), nn.Dropout(0.5)]).double()
    x, y = batch(0), batch(1)
    blocks[0].weight.grad = torch.ones(3, 3, dtype=torch.float64)
    before, state = copy.deepcopy(blocks.state_dict()), torch.get_rng_state()
    alignment(blocks, x, squares(y), "all", undefined="nan")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in blocks.state_dict().items())
    assert list(grads(blocks)) == ["0.weight"]
    assert blocks[0].weight.grad.eq(1).all()


def test_all_is_every_horizon_below_the_depth():
    blocks = stack_of(("residual",) * 5, 0)
    assert alignment(blocks, batch(0), squares(batch(1)), "all").horizons.tolist() == [1, 2, 3, 4]


def test_readout_and_states_of_several_tensors():
    blocks = nn.ModuleList(Pair(tuple) for _ in range(5)).double()
    x = (batch(0), batch(1), batch(2) > 0)
    head, y = nn.Linear(3, 2).double(), batch(3, 2)

    def readout(state, s):
        return head(state[0]) * s + state[1][:, :2]

    profile = alignment(blocks, x, squares(y), [1, 3, 5], readout)
    inside = set(blocks.parameters())
    every = [horizon_gradients(blocks, x, squares(y), h, readout)[1] for h in (1, 3, 5)]
    every = [{p: g for p, g in some.items() if p in inside} for some in every]
    for i in range(2):
        sin2, cos, _ = slow_angle(every[i], every[2])
        assert profile.sin2[i] == pytest.approx(sin2, rel=1e-9)
        assert profile.cos[i] == pytest.approx(cos, rel=1e-12)


def test_a_block_that_cuts_the_graph():
    """Blocks before the cut have no true gradient, but one by short horizons."""

    class Cut(nn.Module):
        def forward(self, z):
            return z.detach() + 1

    blocks = nn.ModuleList([Residual(), Residual(), Cut(), Residual()]).double()
    x, y = batch(0), batch(1)
    profile = alignment(blocks, x, squares(y), [1, 2, 3])
    true = horizon_gradients(blocks, x, squares(y), 4)[1]
    for i, h in enumerate([1, 2, 3]):
        sin2, cos, _ = slow_angle(horizon_gradients(blocks, x, squares(y), h)[1], true)
        assert profile.sin2[i] == pytest.approx(sin2, rel=1e-9)
        assert profile.cos[i] == pytest.approx(cos, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"horizons": [0]}, HorizonError, "1..4"),
        ({"horizons": "some"}, HorizonError, "1..4"),
        ({"undefined": "skip"}, DomainError, "undefined is 'skip'"),
        ({"x": batch(0) * float("nan")}, NonFiniteError, "NaN"),
        ({"loss_fn": lambda z: (0 * z).sum()}, UndefinedAngleError, "g_T = 0"),
        ({"blocks": []}, ShapeError, "empty"),
    ],
)
def test_errors(change, error, said):
    words = {
        "blocks": stack_of(("residual",) * 4, 0),
        "x": batch(0),
        "loss_fn": squares(batch(1)),
        "horizons": [1, 2],
    }
    with pytest.raises(error, match=said):
        alignment(**{**words, **change})


RULES = list(itertools.product((False, True), (1, 2, 3, 40), (0, 1, 3, 50)))  # anchored, stride, runs


@pytest.mark.parametrize("depth", [2, 6, 9])
def test_every_rule_of_linear_stacks_meets_the_engine(depth):
    rng = np.random.default_rng(depth)
    deviations, phi = rng.normal(size=(depth, 3, 3)) / depth, rng.normal(size=(3, 3))
    net = dlinear.DenseNetwork(deviations)
    blocks = nn.ModuleList(Linear(one, torch.float64) for one in deviations)
    x, horizons = torch.eye(3, dtype=torch.float64), range(1, depth + 1)

    def loss_fn(z):
        return ((z.T - torch.from_numpy(phi)) ** 2).sum() / 2

    for anchored, stride, runs in RULES:
        want = dlinear.alignment(net, phi, horizons, rule=HorizonRule(anchored, runs, stride))
        got = alignment(blocks, x, loss_fn, horizons, anchored=anchored, stride=stride, runs=runs)
        for name in ("sin2", "cos", "norm_ratio"):
            apart = np.abs(getattr(got, name) - getattr(want, name)).max()
            assert apart < 1e-12, (name, anchored, stride, runs)


@pytest.mark.parametrize("rule", [(True, 1, 0), (True, 3, 0), (False, 2, 0)], ids=str)
def test_rules_of_stacks_that_change_the_shape_are_those_of_the_step(rule):
    """Blocks with and without skip connections, one twice, and one that writes into its input."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        twice = Residual()
        body = [Residual(), nn.Linear(3, 5), nn.Linear(5, 3), twice, twice, nn.ReLU(inplace=True), Residual()]
        blocks = nn.ModuleList(body).double()
        heads = nn.ModuleList(nn.Linear(5 if s == 2 else 3, 2) for s in range(1, 8)).double()
    x, loss_fn = batch(0), squares(batch(1, 2))

    def readout(z, s):
        return heads[s - 1](z)

    anchored, stride, runs = rule
    knobs = {"anchored": anchored, "stride": stride, "runs": runs}
    profile = alignment(blocks, x.clone(), loss_fn, range(1, 8), readout, **knobs)
    own = list(blocks.parameters())
    _, true = horizon_gradients(blocks, x.clone(), loss_fn, 7, readout)
    for i, h in enumerate(range(1, 8)):
        _, found = horizon_gradients(blocks, x.clone(), loss_fn, h, readout, **knobs)
        sin2, cos, _ = slow_angle({p: found[p] for p in own}, {p: true[p] for p in own})
        assert profile.sin2[i] == pytest.approx(sin2, rel=1e-8, abs=1e-13)
        assert profile.cos[i] == pytest.approx(cos, rel=1e-12)
    assert all(p.grad is None for p in blocks.parameters())


def test_anchored_the_angle_keeps_its_digits_in_float32_at_a_small_error():
    """||R|| = 1e-4: plain is blind there, anchored is not, and float32 has the digits of float64."""
    profiles = {}
    for dtype in (torch.float32, torch.float64):
        net = [Linear(one, dtype) for one in 0.02 * np.random.default_rng(0).normal(size=(8, 4, 4))]
        x = torch.eye(4, dtype=dtype)
        with torch.no_grad():
            target = nn.Sequential(*net)(x) + 1e-4 * torch.diag(torch.arange(1.0, 5.0)).to(dtype)
        for anchored in (True, False):
            profile = alignment(net, x, squares(target), [1, 4], anchored=anchored)
            profiles[anchored, dtype] = profile.sin2
    assert profiles[True, torch.float32] == pytest.approx(profiles[True, torch.float64], rel=0.02)
    assert profiles[True, torch.float64].max() < 0.05
    assert profiles[False, torch.float64].min() > 0.5


@pytest.mark.parametrize("scale", [1e-140, 1e-80, 1e76, 1e78, 1e100, 1e140])
def test_the_angle_does_not_know_the_size_of_the_gradient(scale):
    """Also where the fourth power of the gradient is outside float64, as of a network that diverges."""
    blocks = stack_of(("linear", "tanh", "linear"), 3)
    x, horizons = batch(3), [1, 2]

    def measured(factor):
        return alignment(blocks, x, lambda z: factor * z.square().sum(), horizons)

    one, other = measured(1.0), measured(scale)
    assert other.sin2 == pytest.approx(one.sin2, rel=1e-12)
    assert other.cos == pytest.approx(one.cos, rel=1e-12)
