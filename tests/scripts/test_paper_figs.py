"""Every figure from toy records: drawn, readable, the same bytes; missing records name the command."""

import importlib
import itertools
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tyro
from paths import ROOT
from toys import toy_run

from dlinear.report import plotting
from dlinear.runs import collection, command_line, script
from dlinear.runs.knobs import changed

FIGURES = sorted(path.stem for path in (ROOT / "paper_figs").glob("*.py") if not path.stem.startswith("_"))
MAPS = ("bridge_selection", "k_map")
PAPER = ("paper_angles", "paper_losses", "paper_memory", "paper_tuning")


def needed(name):
    """The simulation whose records a figure needs, or None."""
    command = importlib.import_module(f"paper_figs.{name}").NEEDS
    return re.fullmatch(r"python -m sims\.(\w+)", command)[1] if command else None


class Toys:
    """Results folders made of the shared toy runs, as they are asked for."""

    def __init__(self, base, folder):
        self.base, self.folder = base, folder

    def of(self, *names):
        """The results folder of the records that these figures need, and of no others."""
        sims = sorted({needed(name) for name in names} - {None})
        place = self.folder / "+".join(["toys", *sims])
        place.mkdir(exist_ok=True)
        for sim in sims:
            if not (place / sim).exists():
                (place / sim).symlink_to(toy_run(sim, self.base).folder / sim)
        return str(place)


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return Toys(tmp_path_factory.getbasetemp(), tmp_path_factory.mktemp("results"))


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


@pytest.fixture(scope="module")
def drawn(toys, tmp_path_factory):
    """name -> the folder of the files, and the figure object itself; each is drawn once."""
    folder, figures, save = tmp_path_factory.mktemp("figures"), {}, plotting.save

    def keep(figure, stem, place):
        figures[stem] = figure
        return save(figure, stem, place)

    def draw(name):
        if name not in figures:
            with pytest.MonkeyPatch.context() as patch:
                patch.syspath_prepend(ROOT)
                patch.setattr(plotting, "save", keep)
                with plotting.titled():
                    paths = importlib.import_module(f"paper_figs.{name}").draw(toys.of(name), str(folder))
            assert [path.name for path in paths] == [f"{name}.pdf", f"{name}.png"]
        return folder, figures[name]

    return draw


def test_at_least_seven_figures():
    assert len(FIGURES) >= 7


# one figure's tests follow each other, so that one process draws it for all of them
each_figure = pytest.mark.parametrize("name", FIGURES, scope="module")


