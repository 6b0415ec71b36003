"""From the knobs of a script to the courses of its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from dlinear.bridge.paper import course as courses
from dlinear.bridge.paper.course import Course
from dlinear.bridge.paper.settings import FULL_SIZE, Size, method_of, numbers
from dlinear.data import datasets
from dlinear.errors import DomainError
from dlinear.runs.knobs import Constraint, Source, at_least, check
from dlinear.runs.launch import Launch


@dataclass(frozen=True)
class PaperRun(Source, Launch):
    """The knobs that the paper's experiments share; None takes the size of the model."""

    images: str | None = None  # image data in the place of the paper's; None: digits, with --full the paper's
    seeds: int = 3  # runs of each method; three give an interval, if a long one
    epochs: int | None = None  # passes through the training set
    samples: int | None = None  # size of the training set
    blocks: int | None = None  # blocks of a network of vectors, or of each stage; None: the model's own
    units: int | None = None  # width of a layer, or channels of the first stage; None: the model's own
    full: bool = False  # Table D2: all samples and epochs, the paper's data and models (a GPU)


def check_run(knobs: PaperRun) -> None:
    """Check the shared knobs.

    Raises:
        DomainError: a value that makes no sense.
    """
    counts = ("seeds", "epochs", "samples", "blocks", "units")
    given = [name for name in counts if getattr(knobs, name) is not None]
    known = Constraint(lambda name: name in datasets.NAMES, f"one of {', '.join(datasets.NAMES)}")
    named = {} if knobs.images is None else {"images": known}
    check(knobs, **dict.fromkeys(given, at_least(1)), **named)


def settled(knobs: PaperRun, name: str, size: Size) -> Course:
    """The course of a model by back-propagation with seed 0; others differ in method and seed alone.

    Raises:
        DataError: data that are not there.
        DomainError, ShapeError: knobs that do not suit the model.
    """
    name = FULL_SIZE.get(name, name) if knobs.full else name
    size = replace(Size(), probed=size.probed) if knobs.full else size
    own = numbers(size, name, knobs)
    draft = Course(
        model=name,
        digest="",
        depth=0,
        method="backprop",
        seed=0,
        blocks=knobs.blocks,
        width=knobs.units,
        checkpoint=getattr(knobs, "checkpoint", None) if name in FULL_SIZE.values() else None,
        **own,
    )
    split = courses.split_for(draft, knobs.data_folder, knobs.download)
    return replace(draft, digest=split.digest, depth=courses.build(draft, split).depth)


def family(first: Course, horizons: Sequence[int], seeds: int) -> list[Course]:
    """The courses of a model at all horizons and seeds; back-propagation, h = T, is always among them.

    Raises:
        DomainError: a horizon that is not in 1..T.
    """
    for h in horizons:
        if not 1 <= h <= first.depth:
            raise DomainError(f"--horizons holds {h}; {first.model} has T = {first.depth} blocks")
    return [
        replace(first, method=method_of(h, first.depth), seed=seed)
        for seed in range(seeds)
        for h in sorted({*horizons, first.depth})
    ]


def every(
    knobs: PaperRun,
    models: Sequence[str],
    sizes: Mapping[str, Size],
    horizons: Callable[[int], Sequence[int]],
) -> list[Course]:
    """The courses of all models; `horizons` gives those of a depth."""
    found = [settled(knobs, name, sizes[name]) for name in models]
    return [one for first in found for one in family(first, horizons(first.depth), knobs.seeds)]


__all__ = ["PaperRun", "check_run", "every", "family", "settled"]
