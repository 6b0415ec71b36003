"""Search for a subdivision that proves an inequality over a box (untrusted: leaves are checked again)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlinear.certify.trusted.arithmetic import rational
from dlinear.certify.trusted.balls import Box, Tape, halves, interval, precision, sign_on
from dlinear.certify.trusted.terms import CertificateError, Tree, parse


def subdivide(
    conclusion: str, box: Mapping[str, Sequence[str]], *, bits: int = 64, max_boxes: int = 100_000
) -> str:
    """Pre-order tree for `dlinear.certify.trusted.balls.check_tree`.

    Args:
        conclusion: an inequality.
        box: variable -> (lo, hi), rational strings or integers.
        bits: working precision.
        max_boxes: leaves and splits allowed.

    Raises:
        CertificateError: undecided after `max_boxes`; the message shows a box that resisted.
    """
    relation, left, right = parse(conclusion)
    minus: Tree = ("mul", parse("-1"), left)
    names = sorted(box)
    tape = Tape(("add", right, minus), names)
    start: Box = tuple((rational(box[x][0]), rational(box[x][1])) for x in names)
    stack = [start]
    marks: list[str] = []
    with precision(bits):
        while stack:
            cell = stack.pop()
            if len(marks) >= max_boxes:
                text = ", ".join(
                    f"{x} in [{float(a):.6g}, {float(b):.6g}]" for x, (a, b) in zip(names, cell, strict=True)
                )
                raise CertificateError(f"undecided after {max_boxes} boxes, near {text}")
            if sign_on(tape, cell, relation == "<"):
                marks.append(".")
                continue
            axis = _widest(tape, cell)
            marks.append(str(axis))
            low, high = halves(cell, axis)
            stack += [high, low]
    return "".join(marks)


def _widest(tape: Tape, cell: Box) -> int:
    """Axis along which the expression varies most."""
    slopes = tape.gradient(tape.values([interval(lo, hi) for lo, hi in cell]))
    widths = [hi - lo for lo, hi in cell]
    spans = [
        float(s.abs_upper()) * float(w) if s.is_finite() else float("inf") if w else 0.0
        for s, w in zip(slopes, widths, strict=True)
    ]
    best = max(spans)
    ties = [i for i, span in enumerate(spans) if span == best]
    return max(ties, key=lambda i: widths[i])
