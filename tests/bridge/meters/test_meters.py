"""Meters against sizes known exactly, against the allocator, and against twins that would flatter."""

from __future__ import annotations

import functools
import gc
import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from dlinear.bridge.data import load
from dlinear.bridge.data.losses import Supervised
from dlinear.bridge.meters import (
    MemoryFit,
    MeterError,
    cuda_memory,
    fit_memory,
    step_calls,
    step_memory,
    step_times,
)
from dlinear.bridge.methods import method
from dlinear.bridge.methods.horizon import horizon_backward, kept_blocks
from dlinear.bridge.models import model
from dlinear.errors import DomainError
from dlinear.theory import costs

WIDTH, SAMPLES = 8, 64
UNIT = WIDTH * SAMPLES * 4  # bytes of one state


def mlp(depth):
    """Each block saves its input (which is the output that tanh before it saves) and its output."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.ModuleList(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for _ in range(depth))


def batch(samples=SAMPLES):
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(samples, WIDTH, generator=generator) for _ in range(2))
    return x, Supervised(functional.mse_loss, y)


# --- memory -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_memory_of_forty_blocks_grows_by_a_line():
    """Printed with -s: bytes against h, R^2, and the share of back-propagation that h = 4 takes.

    Eq. (11) is about graphs that are kept apart, `segment=1`.
    """
    blocks, (x, loss_fn) = mlp(40), batch()
    horizons = np.array([1, 2, 4, 8, 16, 28, 34, 37, 40])
    steps = [functools.partial(horizon_backward, horizon=int(h), segment=1) for h in horizons]
    found = [step_memory(step, blocks, x, loss_fn) for step in steps]
    full = step_memory(method("backprop"), blocks, x, loss_fn)
    for what in ("saved", "activations"):
        memory = np.array([getattr(one, what) for one in found])
        fit = fit_memory(horizons, memory)
        share = memory[2] / getattr(full, what)
        print(f"\n{what}: {dict(zip(horizons.tolist(), memory.tolist(), strict=True))}")
        print(
            f"M(h) = {fit.slope:.0f} h + {fit.offset:.0f} bytes, R^2 = {fit.r_squared:.5f}; "
            f"h = 4 takes {share:.3f} of back-propagation"
        )
        assert fit.r_squared >= 0.99
        assert share < 0.25
        assert fit.slope == pytest.approx(UNIT, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("h", [1, 4, 8, 16])
def test_saved_bytes_of_shared_graphs_exactly(h):
    """h/4 blocks in one graph: h + g - 1 blocks' outputs and the first one's input."""
    blocks, (x, loss_fn) = mlp(40), batch()
    found = step_memory(method(f"horizon-{h}"), blocks, x, loss_fn)
    assert found.saved == (kept_blocks(40, h) + 1) * UNIT


@pytest.mark.slow
@pytest.mark.parametrize("h", range(1, 10))
def test_saved_bytes_exactly(h):
    """The h blocks' outputs and the first one's input; not the batch, the targets and the parameters."""
    blocks, (x, loss_fn) = mlp(9), batch()
    found = step_memory(method(f"horizon-{h}"), blocks, x, loss_fn)
    assert found.saved == (min(h + 1, 9)) * UNIT
    assert found.gradients == sum(p.numel() for p in blocks.parameters()) * 4


@pytest.mark.slow
def test_saved_bytes_are_a_peak_not_a_sum():
    blocks, (x, loss_fn) = mlp(9), batch()
    assert step_memory(method("accumulate-4"), blocks, x, loss_fn).saved == 9 * UNIT // 4
    assert step_memory(method("greedy"), blocks, x, loss_fn).saved == 2 * UNIT
    assert step_memory(method("forward"), blocks, x, loss_fn).saved == 0


def test_views_of_one_storage_count_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, z):
            y = z * self.scale  # saves z, which was there before
            y = y.exp()
            return y[:, ::2].sin().sum() + (y.T * y.T).sum()  # saves y, a strided view and transposes of it

    found = step_memory(method("backprop"), [Twice()], torch.rand(16, 16), lambda z: z)
    assert found.saved == 16 * 16 * 4


@pytest.mark.slow
def test_checkpointing_is_not_flattered():
    """Its recomputed segments escape the saved-tensor hooks: None there, and in full in the activations."""
    blocks, (x, loss_fn) = mlp(36), batch()
    full, found = (step_memory(method(name), blocks, x, loss_fn) for name in ("backprop", "checkpoint-6"))
    assert found.saved is None
    assert full.saved == 36 * UNIT
    assert (
        (5 + 6) * UNIT <= found.activations <= (5 + 6 + 5) * UNIT
    )  # 5 inputs, one segment, some on their way
    assert 36 * UNIT <= full.activations <= (36 + 5) * UNIT


def allocator_peak(step):
    """Independent: the peak over the allocations that the profiler saw, kernels' workspace included."""
    gc.collect()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        step()
    todo, found = list(profile.profiler.kineto_results.experimental_event_tree()), []
    while todo:
        event = todo.pop()
        todo += event.children
        if event.tag == torch._C._profiler._EventType.Allocation:
            found.append((event.start_time_ns, event.extra_fields.alloc_size))
    return max(np.cumsum([size for _, size in sorted(found)]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("backprop", 0.02), ("horizon-4", 0.1), ("checkpoint", 0.1), ("accumulate-4", 0.02), ("loco-3", 0.1),
     ("forward", 0.25)],
)  # fmt: skip
def test_total_memory_is_what_the_allocator_gave(name, tolerance):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm, self.dropout = nn.Linear(32, 32), nn.BatchNorm1d(32), nn.Dropout(0.3)

        def forward(self, z):
            return z + torch.relu(self.dropout(self.norm(self.linear(z))))

    blocks, x = nn.ModuleList(Block() for _ in range(12)), torch.randn(64, 32)
    loss_fn = Supervised(functional.mse_loss, torch.randn(64, 32))
    found = step_memory(method(name), blocks, x, loss_fn).total
    wanted = allocator_peak(lambda: method(name)(blocks, x, loss_fn))
    assert found == pytest.approx(wanted, rel=tolerance)


