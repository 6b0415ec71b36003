import numpy as np
import pytest
from scipy.stats import t as student

import dlinear
from dlinear import report
from dlinear.analysis import profiles, statistics
from dlinear.errors import DomainError, RecordError
from dlinear.runs import collection, records, script


def test_mean_interval_is_students():
    values = np.array([1.0, 2.0, 4.0, 7.0])
    low, high = student.interval(0.95, 3, values.mean(), values.std(ddof=1) / 2)
    mean = statistics.mean_interval(values)
    assert mean == pytest.approx((3.5, low, high), rel=1e-12)
    assert 3.0 in mean
    assert high + 1e-9 not in mean
    assert statistics.mean_interval(values, 0.997).high > high
    assert f"{mean:.1f}" == f"3.5 [{low:.1f}, {high:.1f}]"


def test_interval_covers_at_its_level():
    """2000 sets of five normal numbers: 95 % of the intervals hold the truth, to three standard errors."""
    rng = np.random.default_rng(0)
    hits = sum(1.0 in statistics.mean_interval(rng.normal(1.0, 2.0, 5)) for _ in range(2000))
    assert abs(hits / 2000 - 0.95) < 3 * (0.95 * 0.05 / 2000) ** 0.5


def test_a_single_seed_has_no_interval():
    assert 3.0 not in statistics.mean_interval([3.0])
    with pytest.raises(DomainError):
        statistics.mean_interval([])
    with pytest.raises(DomainError, match="finite"):
        statistics.mean_interval([1.0, np.nan])


def test_jackknife_of_a_mean_is_students_interval():
    values = [1.0, 2.0, 4.0, 7.0]
    assert statistics.jackknife(np.mean, values) == pytest.approx(statistics.mean_interval(values), rel=1e-12)


def test_jackknife_of_a_ratio_covers_about_as_stated():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        pairs = rng.normal((2.0, 4.0), 0.5, size=(10, 2))
        hits += 0.5 in statistics.jackknife(lambda some: np.sum(some, 0)[0] / np.sum(some, 0)[1], list(pairs))
    assert abs(hits / 400 - 0.95) < 0.035


def test_exponent():
    depths = [10, 100, 1000]
    noise = np.random.default_rng(2).lognormal(0, 0.01, size=(8, 3))
    power = statistics.exponent(depths, noise * np.array(depths) ** -1.5)
    assert -1.5 in power
    assert power.value == pytest.approx(-1.5, abs=0.01)
    with pytest.raises(DomainError, match="positive"):
        statistics.exponent(depths, [[1.0, 0.0, 1.0]])
    with pytest.raises(DomainError):
        statistics.exponent([10], [[1.0]])


def test_shortfalls():
    m = profiles.shortfalls(10_000, 20, 0.02)
    assert m[0] == 1
    assert m[-1] == 200
    assert (np.diff(m) > 0).all()
    assert profiles.shortfalls(100, 5, 0.02)[-1] == 8
    for bad in ((10_000, 2, 0.02), (10_000, 5, 1.0), (9, 5, 0.5)):
        with pytest.raises(DomainError):
            profiles.shortfalls(*bad)


def test_profiles_survive_the_way_through_records(tmp_path):
    made = {}
    for depth, points in ((40, 5), (60, 6)):
        for seed in (0, 1):
            m = profiles.shortfalls(depth, points, 0.4)
            net = dlinear.GaussianNetwork(depth, 3, seed=seed)
            made[depth, seed] = dlinear.alignment(net, np.eye(3) / 2, depth - m)
            knobs = {"ensemble": "gaussian", "depth": depth, "seed": seed}
            records.write(tmp_path, knobs, profiles.as_arrays(made[depth, seed]))
    data = collection.load(tmp_path)
    for depth in (40, 60):
        for seed, back in enumerate(profiles.from_records(data, ensemble="gaussian", depth=depth)):
            want = made[depth, seed]
            assert back.depth == depth
            for name in ("horizons", "shortfall", "sin2", "cos", "norm_ratio"):
                assert np.array_equal(getattr(back, name), getattr(want, name))
    with pytest.raises(RecordError, match="depth"):
        profiles.from_records(data, ensemble="gaussian")
    with pytest.raises(RecordError, match="no record"):
        profiles.from_records(data, ensemble="gaussian", depth=50)


def test_report(capsys):
    good, bad = report.Answer("q", True, "1.0"), report.Answer("p", False, "2.0")
    assert report.finish([good]) == 0
    assert report.finish([good, bad]) == 1
    said = capsys.readouterr().out
    assert "supported: q: 1.0\n" in said
    assert "NOT SUPPORTED: p: 2.0\n" in said
    assert "proved" not in said
    assert report.finish([]) == 0
    assert "no verdict" in capsys.readouterr().out
    assert report.table(("a", "bb"), [("1", "2"), ("333", "4")]) == "a    bb\n---  --\n1    2\n333  4"


def test_command_turns_refusals_into_one_line(capsys):
    def refused():
        raise DomainError("too small")

    def interrupted():
        raise KeyboardInterrupt

    assert script.command(lambda: 1) == 1
    assert script.command(refused) == 2
    assert script.command(interrupted) == 130
    assert capsys.readouterr().err == "error: too small\n"
