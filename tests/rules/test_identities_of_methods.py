"""Exact identities between the rules, on 60 random nets each, every one with a false twin that fails."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from plain_net import mean_outer, plain, worst

from dlinear.bridge.autograd.blocks import as_stack
from dlinear.bridge.methods import method
from dlinear.rules.direct_feedback import direct_matrix
from dlinear.rules.feedback_alignment import layer_matrix
from dlinear.rules.foton import make_orthonormal
from dlinear.rules.pepita import input_matrix, pepita_backward, pepita_with

ROUNDING = 1e-11
CASES = range(60)
SIGNS = (1, -1)


def linear(seed, widths=None, loss="mse"):
    return plain(seed, widths=widths, activation="identity", loss=loss, bias=False)


def products(net):
    """P_0 = I, P_1, ..., P_L, the maps x -> h_l."""
    found = [np.eye(net.x.shape[1])]
    for w in net.w:
        found.append(w @ found[-1])
    return found


def signal(net):
    """h_0, ..., h_L and the error of each sample."""
    h, _ = net.forward(net.x)
    return h, net.error(h[-1])


def run_pepita(net, seed, **knobs):
    def rule(*step, **named):
        return pepita_backward(*step, seed=seed, scale=2.0, **knobs, **named)

    return net.gradients(rule)[0]


def test_i1_pepita_is_adaptive_feedback_alignment_without_a_remainder():
    """G_l = mean B_l e (h_{l-1} + s P_{l-1} F e)^T with B_l = -s P_l F, l < L, for F of any size."""
    twins = []
    for seed in CASES:
        s, net = SIGNS[seed % 2], linear(seed, loss=("mse", "cross_entropy")[seed % 2])
        (h, e), p = signal(net), products(net)
        f = input_matrix(net.x.shape[1], e.shape[1], seed, 2.0).numpy()
        pre = [h[t] + s * e @ (p[t] @ f).T for t in range(net.hidden + 1)]
        ours = run_pepita(net, seed, sign=s)
        expected = [mean_outer(-s * e @ (p[t + 1] @ f).T, pre[t]) for t in range(net.hidden)]
        assert worst(ours, [*expected, mean_outer(e, pre[-1])]) < ROUNDING, seed
        twins.append(
            worst(ours[:-1], [mean_outer(-s * e @ (p[t + 1] @ f).T, h[t]) for t in range(net.hidden)])
        )
    assert min(twins) > 1e-3, "with the clean presynaptic term a remainder is left"


def test_i1_the_modulated_error_is_the_clean_one_times_a_matrix():
    """Squared error: eerr = (I + s c P_L F) e, c = 2/K, in the output layer."""
    twins = []
    for seed in CASES:
        s, net = SIGNS[seed % 2], linear(seed)
        (h, e), p = signal(net), products(net)
        f = input_matrix(net.x.shape[1], e.shape[1], seed, 2.0).numpy()
        pre = h[-2] + s * e @ (p[-2] @ f).T
        moved = e + s * (2 / e.shape[1]) * e @ (p[-1] @ f).T
        ours = run_pepita(net, seed, sign=s, output="modulated")[-1]
        assert worst([ours], [mean_outer(moved, pre)]) < ROUNDING, seed
        twins.append(worst([ours], [mean_outer(e, pre)]))
    assert min(twins) > 1e-3


def activities(net, seed, s):
    """h and herr of every layer, for any activation."""
    h, e = signal(net)
    f = input_matrix(net.x.shape[1], e.shape[1], seed, 2.0).numpy()
    return h, net.forward(net.x + s * e @ f.T)[0]


def test_i2_the_hebbian_form_differs_by_a_product_with_the_clean_activity():
    """Hebbian - PEPITA = mean h_l (h_{l-1} - herr_{l-1})^T, for every activation."""
    twins = []
    for seed in CASES:
        s, net = SIGNS[seed % 2], plain(seed, bias=False)
        h, herr = activities(net, seed, s)
        original, hebbian = (run_pepita(net, seed, sign=s, mode=mode) for mode in ("original", "hebbian"))
        difference = [b - a for a, b in zip(original, hebbian, strict=True)]
        split = [mean_outer(h[t + 1], h[t] - herr[t]) for t in range(net.hidden)]
        size = max(np.abs(g).max() for g in hebbian)
        assert max(np.abs(a - b).max() for a, b in zip(difference[:-1], split, strict=True)) < ROUNDING * size
        assert np.array_equal(difference[-1], np.zeros_like(difference[-1]))
        twin = [mean_outer(herr[t + 1], h[t] - herr[t]) for t in range(net.hidden)]
        twins.append(max(np.abs(a - b).max() for a, b in zip(difference[:-1], twin, strict=True)) / size)
    assert np.quantile(twins, 0.1) > 1e-3


def test_i2_the_difference_is_of_the_same_order_as_the_rule():
    """As F -> 0 the ratio |Hebbian - PEPITA|/|PEPITA| tends to a number, and not to 0."""
    net = plain(11, widths=[6, 5, 4, 3], activation="tanh", bias=False)
    ratios = []
    for scale in (1e-1, 1e-2, 1e-3):
        found = []
        for mode in ("original", "hebbian"):

            def rule(*step, mode=mode, scale=scale, **named):
                return pepita_backward(*step, scale=scale, mode=mode, **named)

            found.append(net.gradients(rule)[0][:-1])
        apart = [b - a for a, b in zip(*found, strict=True)]
        ratios.append(norm(apart) / norm(found[0]))
    assert ratios[2] > 0.1
    assert ratios[2] == pytest.approx(ratios[1], rel=0.02)


def norm(matrices):
    return np.sqrt(sum((m**2).sum() for m in matrices))


def test_i2_the_local_form_differs_by_an_order_of_the_rate():
    net = plain(11, widths=[6, 5, 4, 3], activation="tanh", bias=False)
    hebbian = run_pepita(net, 0, mode="hebbian")
    apart = [
        norm([a - b for a, b in zip(run_pepita(net, 0, mode="local", rate=rate), hebbian, strict=True)])
        for rate in (1e-2, 1e-3, 1e-4)
    ]
    assert np.diff(np.log10(apart)) == pytest.approx([-1, -1], abs=0.05)


def by_matrices(net, direct):
    """G_l = mean (B_l e) h_{l-1}^T of a linear net, and e h^T."""
    h, e = signal(net)
    return [*(mean_outer(e @ b.T, pre) for b, pre in zip(direct, h, strict=False)), mean_outer(e, h[-2])]


def feedback(net, seed):
    """B_2, ..., B_L of FA, in the shapes of W^T."""
    return [layer_matrix(torch.from_numpy(w), seed, t).numpy().T for t, w in enumerate(net.w)][1:]


def test_i4_fa_is_dfa_with_products_of_its_matrices():
    """Linear FA: B_l = B_{l+1} ... B_L; one hidden layer, any activation: B_1 = B_2 of FA."""
    twins = []
    for seed in CASES:
        net = linear(seed)
        steps = feedback(net, seed + 1)
        direct = [np.linalg.multi_dot([*steps[t:], np.eye(len(net.w[-1]))]) for t in range(net.hidden)]
        ours = net.gradients(method(f"fa-{seed + 1}"))[0]
        assert worst(ours, by_matrices(net, direct)) < ROUNDING, seed
        if net.hidden > 1:
            swapped = [b @ np.diag(np.linspace(1, 2, b.shape[1])) for b in direct]
            twins.append(worst(ours, by_matrices(net, swapped)))
        one = plain(seed, widths=[5, 6, 3], bias=False)
        h, a = one.forward(one.x)
        post = one.error(h[-1]) @ feedback(one, seed + 1)[0].T * one.slope(a[0])
        assert worst(one.gradients(method(f"fa-{seed + 1}"))[0][:1], [mean_outer(post, one.x)]) < ROUNDING
    assert min(twins) > 1e-3


def test_i4_dfa_with_invertible_matrices_is_fa():
    """Linear DFA of square B_l is FA whose matrices are B_l B_{l+1}^{-1}, the last one B_{L-1}."""
    twins = []
    for seed in CASES:
        net = linear(seed, widths=[5, 4, 4, 4, 4])
        direct = [direct_matrix(4, 4, seed + 1, t).numpy() for t in range(net.hidden)]
        steps = [b @ np.linalg.inv(c) for b, c in pairwise(direct)] + [direct[-1]]
        h, e = signal(net)
        ours = net.gradients(method(f"dfa-{seed + 1}"))[0]

        def aligned(chain, h=h, e=e):
            deltas = [e]
            for b in reversed(chain):
                deltas.insert(0, deltas[0] @ b.T)
            return [mean_outer(delta, pre) for delta, pre in zip(deltas, h, strict=False)]

        assert worst(ours, aligned(steps)) < 1e-8, seed  # the inverses are not well conditioned
        twins.append(worst(ours, aligned([b @ c for b, c in pairwise(direct)] + [direct[-1]])))
    assert min(twins) > 1e-3


def orthonormal(seed, widths):
    """A linear net whose hidden layers have orthonormal rows (columns, where the width grows)."""
    net = linear(seed, widths=widths)
    stack = net.stack()
    make_orthonormal(stack.blocks)
    net.w[:-1] = [block[0].weight.detach().numpy().copy() for block in stack.blocks]
    return net


def test_i5_foton_is_back_propagation_on_layers_with_orthonormal_rows():
    """Widths that do not increase; with an expanding layer, or without orthonormal rows, it is not."""
    twins = []
    for seed in CASES:
        widths = sorted(np.random.default_rng([seed, 5]).integers(2, 8, size=4).tolist(), reverse=True)
        net = orthonormal(seed, widths)
        assert worst(net.gradients(method("foton"))[0], net.gradients(method("backprop"))[0]) < ROUNDING, seed
        for twin in (orthonormal(seed, [5, 9, 4, 3]), linear(seed, widths=[7, 5, 4, 3])):
            twins.append(worst(twin.gradients(method("foton"))[0], twin.gradients(method("backprop"))[0]))
    assert min(twins) > 1e-3


def test_i5_foton_descends_in_every_layer_of_any_linear_net():
    """<G_l, G_l of back-propagation> = |P_l^T G_l of back-propagation|^2."""
    twins = []
    for seed in CASES:
        net = linear(seed)
        p = products(net)
        ours, true = net.gradients(method("foton"))[0], net.gradients(method("backprop"))[0]
        for t in range(net.hidden):
            inner, square = (ours[t] * true[t]).sum(), ((p[t + 1].T @ true[t]) ** 2).sum()
            size = np.linalg.norm(ours[t]) * np.linalg.norm(true[t])
            assert abs(inner - square) < ROUNDING * size, seed
            twins.append(abs(inner - (true[t] ** 2).sum()) / size)
    assert np.quantile(twins, 0.1) > 1e-3


def test_i6_a_local_contrast_of_activities_is_pepita_with_minus_the_identity():
    """Autoencoder, target x: LAC reads the reconstruction o in its second pass; x - e = o, so F = -I, s = 1.

    Linear: LAC's product is 2 P_l e (h_{l-1} + P_{l-1} e)^T, PEPITA's P_l e (h_{l-1} - P_{l-1} e)^T: equal
    but for the 2 where both have the clean presynaptic term, and to first order in e otherwise.
    """
    twins = []
    for seed in CASES:
        net = linear(seed, widths=[5, 4, 3, 5])
        net.y = net.x
        p, h = products(net), net.forward(net.x)[0]
        e = h[-1] - net.x

        def minus_identity(blocks, x, loss_fn, readout):
            return pepita_with(lambda last: -2.5 * last.error, as_stack(blocks), x, loss_fn, readout)

        ours = net.gradients(minus_identity)[0][:-1]  # e here is 5/2 of the loss's, 2 (z - x)/5
        h2, _ = net.forward(h[-1] - 2 * e)  # = x - e, the modulated pass
        assert worst(ours, [mean_outer(h[t + 1] - h2[t + 1], h2[t]) for t in range(net.hidden)]) < ROUNDING
        left = [e @ p[t + 1].T for t in range(net.hidden)]
        minus = [mean_outer(left[t], h[t] - e @ p[t].T) for t in range(net.hidden)]
        assert worst(ours, minus) < ROUNDING
        read, _ = net.forward(h[-1])
        lac = [2 * mean_outer(read[t + 1] - h[t + 1], read[t]) for t in range(net.hidden)]
        assert worst(lac, [2 * mean_outer(left[t], h[t] + e @ p[t].T) for t in range(net.hidden)]) < ROUNDING
        clean = [mean_outer(h[t + 1] - h2[t + 1], h[t]) for t in range(net.hidden)]
        assert (
            worst(
                [2 * mean_outer(read[t + 1] - h[t + 1], h[t]) for t in range(net.hidden)],
                [2 * g for g in clean],
            )
            < ROUNDING
        )
        twins.append(worst(lac, [2 * g for g in ours]))
    assert min(twins) > 1e-3


def test_i3_without_a_logistic_weight_goodness_gives_the_hebbian_form():
    """Gradient of (|h|^2 - |herr|^2)/2, layer-local: h h^T - herr herr^T where sigma sigma' = sigma."""
    for seed in CASES:
        for activation, exact in (("identity", True), ("relu", True), ("tanh", False)):
            net = plain(seed, activation=activation, bias=False, widths=[5, 4, 4, 3])
            h, e = signal(net)
            f = input_matrix(5, 3, seed, 2.0).numpy()
            herr, aerr = net.forward(net.x + e @ f.T)
            a = net.forward(net.x)[1]
            goodness = [
                mean_outer(h[t + 1] * net.slope(a[t]), h[t])
                - mean_outer(herr[t + 1] * net.slope(aerr[t]), herr[t])
                for t in range(net.hidden)
            ]
            apart = worst(run_pepita(net, seed, mode="hebbian")[:-1], goodness)
            assert (apart < ROUNDING) == exact, (seed, activation, apart)


