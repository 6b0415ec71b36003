"""Forward-forward below, back-propagation above: the gradient by hand."""

import numpy as np
import pytest
import torch
from ff_by_hand import activities, drawn, ff, gradients, labelled, net_of, of_length
from plain_net import mean_outer, worst

from dlinear.bridge import step_calls
from dlinear.bridge.methods import method
from dlinear.errors import DomainError
from dlinear.rules.compared.choice import rule_of
from dlinear.rules.ff.network import PREDICTIONS, Knobs
from dlinear.rules.forward_forward import ff_backward
from dlinear.rules.published import recipe_of

ROUNDING = 1e-12


def hybrid_by_hand(net, wrong, below):
    """Weights: forward-forward in the first layers, the chain rule above them."""
    local = ff(net, wrong)[0][:below]
    entering = of_length(activities(net, labelled(net, None, 1.0), "rms")[below - 1][2], "rms")
    h, a = [entering], []
    for t in range(below, len(net.w)):
        a.append(h[-1] @ net.w[t].T + net.b[t])
        h.append(np.maximum(a[-1], 0) if t < net.hidden else a[-1])
    delta, above = net.error(h[-1]), []
    for t in reversed(range(below, len(net.w))):
        above.append(mean_outer(delta, h[t - below]))
        if t > below:
            delta = (delta @ net.w[t]) * (a[t - below - 1] > 0)
    return [*local, *reversed(above)]


def test_hybrid_is_its_formula():
    for seed in range(60):
        net = net_of(seed, widths=[6, 5, 7, 4, 3], activation="relu")
        below = 1 + seed % 3

        def step(*given, seed=seed, below=below):
            torch.manual_seed(seed)
            return method(f"hybrid-{below}")(*given)

        found = net.gradients(step)[0]
        assert worst(found, hybrid_by_hand(net, drawn(net, seed), below)) < ROUNDING
        twin = hybrid_by_hand(net, drawn(net, seed), 1 + below % 3)
        assert worst(found, twin) > 1e-3, "another split is another gradient"


def test_all_blocks_below_are_forward_forward():
    net = net_of(4, widths=[6, 5, 7, 3])

    def step(*given):
        torch.manual_seed(1)
        return method("hybrid-2")(*given)

    for one, other in zip(net.gradients(step)[0], gradients(net, 1, Knobs())[0], strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("below", [1, 2, 3])
def test_the_work_of_a_hybrid(below):
    net = net_of(1, widths=[6, 5, 5, 5, 4], activation="tanh")
    stack, one = net.stack(), method(f"hybrid-{below}")
    calls = step_calls(one, stack.blocks, torch.from_numpy(net.x), net.loss_fn(), stack.readout)
    assert (sum(calls.forwards), sum(calls.vjps)) == (one.cost(3).forwards, one.cost(3).vjps)


def test_a_split_above_the_last_hidden_block_is_refused():
    net = net_of(4, widths=[6, 5, 7, 3])
    with pytest.raises(DomainError, match=r"^3 blocks below the rest: allowed is 1\.\.2, those before the"):
        net.gradients(method("hybrid-3"))
    with pytest.raises(DomainError, match="method 'hybrid'"):
        method("hybrid")
    with pytest.raises(DomainError, match=r"^0 blocks below the rest: allowed is 1"):
        net.gradients(lambda *given: ff_backward(*given, below=0))


def test_a_hybrid_takes_the_options_of_a_recipe():
    one = rule_of("hybrid-1", recipe_of("hybrid"))
    assert (one.name, one.number, one.run.keywords["below"]) == ("hybrid-1", 1, 1)
    assert one.run.keywords["knobs"] == Knobs(peer=0.03)
    assert one.predict.func is PREDICTIONS["head"]
