"""Theorem E1 in residual nets that need not be linear (new); measured.

Statement. x(t+1) = x(t) + f_t(x(t)) and r = grad L at x(T); the anchored horizon hands r to the end of each
window. With Q of Theorem D and b = -f'^T r at x(T), where the term H f of the plain horizon is absent,

    smooth layers:  sin^2(theta) ~ Q(b) S_2(m)/||g_T||^2,   S_2(m) = m(m+1)(2m+1)/6, m = T - h << T,
    i.i.d. layers:  E sin^2(theta) ~ [Q(b') S_2(m) + v S_1(m)]/||g_T||^2,  b' = E b, v = E Q(b - b').

Guarantee. Supported. Smooth: |measured/law - 1| falls like 1/T (regression), tanh and gelu. Rough: the mean
of measured/law over seeds is 1 within its standard error, tanh.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dlinear.certify.claims import Claim, Form, Outcome, Relation, Verdict
from dlinear.data.tasks import random_task
from dlinear.theory import limits

WIDTH = 4
SHORTFALLS = np.array([1, 3])
DEPTHS = (40, 80, 160)
ACTIVATIONS = ("tanh", "gelu")
ROUGH_DEPTH, SEEDS = 30, 16


def case(activation: str, depth: int, layers: str = "smooth", seed: int = 0) -> tuple[Any, Any, Any]:
    """The untrained network, a whitened batch, and the squared error on it."""
    import torch

    from dlinear.bridge.data.losses import Supervised
    from dlinear.bridge.models import TaskShape, model

    task = random_task(WIDTH, 3, samples=40)
    x, y = torch.from_numpy(task.x), torch.from_numpy(task.y + 0.1)
    knobs = {"depth": depth, "width": WIDTH, "activation": activation, "layers": layers}
    stack = model("deep", TaskShape((WIDTH,), WIDTH), seed, dtype=torch.float64, **knobs)
    return stack, x, Supervised(torch.nn.functional.mse_loss, y)


def gradient(stack: Any, x: Any, loss: Any, horizon: int, *, anchored: bool) -> np.ndarray:
    """The gradient of a step, all parameters in one vector."""
    import torch

    from dlinear.bridge import horizon_backward

    parameters = [p for block in stack.blocks for p in block.parameters()]
    for p in parameters:
        p.grad = None
    horizon_backward(stack.blocks, x, loss, horizon, stack.readout, anchored=anchored)
    found: np.ndarray = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).numpy()
    return found


def sin2(stack: Any, x: Any, loss: Any) -> np.ndarray:
    """sin^2 of the anchored horizons, from differences to the full gradient."""
    full = gradient(stack, x, loss, stack.depth, anchored=False)
    found = []
    for m in SHORTFALLS:
        gap = gradient(stack, x, loss, stack.depth - int(m), anchored=True) - full
        across = gap @ gap - (gap @ full) ** 2 / (full @ full)
        found.append(across / ((full + gap) @ (full + gap)))
    return np.array(found)


def smooth(*, curved: bool) -> Outcome:
    """Regression in T of |measured/law - 1|; curved: with the Hessian, as the plain horizon has it."""
    from dlinear.bridge.angles.theorem_d import initial_law

    slopes, finals = [], []
    for activation in ACTIVATIONS:
        errors = []
        for depth in DEPTHS:
            stack, x, loss = case(activation, depth)
            pair = initial_law(stack, x, loss if curved else flat(loss))
            ratio = sin2(stack, x, loss) / limits.decay_law(*pair, SHORTFALLS, depth)
            errors.append(float(np.max(np.abs(ratio - 1))))
        slopes.append(float(np.polyfit(np.log(DEPTHS), np.log(errors), 1)[0]))
        finals.append(errors[-1])
    good = all(abs(slope + 1) < 0.3 for slope in slopes) and max(finals) < 0.1
    evidence = (
        f"|measured/law - 1| ~ T^({min(slopes):.2f} .. {max(slopes):.2f}), "
        f"at most {max(finals):.1%} at T = {DEPTHS[-1]} ({', '.join(ACTIVATIONS)})"
    )
    method = f"regression in T = {DEPTHS[0]}..{DEPTHS[-1]}"
    return Outcome(Verdict.SUPPORTED if good else Verdict.UNDECIDED, method, evidence)


def rough(*, curved: bool) -> Outcome:
    """The mean over seeds of measured/law, in standard errors from 1; curved: as in `smooth`."""
    from dlinear.bridge.angles.theorem_d import initial_law

    ratios = []
    for seed in range(SEEDS):
        stack, x, loss = case("tanh", ROUGH_DEPTH, "rough", seed)
        law = initial_law(stack, x, loss if curved else flat(loss), first=int(SHORTFALLS[-1]), seed=seed)
        ratios.append(sin2(stack, x, loss) / limits.decay_law(*law, SHORTFALLS, ROUGH_DEPTH))
    mean, error = np.mean(ratios, axis=0), np.std(ratios, axis=0, ddof=1) / np.sqrt(SEEDS)
    worst = float(np.max(np.abs(mean - 1) / (error + 2 * SHORTFALLS / ROUGH_DEPTH)))
    evidence = f"measured/law within {worst:.1f} (standard error + 2m/T) of 1, tanh, m = 1 and 3"
    method = f"{SEEDS} seeds, T = {ROUGH_DEPTH}"
    return Outcome(Verdict.SUPPORTED if worst < 3 else Verdict.UNDECIDED, method, evidence)


def flat(loss: Any) -> Any:
    """The loss with its gradient at the outputs as they are and no second derivative: H = 0."""
    return lambda z: (z * (2 * (z.detach() - loss.target) / z.numel())).sum()


CLAIMS = (
    Claim(
        id="theorem_e1_nonlinear",
        reference="Theorem E1, nonlinear",
        form=Form.NEW,
        statement="anchored, nonlinear nets, smooth layers: sin^2 ~ Q(b) S_2(m)/||g_T||^2, b = -f'^T r",
        relation=Relation.ASYMPTOTIC,
        expected=Verdict.SUPPORTED,
        prove=lambda: smooth(curved=False),
        twin=lambda: smooth(curved=True),
        twin_statement="with the term H f of the plain horizon",
        function="dlinear.bridge.horizon_backward",
    ),
    Claim(
        id="theorem_e1_nonlinear_rough",
        reference="Theorem E1, nonlinear",
        form=Form.NEW,
        statement="anchored, nonlinear nets, i.i.d. layers: E sin^2 ~ [Q(b') S_2(m) + v S_1(m)]/||g_T||^2, "
        "b = -f'^T r",
        relation=Relation.ASYMPTOTIC,
        expected=Verdict.SUPPORTED,
        prove=lambda: rough(curved=False),
        twin=lambda: rough(curved=True),
        twin_statement="with the term H f of the plain horizon",
        function="dlinear.bridge.horizon_backward",
    ),
)
