"""Forward-forward below, back-propagation above: `hybrid-K`.

    blocks 1..K     each layer learns alone by forward-forward (forward_forward.py)
    all above       on the normalised activities of block K for the neutral label, the gradient of the loss by
                    back-propagation, which ends there

With K the number of blocks before the output layer it is `ff`. It predicts by the blocks above, in one pass:
those below have a goodness too, but what is trained on the loss is not in it.

Sources: Hinton, arXiv 2212.13345, and ksanu1998/ff, which put a back-propagated net on layers of
forward-forward; the split is a knob here."""

from __future__ import annotations

from dlinear.bridge.methods.base import Family, Method
from dlinear.rules.ff.network import Knobs
from dlinear.rules.forward_forward import forward_forward

__all__ = ["hybrid"]


def hybrid(below: int, knobs: Knobs | None = None, name: str = "") -> Method:
    """The method with the first `below` blocks by forward-forward, predicted by the rest.

    Args:
        below: K, at least 1.
        knobs: conventions of forward-forward.
        name: by which checkpoints know it; made of the knobs when empty.
    """
    words = f"forward-forward in the first {below} blocks, back-propagation above"
    return forward_forward(knobs or Knobs(), "head", below, name, words)


def _made(number: int | None) -> Method:
    """The method of a name."""
    assert number is not None
    return hybrid(number, name=f"hybrid-{number}")


FAMILIES = (Family("hybrid", _made, least=1, place=89, listed=False),)
