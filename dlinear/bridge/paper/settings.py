"""Models, data and sizes of the paper's experiments: what a default run reduces, and Table D2.

The paper starts ResNet-50 and ViT-B/16 from weights trained elsewhere, or does not say. There are none
without a network: the ResNet starts at random, the base of the small ViT is trained by back-propagation on
one half of the classes, and its factors and head then learn the other half (`course.halves`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlinear.bridge.training.settings import Setting, setting
from dlinear.checks import as_known

TABLE = {  # model -> column of Table D2
    "linear": "linear",
    "mlp": "mlp",
    "resnet62": "resnet",
    "small_resnet50": "full",
    "resnet50": "full",
    "small_vit": "finetune",
    "vit": "finetune",
}
TITLES = {
    "linear": "linear residual net",
    "mlp": "residual MLP",
    "resnet62": "ResNet-62",
    "small_resnet50": "small ResNet-50",
    "resnet50": "ResNet-50",
    "small_vit": "small ViT, LoRA",
    "vit": "ViT-B/16, LoRA",
}
FULL_SIZE = {"small_resnet50": "resnet50", "small_vit": "vit"}  # with --full
BASE = ("small_vit",)  # models whose base is trained first


@dataclass(frozen=True)
class Size:
    """What a run takes in the place of Table D2's numbers; None leaves those.

    Attributes:
        data: name of the data set; None takes the paper's.
        epochs, samples, test_samples, learning_rate: of training.
        base_epochs: of the base, by back-propagation.
        probed: samples on which angles are measured.
    """

    data: str | None = None
    epochs: int | None = None
    samples: int | None = None
    test_samples: int | None = None
    learning_rate: float | None = None
    base_epochs: int = 0
    probed: int = 0


def column(name: str) -> Setting:
    """The column of Table D2 of a model.

    Raises:
        DomainError: no such model.
    """
    return setting(TABLE[as_known("model", name, tuple(TABLE))])


def title(name: str) -> str:
    """A model's name in words."""
    return TITLES[name]


def horizon_of(method: str, depth: int) -> int:
    """h of a method of the family, T for back-propagation."""
    return depth if method == "backprop" else int(method.rpartition("-")[2])


def method_of(horizon: int, depth: int) -> str:
    """The name of the method with that horizon."""
    return "backprop" if horizon == depth else f"horizon-{horizon}"


def numbers(size: Size, name: str, knobs: Any) -> dict[str, Any]:
    """The fields of a course that a size, Table D2 and the knobs `epochs`, `samples`, `data` settle."""
    table = column(name)
    found = {
        "data": getattr(knobs, "images", None) if table.data.startswith("cifar") else None,
        "epochs": knobs.epochs,
        "samples": knobs.samples,
    }
    paper = {
        "data": table.data,
        "epochs": table.training.epochs,
        "samples": table.training.samples,
        "learning_rate": table.training.learning_rate,
    }
    for key, value in paper.items():
        chosen = found.get(key), getattr(size, key), value
        found[key] = next(one for one in chosen if one is not None)
    return found | {
        "test_samples": size.test_samples,
        "batch_size": table.training.batch_size,
        "optimizer": table.training.optimizer,
        "base_epochs": size.base_epochs,
        "probed": size.probed,
    }


def thirds(depth: int, parts: Sequence[float] = (0, 1 / 3, 2 / 3, 1)) -> list[int]:
    """Horizons from 1 to T at these parts of T, each once."""
    return sorted({max(1, round(part * depth)) for part in parts})
