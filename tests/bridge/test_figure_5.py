"""Figure 5: LoCo of the paper, sizes of blocks, and Rel(a) from records, each by its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from dlinear import bridge
from dlinear.bridge import meters, selection
from dlinear.bridge.selection import words
from dlinear.bridge.selection.outcome import Algorithm
from dlinear.errors import DomainError, RecordError
from dlinear.runs.records import Record
from dlinear.selection.estimators import largest_window


def stack_of(depth, width=3, seed=0):
    torch.manual_seed(seed)
    return [nn.Sequential(nn.Linear(width, width), nn.Tanh()).double() for _ in range(depth)]


@pytest.mark.parametrize(("depth", "stages"), [(6, 2), (6, 3), (15, 5), (4, 4)])
def test_loco_of_the_paper_is_horizon_2_over_its_stages(depth, stages):
    """Each block of stage j receives the gradient of the loss after stage j + 1, by autograd of that loss."""
    blocks, x = stack_of(depth), torch.randn(5, 3, dtype=torch.float64)
    size, parameters = depth // stages, [list(block.parameters()) for block in blocks]
    found = selection.loco_of_the_paper(stages, depth)
    found(blocks, x, lambda z: z.square().mean())
    got = [[p.grad.clone() for p in some] for some in parameters]
    for t, some in enumerate(parameters):
        state = x
        for block in blocks[: min(depth, (t // size + 2) * size)]:
            state = block(state)
        want = torch.autograd.grad(state.square().mean(), some)
        assert all(torch.allclose(a, b, rtol=1e-12) for a, b in zip(got[t], want, strict=True)), t
    with pytest.raises(DomainError, match="no 4 equal stages"):
        selection.loco_of_the_paper(4, 6)


@pytest.mark.parametrize("name", ["mlp", "resnet62"])
def test_the_sizes_of_blocks_make_up_what_is_saved(name):
    """All of them: what back-propagation saves; the largest window: a horizon's, up to a constant."""
    shape = bridge.TaskShape((1, 8, 8), 4)
    knobs = {"depth_per_stage": 2, "base_channels": 2} if name == "resnet62" else {"depth": 6, "width": 5}
    stack = bridge.model(name, shape, **knobs)
    x, loss = torch.randn(6, 1, 8, 8), bridge.Supervised(nn.functional.cross_entropy, torch.arange(6) % 4)
    before = {key: value.clone() for key, value in stack.state_dict().items()}
    sizes = meters.block_sizes(stack.blocks, x)
    assert all(torch.equal(value, before[key]) for key, value in stack.state_dict().items())
    saved = [
        bridge.step_memory(bridge.method(f"horizon-{h}"), stack.blocks, x, loss, stack.readout).saved
        for h in range(1, 7)
    ]
    apart = np.array(saved) - largest_window(sizes)
    states, state = [], x
    for block in stack.blocks:
        state = block(state)
        states.append(state.nbytes)
    assert 0 <= apart[-1] < 300, "what the readout and the loss save"
    assert (apart >= apart[-1]).all()
    assert (apart <= apart[-1] + max(states)).all(), "a window keeps its input too"
    hidden = nn.Linear(2, 2)
    hidden._orig_mod = nn.Linear(2, 2)
    with pytest.raises(meters.MeterError, match="compiled"):
        meters.block_sizes([hidden], torch.ones(1, 2))


PROBLEMS = selection.Problems(3, (0.5, 0.9), (0.3,))


def record(part, method, seed, arrays):
    knobs = {"part": part, "ensemble": "mlp", "method": method, "seed": seed, "depth": 5}
    return Record("", {**knobs, "problems": PROBLEMS.words}, arrays, {}, {})


def one_model(ends):
    """Depth 5, losses from 1 to the given ends (method -> end), memory h + 1, checkpointing 3."""
    one = selection.ModelRecords("mlp")
    memory = {"backprop": 6.0, "checkpoint": 3.0} | {f"horizon-{h}": h + 1.0 for h in range(1, 6)}
    one.add(
        record(
            *("meters", name, 0),
            {
                "activations": np.array(size),
                "difference": np.array(0.0 if name in ("backprop", "checkpoint", "horizon-5") else 0.5),
                "blocks": np.ones(5),
            },
        )
        for name, size in memory.items()
    )
    cos = np.array([[0.2, 0.5, 0.8, 0.9, 1.0], [0.4, 0.7, 0.8, 0.9, 1.0], [np.nan] * 5])
    for name, end in ends.items():
        arrays = {f"final_{part}": np.array(end) for part in ("train_loss", "test_loss", "test_accuracy")}
        arrays |= {"train_loss": np.array([1.0, end]), "test_loss": np.array([2.0, end])}
        part = "curve" if name == "backprop" else "run"
        one.add([record(part, name, 0, arrays | ({"cos": cos} if part == "curve" else {}))])
    return one


