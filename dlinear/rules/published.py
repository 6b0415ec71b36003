"""Published settings of learning rules, and published results: one table of each.

What is verified was read in the source that is named, code or a text that quotes the number. What is not is
recalled from a paper that could not be opened, and is never shown without that word.

Rates are in the convention of this package: every gradient is a mean over the samples. The code of DRTP sums
over the N = 100 samples of a batch in hidden layers and divides by N K in the output layer, at one rate of
1e-4; the same steps are then 1e-4 N (DRTP, sDFA) in hidden layers, where nothing is divided by K, and 1e-4 in
the output layer. `head_rate` says where the two differ.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

__all__ = ["RECIPES", "RESULTS", "WHOLE", "Recipe", "Result", "recipe_of", "result_of"]

RECALLED = "recalled"
PEPITA = "GiorgiaD/PEPITA: README.md, main.py, functions.py"
DRTP = "ChFrenkel/DirectRandomTargetProjection: main.py, train.py"
LOEWE = "loeweX/Forward-Forward: config.yaml, src/utils.py"


@dataclass(frozen=True)
class Recipe:
    """How a rule is trained.

    Attributes:
        depth, width: hidden layers (convolutional models: blocks) and their units or channels.
        activation, bias, dropout, initial: as of the models "layers" and "conv_layers".
        optimizer: "sgd" or "nesterov", both with `momentum`, or "adam".
        rate: learning rate of the hidden layers.
        head_rate: of the output layer; None for the same.
        momentum: of the optimizer.
        weight_decay, head_weight_decay: of hidden layers and the output layer.
        batch: samples of a step.
        epochs: of the publication.
        decay_at: epochs of the publication after which the rate is multiplied by `decay`; in a shorter run
            at the same share of it.
        decay: the factor.
        cooldown: whether the rate falls linearly to 0 over the second half.
        inputs: "unit", pixels in 0..1, or "standard", mean 0 and variance 1 over the training images.
        loss: "cross_entropy" (softmax) or "sigmoid" (binary cross-entropy of each output).
        options: further arguments of the rule, or conventions of forward-forward, by name.
        source: where it stands.
        verified: whether it was read there.
    """

    depth: int = 1
    width: int = 100
    activation: str = "relu"
    bias: bool = True
    dropout: float = 0.0
    initial: str = "he_uniform"
    optimizer: str = "sgd"
    rate: float = 0.1
    head_rate: float | None = None
    momentum: float = 0.9
    weight_decay: float = 0.0
    head_weight_decay: float = 0.0
    batch: int = 50
    epochs: int = 10
    decay_at: tuple[int, ...] = ()
    decay: float = 0.1
    cooldown: bool = False
    inputs: str = "standard"
    loss: str = "cross_entropy"
    options: tuple[tuple[str, float | str], ...] = ()
    source: str = ""
    verified: bool = True

    def text(self) -> str:
        """The values that change numbers, as JSON: part of what identifies a run."""
        values = dataclasses.asdict(self)
        return json.dumps({name: v for name, v in values.items() if name not in ("source", "verified")})

    @staticmethod
    def read(text: str) -> Recipe:
        """The recipe of a `text`."""
        values: dict[str, Any] = json.loads(text)
        values["decay_at"] = tuple(values["decay_at"])
        values["options"] = tuple((name, value) for name, value in values["options"])
        return Recipe(**values)


# One hidden layer of 1024 units, no bias; MNIST's rate. Decay "every 60 epochs", so once in 100.
_PEPITA = Recipe(
    depth=1,
    width=1024,
    bias=False,
    dropout=0.1,
    rate=0.1,
    batch=64,
    epochs=100,
    decay_at=(60,),
    inputs="unit",
    source=PEPITA,
)
# B of FA starts as the weights do, uniform on +-sqrt(6/fan_in): sqrt(6) times this package's law.
_FA = dataclasses.replace(_PEPITA, options=(("scale", 6**0.5),))
# One layer of the example's 1000 units, its loss and its optimizer. The rate of hidden layers: see above.
_DRTP = Recipe(
    depth=1,
    width=1000,
    activation="tanh",
    optimizer="nesterov",
    rate=1e-2,
    head_rate=1e-4,
    batch=100,
    epochs=100,
    inputs="unit",
    loss="sigmoid",
    source=DRTP,
)
_FF = Recipe(
    depth=3,
    width=1000,
    initial="inverse_width",
    rate=1e-3,
    head_rate=1e-2,
    weight_decay=3e-4,
    head_weight_decay=3e-3,
    batch=100,
    epochs=100,
    cooldown=True,
    inputs="unit",
    options=(("peer", 0.03), ("peer_momentum", 0.9)),
    source=LOEWE,
)

RECIPES: dict[str, Recipe] = {
    "backprop": _PEPITA,
    "head-only": _PEPITA,
    "fa": _FA,
    "dfa": _PEPITA,
    "sdfa": _DRTP,
    "drtp": _DRTP,
    "pepita": _PEPITA,
    "pepita-hebbian": _PEPITA,
    "pepita-mirror": _PEPITA,
    "fa-mirror": _PEPITA,
    "ff": _FF,
    "hybrid": _FF,
}
"""By family. Rules without a published setting for plain layers on images are not in it."""


@dataclass(frozen=True)
class Result:
    """A published test accuracy.

    Attributes:
        rule: family.
        data: data set.
        model: "layers" or "conv_layers".
        accuracy: percent.
        source: where it stands.
        verified: whether it was read there; otherwise it is recalled.
        net: the network it belongs to, where that is not the recipe's.
    """

    rule: str
    data: str
    model: str
    accuracy: float
    source: str
    verified: bool
    net: str = ""

    def __str__(self) -> str:
        """The number; never without "recalled" where it is so."""
        return f"{self.accuracy:.2f}" + ("" if self.verified else f" ({RECALLED})")


_DRTP_NET = "1 x 1024, by PEPITA's authors; the settings are DRTP's authors'"


def _pepita_table() -> list[Result]:
    """Table 1 of the ICML paper (one layer of 1024 units), as recalled."""
    source = "Dellaferrera and Kreiman, arXiv 2201.11665"
    columns = ("mnist", "cifar10", "cifar100")
    rows = {
        "backprop": (98.63, 55.27, 27.58),
        "fa": (98.42, 53.82, 24.61),
        "drtp": (95.10, 45.89, 18.32),
        "pepita": (98.01, 52.57, 24.91),
    }
    return [
        Result(rule, data, "layers", value, source, False, _DRTP_NET if rule == "drtp" else "1 x 1024")
        for rule, values in rows.items()
        for data, value in zip(columns, values, strict=True)
    ]


_HINTON = "cybertronai/hinton-problems: RESULTS.md"
_BIOTORCH = "jsalbert/biotorch: README.md"
RESULTS: tuple[Result, ...] = (
    *_pepita_table(),
    Result("ff", "mnist", "layers", 98.55, "loeweX/Forward-Forward: README.md", True, "3 x 1000"),
    Result("hybrid", "mnist", "layers", 98.63, _HINTON, True, "of the paper"),
    Result("backprop", "mnist", "conv_layers", 99.16, _BIOTORCH, True, "LeNet"),
    Result("fa", "mnist", "conv_layers", 98.09, _BIOTORCH, True, "LeNet"),
    Result("dfa", "mnist", "conv_layers", 98.29, _BIOTORCH, True, "LeNet"),
    Result("activation", "mnist", "layers", 98.64, "README of an implementation", True, "two layers"),
)


def recipe_of(rule: str) -> Recipe | None:
    """The published setting of a rule's family; None without one."""
    return RECIPES.get(rule)


def result_of(rule: str, data: str, model: str) -> Result | None:
    """The published accuracy of a rule's family on a data set (parts of it count as it); None without one."""
    whole = data.partition("_")[0]
    return next((r for r in RESULTS if (r.rule, r.data, r.model) == (rule, whole, model)), None)


WHOLE = {"mnist": 60_000, "fashion": 60_000, "cifar10": 50_000, "cifar100": 50_000}
"""Training images of the official sets; a local copy may hold a part."""
