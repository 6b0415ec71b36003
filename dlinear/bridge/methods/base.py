"""What a method is: a way to fill `.grad`, with what it costs and what theory says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from dlinear.bridge.autograd.blocks import Block, LossFunction, Readout
from dlinear.bridge.autograd.ranks import Group
from dlinear.bridge.autograd.step import fill
from dlinear.theory.decay_law import DecayConstants


@dataclass(frozen=True)
class Cost:
    """What one step does, in runs of one block on the whole batch.

    Attributes:
        forwards: runs of a block forward.
        vjps: vector-Jacobian products of a block (each costs about two forwards).
        jvps: Jacobian-vector products that go with a forward (each costs about one to two forwards).
    """

    forwards: int
    vjps: int
    jvps: int = 0


class Predicted(NamedTuple):
    """What theory says a method costs, over back-propagation.

    Attributes:
        memory: blocks that are alive at once over T.
        time: products with a weight matrix over 3 T: one forward, one that passes a signal back and one for
            the gradient of the parameters, in each block.
    """

    memory: float
    time: float


@dataclass(frozen=True)
class Method:
    """A way to fill `.grad`; call it as (blocks, x, loss_fn, readout=None) -> detached terminal loss.

    Attributes:
        name: as `method` reads it: the family, and the number where there is one.
        family: the name without its number.
        number: N of "horizon-N"; None for a name without one.
        description: one line.
        exact: whether the gradient is that of back-propagation (but for batch norm in micro-batches).
        run: what a call runs.
        cost: T -> `Cost` of one step, for blocks that all hold something to train.
        predicted: T -> `Predicted`, memory and time over back-propagation's.
        horizon: h of a plain horizon, which has sentences and a line of its own in comparisons; None for all
            others. h = T is exact.
        whole_batch: whether each block sees the whole batch at once, so that batch norm is the same.
        sin2: (constants of the decay law, T) -> predicted sin^2 of the angle to the true gradient (Theorems
            B to D); None where theory predicts none.
        readout: the kind of readout that it is for ("exits": a head for each state); None for any.
        prepare: (blocks, readout) -> None, before the first step of a run: makes the buffers that a method
            keeps in the model, so that a checkpoint holds them, and brings weights to where it wants them;
            None for a method without any.
        predict: (blocks, x, readout) -> scores (N, K) whose largest is the prediction, for a method whose
            models predict in another way than by readout(x(T), T); None for all others.
        after_step: (blocks, readout) -> None, after every step of the optimizer: changes parameters in place
            (a constraint that the rule keeps). It knows nothing but them, so that a run resumes to the same
            numbers, and parameters stay those that the optimizer knows. None for a method without any.
        takes_rate: whether `run` has an argument `rate`, the learning rate of the step (`at_rate`): the
            trainer gives it where the optimizer is plain SGD.
    """

    name: str
    family: str
    number: int | None
    description: str
    exact: bool
    run: Callable[..., Tensor]
    cost: Callable[[int], Cost]
    predicted: Callable[[int], Predicted]
    horizon: int | None = None
    whole_batch: bool = True
    sin2: Callable[[DecayConstants, int], float] | None = None
    readout: str | None = None
    prepare: Callable[[Any, Any], None] | None = None
    predict: Callable[..., Tensor] | None = None
    after_step: Callable[[Any, Any], None] | None = None
    takes_rate: bool = False

    def __call__(
        self,
        blocks: Iterable[Block],
        x: Any,
        loss_fn: LossFunction,
        readout: Readout | None = None,
        *,
        process_group: Group = None,
        grad_scaler: Any = None,
    ) -> Tensor:
        """Add the gradient to `.grad` of blocks and readout; return the terminal loss, detached.

        Args:
            blocks, x, loss_fn, readout: as for `horizon_backward`.
            process_group: "world" or a group of torch.distributed averages over its processes, "none" does
                not; it has to be said where several run.
            grad_scaler: a torch.amp.GradScaler, whose factor the gradients then have.

        Raises:
            DomainError, ShapeError, HorizonError, DistributedError: see the message.
        """
        return fill(self.run, blocks, x, loss_fn, readout, process_group, grad_scaler)

    def at_rate(self, rate: float) -> Method:
        """The method for a step of this length, if it takes one; else itself."""
        return replace(self, run=partial(self.run, rate=rate)) if self.takes_rate else self


@dataclass(frozen=True)
class Family:
    """Methods of one name that differ by a number: what a file of this package ends with.

    Attributes:
        name: lower-case words joined by hyphens.
        make: number (None for the bare name) -> the method.
        least: the smallest number; None where the family takes none.
        bare: whether the name without a number is a method.
        compared: (T, samples of a batch) -> the numbers that a comparison of all methods runs (None: the
            bare name).
        place: where comparisons and figures list it, in increasing order; ties by name.
        series: the label under which figures draw it; its name by default.
        option: the knob of `sims.bridge_tradeoff` that replaces `compared`, where there is one.
        tried: whether a method of it may refuse a model: a comparison then tries it first, and leaves it out.
        listed: whether the message about an unknown name lists it; the rules of `dlinear.rules` are too many.
    """

    name: str
    make: Callable[[int | None], Method]
    least: int | None = 1
    bare: bool = False
    compared: Callable[[int, int], Sequence[int | None]] = lambda depth, batch: ()
    place: int = 1000
    series: str = ""
    option: str | None = None
    tried: bool = False
    listed: bool = True

    @property
    def label(self) -> str:
        """The label under which figures draw it."""
        return self.series or self.name

    @property
    def names(self) -> list[str]:
        """How its methods are called, N for a number."""
        return [self.name] * self.bare + [f"{self.name}-N"] * (self.least is not None)


def powers_of_two(depth: int) -> list[int]:
    """1, 2, 4, ... below T."""
    return [2**k for k in range(depth.bit_length()) if 2**k < depth]


def only_bare(depth: int, batch: int) -> Sequence[int | None]:
    """The bare name is compared."""
    return (None,)


def named(family: str, number: int | None) -> str:
    """The name of a method."""
    return family if number is None else f"{family}-{number}"


def at_any_depth(value: Predicted, depth: int) -> Predicted:
    """What does not depend on T."""
    return value


def no_angle(law: DecayConstants, depth: int) -> float:
    """sin^2 of an exact method."""
    return 0.0
