"""Figures for one column of a paper; the only importer of matplotlib.

3.3 inches wide, 8 point, TrueType fonts embedded, the Okabe-Ito palette (safe for colour-blind readers),
no dates inside the files. The convention of every figure: measured values are points, a prediction is a
line drawn over them, the legend is below the axes, outside the data; the verdict in words is the caption, a
text file beside the figure.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import textwrap
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dlinear.analysis import statistics
from dlinear.errors import DomainError
from dlinear.optional import needed
from dlinear.storage import replacing, write_text

with needed("a figure"):
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.legend_handler import HandlerTuple

WIDTH = 3.3  # inches: one column
HEIGHT = 2.7
LINE = 54  # visible characters of a verdict that fit the column
SHORT = 50  # characters of the options of a run that is not the default one
COLOURS = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "red": "#D55E00",
    "purple": "#CC79A7",
}
CYCLE = tuple(COLOURS[name] for name in ("blue", "red", "green", "purple", "orange", "sky"))
MARKERS = ("o", "s", "^", "D", "v", "P")
STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 7.5,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.2,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
}

_TITLES: ContextVar[bool] = ContextVar("titles", default=False)


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The column style inside a `with` block; the caller's settings come back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        yield


@contextlib.contextmanager
def titled() -> Iterator[None]:
    """Inside a `with` block verdicts stand above the axes; otherwise in the file of the caption alone."""
    token = _TITLES.set(True)
    try:
        yield
    finally:
        _TITLES.reset(token)


def column(rows: int = 1, columns: int = 1, height: float = HEIGHT) -> tuple[Figure, Any]:
    """A one-column figure and its axes (one, or an array as `Figure.subplots` gives); use inside `style`."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns)


def parts(*heights: float) -> tuple[Figure, Any]:
    """A one-column figure of parts of these heights (inches), top to bottom, each with axes of its own."""
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subfigures(len(heights), 1, height_ratios=heights)


def measured(axes: Axes, x: ArrayLike, y: ArrayLike, label: str | None = None, number: int = 0) -> None:
    """Measured values as open points, in colour and marker `number` of the palette."""
    colour, marker = CYCLE[number % len(CYCLE)], MARKERS[(number + number // len(CYCLE)) % len(MARKERS)]
    axes.plot(x, y, marker, color=colour, markerfacecolor="white", markeredgewidth=0.8, label=label, zorder=2)


def predicted(axes: Axes, x: ArrayLike, y: ArrayLike, label: str | None = None, number: int = 0) -> None:
    """A prediction as a line over the points, in colour `number` of the palette."""
    axes.plot(x, y, "-", color=CYCLE[number % len(CYCLE)], label=label, zorder=3)


def interval(
    axes: Axes,
    x: ArrayLike,
    y: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    label: str | None = None,
    number: int = 0,
) -> None:
    """Measured points with bars from `low` to `high` behind them."""
    axes.vlines(x, low, high, color=CYCLE[number % len(CYCLE)], linewidth=0.7, zorder=1)
    measured(axes, x, y, label, number)


def over_seeds(
    axes: Axes, x: ArrayLike, values: ArrayLike, label: str | None = None, number: int = 0
) -> None:
    """Means over seeds with their 95 % intervals by Student's t; on a logarithmic axis bars end at the axis.

    Args:
        axes, label, number: as `interval`.
        x: (k,).
        values: (seeds, k).
    """
    ends = [statistics.mean_interval(column) for column in np.transpose(np.asarray(values))]
    mean, low, high = np.transpose([tuple(one) for one in ends])
    interval(axes, x, mean, np.where(low > 0, low, np.minimum(mean, mean**2 / high)), high, label, number)


def quartiles_over_seeds(
    axes: Axes, x: ArrayLike, values: ArrayLike, label: str | None = None, number: int = 0
) -> None:
    """Medians over seeds with bars from the lower to the upper quartile; arguments as `over_seeds`."""
    low, middle, high = np.quantile(np.asarray(values), (0.25, 0.5, 0.75), axis=0)
    interval(axes, x, middle, low, high, label, number)


def verdict(figure: Figure, text: str, changed: str = "") -> None:
    """The conclusion in words: the caption; inside `titled` above the axes too, on lines of about one length.

    Args:
        figure: that it is about.
        text: the conclusion.
        changed: the options of the run that it was drawn from, where that is not the default one; shown too.
    """
    if changed:
        text = f"{text} [not the default run: {textwrap.shorten(changed, SHORT, placeholder=' ...')}]"
    figure.set_label(text)
    if not _TITLES.get():
        return
    count = len(_lines(text, LINE))
    lines = next(lines for width in range(LINE + 1) if len(lines := _lines(text, width)) <= count)
    figure.suptitle("\n".join(lines), fontsize=7.5, x=0.02, ha="left")


def _lines(text: str, width: int) -> list[str]:
    """The text on lines of at most so many visible characters (or one word); a formula is not broken."""
    lines = [""]
    for word in re.findall(r"(?:\$[^$]*\$|[^ $])+", text):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _visible(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _visible(text: str) -> int:
    """Characters of a text that are seen, about: a command of TeX is one, its signs are none."""
    return len(re.sub(r"[${}^_]", "", re.sub(r"\\[A-Za-z]+|\\.", "x", text)))


def depth_label(depth: int) -> str:
    """A depth for a legend: "$T=10^{5}$", "$T=3\\times10^{4}$" or "$T=300$"."""
    digits = str(depth).rstrip("0")
    power = len(str(depth)) - len(digits)
    if power < 4 or len(digits) > 1:
        return f"$T={depth}$"
    return f"$T=10^{power}$" if digits == "1" else f"$T={digits}\\times10^{power}$"


def legend(figure: Figure, axes: Axes, columns: int = 2) -> None:
    """One legend below the axes, where no data are; a label of several curves shows the colour of each."""
    named: dict[str, list[Any]] = {}  # each label once
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
        named.setdefault(label, []).append(handle)
    handles: list[Any] = [some[0] if len(some) == 1 else tuple(some) for some in named.values()]
    side_by_side = {tuple: HandlerTuple(ndivide=None, pad=0.0)}
    figure.legend(handles, list(named), loc="outside lower center", ncols=columns, handler_map=side_by_side)


def save(figure: Figure, stem: str, folder: str | os.PathLike[str] = "figures") -> tuple[Path, Path]:
    """Write folder/stem.pdf, .png and .txt (the caption), each whole or not at all, the same bytes each time.

    Raises:
        DomainError: a stem that is not a plain file name.
        RecordError: a failed write.
    """
    if not stem or Path(stem).name != stem or stem.startswith("."):
        raise DomainError(f"stem must be a plain file name, not {stem!r}")
    paths = []
    for suffix, nameless in (("pdf", {"CreationDate": None, "Producer": None}), ("png", {"Software": None})):
        content = io.BytesIO()
        with style():  # the fonts' type is decided now
            figure.savefig(content, format=suffix, metadata=nameless)
        path = Path(folder) / f"{stem}.{suffix}"
        with replacing(path) as stream:
            stream.write(content.getvalue())
        paths.append(path)
    write_text(Path(folder) / f"{stem}.txt", f"{figure.get_label()}\n")
    return paths[0], paths[1]