def test_rates_and_objectives_by_their_definitions():
    """Eq. (14) from losses; a method with back-propagation's gradient has its rate; (17) and (18)."""
    one = one_model({"backprop": math.exp(-2), "horizon-1": math.exp(-1), "horizon-2": math.nan})
    assert one.rate("horizon-1", 0) == pytest.approx(0.5)
    assert one.rate("checkpoint", 0) == one.rate("horizon-5", 0) == 1
    assert one.rate("horizon-2", 0) == -math.inf
    assert one.rate("horizon-1", 0, "test_loss") == pytest.approx((-1 - math.log(2)) / (-2 - math.log(2)))
    assert one.cosine(0).tolist() == pytest.approx([0.3, 0.6, 0.8, 0.9, 1.0])
    assert one.cosine(0, start=True)[0] == 0.2
    assert one.horizons == [1, 3, 5]
    assert one.largest == 6
    linear, ladder = ({"cost": cost, "model": "mlp"} for cost in ("C1", "C2"))
    met = selection.Column(objective="O1", parameter=0.5, **linear)
    assert one.objective(met, "horizon-1", 0) == pytest.approx(2 / 6)
    missed = selection.Column(objective="O1", parameter=0.9, **linear)
    assert one.objective(missed, "horizon-1", 0) == math.inf
    assert one.objective(missed, "checkpoint", 0) == pytest.approx(3 / 6)
    weighted = selection.Column(objective="O2", parameter=0.3, **ladder)
    assert one.objective(weighted, "horizon-1", 0) == pytest.approx(-0.5 + 0.3 * 2)  # ceil(2/1.8) nodes
    assert one.objective(weighted, "horizon-2", 0) == math.inf
    polynomial = Algorithm("polynomial", estimator="polynomial")
    seen = one.estimate(0, polynomial)
    assert np.sqrt(seen.rate[[0, 2, 4]]) == pytest.approx([0.3, 0.8, 1.0])  # goes through its points
    assert seen.memory == pytest.approx(np.arange(2.0, 7.0))


def test_the_table_is_eq_19_row_by_row():
    ends = {f"horizon-{h}": math.exp(-0.4 * h) for h in range(1, 5)}
    one = one_model({"backprop": math.exp(-2), **ends})
    rows = [
        Algorithm("BP", "backprop"),
        Algorithm("FF (h = 1)", "horizon-1"),
        Algorithm("theory", estimator="theory"),
        Algorithm("checkpointed", "checkpoint", paper=False),
    ]
    table = selection.Table.of({"mlp": one}, rows, PROBLEMS.columns(["mlp"]))
    assert table.objectives.shape == (4, 6, 1)
    for c, column in enumerate(table.columns):
        chosen = int(table.horizons[2, c, 0])
        own = [
            one.objective(column, m, 0) for m in ("backprop", "horizon-1", f"horizon-{chosen}", "checkpoint")
        ]
        assert table.objectives[:, c, 0].tolist() == own
        finite = [value for value in own if value < math.inf]
        want = [(v - min(finite)) / (max(finite) - min(finite)) if v < math.inf else 1.5 for v in own]
        assert table.relative(1.5)[:, c, 0].tolist() == pytest.approx(want)
    assert math.isinf(table.objectives[1, 0, 0]), "h = 1 has r = 0.2"
    assert np.isnan(table.relative(1.5, paper=True)[3]).all()
    won = np.mean(table.objectives[3] < table.objectives[:3].min(axis=0))
    assert f"in {won:.0%} of the problems (checkpointed {won:.0%})" in words.rival_line(table)
    said = words.paper_lines(table, {"mlp": "residual MLP"})
    assert len(said) == 3
    assert all(line.endswith("cannot be said") for line in said), "one seed has no interval"


def test_problems_are_read_as_they_were_written():
    assert selection.Problems.read(PROBLEMS.words) == PROBLEMS
    assert [str(one) for one in PROBLEMS.columns(["mlp"])][:3] == [
        *("C1 O1 1-eps=0.5", "C1 O1 1-eps=0.9", "C1 O2 lambda=0.3")
    ]
    with pytest.raises(RecordError, match="problems 'H=3'"):
        selection.Problems.read("H=3")
