"""Identities of the paper and of the numerics, by definition on both sides, over structured networks."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import build_case, cases, cases_with_horizon, cases_with_window

CLOSE = {"rel": 1e-9, "abs": 1e-11}


def stacked(case, horizon):
    return reference.gradients(case.deviations, case.phi, horizon).ravel()


def split_losses(case):
    """l(t) = L(x(t+1)) - L(x(t)), eq. (8)."""
    losses = [reference.loss(case.deviations, case.phi, t) for t in range(case.depth + 1)]
    return np.diff(losses), losses


@given(cases_with_window())
def test_split_losses_telescope(drawn):
    """Eqs (22)-(25) and remark 3.2: their sum over a window is the difference of the loss at its ends."""
    case, start, end = drawn
    parts, losses = split_losses(case)
    assert sum(parts[start:end]) == pytest.approx(
        losses[end] - losses[start], rel=1e-9, abs=1e-9 * max(losses)
    )
    assert sum(parts) == pytest.approx(losses[-1] - losses[0], rel=1e-9, abs=1e-9 * max(losses))


@given(cases(max_depth=7, max_width=3))
def test_full_horizon_is_back_propagation_and_one_is_local(case):
    """Eq. (10): g_T is the gradient of the terminal loss, g_1(t) that of the loss of the next state."""
    import torch

    weights = (torch.eye(case.width, dtype=torch.float64) + torch.as_tensor(case.deviations)).requires_grad_()
    x = torch.eye(case.width, dtype=torch.float64)
    for t in range(case.depth):
        x = weights[t] @ x
    (whole,) = torch.autograd.grad(0.5 * ((x - torch.as_tensor(case.phi)) ** 2).sum(), weights)
    size = 1 + np.abs(whole.numpy()).max()
    assert (
        np.abs(reference.gradients(case.deviations, case.phi, case.depth) - whole.numpy()).max()
        < 1e-11 * size
    )
    local = reference.gradients(case.deviations, case.phi, 1)
    for t in range(case.depth):
        state = reference.state(case.deviations, t)
        want = ((np.eye(case.width) + case.deviations[t]) @ state - case.phi) @ state.T
        assert local[t] == pytest.approx(want, rel=1e-10, abs=1e-10 * size)


@given(cases_with_horizon(), st.floats(-3, 3))
def test_best_rescaling_leaves_the_sine(drawn, other):
    """Eq. (13): min over c of ||c g_h - g_T|| = sin(theta) ||g_T||, at c = <g_h, g_T>/||g_h||^2."""
    case, horizon = drawn
    near, full = stacked(case, horizon), stacked(case, case.depth)
    assume(np.linalg.norm(near) > 1e-6)
    assume(np.linalg.norm(full) > 1e-6)
    cosine = near @ full / np.linalg.norm(near) / np.linalg.norm(full)
    best = np.linalg.norm(full) / np.linalg.norm(near) * cosine  # as the paper writes it
    assert best == pytest.approx(near @ full / (near @ near), rel=1e-9, abs=1e-12)
    left = np.linalg.norm(best * near - full)
    sine = np.sqrt(max(0.0, 1 - cosine**2))
    assert left == pytest.approx(sine * np.linalg.norm(full), rel=1e-6, abs=2e-7 * np.linalg.norm(full))
    assert np.linalg.norm((best + other) * near - full) >= left - 1e-12 * np.linalg.norm(full)


@given(cases_with_horizon())
def test_difference_of_the_gradients(drawn):
    """Eq. (D): g_h(t) - g_T(t) = -(W_{t+1}^s)^T [E P_s + E^T R] P_t^T, E = W_s^T - I; zero from layer m."""
    case, horizon = drawn
    d, depth = case.deviations, case.depth
    near, full = (reference.gradients(d, case.phi, h) for h in (horizon, depth))
    for t in range(depth):
        s = reference.window_end(depth, t, horizon)
        e = reference.window(d, s, depth) - np.eye(case.width)
        inner = e @ reference.state(d, s) + e.T @ case.residual
        want = -reference.window(d, t + 1, s).T @ inner @ reference.state(d, t).T
        size = np.abs(full).max() + np.abs(near).max() + 1
        assert np.abs(near[t] - full[t] - want).max() < 1e-11 * size
        if t >= depth - horizon:
            assert np.array_equal(near[t], full[t])


@given(cases_with_horizon())
def test_sine_from_the_difference(drawn):
    """Eq. (S): sin^2 = (||delta||^2 - <delta, g_T>^2/||g_T||^2)/||g_h||^2."""
    case, horizon = drawn
    near, full = stacked(case, horizon), stacked(case, case.depth)
    assume(np.linalg.norm(near) > 1e-2)
    assume(np.linalg.norm(full) > 1e-2)
    delta = near - full
    got = (delta @ delta - (delta @ full) ** 2 / (full @ full)) / (near @ near)
    assert got == pytest.approx(float(reference.alignment_60(case.deviations, case.phi, horizon)), abs=1e-11)


@given(cases_with_window())
def test_order_of_the_factors_in_37(drawn):
    """Eq. (37), repaired: W_b^T - W_b^s = (W_s^T - I) W_b^s."""
    case, start, end = drawn
    whole = reference.window(case.deviations, start, case.depth)
    part = reference.window(case.deviations, start, end)
    tail = reference.window(case.deviations, end, case.depth) - np.eye(case.width)
    assert np.abs(whole - part - tail @ part).max() < 1e-11 * (1 + np.abs(whole).max())


def test_printed_forms_fail():
    """False twins on one net: (27) with P_{t-1}, (37) in the printed order, (D) without the transpose."""
    case = build_case(3, 6, 3, 2.0, "dense")
    d, depth, horizon = case.deviations, 6, 3
    right = reference.gradients(d, case.phi, horizon)
    printed = [
        reference.window(d, t + 1, s).T
        @ (reference.state(d, s) - case.phi)
        @ reference.state(d, max(t - 1, 0)).T
        for t in range(depth)
        for s in [reference.window_end(depth, t, horizon)]
    ]
    assert np.abs(right - np.array(printed)).max() > 1e-2
    whole, part = reference.window(d, 1, depth), reference.window(d, 1, 4)
    tail = reference.window(d, 4, depth) - np.eye(3)
    assert np.abs(whole - part - tail @ part).max() < 1e-12
    assert np.abs(whole - part - part @ tail).max() > 1e-2
    full = reference.gradients(d, case.phi, depth)
    e, state = reference.window(d, 3, depth) - np.eye(3), reference.state(d, 3)
    wrong = -reference.window(d, 1, 3).T @ (e @ state + e @ case.residual)
    assert np.abs(right[0] - full[0] - wrong).max() > 1e-2
