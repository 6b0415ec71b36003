"""Labels inside the input, and wrong ones: what forward-forward learns from.

    pixels    the code of the label replaces the first K inputs of a vector, and the first K pixels of each
              channel of an image (its first row, where that is long enough)
    planes    the code is appended: K more inputs of a vector, K more constant channels of an image

The code is `on` at the label and 0 elsewhere; the neutral one is on/K everywhere. Positives carry the true
label, negatives a wrong one: a label drawn from all K would be right in 1/K of the cases, and the layers
would be told both things of the same sample.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dlinear.errors import DomainError, ShapeError

__all__ = ["OVERLAYS", "hard_labels", "overlaid", "wrong_labels"]

OVERLAYS = ("pixels", "planes")


def overlaid(
    x: Tensor, labels: Tensor | None, classes: int, overlay: str = "pixels", on: float = 1.0
) -> Tensor:
    """x with a label in it, in memory of its own.

    Args:
        x: samples, (N, ...).
        labels: (N,), 0..classes-1; None for the neutral code.
        classes: K.
        overlay: one of `OVERLAYS`.
        on: value of the label's input.

    Raises:
        ShapeError: fewer inputs than classes, with "pixels".
    """
    if labels is None:
        code = x.new_full((len(x), classes), on / classes)
    else:
        code = (labels[:, None] == torch.arange(classes, device=labels.device)).to(x.dtype) * on
    if overlay == "planes":
        planes = code.reshape(*code.shape, *[1] * (x.ndim - 2)).expand(*code.shape, *x.shape[2:])
        return torch.cat([x, planes], 1)
    out = x.detach().clone(memory_format=torch.contiguous_format)
    flat = out.view(len(x), -1) if x.ndim < 4 else out.view(len(x), x.shape[1], -1)
    if flat.shape[-1] < classes:
        raise ShapeError(
            f"x has {flat.shape[-1]} inputs; ff writes a label of {classes} classes over the first {classes} "
            "(or appends it: overlay 'planes')"
        )
    flat[..., :classes] = code if x.ndim < 4 else code[:, None]
    return out


def wrong_labels(labels: Tensor, classes: int) -> Tensor:
    """A label for each sample, (N,), uniform on those that are not its own; from torch's generator.

    Raises:
        DomainError: one class has no wrong label.
    """
    if classes < 2:
        raise DomainError(f"{classes} class has no wrong label; ff takes 2 classes or more")
    step = (torch.rand(labels.shape, device=labels.device) * (classes - 1)).long().clamp(max=classes - 2)
    return (labels + 1 + step) % classes


def hard_labels(labels: Tensor, scores: Tensor) -> Tensor:
    """A wrong label for each sample, drawn with probabilities proportional to exp(scores), (N, K).

    Raises:
        DomainError: one class has no wrong label.
    """
    if scores.shape[1] < 2:
        raise DomainError(f"{scores.shape[1]} class has no wrong label; ff takes 2 classes or more")
    with torch.no_grad():
        known = scores.float()
        noise = torch.rand_like(known).log().neg().log().neg()  # Gumbel's law
        keys = known.log_softmax(1) + noise  # the largest key is a draw from the softmax
        return keys.scatter(1, labels.long()[:, None], -torch.inf).argmax(1)
