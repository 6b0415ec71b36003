"""What a step and a prediction of a rule cost, measured while nothing else runs.

Step times are medians of rounds in which the rule and back-propagation take turns; on a processor they are
processor time, which other work on the machine does not enter. Throughput, cores, memory
of the process and energy are those of many steps (optimizer included) and of many predictions, apart. A
prediction is the rule's own: forward-forward's runs the net once for each label; that by its head, one run,
is measured beside it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlinear.analysis.comparison import REFERENCE
from dlinear.bridge import meters
from dlinear.bridge.data.losses import Supervised
from dlinear.bridge.meters import Throughput, process
from dlinear.bridge.methods.base import Method
from dlinear.bridge.models.stack import Stack
from dlinear.rules.compared.choice import after_step, head_prediction, rule_of
from dlinear.rules.compared.training import optimizer_of
from dlinear.rules.published import Recipe

__all__ = ["costs"]

ON_A_CARD = 1.2 * meters.system.SHORTEST  # seconds at least, for its counters


def costs(
    rule: Method,
    stack: Stack,
    x: Tensor,
    loss_fn: Supervised,
    recipe: Recipe,
    rounds: int,
    seconds: float,
) -> dict[str, float]:
    """Numbers by name; NaN is "not measurable here".

    Args:
        rule: as `choice.rule_of` gives it.
        stack: the model, on its device; it is trained a little.
        x, loss_fn: a batch, and its loss.
        recipe: of the optimizer.
        rounds: of interleaved timing.
        seconds: of steps, and of predictions, at least `ON_A_CARD` there.

    Raises:
        MeterError, DomainError: what cannot be measured, or is refused.
    """
    if rule.prepare is not None:
        rule.prepare(stack.blocks, stack.readout)
    given = (stack.blocks, x, loss_fn, stack.readout)
    memory, calls = meters.step_memory(rule, *given), meters.step_calls(rule, *given)
    reference = meters.step_memory(rule_of(REFERENCE), *given)
    steps = {
        REFERENCE: _step(rule_of(REFERENCE), stack, x, loss_fn),
        rule.name: _step(rule, stack, x, loss_fn),
    }
    clock = time.perf_counter if x.device.type == "cuda" else time.process_time
    took = meters.step_times(steps, rounds, reference=REFERENCE, clock=clock)[rule.name]
    stack.zero_grad(set_to_none=True)
    found = {
        "load": process.load(),
        "activations": float(memory.activations),
        "reference_activations": float(reference.activations),
        "forwards": float(sum(calls.forwards)),
        "vjps": float(sum(calls.vjps)),
        "step_seconds": took.median,
        "ratio": took.ratio,
        "ratio_low": took.ratio_quartiles[0],
        "ratio_high": took.ratio_quartiles[1],
    }
    device = str(x.device)
    seconds = max(seconds, ON_A_CARD) if x.device.type == "cuda" else seconds
    optimizer = optimizer_of(stack, recipe)
    training = meters.throughput(
        partial(_trained_step, rule, stack, x, loss_fn, optimizer), len(x), seconds, device
    )
    found |= _of("train", training)
    for part, predict in (("infer", rule.predict), ("head", head_prediction(rule))):
        if part == "infer" or predict is not None:
            run = _prediction(predict, stack, x)
            found |= _of(part, meters.throughput(run, len(x), seconds, device))
        else:
            found |= dict.fromkeys(_of(part, training), math.nan)
    return found


def _step(rule: Method, stack: Stack, x: Tensor, loss_fn: Supervised) -> Callable[[], None]:
    """One step without the optimizer, from nothing."""

    def step() -> None:
        stack.zero_grad(set_to_none=True)
        rule(stack.blocks, x, loss_fn, stack.readout)

    return step


def _trained_step(
    rule: Method, stack: Stack, x: Tensor, loss_fn: Supervised, optimizer: torch.optim.Optimizer
) -> None:
    """One step of training, the optimizer's included, of a rate so small that nothing diverges."""
    for group in optimizer.param_groups:
        group["lr"] = 1e-9
    _step(rule, stack, x, loss_fn)()
    optimizer.step()
    after_step(rule, stack)


def _prediction(predict: Callable[..., Tensor] | None, stack: Stack, x: Tensor) -> Callable[[], Any]:
    """One prediction, in evaluation mode from the first call on."""

    def run() -> Any:
        stack.eval()
        with torch.no_grad():
            return stack(x) if predict is None else predict(stack.blocks, x, stack.readout)

    return run


def _of(part: str, found: Throughput) -> dict[str, float]:
    """Numbers of one part; energies for a million samples."""
    use, million = found.use, 1e6
    return {
        f"{part}_per_second": found.samples_per_second,
        f"{part}_cores": use.cores_busy,
        f"{part}_utilisation": use.utilisation,
        f"{part}_peak_memory": _number(use.peak_memory),
        f"{part}_cpu_joules": million * _number(found.per_sample(use.cpu_joules)),
        f"{part}_gpu_joules": million * _number(found.per_sample(use.gpu_joules)),
        f"{part}_gpu_watts": _number(use.gpu_watts),
        f"{part}_gpu_utilisation": _number(use.gpu_utilisation),
        f"{part}_gpu_share": _number(None if use.gpu_seconds is None else use.gpu_seconds / use.wall),
        f"{part}_gpu_memory": _number(use.gpu_memory),
    }


def _number(value: float | None) -> float:
    """NaN for None."""
    return math.nan if value is None else float(value)
