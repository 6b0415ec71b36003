"""A profile shows itself: as text and HTML that fit a screen, as labelled data, as a figure."""

from __future__ import annotations

import numpy as np
import pytest

import dlinear
from dlinear.errors import DomainError

T = 200


@pytest.fixture(scope="module")
def profile():
    net = dlinear.GaussianNetwork(depth=T, width=3, seed=0)
    return dlinear.alignment(net, np.eye(3), "all")


def test_text_and_html_fit_a_screen(profile):
    lines = repr(profile).splitlines()
    assert lines[0] == f"AlignmentProfile: T = {T}, {len(profile.horizons)} horizons"
    assert len(lines) == 2 + 12
    assert max(map(len, lines)) <= 70
    for line, i in ((lines[2], 0), (lines[-1], -1)):
        h, m, sin2, cos, ratio = line.split()
        assert (int(h), int(m)) == (profile.horizons[i], profile.shortfall[i])
        assert float(sin2) == pytest.approx(profile.sin2[i], rel=1e-4)
        assert float(cos) == pytest.approx(profile.cos[i], abs=1e-6)
        assert float(ratio) == pytest.approx(profile.norm_ratio[i], rel=1e-3)
    assert profile._repr_html_().count("<tr>") == 13


def test_an_undefined_angle_is_named():
    profile = dlinear.alignment(
        dlinear.ConstantNetwork(np.zeros((2, 2)), 4), np.eye(2), [1, 2], undefined="nan"
    )
    assert repr(profile).count("g_T = 0") == 2
    assert profile.to_xarray()["undefined"].values.tolist() == ["g_T = 0"] * 2


def test_labelled_data_say_what_they_are(profile):
    data = profile.to_xarray()
    assert data.attrs["depth"] == T
    for name in ("sin2", "cos", "norm_ratio"):
        assert data[name].dims == ("shortfall",)
        assert np.array_equal(data[name], getattr(profile, name))
        assert data[name].attrs["units"] == "1"
        assert "g_h" in data[name].attrs["long_name"]
    assert np.array_equal(data["horizon"], profile.horizons)
    assert float(data["sin2"].sel(shortfall=3)) == profile.sin2[list(profile.shortfall).index(3)]


def test_the_figure_has_the_points_and_the_curve_over_them(profile):
    (axes,) = profile.plot(its_law=lambda m: (m / T) ** 2).axes
    points, line = axes.lines
    assert np.array_equal(points.get_xdata(), profile.shortfall)
    assert np.array_equal(points.get_ydata(), profile.sin2)
    assert np.allclose(line.get_ydata(), (line.get_xdata() / T) ** 2)
    assert line.get_zorder() > points.get_zorder()
    assert line.get_label() == "its law"
    assert len(profile.plot().axes[0].lines) == 1


@pytest.mark.parametrize(
    ("curve", "said"),
    [(3, "expected a function"), (lambda m: 1.0, r"gives shape \(\)")],
    ids=["number", "shape"],
)
def test_what_is_no_curve_is_refused(profile, curve, said):
    with pytest.raises(DomainError, match=f"curve 'law'.*{said}"):
        profile.plot(law=curve)
