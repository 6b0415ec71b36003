"""Errors that name the part of a stack that raised them, and what it was given."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from dlinear.errors import DlinearError, ShapeError

_BEGINNING = "raised by "
# How torch words that shapes or types do not fit together.
_MISMATCH = re.compile(
    r"shape|sizes? of tensor|size mismatch|must match|to match|cannot be multiplied|broadcast|"
    r"dimension|Expected .*[iI]nput|dtype|channels",
)
_NO_STATE = (type(None), bool, int, float, complex, str, bytes, np.ndarray)


def in_words(state: Any) -> str:
    """The shapes of a state's tensors: "a tensor of shape (5, 3)", for example."""
    leaves = pytree.tree_leaves(state)
    shapes = [str(tuple(leaf.shape)) for leaf in leaves if isinstance(leaf, Tensor)]
    if not shapes:
        return f"a {type(state).__name__}"
    if isinstance(state, Tensor):
        return f"a tensor of shape {shapes[0]}"
    return f"a {type(state).__name__} of tensors of shape {', '.join(shapes[:8])}"


@contextlib.contextmanager
def located(name: str, state: Any) -> Iterator[None]:
    """A foreign error raised inside says which part of the stack raised it, and for which input.

    Raises:
        ShapeError: torch said that shapes or types do not fit together, or the state holds no tensor. Other
            errors get a note.
    """
    try:
        yield
    except Exception as error:
        said_of(error, name, state)
        raise


def said_of(error: Exception, name: str, state: Any) -> None:
    """What `located` does about an error: raise another, or add a note to it; the caller raises it then.

    Raises:
        ShapeError: as `located`.
    """
    if isinstance(error, DlinearError | torch.OutOfMemoryError):
        return
    text = " ".join(str(error).split())
    if isinstance(state, _NO_STATE):
        raise ShapeError(
            f"{name} is given a {type(state).__name__} by what is before it; expected a tensor, or a "
            "tuple, list or dict of tensors"
        ) from error
    if type(error) in (RuntimeError, ValueError, IndexError) and _MISMATCH.search(text):
        raise ShapeError(f"{name} does not take {in_words(state)}: {text[:160]}") from error
    notes = getattr(error, "__notes__", ())
    if not any(note.startswith(_BEGINNING) for note in notes):  # an inner part has said it
        error.add_note(f"{_BEGINNING}{name}, which was given {in_words(state)}")
