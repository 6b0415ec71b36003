"""Slow, obvious definitions: loops straight from the formulas, sharing nothing with the library.

deviations: (T, n, n) array, W(t) = I + deviations[t]; phi: (n, n); horizon: h in 1..T.
"""

from __future__ import annotations

import itertools

import numpy as np


def window(deviations, start, end):
    """W_start^end = W(end-1) ... W(start), the identity if start == end."""
    one = product = np.eye(deviations.shape[1])
    for t in range(start, end):
        product = (one + deviations[t]) @ product
    return product


def state(deviations, t):
    """P_t, the map from the input to x(t)."""
    return window(deviations, 0, t)


def window_end(depth, t, horizon):
    """s = min(t + h, T)."""
    return min(t + horizon, depth)


def loss(deviations, phi, end):
    """1/2 ||P_end - Phi||_F^2, the loss at block `end` on whitened data, up to a constant."""
    return 0.5 * np.sum((state(deviations, end) - phi) ** 2)


def gradients(deviations, phi, horizon):
    """g_h, eq. (27'): (W_{t+1}^s)^T (P_s - Phi) P_t^T for every layer, (T, n, n)."""
    depth = len(deviations)
    layers = []
    for t in range(depth):
        s = window_end(depth, t, horizon)
        layers.append(window(deviations, t + 1, s).T @ (state(deviations, s) - phi) @ state(deviations, t).T)
    return np.array(layers)


def gradients_autograd(deviations, phi, horizon):
    """g_h by its definition, eq. (9): torch differentiates L(x(s)) by W(t) alone, layer by layer."""
    import torch

    depth, width, _ = deviations.shape
    weights = torch.eye(width, dtype=torch.float64) + torch.as_tensor(deviations)
    layers = []
    for t in range(depth):
        own = weights[t].clone().requires_grad_()
        x = torch.eye(width, dtype=torch.float64)
        for k in range(window_end(depth, t, horizon)):
            x = (own if k == t else weights[k]) @ x
        (layer,) = torch.autograd.grad(0.5 * ((x - torch.as_tensor(phi)) ** 2).sum(), own)
        layers.append(layer.numpy())
    return np.array(layers)


def gradients_by_differences(deviations, phi, horizon, step=1e-6):
    """g_h by central differences of the loss at the window's end; accurate to about step^2 and eps/step."""
    out = np.zeros_like(deviations)
    for index in np.ndindex(*deviations.shape):
        moved = []
        for sign in (1, -1):
            shifted = deviations.copy()
            shifted[index] += sign * step
            moved.append(loss(shifted, phi, window_end(len(deviations), index[0], horizon)))
        out[index] = (moved[0] - moved[1]) / (2 * step)
    return out


def sin2(deviations, phi, horizon):
    """1 - cos^2 in float64, from the definition: absolute accuracy only, about 1e-15."""
    a, b = gradients(deviations, phi, horizon).ravel(), gradients(deviations, phi, len(deviations)).ravel()
    return 1 - (a @ b) ** 2 / ((a @ a) * (b @ b))


def grid_end(depth, t, horizon, stride):
    """The first of T, T - stride, T - 2 stride, ... at or after t + h."""
    grid = range(depth, 0, -stride)
    return min(s for s in grid if s >= min(t + horizon, depth))


