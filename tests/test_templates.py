"""The templates of docs/templates: copied to where CONTRIBUTING says, each is found and works."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys

import children
import numpy as np
import pytest
import torch
from paths import ROOT

import dlinear
from dlinear import bridge
from dlinear.bridge.models import registry
from dlinear.certify import decide
from dlinear.certify.claims import Verdict
from dlinear.errors import DomainError
from dlinear.runs import collection
from dlinear.theory import limits

TEMPLATES = sorted((ROOT / "docs" / "templates").glob("*.py"))
PLACES = {
    "claim": "proofs/window_work.py",
    "sim": "sims/scalar_limit.py",
    "figure": "paper_figs/scalar_limit.py",
    "ensemble": "dlinear/networks/signs.py",
    "model": "dlinear/bridge/models/gated.py",
    "method": "dlinear/bridge/methods/tail.py",
}


def load(name):
    """The template as a module, from its own place."""
    path = ROOT / "docs" / "templates" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"_template_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the library and the scripts with the templates among them."""
    root = tmp_path_factory.mktemp("tree")
    for folder in ("dlinear", "proofs", "sims", "paper_figs"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, place in PLACES.items():
        shutil.copy(ROOT / "docs" / "templates" / f"{name}.py", root / place)
    return root


def run(tree, *words):
    """`python -m WORDS` in the copy, with the library of the copy."""
    command = [sys.executable, "-m", *words] if words[0] != "-c" else [sys.executable, *words]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    return children.run(command, cwd=tree, env=environment)


def test_there_is_a_template_for_each_kind():
    assert {path.stem for path in TEMPLATES} == set(PLACES)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


def test_contributing_names_every_template_and_its_place():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name, place in PLACES.items():
        assert f"docs/templates/{name}.py" in text
        assert f"`{os.path.dirname(place)}/NAME.py`" in text


# -- claim --------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_claim_is_found_and_proved_and_its_twin_fails(tree):
    done = run(tree, "proofs", "window_work")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 statements: 1 proved" in done.stdout
    assert (tree / "results" / "certificates" / "window_work.json").is_file()
    (claim,) = load("claim").CLAIMS
    row = decide.decide(claim)
    assert row.outcome.verdict is Verdict.PROVED
    assert row.twin.verdict is Verdict.UNDECIDED
    for depth in range(1, 9):  # the words of the claim against the library's count
        assert min(dlinear.costs.block_vjps(depth, h) for h in range(1, depth + 1)) == depth


def test_the_claim_names_a_function_and_a_test_that_exist():
    (claim,) = load("claim").CLAIMS
    module, _, name = claim.function.removeprefix("dlinear.").rpartition(".")
    assert callable(getattr(getattr(dlinear, module), name))
    assert (ROOT / claim.test).is_file()


# -- sim and figure -----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def simulated(tree):
    return run(tree, "sims.scalar_limit", "--depths", "100", "300", "--results", "toy")


@pytest.mark.slow
def test_the_sim_runs_resumes_and_judges(tree, simulated):
    assert simulated.returncode == 0, simulated.stdout + simulated.stderr
    assert "2 computed, 0 resumed" in simulated.stdout
    assert simulated.stdout.splitlines()[-1].startswith("supported: error ~ T^-1")
    again = run(tree, "sims.scalar_limit", "--depths", "100", "300", "--results", "toy")
    assert "0 computed, 2 resumed" in again.stdout
    assert again.stdout.splitlines()[1:] == simulated.stdout.splitlines()[1:]
    data = collection.load_latest(tree / "toy" / "scalar_limit")
    assert data["sin2"].dims == ("depth", "alpha")
    refused = run(tree, "sims.scalar_limit", "--depths", "5")
    assert (refused.returncode, refused.stderr) == (2, "error: --depths must be 100 or more; received (5,)\n")


def test_the_sim_notices_a_wrong_law(tmp_path, monkeypatch, capsys):
    """False twin: Lemma C.5 with 1 % more."""
    sim, law = load("sim"), dlinear.scalar.sin2
    monkeypatch.setattr(sim.dlinear.scalar, "sin2", lambda *numbers: 1.01 * law(*numbers))
    assert sim.main(sim.Knobs(results=str(tmp_path), depths=(300, 3000))) == 1
    assert "NOT SUPPORTED: error ~ T^-1" in capsys.readouterr().out


@pytest.mark.slow
def test_the_figure_is_found_and_drawn_from_the_record(tree, simulated):
    missing = run(tree, "paper_figs", "scalar_limit", "--results", "nowhere", "--figures", "drawn")
    assert missing.returncode == 1
    assert missing.stderr.endswith("; run: python -m sims.scalar_limit\n")
    done = run(tree, "paper_figs", "scalar_limit", "--results", "toy", "--figures", "drawn")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tree / "drawn")) == [
        f"scalar_limit.{suffix}" for suffix in ("pdf", "png", "txt")
    ]