def test_a_measurement_leaves_the_model_as_it_was():
    net = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Dropout(0.5))
    x, loss_fn = batch()
    method("backprop")([net], x, loss_fn)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    gradients = {p: (p.grad, p.grad.clone()) for p in net.parameters()}
    random = torch.get_rng_state()
    step_memory(method("checkpoint"), [net], x, loss_fn)
    step_calls(method("backprop"), [net], x, loss_fn)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is g and torch.equal(g, copy) for p, (g, copy) in gradients.items())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_meter_that_cannot_measure_says_so():
    blocks, (x, loss_fn) = mlp(2), batch()
    compiled = torch.compile(blocks[0], backend="eager")
    with pytest.raises(MeterError, match="compiled"):
        step_memory(method("backprop"), [compiled, blocks[1]], x, loss_fn)
    with pytest.raises(MeterError, match="device cpu") as caught:
        cuda_memory(lambda: None, [blocks], device="cpu")
    assert "\n" not in str(caught.value)
    if not torch.cuda.is_available():
        with pytest.raises(MeterError, match="device cuda"):
            cuda_memory(lambda: None, [blocks])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_counters_agree_with_the_watched_storages():
    depth, width, samples = 12, 256, 4096
    blocks = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(depth)).cuda()
    x = torch.randn(samples, width, device="cuda")
    loss_fn = Supervised(functional.mse_loss, torch.randn(samples, width, device="cuda"))
    optimizer = torch.optim.Adam(blocks.parameters())
    peaks = {}
    for name in ("backprop", "horizon-4", "checkpoint"):
        run = method(name)

        def step(run=run):
            optimizer.zero_grad()
            run(blocks, x, loss_fn)
            optimizer.step()

        step()
        optimizer.zero_grad()
        found = cuda_memory(step, [blocks], optimizer)
        watched = step_memory(run, blocks, x, loss_fn)
        size = sum(p.numel() * 4 for p in blocks.parameters())
        assert found.parameters == size
        assert found.optimizer == pytest.approx(2 * size, rel=0.01)
        assert found.allocated <= found.reserved
        peaks[name] = (found.activations, watched.total)
    assert all(a == pytest.approx(b, rel=0.1) for a, b in peaks.values()), peaks


