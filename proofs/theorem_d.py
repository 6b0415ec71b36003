"""Theorem D (new): the law of decay in residual nets that need not be linear.

Statement. x(t+1) = x(t) + f_t(x(t)), L twice differentiable, r = grad L and H its Hessian at x(T),

    b[f] = -(H f + f'^T r) at x(T),   Q(w) = ||gradient of <w, x(T)> in the parameters of a first block||^2.

Let f_t and f_t' vanish as T -> infinity, the last ones be smooth in depth or i.i.d., b' = E b[f] and
v = E Q(b[f] - b'). Then, with S_p(m) = 1^p + ... + m^p and 1 <= m = T - h << T,

    E sin^2(theta_h) ~ [ Q(b') S_2(m) + v S_1(m) ]/||g_T||^2.

Order 3 for smooth layers; for i.i.d. ones order 2, or a crossover where the mean b' is not 0, as for relu and
gelu, whose mean over Gaussian weights is positive. For f = W x and the squared error: Theorems B and C.

Guarantee. Supported; the derivation stands in `dlinear.bridge.angles.theorem_d`. Smooth: measured/law tends
to 1 like 1/T (regression). Rough: the mean of measured/law over seeds is 1 within its standard error."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from dlinear.certify.claims import Claim, Form, Outcome, Relation, Verdict
from dlinear.data.tasks import random_task
from dlinear.theory import limits

TEST = "tests/bridge/angles/test_theorem_d.py"
WIDTH = 4
SHORTFALLS = np.array([1, 3])
DEPTHS = (50, 100, 200, 400)
SMOOTH = ("tanh", "relu", "gelu")
ROUGH_DEPTH, ROUGH_SHORTFALLS, SEEDS = 80, np.array([1, 3, 9]), 24
Change = Callable[[Any], Any]  # of the loss that the prediction sees


def case(activation: str, layers: str, depth: int, seed: int) -> tuple[Any, Any, Any]:
    """The untrained network, a whitened batch, and the squared error on it."""
    import torch

    from dlinear.bridge.data.losses import Supervised
    from dlinear.bridge.models import TaskShape, model

    task = random_task(WIDTH, 3, samples=40)
    x, y = torch.from_numpy(task.x), torch.from_numpy(task.y + 0.1)
    knobs = {"depth": depth, "width": WIDTH, "activation": activation, "layers": layers}
    stack = model("deep", TaskShape((WIDTH,), WIDTH), seed, dtype=torch.float64, **knobs)
    return stack, x, Supervised(torch.nn.functional.mse_loss, y)


def measured(stack: Any, x: Any, loss: Any, shortfalls: np.ndarray) -> np.ndarray:
    """sin^2 at these shortfalls."""
    from dlinear.bridge import alignment

    found: np.ndarray = alignment(stack.blocks, x, loss, stack.depth - shortfalls, stack.readout).sin2
    return found


def smooth(change: Change) -> Outcome:
    """Regression in T of |measured/law - 1|."""
    from dlinear.bridge.angles.theorem_d import initial_law

    slopes, finals = [], []
    for activation in SMOOTH:
        errors = []
        for depth in DEPTHS:
            stack, x, loss = case(activation, "smooth", depth, 0)
            law = limits.decay_law(*initial_law(stack, x, change(loss)), SHORTFALLS, depth)
            errors.append(float(np.max(np.abs(measured(stack, x, loss, SHORTFALLS) / law - 1))))
        slopes.append(float(np.polyfit(np.log(DEPTHS), np.log(errors), 1)[0]))
        finals.append(errors[-1])
    good = all(abs(slope + 1) < 0.25 for slope in slopes) and max(finals) < 0.1
    evidence = (
        f"|measured/law - 1| ~ T^({min(slopes):.2f} .. {max(slopes):.2f}), "
        f"at most {max(finals):.1%} at T = {DEPTHS[-1]} ({', '.join(SMOOTH)})"
    )
    method = f"regression in T = {DEPTHS[0]}..{DEPTHS[-1]}"
    return Outcome(Verdict.SUPPORTED if good else Verdict.UNDECIDED, method, evidence)


@cache
def sampled(activation: str) -> list[tuple[limits.DecayConstants, np.ndarray]]:
    """Law and sin^2 of each seed; the claim and its twin differ in what they take of the law."""
    from dlinear.bridge.angles.theorem_d import initial_law

    found = []
    for seed in range(SEEDS):
        stack, x, loss = case(activation, "rough", ROUGH_DEPTH, seed)
        law = initial_law(stack, x, loss, first=int(ROUGH_SHORTFALLS[-1]), seed=seed)
        found.append((law, measured(stack, x, loss, ROUGH_SHORTFALLS)))
    return found


def rough(drift: bool) -> Outcome:
    """Mean over seeds of measured/law at each m, in standard errors from 1."""
    worst = 0.0
    for activation in ("tanh", "relu"):
        ratios = []
        for law, sin2 in sampled(activation):
            pair = (law.quadratic, law.cubic if drift else 0.0)
            ratios.append(sin2 / limits.decay_law(*pair, ROUGH_SHORTFALLS, ROUGH_DEPTH))
        error = np.std(ratios, axis=0, ddof=1) / np.sqrt(SEEDS) + 2 * ROUGH_SHORTFALLS / ROUGH_DEPTH
        worst = max(worst, float(np.max(np.abs(np.mean(ratios, axis=0) - 1) / error)))
    evidence = f"measured/law within {worst:.1f} (standard error + 2m/T) of 1, tanh and relu, m = 1..9"
    method = f"{SEEDS} seeds, T = {ROUGH_DEPTH}"
    return Outcome(Verdict.SUPPORTED if worst < 3.5 else Verdict.UNDECIDED, method, evidence)


def without_curvature(loss: Any) -> Any:
    """The twin's loss: linear in z, with the gradient of the true one at the targets' distance: H = 0."""
    return lambda z: (z * (2 * (z.detach() - loss.target) / z.numel())).sum()


CLAIMS = [
    Claim(
        id="theorem_d_smooth",
        reference="Theorem D",
        form=Form.NEW,
        statement="nonlinear nets, smooth layers: sin^2 ~ Q(b') S_2(m)/||g_T||^2, order 3",
        relation=Relation.ASYMPTOTIC,
        expected=Verdict.SUPPORTED,
        prove=lambda: smooth(lambda loss: loss),
        twin=lambda: smooth(without_curvature),
        twin_statement="without H f",
        function="dlinear.bridge.angles.theorem_d.theorem_d",
        test=f"{TEST}::test_linear_smooth_layers_give_theorem_b",
        figure="bridge_slopes",
    ),
    Claim(
        id="theorem_d_rough",
        reference="Theorem D",
        form=Form.NEW,
        statement="nonlinear nets, i.i.d. layers: E sin^2 ~ [Q(b') S_2(m) + v S_1(m)]/||g_T||^2",
        relation=Relation.ASYMPTOTIC,
        expected=Verdict.SUPPORTED,
        prove=lambda: rough(True),
        twin=lambda: rough(False),
        twin_statement="without the mean of relu",
        function="dlinear.bridge.angles.theorem_d.initial_law",
        test=f"{TEST}::test_linear_rough_layers_give_theorem_c",
        figure="bridge_slopes",
    ),
]
