"""What is said of a chosen horizon beside its rivals within the same memory."""

from __future__ import annotations

import math

import pytest

from dlinear.bridge.tradeoff.advice import KINDS, Offer, advice

CHOSEN = Offer("anchored-4", "anchored", 4e6, 1.2, 0.9)  # progress 0.75
CHECKPOINT = Offer("checkpoint-4", "checkpoint", 5e6, 1.3, 1.0)
MICRO = Offer("accumulate-4", "accumulate", 3e6, 1.6, 1.0)
REVOLVE = Offer("revolve-2", "revolve", 2e6, 2.5, 1.0)
LOST = Offer("reconstruct-1", "reconstruct", 1e6, 1.7, 0.5)


def test_each_kind_is_named_with_what_fits_or_what_it_would_take():
    lines = advice(CHOSEN, [CHECKPOINT, MICRO, REVOLVE, LOST], 4e6)
    assert lines == [
        "checkpointing does not fit: checkpoint-4 takes 5 MB",
        "micro-batches within 4 MB: accumulate-4 (3 MB, time 1.60, r 1.000), progress 0.62",
        "recursive checkpointing within 4 MB: revolve-2 (2 MB, time 2.50, r 1.000), progress 0.40",
        "reconstructed states within 4 MB: reconstruct-1 (1 MB, time 1.70, r 0.500), progress 0.29",
        "the horizon serves better: anchored-4 makes progress 0.75, accumulate-4 0.62",
    ]


@pytest.mark.parametrize(
    ("chosen", "rivals", "budget", "last"),
    [
        (
            CHOSEN,
            [CHECKPOINT, MICRO],
            6e6,
            "checkpointing serves better: checkpoint-4 makes 0.77 with the gradient of back-propagation, "
            "anchored-4 makes progress 0.75",
        ),
        (CHOSEN, [], 6e6, "nothing else fits within 6 MB: anchored-4 makes progress 0.75"),
        (CHOSEN, [CHECKPOINT], 3.5e6, "nothing fits within 3.5 MB: anchored-4 does not either"),
        (
            CHOSEN,
            [MICRO],
            3.5e6,
            "micro-batches serves, no horizon does within 3.5 MB: take accumulate-4",
        ),
        (
            Offer("horizon-1", "horizon", 1e6, 1.0, 0.2),
            [LOST],
            1e6,
            "reconstructed states serves better: reconstruct-1 makes 0.29 at r = 0.500, "
            "horizon-1 makes progress 0.20",
        ),
        (
            Offer("horizon-1", "horizon", 1e6, 1.0, math.nan),
            [],
            2e6,
            "nothing else fits within 2 MB: horizon-1 makes progress 0.00",
        ),
    ],
)
def test_who_serves_better(chosen, rivals, budget, last):
    assert advice(chosen, rivals, budget)[-1] == last


def test_a_kind_without_an_offer_was_refused():
    assert advice(CHOSEN, [], 1e6)[: len(KINDS)] == [f"{kind}: refused this model" for kind in KINDS]


def test_of_equal_progress_the_smaller_is_named():
    small = Offer("revolve-4", "revolve", 1e6, 2.5, 1.0)
    assert "revolve-4" in advice(CHOSEN, [REVOLVE, small], 4e6)[2]
