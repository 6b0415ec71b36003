"""Command lines that make no sense: the module, the words, and what the one line about them says."""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
import warnings
from collections.abc import Sequence
from typing import NamedTuple
from unittest import mock


class Command(NamedTuple):
    """A command line that is refused.

    Attributes:
        module: as after `python -m`.
        words: after that.
        says: part of the line on stderr.
        status: exit status.
    """

    module: str
    words: str
    says: str
    status: int = 2


def run(module: str, words: Sequence[str]) -> tuple[int, str]:
    """Exit status of `python -m module words`, here, and its stderr (stdout where that is empty)."""
    said, told = io.StringIO(), io.StringIO()
    status: object = 0
    with (
        mock.patch.object(sys, "argv", [module, *words]),
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(told),
        warnings.catch_warnings(),
    ):
        # another test may have imported the module; a new process has not
        warnings.filterwarnings("ignore", ".*found in sys.modules after import", RuntimeWarning)
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            status = end.code
    return status if isinstance(status, int) else 1, said.getvalue() or told.getvalue()


SWEEPING = ("autograd_error", "bridge_memory", "bridge_slopes", "bridge_tradeoff", "cubic_decay")
SWEEPING += ("oscillating_limit", "rough_layers", "theorem_a")

ANY_SIM = [  # words, what is said
    ("--qqq", "unknown option --qqq"),
    ("extra", "unexpected word 'extra'"),
    ("--seeds x", "--seeds"),
    ("--workers -1", "--workers must be 0 or more; received -1"),
    ("--workers two", "--workers takes {None}|INT; received ['two']"),
]
LAUNCHED = [
    ("--shard 3/2", "shard must be i/N with 1 <= i <= N, for example 1/8, not '3/2'"),
    ("--shard 0/0", "shard"),
    ("--scheduler tcp://127.0.0.1:1 --workers 2", "--workers counts processes here"),
]
COMMANDS = [
    *(Command(f"sims.{name}", words, says) for name in SWEEPING[:5] for words, says in ANY_SIM),
    *(Command("sims.cubic_decay", words, says) for words, says in LAUNCHED),
    Command("sims", "cubic_deca", "unknown simulation 'cubic_deca'"),
    Command("sims", "3", "unknown simulation '3'"),
    Command("sims.cubic_decay", "--sigma 0", "--sigma must be finite and more than 0"),
    Command("sims.cubic_decay", "--sigma nan", "--sigma must be"),
    Command("sims.cubic_decay", "--depths 0", "--depths must be"),
    Command("sims.cubic_decay", "--depths 1e3", "--depths"),
    Command("sims.cubic_decay", "--data digit", "--data must be one of digits"),
    Command("sims.cubic_decay", "--width 65", "width 65"),
    Command("sims.cubic_decay", "--data mnist --data-folder missing", "mnist not found in missing"),
    Command("sims.rough_layers", "--depths 5", "--depths must be 10 or more"),
    Command("sims.theorem_a", "--c 300", "--c must be more than 0 and less than 300"),
    Command("sims.theorem_a", "--c -1", "--c must be"),
    Command("sims.oscillating_limit", "--w 0", "--w must be finite and not 0"),
    Command("sims.autograd_error", "--widths 0", "--widths must be 1 or more"),
    Command("sims.bridge_slopes", "--method magic", "method 'magic'"),
    Command("sims.bridge_slopes", "--combinations sine", "--combinations holds 'sine'"),
    Command("sims.bridge_tradeoff", "--methods horizon-0", "horizon-0"),
    Command("sims.bridge_selection", "--stages 4", "--stages must be 2 or more and a divisor of 15"),
    Command("sims.bridge_selection", "--accuracies 2", "--accuracies must be in [0, 1]"),
    Command("sims.bridge_selection", "--images digit", "unknown data 'digit'"),
    Command("sims.bridge_selection", "--points 2", "--points must be 3 or more"),
    Command("sims.bridge_selection", "--models mpl", "--models"),
    Command("sims.selection_regret", "--noise -1", "--noise must be 0 or more"),
    Command("sims.selection_regret", "--epsilons 0.1 2", "--epsilons must be in [0, 1]"),
    Command("sims.selection_regret", "--curves 3", "--curves must be 16 or more"),
    Command("sims.selection_regret", "--ensembles rouhg", "--ensembles"),
    Command("sims.identity_flow", "--depth 9", "--depth must be a multiple of 4"),
    Command("sims.dynamics", "--step 3", "--step must be more than 0 and less than 0.5"),
    Command("sims.dynamics", "--gap -1", "--gap must be more than 0 and less than 10"),
    Command("sims.dynamics", "--seeds 1", "--seeds must be 2 or more"),
    *(
        Command(f"sims.{name}", "--qqq", "unknown option --qqq")
        for name in ("horizon_schedule", "select_horizon")
    ),
    Command("sims.horizon_schedule", "--every 0", "--every must be 1 or more"),
    Command("sims.horizon_schedule", "--data digit", "digit"),
    Command("sims.select_horizon", "--model resnet", "model 'resnet'"),
    Command("sims.select_horizon", "--model gru --units -1", "--units must be 1 or more"),
    Command("sims.select_horizon", "--budget-mb 0", "--budget-mb must be finite and more than 0"),
    Command("sims.select_horizon", "--budget-mb many", "--budget-mb"),
    Command("sims.select_horizon", "--rules greedy", "--rules"),
    Command("sims.select_horizon", "--horizons 4", "--horizons must be two different ones or more"),
    Command("sims.select_horizon", "--horizons 1 16", "--horizons must be in 1..15"),
    Command("sims.select_horizon", "--objective best", "--objective"),
    Command("sims.select_horizon", "--data mnist --data-folder missing", "mnist not found in missing"),
    Command("sims.losses_and_horizons", "--epsilon 2", "--epsilon must be more than 0"),
    Command("sims.architectures", "--depth 15", "cut into depth = 15 steps"),
    Command("sims.shifting_data", "--margin -1", "--margin must be 0 or more"),
    Command("sims.large_depth", "--sigma 0", "--sigma must be"),
    Command("sims.large_depth", "--depth -5", "--depth"),
    Command("sims.large_depth", "--memory -5", "--memory"),
    Command("sims.large_depth", "--timeout nan", "--timeout"),
    Command("proofs", "theorem_z", "theorem_z"),
    Command("proofs", "--check", "--check without a file"),
    Command("proofs", "--check missing.json", "missing.json", 1),
    Command("proofs", "--docs theorem_a", "--docs with theorem_a"),
    Command("paper_figs", "deca", "unknown figure 'deca'"),
    Command("paper_figs", "decay --run last", "--run must be one of latest, default; received 'last'"),
    Command("paper_figs", "decay --results missing", "missing", 1),
    Command("benchmarks.faults", "--flips 0", "--flips must be 1 or more"),
    Command("benchmarks.large_depth", "--parts nothing", "--parts must be one of"),
]
