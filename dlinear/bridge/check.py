"""One look at a model of your own: how good short horizons are, what each method costs, what serves best.

    found = dlinear.bridge.check_model(model.blocks, x, loss_fn, model.readout)
    print(found)
    found.plot().savefig("model.png")

Angles are those of one batch, at the weights that the model has now. They get worse as a model is trained
(docs/bridge.md): look again later in training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from dlinear.bridge import meters
from dlinear.bridge.angles.alignment import alignment
from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout, checked_stack
from dlinear.bridge.autograd.isolation import isolated
from dlinear.bridge.autograd.modules import modules_among, trainable
from dlinear.bridge.autograd.ranks import LOCAL, Group
from dlinear.bridge.autograd.ranks import process_group as said
from dlinear.bridge.methods.base import powers_of_two
from dlinear.bridge.methods.registry import method
from dlinear.bridge.tradeoff.advice import Offer, best, megabytes
from dlinear.checks import as_horizons, as_integer, as_number
from dlinear.engine.angle import AlignmentProfile
from dlinear.errors import DlinearError, DomainError
from dlinear.report.verdicts import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ModelCheck", "check_model"]

HEADER = ("method", "memory", "/ backprop", "time / backprop", "cos", "cos^2 / time")
RIVALS = ("checkpoint", "revolve-4")  # exact methods that a user would pick instead


@dataclass(frozen=True)
class ModelCheck:
    """What `check_model` found.

    Attributes:
        depth: T.
        profile: the angles of the plain horizons.
        offers: each method as it was measured, back-propagation first; memory in bytes of activations, time
            over back-propagation's, rate cos^2.
        refused: method -> why it does not take this model.
        share: of back-propagation's memory that is to suffice.
        serves_best: the method of most progress, cos^2 over time, within that memory; "" if none fits. By
            the paper's heuristic of eq. (14): a gradient at the angle theta is worth cos^2 of one step.
        verdict: the same in a sentence.
    """

    depth: int
    profile: AlignmentProfile
    offers: tuple[Offer, ...]
    refused: dict[str, str]
    share: float
    serves_best: str
    verdict: str

    def rows(self) -> list[list[str]]:
        """Lines of the table with HEADER."""
        whole = self.offers[0].memory
        return [
            [
                one.method,
                megabytes(one.memory),
                f"{one.memory / whole:.2f}" if whole else "-",
                f"{one.time:.2f}",
                f"{math.sqrt(one.rate):.4f}" if math.isfinite(one.rate) else "undefined",
                f"{one.progress:.2f}",
            ]
            for one in self.offers
        ]

    def __str__(self) -> str:
        left_out = [f"{name} does not take this model: {why}" for name, why in self.refused.items()]
        return "\n".join([table(HEADER, self.rows()), *(line[:100] for line in left_out), self.verdict])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table for a notebook."""
        lines = [[*(f"<th>{escape(name)}</th>" for name in HEADER)]]
        lines += [[f"<td>{escape(cell)}</td>" for cell in row] for row in self.rows()]
        body = "".join(f"<tr>{''.join(line)}</tr>" for line in lines)
        return f"<table>{body}</table><p>{escape(self.verdict)}</p>"

    def plot(self) -> Figure:
        """cos over the horizon, and progress over memory: a matplotlib figure one column wide."""
        from dlinear.report import plotting

        with plotting.style():
            figure, (above, below) = plotting.column(2, 1, height=4.2)
            plotting.measured(above, self.profile.horizons, self.profile.cos)
            above.set(xlabel="horizon $h$", ylabel=r"$\cos\theta_h$", xscale="log")
            whole = self.offers[0].memory or 1.0
            families = dict.fromkeys(one.family for one in self.offers)
            for number, family in enumerate(families):
                some = [one for one in self.offers if one.family == family]
                x, y = [one.memory / whole for one in some], [one.progress for one in some]
                plotting.measured(below, x, y, family, number)
            below.axvline(self.share, color="black", linewidth=0.6, linestyle=":")
            below.set(xlabel="activations / back-propagation's", ylabel=r"$\cos^2\theta$ / time")
            plotting.legend(figure, below, columns=3)
            plotting.verdict(figure, self.verdict)
        return figure