# --- the fit ----------------------------------------------------------------------------------------------


def test_fit_of_a_line_and_of_what_is_none():
    h = np.array([1, 2, 5, 9, 20])
    fit = fit_memory(h, 7.0 * h + 100)
    assert fit.slope == pytest.approx(7)
    assert fit.offset == pytest.approx(100)
    assert fit.r_squared == pytest.approx(1)
    assert fit(11) == pytest.approx(177)
    static = costs.stored_blocks_static(20, h)  # one graph for all windows: no line
    assert fit_memory(h[:4], static[:4]).r_squared < 0.99
    through_zero = fit_memory([1, 2, 3], [0.5, 2.0, 3.5])  # b would be -1
    assert through_zero.offset == 0
    assert through_zero.slope == pytest.approx((0.5 + 4 + 10.5) / 14)
    noisy = 7.0 * h + 100 + np.array([5, -20, 8, 0, -3])
    line = np.polyfit(h, noisy, 1)
    left = ((noisy - np.polyval(line, h)) ** 2).sum() / ((noisy - noisy.mean()) ** 2).sum()
    assert fit_memory(h, noisy) == MemoryFit(*(pytest.approx(v, rel=1e-9) for v in (*line, 1 - left)))


@pytest.mark.parametrize(
    ("h", "m", "words"),
    [
        ([1, 2], [1, 2], "at least 3"),
        ([1, 1, 2], [1, 2, 3], "at least 3"),
        ([1, 2, 3], [1, 2], "3 horizons and 2 sizes"),
        ([1, 2, 3], [1, 2, float("nan")], "finite"),
        ([1, 2, 3], [3, 2, 1], "does not grow"),
        ([1, 2, 3], [0, 0, 0], "does not grow"),
    ],
)
def test_fits_that_are_none(h, m, words):
    with pytest.raises(DomainError, match=words):
        fit_memory(h, m)


# --- calls ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "h"), [(1, 1), *((9, h) for h in range(1, 10)), (40, 4)])
def test_block_products_are_those_of_the_formula(depth, h):
    blocks, (x, loss_fn) = mlp(depth), batch()
    found = step_calls(method(f"horizon-{h}"), blocks, x, loss_fn)
    assert sum(found.vjps) == costs.block_vjps(depth, h) == (depth - h + 1) * h
    windows = [range(s - h, s) for s in range(h, depth + 1)]  # one for each loss
    assert found.vjps == tuple(sum(t in window for window in windows) for t in range(depth))
    assert found.forwards == (1,) * depth


@pytest.mark.parametrize(
    "name", ["backprop", "horizon-4", "checkpoint", "checkpoint-9", "loco-3", "loco-5", "forward-3", "greedy"]
)
def test_methods_cost_what_they_say(name):
    blocks, (x, loss_fn) = mlp(9), batch()
    found, said = step_calls(method(name), blocks, x, loss_fn), method(name).cost(9)
    assert (sum(found.forwards), sum(found.vjps), sum(found.jvps)) == (said.forwards, said.vjps, said.jvps)


def test_micro_batches_cost_whole_batches_in_parts():
    blocks, (x, loss_fn) = mlp(9), batch()
    found, said = step_calls(method("accumulate-4"), blocks, x, loss_fn), method("accumulate-4").cost(9)
    assert (sum(found.forwards), sum(found.vjps)) == (4 * said.forwards, 4 * said.vjps)