# -- ensemble -----------------------------------------------------------------------------------------------
def test_the_ensemble_is_a_network_with_the_law_that_it_states():
    kind = load("ensemble").SignNetwork
    net = kind(depth=3000, width=3, sigma=2.0, seed=1)
    assert isinstance(net, dlinear.Network)
    whole = net.deviations(0, 3000)
    assert np.array_equal(net.deviations(1234, 1300), whole[1234:1300])
    assert np.allclose(abs(whole), 2.0 / (3000 * np.sqrt(3)), rtol=1e-15)
    entries = whole.reshape(3000, -1)
    noise = 1 / np.sqrt(entries.size)
    assert abs(np.sign(entries).mean()) < 4 * noise
    assert abs(np.corrcoef(entries[:-1].ravel(), entries[1:].ravel())[0, 1]) < 4 * noise
    phi = np.random.default_rng(0).normal(size=(3, 3))
    profile = dlinear.alignment(net, phi, 3000 - np.arange(1, 30))
    predicted = limits.rough_constants(None, 2.0, phi, 3000).quadratic
    measured = profile.sin2 / limits.decay_law(1.0, 0.0, profile.shortfall, 3000)
    assert np.mean(measured) == pytest.approx(predicted, rel=0.5)
    assert (
        dlinear.fit_decay(profile).kind
        == dlinear.fit_decay(
            dlinear.alignment(dlinear.GaussianNetwork(3000, 3, sigma=2.0, seed=1), phi, profile.horizons)
        ).kind
    )


@pytest.mark.parametrize("change", [{"depth": 0}, {"width": 2.5}, {"sigma": -1.0}, {"seed": None}])
def test_the_ensemble_refuses_what_makes_no_sense(change):
    with pytest.raises(DomainError, match=next(iter(change))):
        load("ensemble").SignNetwork(**{"depth": 5, "width": 2, **change})


# -- method -------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def names(tree):
    """What the copy of the library says when it is asked for the method and the model by their names."""
    code = """
import json, torch, dlinear
from dlinear.bridge import method, methods, model, models, Supervised, TaskShape
found = method("tail-2")
stack = model("mlp", TaskShape((4,), 3), 0, depth=5, width=4)
loss = Supervised(torch.nn.functional.cross_entropy, torch.arange(2))
found(stack.blocks, torch.ones(2, 4), loss, stack.readout)
trained = [any(p.grad is not None for p in block.parameters()) for block in stack.blocks]
said = {"method": ["tail-N" in methods.NAMES, found.name, trained]}
said["model"] = ["gated" in models.NAMES, model("gated", TaskShape((4,), 3), depth=7).depth]
print(json.dumps({"file": dlinear.__file__, **said}))
"""
    done = run(tree, "-c", code)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["file"] == str(tree / "dlinear" / "__init__.py")
    return said


@pytest.mark.slow
def test_the_method_is_found_by_its_name(names):
    assert names["method"] == [True, "tail-2", [False, False, False, True, True]]


def test_the_method_gives_the_gradient_of_the_last_blocks_and_costs_what_it_says():
    (family,) = load("method").FAMILIES
    assert family.compared(8, 20) == [1, 2, 4]
    stacks = [bridge.model("mlp", bridge.TaskShape((4,), 3), 0, depth=5, width=4) for _ in range(3)]
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    loss = bridge.Supervised(torch.nn.functional.cross_entropy, torch.arange(6) % 3)
    few, all_of_them = family.make(2), family.make(5)
    values = [step(s.blocks, x, loss, s.readout) for step, s in zip((few, all_of_them), stacks, strict=False)]
    loss(stacks[2](x)).backward()
    assert values[0] == values[1]
    for tail, whole, true in zip(*(s.named_parameters() for s in stacks), strict=True):
        assert torch.equal(whole[1].grad, true[1].grad)
        frozen = tail[0].startswith(("blocks.0.", "blocks.1.", "blocks.2."))
        assert (tail[1].grad is None) if frozen else torch.equal(tail[1].grad, true[1].grad)
    step = {"blocks": stacks[0].blocks, "x": x, "loss_fn": loss, "readout": stacks[0].readout}
    calls = bridge.step_calls(few, **step)
    assert (sum(calls.forwards), calls.vjps) == (few.cost(5).forwards, (0, 0, 0, 1, 1))
    assert few.predicted(5) == (2 / 5, 9 / 15)
    with pytest.raises(DomainError, match=r"count is 6; expected an integer in 1\.\.5"):
        family.make(6)(stacks[0].blocks, x, loss)


# -- model --------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_model_is_found_by_its_name(names):
    assert names["model"] == [True, 7]


def test_the_model_is_trained_by_a_horizon(monkeypatch):
    monkeypatch.setattr(registry, "_BUILDERS", registry._BUILDERS | load("model").BUILDERS)
    task = bridge.TaskShape((1, 2, 3), 4)
    stack = bridge.model("gated", task, 3, depth=5, dtype=torch.float64)
    again = bridge.model("gated", task, 3, depth=5, dtype=torch.float64)
    assert stack.depth == 5
    assert all(torch.equal(a, b) for a, b in zip(stack.parameters(), again.parameters(), strict=True))
    x = torch.randn(6, 1, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss = bridge.Supervised(torch.nn.functional.cross_entropy, torch.arange(6) % 4)
    bridge.horizon_backward(stack.blocks, x, loss, horizon=5, readout=stack.readout)
    loss(again(x)).backward()
    for a, b in zip(stack.parameters(), again.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-10, atol=1e-14)
    assert 0 < bridge.alignment(stack.blocks, x, loss, [2], stack.readout).sin2[0] < 1
    with pytest.raises(DomainError, match="depth"):
        bridge.model("gated", task, 3, depth=0)