@pytest.mark.slow
@each_figure
def test_figure_is_readable_at_one_column(name, drawn):
    figure = drawn(name)[1]
    with plotting.style():
        figure.draw_without_rendering()
    assert figure.get_figwidth() == pytest.approx(3.3)
    verdict, page = figure._suptitle, figure.bbox
    assert len(verdict.get_text()) > 15
    labels = [axis.label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    for part in [verdict, *figure.legends, *labels]:
        box = part.get_window_extent()
        assert min(box.x0, box.y0, page.x1 - box.x1, page.y1 - box.y1) >= -1, part
    axes = figure.axes[0].get_tightbbox()  # with its labels
    assert not any(legend.get_window_extent().overlaps(axes) for legend in figure.legends)
    assert not verdict.get_window_extent().overlaps(axes)
    for part in figure.axes:  # tick labels are large enough and do not run into each other
        ticks = [text for text in part.get_xticklabels() if text.get_text()]
        assert all(text.get_fontsize() >= 7 for text in ticks)
        boxes = sorted((text.get_window_extent() for text in ticks), key=lambda box: box.x0)
        assert all(left.x1 <= right.x0 + 1 for left, right in itertools.pairwise(boxes))


@pytest.mark.slow
@each_figure
def test_predictions_lie_over_measured_points(name, drawn):
    axes = drawn(name)[1].axes[0]
    if name in MAPS:
        assert axes.images or axes.collections
        return
    lines = axes.lines
    points = [line for line in lines if line.get_linestyle() == "None"]
    curves = [line for line in lines if line.get_linestyle() == "-"]
    assert points
    assert curves
    assert max(line.get_zorder() for line in points) < min(line.get_zorder() for line in curves)
    assert all(np.isfinite(line.get_ydata()).all() for line in [*points, *curves])


def run(args):
    main = importlib.import_module("paper_figs.__main__")
    return main.main(tyro.cli(main.Knobs, args=args))


@pytest.mark.slow
@each_figure
def test_by_the_command_the_same_bytes_again(name, toys, drawn, tmp_path, capsys):
    assert run([name, "--title", "--results", toys.of(name), "--figures", str(tmp_path)]) == 0
    files = [f"{name}.{suffix}" for suffix in ("pdf", "png")]
    assert sorted(os.listdir(tmp_path)) == [*files, f"{name}.txt"]
    caption = (tmp_path / f"{name}.txt").read_text()
    assert caption.startswith(drawn(name)[1].get_label().strip().removesuffix("."))
    if sim := needed(name):
        assert f"Run by: python -m sims.{sim}" in caption
        assert re.search(r"\bT \d|model|data|h \d|n \d|horizon", caption), caption
    for file in files:
        assert (tmp_path / file).read_bytes() == (drawn(name)[0] / file).read_bytes(), file
    assert f"{name}: " in capsys.readouterr().out


@pytest.mark.slow
def test_missing_records_name_the_command_and_the_rest_is_drawn(tmp_path, capsys):
    assert run(["--results", str(tmp_path / "none"), "--figures", str(tmp_path / "figures")]) == 1
    said = capsys.readouterr().err
    for name in FIGURES:
        needs = importlib.import_module(f"paper_figs.{name}").NEEDS
        drawn = (tmp_path / "figures" / f"{name}.png").exists()
        assert drawn == (not needs)
        if needs:
            assert re.search(rf"^{name}: not drawn: .*run: {re.escape(needs)}$", said, re.MULTILINE)


def words_of(name, sim, words, folder, monkeypatch):
    """The verdict of a figure after another run of its simulation, and its axes."""
    module, figures, save = importlib.import_module(f"sims.{sim}"), [], plotting.save
    args = [*words.split(), "--results", str(folder), "--workers", "0"]
    module.main(tyro.cli(module.Knobs, args=args))
    with monkeypatch.context() as patch:
        patch.setattr(plotting, "save", lambda figure, *rest: figures.append(figure) or save(figure, *rest))
        importlib.import_module(f"paper_figs.{name}").draw(str(folder), str(folder))
    return figures[0].get_label(), figures[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--depths 20000", "No limit as $h/T\\to 1$: measured swing 0."),
        ("--depths 20000 --b 0", "No swing is seen: 0.0"),
        ("--depths 1000", "no verdict"),
    ],
)
def test_the_swing_is_measured(words, said, tmp_path, monkeypatch):
    verdict, _ = words_of("oscillating_limit", "oscillating_limit", words, tmp_path, monkeypatch)
    assert said in verdict
    assert ("No limit" in verdict) == ("No limit" in said)


def test_the_printed_equation_is_named_as_such(tmp_path, monkeypatch):
    words = "--depths 5 --points 3 --seeds 1 --printed"
    verdict, _ = words_of("autograd_error", "autograd_error", words, tmp_path, monkeypatch)
    assert verdict.startswith("Eq. (27) as printed is NOT autograd's gradient")


@pytest.mark.slow
def test_one_depth_gives_neither_a_crossover_nor_a_power(tmp_path, monkeypatch):
    words = "--data random --width 3 --depths 300 --seeds 3 --points 6 --largest 30"
    verdict, _ = words_of("crossover", "rough_layers", words, tmp_path, monkeypatch)
    assert verdict.startswith("m* not measured")
    verdict, figure = words_of("prefactor", "rough_layers", words, tmp_path, monkeypatch)
    assert "Order 2" not in verdict
    assert all(len(line.get_xdata()) > 1 for line in figure.axes[0].lines if line.get_linestyle() == "-")


@pytest.mark.slow
@each_figure
def test_a_legend_names_each_thing_once(name, drawn):
    for legend in drawn(name)[1].legends:
        labels = [text.get_text() for text in legend.get_texts()]
        assert len(set(labels)) == len(labels)


