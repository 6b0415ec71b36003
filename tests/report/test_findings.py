"""What an interval says of a difference that nobody predicted."""

import math

import pytest

from dlinear.analysis.statistics import Estimate
from dlinear.report.findings import Difference


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((2.0, 1.0, 3.0), "difference seen: it: 2 [1, 3] blocks (99.7 %)"),
        ((-2.0, -3.0, -1.0), "difference seen: it: -2 [-3, -1] blocks (99.7 %)"),
        ((2.0, -1.0, 5.0), "no difference seen at this size: it: 2 [-1, 5] blocks (99.7 %)"),
        ((0.0, 0.0, 0.0), "no difference seen at this size: it: 0 [0, 0] blocks (99.7 %)"),
        ((2.0, math.nan, math.nan), "no interval from one seed: it: 2 blocks"),
    ],
)
def test_a_difference_is_seen_where_its_interval_leaves_out_zero(interval, said):
    assert str(Difference("it", Estimate(*interval), "blocks")) == said


def test_a_difference_without_a_unit():
    assert (
        str(Difference("order", Estimate(1.0, 0.5, 1.5))) == "difference seen: order: 1 [0.5, 1.5] (99.7 %)"
    )
