"""Hidden layers trained without labels before supervised training: LAC's use for classifiers.

    run = pretrain(net, split, Training(epochs=10))       # by "lac"; or by back-propagation, pepita, oja, ...
    train(net, split, method("backprop"), Training(epochs=20))

The hidden blocks of the net (all before its output layer) and a linear decoder, drawn for this, learn to give
their input back: loss |o - x|^2 as a mean over coordinates. The decoder is dropped, the output layer is left
as it is. In the source LAC pre-trains convolutional nets that are then trained on labels as usual (lac.py).

Rules that do not look at the reconstruction ("oja", "activation") train the hidden blocks by their own terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dlinear.bridge.autograd.isolation import isolated
from dlinear.bridge.autograd.modules import modules_among, trainable
from dlinear.bridge.data.split import Split
from dlinear.bridge.methods import Method
from dlinear.bridge.methods import method as method_named
from dlinear.bridge.models.readouts import Shared
from dlinear.bridge.models.stack import Stack
from dlinear.bridge.training import Run, Training, train
from dlinear.checks import as_integer
from dlinear.errors import DomainError, ShapeError
from dlinear.rules.output import sections
from dlinear.runs.records import Folder

__all__ = ["Reconstruction", "autoencoder_of", "pretrain"]

SAMPLES = 2  # on which the size of the last hidden state is seen; batch norm needs two


@dataclass(frozen=True)
class Reconstruction:
    """A split whose targets are its inputs, one row for each sample.

    Attributes:
        x_train, y_train, x_test, y_test: as of a split.
        classes: None.
        digest: of the split, and that this is its reconstruction.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    digest: str
    classes: int | None = None


def autoencoder_of(stack: Stack, x: Tensor, seed: int = 0) -> Stack:
    """The hidden blocks of the stack, themselves, and a new linear decoder from their last state to x.

    Args:
        stack: the net.
        x: two samples or more.
        seed: of the decoder, an integer >= 0.

    Raises:
        DomainError: no hidden block that trains anything, or a seed that is no such integer.
        ShapeError: states that are no tensor of samples.
    """
    as_integer("seed", seed, 0)
    hidden = sections(list(stack.blocks), stack.readout).hidden
    if not trainable(modules_among(hidden)):
        raise DomainError("no hidden block trains anything: there is nothing to pre-train")
    state: Any = x[:SAMPLES]
    with isolated(hidden, state), torch.no_grad():
        for block in hidden:
            state = block(state)
    if not isinstance(state, Tensor) or len(state) != min(SAMPLES, len(x)):
        what = f"shape {tuple(state.shape)}" if isinstance(state, Tensor) else f"a {type(state).__name__}"
        raise ShapeError(f"the last hidden state is {what}; expected one tensor, (samples, ...)")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = nn.Linear(state[0].numel(), x[0].numel())
    decoder.to(x.device, x.dtype)
    blocks = list(stack.blocks)[: len(hidden)]
    return Stack(blocks, Shared(nn.Sequential(nn.Flatten(), decoder)))


def pretrain(
    stack: Stack,
    split: Split,
    training: Training | None = None,
    *,
    method: str | Method = "lac",
    seed: int = 0,
    folder: Folder | None = None,
    identity: Mapping[str, Any] | None = None,
) -> Run:
    """Train the hidden blocks of the stack in place as an autoencoder of the inputs; no label is used.

    Args:
        stack: the net; its output layer is left as it is.
        split: the data.
        training: knobs of the pre-training, `Training()` by default; its loss is "auto", the mean squared
            error.
        method: that trains the autoencoder.
        seed: of the decoder.
        folder, identity: as of `train`.

    Returns:
        Losses are of the reconstruction, accuracies NaN.

    Raises:
        DomainError, ShapeError, RecordError: as `train`; no hidden block that trains anything.
    """
    rule = method_named(method)
    data = Reconstruction(
        split.x_train,
        split.x_train.flatten(1),
        split.x_test,
        split.x_test.flatten(1),
        f"{split.digest} reconstructed",
    )
    knobs = replace(training or Training(), loss="auto")
    known = {"pretraining": seed, **(identity or {})}
    return train(autoencoder_of(stack, split.x_train, seed), data, rule, knobs, folder=folder, identity=known)