@pytest.mark.slow
def test_no_command_is_named_that_would_not_help(toys, tmp_path, capsys):
    (tmp_path / "figures").write_text("a file in place of the folder")
    words = ["--results", toys.of("theorem_a"), "--figures", str(tmp_path / "figures")]
    assert run(["k_map", "theorem_a", *words]) == 1
    said = capsys.readouterr().err
    assert "cannot write" in said
    assert "run:" not in said


def test_a_reduced_run_is_said_and_the_default_one_can_be_chosen(toys, tmp_path, capsys, monkeypatch):
    """On stderr and in the caption; the results are toy runs."""
    results = toys.of("theorem_a")
    place = ["--results", results, "--figures", str(tmp_path)]
    assert run(["theorem_a", "k_map", *place]) == 0
    sim = importlib.import_module("sims.theorem_a")
    options = changed(command_line.parse(sim.Knobs, words=sim.TOY.split()))
    said = capsys.readouterr()
    assert said.err == (
        f"theorem_a: drawn from a run with {options}; the default one: python -m sims.theorem_a\n"
    )
    assert run(["theorem_a", *place, "--run", "default"]) == 1
    assert "no run with all knobs at their defaults has been completed" in capsys.readouterr().err
    shutil.copytree(Path(results) / "theorem_a", tmp_path / "both" / "theorem_a")
    folder = tmp_path / "both" / "theorem_a"
    keys = collection.latest(folder)
    collection.mark_latest(folder, keys, "")  # as if it had been the default
    collection.mark_latest(folder, keys[:4], "--seeds 1")
    place = ["--results", str(tmp_path / "both"), "--figures", str(tmp_path)]
    figures, save = [], plotting.save
    monkeypatch.setattr(plotting, "save", lambda figure, *rest: figures.append(figure) or save(figure, *rest))
    assert run(["theorem_a", *place]) == 0
    advice = "the default one: python -m paper_figs theorem_a --run default"
    assert capsys.readouterr().err == f"theorem_a: drawn from a run with --seeds 1; {advice}\n"
    assert run(["theorem_a", *place, "--run", "default"]) == 0
    assert capsys.readouterr().err == ""
    verdicts = [figure.get_label() for figure in figures]
    assert verdicts[0].endswith("[not the default run: --seeds 1]")
    assert "default" not in verdicts[1]


@pytest.mark.slow
def test_the_page_of_the_reproduction_is_written_from_the_runs_that_are_there(toys, tmp_path, capsys):
    shutil.copytree(ROOT / "docs" / "records", tmp_path / "docs" / "records")
    before = {path.name: path.read_bytes() for path in (tmp_path / "docs" / "records").iterdir()}
    words = ["--reproduction", "--docs", str(tmp_path / "docs"), "--results"]
    assert run([*words, str(tmp_path / "none")]) == 0
    assert "no experiment of the paper has run in" in capsys.readouterr().out
    page = (tmp_path / "docs" / "reproduction.md").read_text()
    assert page == (ROOT / "docs" / "reproduction.md").read_text()
    assert run([*words, toys.of(*PAPER)]) == 0
    assert f"from {', '.join(PAPER)}" in capsys.readouterr().out
    for path in (tmp_path / "docs" / "records").iterdir():
        assert (path.read_bytes() == before[path.name]) == (path.stem not in PAPER), path
    assert "--blocks" in (tmp_path / "docs" / "reproduction.md").read_text()
    (tmp_path / "docs" / "records" / "paper_memory.json").write_text("[]")
    assert script.command(lambda: run([*words, str(tmp_path / "none")])) == 2
    assert "is damaged" in capsys.readouterr().err


def test_unknown_figure(capsys):
    assert script.command(lambda: run(["decai"])) == 2
    assert capsys.readouterr().err.rstrip().endswith("; did you mean decay?")


@pytest.mark.slow
def test_a_lost_cell_is_noticed(toys, tmp_path, capsys):
    records = Path(toys.of("theorem_a")) / "theorem_a"
    shutil.copytree(records, tmp_path / "results" / "theorem_a")
    next((tmp_path / "results" / "theorem_a" / "cells").iterdir()).unlink()
    assert run(["theorem_a", "--results", str(tmp_path / "results"), "--figures", str(tmp_path)]) == 1
    assert "7 of the 8 cells of the latest run" in capsys.readouterr().err
