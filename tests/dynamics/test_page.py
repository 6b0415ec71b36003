"""docs/dynamics.md: its example runs and says what it says; the rows that it names exist and are proved."""

import re

import numpy as np
from paths import ROOT

from dlinear.certify import registry
from dlinear.certify.claims import Verdict
from proofs import __main__ as command

PAGE = (ROOT / "docs" / "dynamics.md").read_text(encoding="utf-8")


def test_the_example_runs(capsys):
    example = PAGE.partition("```python\n")[2].partition("```")[0]
    names = {}
    exec(compile(example, "docs/dynamics.md", "exec"), names)
    path, tail = names["path"], names["tail"]
    assert np.allclose(path.times * 24, [0, 2, 4, 6])
    assert path.loss.shape == (4, 3, 4)
    assert np.allclose(path.rate[-1, -1], 1)
    assert (tail.drift[-1, 0, :, 12:] < 1e-9).all()
    assert (tail.drift[-1, 0, :, :12] > 1e-6).all()
    assert len(capsys.readouterr().out.splitlines()) >= 4


def test_the_rows_of_the_page_are_proved():
    claims = {claim.id: claim for claims in registry.discover(command.FOLDER).values() for claim in claims}
    named = set(re.findall(r"`((?:theorem|balance|eq)_\w+)`", PAGE))
    assert {"balance_stage", "balance_steps", "balance_rate", "balance_path", "eq_14_step"} <= named
    assert all(claims[name].expected is Verdict.PROVED for name in named), named