def drift(net, rule, conserved, rate, steps):
    """max |C(end) - C(start)| of what is conserved, along steps of a rule."""
    before = conserved(net.w)
    for _ in range(steps):
        grads = net.gradients(method(rule))[0]
        net.w = [w - rate * g for w, g in zip(net.w, grads, strict=True)]
    return max(np.abs(a - b).max() for a, b in zip(conserved(net.w), before, strict=True))


def balanced(w):
    """W_l W_l^T - W_{l+1}^T W_{l+1}, of back-propagation."""
    return [a @ a.T - b.T @ b for a, b in pairwise(w)]


def of_feedback(matrices):
    """W_l W_l^T - B_{l+1} W_{l+1} - (B_{l+1} W_{l+1})^T."""

    def conserved(w):
        return [a @ a.T - b @ c - (b @ c).T for a, b, c in zip(w, matrices, w[1:], strict=False)]

    return conserved


@pytest.mark.parametrize("rule", ["backprop", "fa", "dfa"])
def test_i8_what_the_flow_conserves(rule):
    """Along the flow: W_l W_l^T - W_{l+1}^T W_{l+1}; FA with B_{l+1} W_{l+1} in its place, made symmetric.

    Drift in one step is of the second order in the step, that of the false twin of the first.
    """
    twins = []
    for seed in CASES[:50]:
        widths = [5, 4, 4, 4] if rule == "dfa" else None
        quantity = balanced
        if rule != "backprop":
            net = linear(seed, widths)
            if rule == "fa":
                matrices = feedback(net, 0)
            else:
                direct = [direct_matrix(4, 4, 0, t).numpy() for t in range(net.hidden)]
                matrices = [b @ np.linalg.inv(c) for b, c in pairwise(direct)] + [direct[-1]]
            quantity = of_feedback(matrices)
        one, half = (drift(linear(seed, widths), rule, quantity, rate, 1) for rate in (1e-3, 5e-4))
        assert one / half == pytest.approx(4, rel=0.05), seed  # second order in one step
        wrong = balanced if rule != "backprop" else of_feedback(feedback(linear(seed), 0))
        one, half = (drift(linear(seed, widths), rule, wrong, rate, 1) for rate in (1e-3, 5e-4))
        twins.append(one / half)
    assert np.median(twins) == pytest.approx(2, rel=0.1), "the false twins drift in the first order"