def coarse(deviations, s, rule):
    """S_s, layer by layer: runs of the unseen layers with lengths that differ by at most 1, the last run
    shortest.
    """
    depth, width, _ = deviations.shape
    unseen = list(range(s, depth))
    product, eye = np.eye(width), np.eye(width)
    if not rule.runs:
        return product
    cuts = [depth - r * len(unseen) // rule.runs for r in range(rule.runs, -1, -1)]
    for start, stop in itertools.pairwise(cuts):
        some = deviations[start:stop]
        if not len(some):
            continue
        middle = (some[(len(some) - 1) // 2] + some[len(some) // 2]) / 2
        sample = {"average": some.mean(0), "start": some[0], "middle": middle, "end": some[-1]}[rule.sampling]
        step = rule.shrink * len(some) * sample
        if rule.degree == 2:  # ((sum D)^2 - sum D^2)/2
            step = step + (some.sum(0) @ some.sum(0) - sum(layer @ layer for layer in some)) / 2
        product = (eye + step) @ product
    return product


def rule_gradients(deviations, phi, horizon, rule):
    """g of any rule: the signal S^T (S P_s - Phi), or S^T R, at the end of the window, pulled back."""
    depth = len(deviations)
    residual = state(deviations, depth) - phi
    layers = []
    for t in range(depth):
        s = grid_end(depth, t, horizon, rule.stride)
        tail = coarse(deviations, s, rule)
        signal = tail.T @ (residual if rule.anchored else tail @ state(deviations, s) - phi)
        layers.append(window(deviations, t + 1, s).T @ signal @ state(deviations, t).T)
    return np.array(layers)


def alignment_60(deviations, phi, horizon, rule=None):
    """sin^2(theta_h) as an mpf with at least 60 correct digits; the given float64 numbers count as exact.

    Eq. (27') in ball arithmetic: the precision doubles until the ball's relative radius is below 1e-60, so
    the digits are certified. Zero is returned where the gradients are exactly parallel (horizon = T). Raises
    ZeroDivisionError where a gradient vanishes.
    """
    import flint
    import mpmath

    depth = len(deviations)
    if horizon == depth:
        return mpmath.mpf(0)
    precision = 320
    while precision <= 20480:
        with flint.ctx.workprec(precision):
            ball = _sin2_ball(flint, deviations, phi, horizon, rule)
            if ball is not None and ball.rel_accuracy_bits() > 200:  # 60 digits are 199.3 bits
                with mpmath.workprec(precision):
                    mantissa, exponent = ball.mid().man_exp()
                    return mpmath.ldexp(mpmath.mpf(int(mantissa)), int(exponent))
        precision *= 2
    raise ZeroDivisionError("g_h or g_T vanishes, or they are exactly parallel: no relative accuracy")


def _sin2_ball(flint, deviations, phi, horizon, rule):
    """sin^2(theta_h) as a ball at the working precision, None where a gradient may vanish."""
    depth, width, _ = deviations.shape
    eye = flint.arb_mat([[int(i == j) for j in range(width)] for i in range(width)])
    layers = [flint.arb_mat(layer.tolist()) for layer in deviations]
    weights = [eye + layer for layer in layers]
    target = flint.arb_mat(np.asarray(phi).tolist())
    states = [eye]
    for weight in weights:
        states.append(weight * states[-1])

    def signal(s):
        if rule is None or s == depth:
            return states[s] - target
        tail = _coarse_ball(flint, layers, s, rule, eye)
        ends = states[depth] - target if rule.anchored else tail * states[s] - target
        return tail.transpose() * ends

    def gradient(t, h):
        s = window_end(depth, t, h) if rule is None or h == depth else grid_end(depth, t, h, rule.stride)
        back = signal(s)
        for k in range(s - 1, t, -1):
            back = weights[k].transpose() * back
        return (back * states[t].transpose()).entries()

    aa = ab = bb = flint.arb(0)
    for t in range(depth):
        a, b = gradient(t, horizon), gradient(t, depth)
        aa += sum((x * x for x in a), flint.arb(0))
        ab += sum((x * y for x, y in zip(a, b, strict=True)), flint.arb(0))
        bb += sum((y * y for y in b), flint.arb(0))
    product = aa * bb
    return None if product.contains(0) else (product - ab * ab) / product


def _coarse_ball(flint, layers, s, rule, eye):
    """`coarse` in balls."""
    depth, product = len(layers), eye
    count = depth - s
    for r in range(rule.runs, 0, -1):
        start, stop = depth - r * count // rule.runs, depth - (r - 1) * count // rule.runs
        some = layers[start:stop]
        if not some:
            continue
        total = {
            "average": lambda some=some: sum(some[1:], some[0]),
            "start": lambda some=some: some[0] * len(some),
            "end": lambda some=some: some[-1] * len(some),
            "middle": lambda some=some: (
                (some[(len(some) - 1) // 2] + some[len(some) // 2]) * (flint.arb(len(some)) / 2)
            ),
        }[rule.sampling]()
        step = total * flint.arb(rule.shrink)
        if rule.degree == 2:
            step = step + (total * total - sum((layer * layer for layer in some), eye - eye)) / 2
        product = (eye + step) * product
    return product
