"""docs/rules_depth.md: its example runs, its claims are proved, its predictions are the library's."""

from __future__ import annotations

import re

import numpy as np
import pytest
from paths import ROOT

from dlinear.certify import registry
from dlinear.certify.claims import Verdict
from dlinear.theory import feedback_laws
from proofs import __main__ as command

PAGE = (ROOT / "docs" / "rules_depth.md").read_text(encoding="utf-8")
RESIDUAL = np.random.default_rng(4).normal(size=(4, 4))  # of sims.rules_depth at width 4


def test_the_example_runs(capsys):
    example = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    exec(compile(example, "docs/rules_depth.md", "exec"), {})
    measured, law = map(float, capsys.readouterr().out.split())
    assert 0.5 < measured / law < 2


def test_the_claims_are_proved():
    claims = {c.id: c for some in registry.discover(command.FOLDER).values() for c in some}
    named = re.findall(r"`([a-z]+_[a-z0-9_]+)`", PAGE.partition("## What the rules")[2])
    assert len(named) == 21
    assert {claims[name].expected for name in named} == {Verdict.PROVED}


@pytest.mark.parametrize(
    ("label", "law"),
    [
        ("broadcast, B = I", lambda: feedback_laws.start_law("broadcast", RESIDUAL)),
        ("feedback alignment, B = I + C", lambda: feedback_laws.start_law("feedback", RESIDUAL)),
        ("FOTON", lambda: feedback_laws.start_law("foton", RESIDUAL)),
        ("horizon 1", lambda: feedback_laws.start_law("local", RESIDUAL)),
        ("a fresh B in each layer", lambda: feedback_laws.random_feedback_cos2(RESIDUAL, 50)),
        (
            "the same with the target",
            lambda: feedback_laws.random_feedback_cos2(RESIDUAL, 50, np.eye(4) - RESIDUAL),
        ),
        ("one B for all layers", lambda: feedback_laws.random_feedback_cos2(RESIDUAL)),
        ("PEPITA, small F", lambda: feedback_laws.random_feedback_cos2(RESIDUAL)),
    ],
)
def test_a_prediction_of_the_page(label, law):
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {label}"))
    printed = next(float(word) for word in re.findall(r"\| (\d\.\d+)", row))
    assert printed == pytest.approx(law(), rel=6e-3)