def test_i8_pepita_moves_two_layers_together():
    """dW_{l+1} = W_{l+1} dW_l W_l^T for l + 1 < L, and dW_{L-1} W_{L-1}^T = -s P_{L-1} F dW_L, in each step.

    With the modulated presynaptic term as with the clean one: both pass the same linear layers.
    """
    twins = []
    for seed in CASES:
        s, net = SIGNS[seed % 2], linear(seed, widths=[5, 4, 6, 3, 4])
        h, herr = activities(net, seed, s)
        p, f = products(net), input_matrix(5, 4, seed, 2.0).numpy()
        ours = run_pepita(net, seed, sign=s)
        clean = [mean_outer(h[t + 1] - herr[t + 1], h[t]) for t in range(net.hidden)]
        for found in (ours, [*clean, mean_outer(net.error(h[-1]), h[-2])]):
            expected = [net.w[t + 1] @ found[t] @ net.w[t].T for t in range(net.hidden - 1)]
            assert worst(found[1:-1], expected) < ROUNDING
            assert worst([found[-2] @ net.w[-2].T], [-s * p[-2] @ f @ found[-1]]) < ROUNDING
        other = plain(seed, widths=[5, 4, 6, 3, 4], activation="tanh", loss="mse", bias=False)
        for twin in (net.gradients(method("backprop"))[0], run_pepita(other, seed, sign=s)):
            moved = [net.w[t + 1] @ twin[t] @ net.w[t].T for t in range(net.hidden - 1)]
            twins.append(worst(twin[1:-1], moved))
    assert min(twins) > 1e-3
