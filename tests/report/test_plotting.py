import re
import sys

import children
import numpy as np
import pytest
from matplotlib.lines import Line2D

from dlinear.analysis import statistics
from dlinear.errors import DomainError, RecordError
from dlinear.report import plotting


def draw():
    with plotting.style():
        figure, axes = plotting.column()
        x = np.arange(1, 9)
        plotting.measured(axes, x, x**2.0, "measured")
        plotting.predicted(axes, x, x**2.0, "predicted")
        plotting.interval(axes, x, x**2.0, x, x**3.0, number=1)
        plotting.verdict(figure, "order 2.00: quadratic")
        plotting.legend(figure, axes)
        return figure


def test_saved_twice_are_the_same_bytes_without_a_date(tmp_path):
    first = plotting.save(draw(), "fig", tmp_path / "a")
    second = plotting.save(draw(), "fig", tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert [path.name for path in first] == ["fig.pdf", "fig.png"]
    assert b"CreationDate" not in first[0].read_bytes()


def test_fonts_are_embedded_truetype_and_the_width_is_one_column(tmp_path):
    pdf, png = plotting.save(draw(), "fig", tmp_path)
    content = pdf.read_bytes()
    assert b"/Type3" not in content
    assert b"/FontFile2" in content
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", content)
    assert float(box.group(1)) == pytest.approx(3.3 * 72)
    assert int.from_bytes(png.read_bytes()[16:20], "big") == 990  # 3.3 inches at 300 dots


def test_prediction_lies_over_the_points_and_the_legend_off_the_data():
    figure = draw()
    points, line = figure.axes[0].lines[:2]
    assert line.get_zorder() > points.get_zorder()
    with plotting.style():
        figure.draw_without_rendering()
    assert not figure.legends[0].get_window_extent().overlaps(figure.axes[0].get_tightbbox())


def test_a_label_of_several_curves_shows_all_their_colours():
    with plotting.style():
        figure, axes = plotting.column()
        for number in range(3):
            plotting.measured(axes, [1, 2], [1, number], f"T = {number}", number)
            plotting.predicted(axes, [1, 2], [1, number], "Theorem C", number)
        plotting.legend(figure, axes)
        figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["T = 0", "Theorem C", "T = 1", "T = 2"]
    lines = [line for line in legend.findobj(Line2D) if line.get_linestyle() == "-"]
    assert [line.get_color() for line in lines] == list(plotting.CYCLE[:3])


def test_a_verdict_is_broken_by_what_is_seen_of_it_and_never_in_a_formula():
    figure, _ = plotting.column()
    assert figure._suptitle is None
    plotting.verdict(figure, "only in the caption")
    assert figure._suptitle is None
    assert figure.get_label() == "only in the caption"
    with plotting.titled():
        titles_are_broken(figure)


def titles_are_broken(figure):
    short = r"Error at most 0.33 $T\epsilon$, as $\frac{1}{2}\|R\|_F^2 \leq \mathrm{e}^{2 c}$ says"
    plotting.verdict(figure, short)
    assert figure._suptitle.get_text() == short
    plotting.verdict(figure, " ".join(["$a + b$"] * 40))
    lines = figure._suptitle.get_text().split("\n")
    assert len(lines) > 2
    assert {line.count("a") for line in lines} <= {8, 7, 6, 5}
    plotting.verdict(figure, "one " * 14)
    assert [line.count("one") for line in figure._suptitle.get_text().split("\n")] == [7, 7]
    assert all(line.count("$") % 2 == 0 and plotting._visible(line) <= plotting.LINE for line in lines)


def test_style_leaves_the_callers_settings():
    import matplotlib

    before = matplotlib.rcParams["font.size"]
    with plotting.style():
        assert matplotlib.rcParams["font.size"] == 8
    assert matplotlib.rcParams["font.size"] == before


def test_save_refuses_and_reports(tmp_path):
    figure = draw()
    for stem in ("", "a/b", "..", "../x"):
        with pytest.raises(DomainError, match="plain file name"):
            plotting.save(figure, stem, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot write"):
        plotting.save(figure, "fig", tmp_path / "file")


@pytest.mark.slow
def test_drawing_never_opens_a_window():
    code = "import sys, dlinear.report.plotting; print('matplotlib.pyplot' in sys.modules)"
    done = children.run([sys.executable, "-c", code], check=True)
    assert done.stdout.strip() == "False"


def test_bars_over_seeds_are_students_intervals_and_quartiles():
    values = np.array([[1.0, 1.0], [2.0, 5.0], [3.0, 0.1], [4.0, 0.1]])
    with plotting.style():
        _, axes = plotting.column()
        plotting.over_seeds(axes, [1, 2], values)
        plotting.quartiles_over_seeds(axes, [1, 2], values)
    first, second = (collection.get_segments() for collection in axes.collections)
    expected = statistics.mean_interval(values[:, 0])
    np.testing.assert_allclose(first[0][:, 1], [expected.low, expected.high])
    wide = statistics.mean_interval(values[:, 1])
    assert wide.low < 0
    np.testing.assert_allclose(first[1][:, 1], [wide.value**2 / wide.high, wide.high])
    np.testing.assert_allclose(second[0][:, 1], [1.75, 3.25])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), values.mean(axis=0))
    np.testing.assert_allclose(axes.lines[1].get_ydata(), np.median(values, axis=0))
