"""Eq. (11): the memory of horizon h is M(h) = a h + b; section E.1: h (T - h + 1) if the graph is static.

No algebra decides how a program stores things, so these two rows are counts, not proofs:
`dlinear.costs.run_windows` computes g_h of a linear net window by window and counts the block inputs that
are alive at once, for every depth up to 12 and every horizon. Sliding windows need h, whatever the depth: a
line in h (slope one stored input per block, plus what does not depend on h). One static graph of all T - h
+ 1 windows needs h (T - h + 1), not a line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dlinear.certify.claims import Claim, Form, Outcome, Relation, Verdict
from dlinear.theory import costs

DEPTHS = range(1, 13)


def counted(expected: Callable[[int, int], int], *, eager: bool) -> Outcome:
    """Every count against a formula in T and h."""
    runs, wrong = 0, []
    for depth in DEPTHS:
        layers = np.full((depth, 1, 1), 1 / (4 * depth))
        for horizon in range(1, depth + 1):
            run = costs.run_windows(layers, np.zeros((1, 1)), horizon, eager=eager)
            runs += 1
            if run.stored_blocks != expected(depth, horizon):
                wrong.append(f"T = {depth}, h = {horizon}: {run.stored_blocks}")
    evidence = (
        f"{runs} runs, all as stated" if not wrong else f"{len(wrong)} of {runs} differ, first {wrong[0]}"
    )
    return Outcome(Verdict.UNDECIDED if wrong else Verdict.SUPPORTED, "counted living inputs", evidence)


CLAIMS = (
    Claim(
        id="eq_11_eager",
        reference="Eq. (11)",
        form=Form.PRINTED,
        statement="M(h) = a h + b when windows slide (eager execution): h stored block inputs for every T",
        relation=Relation.IDENTITY,
        expected=Verdict.SUPPORTED,
        prove=lambda: counted(costs.stored_blocks_eager, eager=True),
        twin=lambda: counted(costs.stored_blocks_eager, eager=False),
        twin_statement="the same for one static graph",
        function="dlinear.costs.stored_blocks_eager",
        test="tests/theory/test_costs.py::test_counts_match_an_instrumented_run",
    ),
    Claim(
        id="eq_11_static",
        reference="Section E.1",
        form=Form.PRINTED,
        statement="one static graph of all windows stores h (T - h + 1) block inputs",
        relation=Relation.IDENTITY,
        expected=Verdict.SUPPORTED,
        prove=lambda: counted(costs.stored_blocks_static, eager=False),
        twin=lambda: counted(lambda depth, horizon: horizon * (depth - horizon), eager=False),
        twin_statement="h (T - h), one window fewer",
        function="dlinear.costs.stored_blocks_static",
        test="tests/theory/test_costs.py::test_counts_match_an_instrumented_run",
    ),
)