def check_model(
    blocks: Iterable[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None = None,
    *,
    horizons: object = None,
    share: float = 0.5,
    rounds: int = 3,
    process_group: Group = None,
) -> ModelCheck:
    """Angles, memory and time of a few horizons and of what a user would pick instead, in one call.

    Nothing is changed: gradients, buffers and random states are those of before. It takes about as long as
    (4 + 2 x `rounds`) steps of each method.

    Args:
        blocks, x, loss_fn, readout: as for `horizon_backward`.
        horizons: integers in 1..T - 1; 1, 2, 4, ... by default.
        share: of back-propagation's activations that is to suffice, in (0, 1].
        rounds: in which each method is timed once.
        process_group: where several processes of torch.distributed run, "none", as for `alignment`.

    Raises:
        UndefinedAngleError, HorizonError, ShapeError, DomainError, MeterError: see the message.
    """
    stack = checked_stack(blocks, x, loss_fn, readout)
    depth, share, rounds = len(stack), as_number("share", share), as_integer("rounds", rounds)
    if depth < 2:
        raise DomainError("the stack has one block: every horizon is back-propagation")
    if not 0 < share <= 1:
        raise DomainError(f"share = {share:g}: allowed is a number in (0, 1]")
    asked = as_horizons(powers_of_two(depth) if horizons is None else horizons, depth - 1)
    own = sorted({int(h) for h in asked})
    angles = partial(
        alignment, stack, x, loss_fn, readout=readout, undefined="nan", process_group=process_group
    )
    profile, refused = angles(own), dict[str, str]()
    rates = {"backprop": 1.0}
    try:
        rates[f"anchored-{own[0]}"] = _square(angles([own[0]], anchored=True).cos[0])
    except DlinearError as error:
        refused[f"anchored-{own[0]}"] = str(error)
    rates |= {f"horizon-{h}": _square(cos) for h, cos in zip(own, profile.cos, strict=True)}
    rates |= dict.fromkeys(RIVALS, 1.0)
    with said(LOCAL):  # `alignment` has asked
        offers = _measured(rates, refused, stack, x, loss_fn, readout, rounds)
    chosen = best([one for one in offers if one.memory <= share * offers[0].memory])
    name = chosen.method if chosen else ""
    return ModelCheck(depth, profile, tuple(offers), refused, share, name, _verdict(chosen, share))


def _square(cos: float) -> float:
    """r = cos^2, 0 for a gradient that points uphill, NaN where it vanishes."""
    return float(cos) ** 2 if not cos < 0 else 0.0


def _measured(
    rates: dict[str, float],
    refused: dict[str, str],
    stack: list[Block],
    x: Any,
    loss_fn: LossFunction,
    readout: Readout | None,
    rounds: int,
) -> list[Offer]:
    """The methods that take the model, measured; why others do not goes to `refused`."""
    memory = dict[str, int]()
    for name in rates:
        try:
            memory[name] = meters.step_memory(method(name), stack, x, loss_fn, readout).activations
        except DlinearError as error:
            if name == "backprop":
                raise
            refused[name] = str(error)
    trained = trainable(modules_among((*stack, readout, loss_fn)))

    def step(name: str) -> None:
        for parameter in trained:
            parameter.grad = None
        method(name)(stack, x, loss_fn, readout)

    with isolated((*stack, readout, loss_fn), x):
        steps: dict[str, Callable[[], None]] = {name: partial(step, name) for name in memory}
        times = meters.step_times(steps, rounds)
    families = {name: method(name).family for name in memory}
    return [Offer(one, families[one], memory[one], times[one].ratio, rates[one]) for one in memory]


def _verdict(chosen: Offer | None, share: float) -> str:
    """What serves best within the share of memory."""
    within = f"within {share:.0%} of back-propagation's activations"
    if chosen is None:
        return f"nothing fits {within}: give a larger share"
    if chosen.progress <= 0:
        return f"nothing makes progress {within}: every gradient that fits points away or vanishes"
    angle = "" if chosen.rate == 1 else f", at cos = {math.sqrt(chosen.rate):.3f}"
    return (
        f"{chosen.method} serves best {within}: progress {chosen.progress:.2f} of back-propagation's{angle}"
    )