def test_frozen_first_blocks_need_no_products():
    blocks, (x, loss_fn) = mlp(4), batch()
    blocks[0].requires_grad_(False)
    assert step_calls(method("backprop"), blocks, x, loss_fn).vjps == (0, 1, 1, 1)


def test_states_of_several_tensors_are_one_call():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(WIDTH, WIDTH)

        def forward(self, z, skip):
            return torch.tanh(self.linear(z)) + skip, skip * 0.5 + z

    blocks, (x, loss_fn) = [Pair() for _ in range(5)], batch()
    found = step_calls(method("horizon-2"), blocks, (x, x), loss_fn, lambda state, s: state[0])
    assert found.vjps == (1, 2, 2, 2, 1)


@pytest.mark.parametrize("name", ["digits", "communities"])
def test_a_part_of_the_state_that_nothing_moves_is_counted_in_forward_mode(name):
    """The sequence of a recurrent network, the numbers of nodes of a graph: one product a block."""
    split = load(name, samples=8)
    stack = model("gru" if name == "digits" else "graph", split.task, depth=4, width=3)
    loss = Supervised(nn.functional.cross_entropy, split.y_train)
    found = step_calls(method("forward-1"), stack.blocks, split.x_train, loss, stack.readout)
    assert (found.forwards, found.jvps) == ((1,) * 4, (1,) * 4)


# --- time -------------------------------------------------------------------------------------------------


class Clock:
    """Time that steps take as they please, while the machine slows down."""

    def __init__(self):
        self.now, self.speed = 0.0, 1.0

    def __call__(self):
        return self.now

    def step(self, seconds):
        def run():
            self.now += seconds * self.speed
            self.speed *= 1.02

        return run


def test_times_and_ratios_are_exact_on_a_steady_clock():
    clock = Clock()
    clock.speed = 0.0  # times come from this list alone
    durations = {"backprop": iter([9.0, 2, 4, 2, 4]), "other": iter([9.0, 6, 6, 10, 16])}

    def take(name):
        return lambda: setattr(clock, "now", clock.now + next(durations[name]))

    found = step_times({name: take(name) for name in durations}, rounds=4, warm_up=1, clock=clock)
    assert found["backprop"].median == 3
    assert found["backprop"].ratio == 1
    assert found["other"].median == 8
    assert found["other"].ratio == 3.5  # of 3, 1.5, 5, 4: not 8/3
    assert found["other"].quartiles == (6, 11.5)
    assert found["other"].ratio_quartiles == (2.625, 4.25)
    assert found["other"].rounds == 4


def test_a_machine_that_slows_down_does_not_favour_the_first():
    clock = Clock()
    found = step_times({"backprop": clock.step(1.0), "other": clock.step(3.0)}, rounds=20, clock=clock)
    assert found["other"].ratio == pytest.approx(3, rel=0.005)  # each goes first in every other round
    clock = Clock()
    apart = [clock.step(seconds) for seconds in [1.0] * 20 + [3.0] * 20]
    for run in apart:
        run()
    times = np.diff([0.0, *itertools.accumulate(1.02**i * (1 if i < 20 else 3) for i in range(40))])
    assert np.median(times[20:]) / np.median(times[:20]) > 4  # one after the other: far off


def test_steps_of_methods_are_timed():
    blocks, (x, loss_fn) = mlp(3), batch()
    steps = {name: lambda name=name: method(name)(blocks, x, loss_fn) for name in ("backprop", "greedy")}
    found = step_times(steps, rounds=2, warm_up=1)
    assert list(found) == ["backprop", "greedy"]
    assert all(0 < one.quartiles[0] <= one.median <= one.quartiles[1] for one in found.values())


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [({"reference": "bp"}, "allowed are backprop"), ({"rounds": 0}, "0 rounds"), ({"warm_up": -1}, "-1")],
)
def test_times_refuse(kwargs, words):
    with pytest.raises(DomainError, match=words):
        step_times({"backprop": lambda: None}, **kwargs)
