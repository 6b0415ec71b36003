"""Names and families of methods: what each file contributes, what other code may add, what is refused."""

import pickle
import sys

import pytest
import torch
from paths import ROOT

from dlinear.bridge import Supervised, TaskShape, alignment, model
from dlinear.bridge.angles.theorem_d import initial_law
from dlinear.bridge.methods import registry
from dlinear.bridge.methods.backprop import backprop
from dlinear.bridge.methods.base import Cost, Predicted, named
from dlinear.bridge.methods.registry import NAMES, Family, Method, families, method, names, register
from dlinear.bridge.side_by_side import MethodProbe
from dlinear.errors import DomainError
from dlinear.theory.decay_law import DecayConstants, decay_law


def cost(depth):
    return Cost(depth, depth)


def predicted(depth):
    return Predicted(1.0, 1.0)


def maker(family):
    """A function number -> method, as `Family.make` is."""

    def make(number):
        name = named(family, number)
        return Method(name, family, number, "ours", False, backprop, cost, predicted)

    return make


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))


def test_the_names_of_the_package():
    assert [
        *(
            "accumulate-N",
            "activation",
            "anchored-N",
            "anchored-stages-N",
            "backprop",
            "checkpoint",
            "checkpoint-N",
            "combined-N",
        ),
        *("dfa", "dfa-N", "dfa-identity", "drtp", "drtp-N", "fa", "fa-N", "fa-mirror", "fa-mirror-N"),
        *("ff", "ff-hard", "ff-matched", "ff-mean"),
        *(
            "forward",
            "forward-N",
            "foton",
            "greedy",
            "highway-N",
            "horizon-N",
            "hybrid-N",
            "lac",
            "loco-N",
            "oja",
        ),
        *(
            "pepita",
            "pepita-N",
            "pepita-hebbian",
            "pepita-hebbian-N",
            "pepita-local",
            "pepita-local-N",
            "pepita-mirror",
            "pepita-mirror-N",
            "pff",
            "pff-N",
        ),
        *("projected-N", "reconstruct-N", "revolve-N", "sdfa", "sdfa-N", "stages-N"),
    ] == names()
    assert tuple(names()) == NAMES
    assert [family.name for family in families()] == [
        *("backprop", "checkpoint", "accumulate", "combined", "revolve", "reconstruct"),
        *("horizon", "projected", "anchored", "stages", "anchored-stages"),
        *("loco", "forward", "highway", "greedy"),
        *(
            "fa",
            "dfa",
            "sdfa",
            "drtp",
            "dfa-identity",
            "pepita",
            "pepita-hebbian",
            "pepita-local",
            "fa-mirror",
            "pepita-mirror",
            "foton",
        ),
        *("ff", "ff-mean", "ff-matched", "ff-hard", "hybrid"),
        *("oja", "activation", "lac", "pff"),
    ]


def test_every_family_makes_what_it_promises():
    for family in families():
        numbers = [None] * family.bare + ([family.least, 12] if family.least else [])
        for number in numbers:
            one = method(named(family.name, number))
            assert (one.name, one.family, one.number) == (named(family.name, number), family.name, number)
            assert family.label
            predicted = one.predicted(16)
            assert 0 <= predicted.memory <= (3 if one.family == "pff" else 1)  # pff has three sets of states
            assert predicted.time > 0
            assert one.cost(16).forwards >= 16
            again = pickle.loads(pickle.dumps(one))
            assert (again.predicted(16), again.number, again.horizon) == (predicted, number, one.horizon)
        assert list(family.compared(16, 8)) == sorted(family.compared(16, 8), key=lambda k: k or 0)


def test_a_family_from_elsewhere_with_a_name_of_several_words():
    register(Family("damped-stages", maker("damped-stages"), least=2))
    assert set(names()) == {*NAMES, "damped-stages-N"}
    assert families()[-1].name == "damped-stages"
    one = method("damped-stages-4")
    assert (one.name, one.family, one.number) == ("damped-stages-4", "damped-stages", 4)
    for name in ("damped-stages", "damped-stages-1", "damped-stages-04", "damped-4"):
        with pytest.raises(DomainError, match=f"method '{name}': allowed are .*damped-stages-N"):
            method(name)
    register(Family("dfa2", maker("dfa2"), least=None, bare=True, place=5))
    assert method("dfa2").family == "dfa2"
    assert method("dfa2").number is None
    assert [family.name for family in families()][:3] == ["backprop", "dfa2", "checkpoint"]


def test_a_taken_name_is_refused():
    with pytest.raises(DomainError, match="family 'horizon' is taken by another; choose another name"):
        register(Family("horizon", maker("horizon"), least=1))


@pytest.mark.parametrize(
    "name", ["", "Ours", "ours-4", "4ours", "ours-", "-ours", "our rule", "ours--b", None, 3]
)
def test_a_name_that_could_not_be_read_is_refused(name):
    with pytest.raises(DomainError, match=r"^family .*: allowed are lower-case words joined by hyphens"):
        register(Family(name, maker("ours"), bare=True))


def test_a_family_without_a_method_is_refused():
    with pytest.raises(DomainError, match="family 'ours' has no method: give least, bare=True, or both"):
        register(Family("ours", maker("ours"), least=None))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("horizn-4", "horizon-4"),
        ("horizon4", "horizon-4"),
        ("greedy-2", "greedy"),
        ("checkpoint-0", "checkpoint or checkpoint-N"),
        ("Horizon-4", "horizon-4"),
        ("horizon-04", "horizon-4"),
        ("horizon-0", "horizon-N"),
        ("horizon-4\n", "horizon-4"),
        ("horizon", "horizon-N"),
        ("loco-1", "loco-N"),
        ("backprob", "backprop"),
        ("checkpoints-8", "checkpoint-8"),
    ],
)
def test_the_nearest_name_is_named(name, meant):
    with pytest.raises(DomainError, match=rf"; did you mean {meant}\?$"):
        method(name)


@pytest.mark.parametrize("name", ["magic", "", None, 3, 2.5, b"greedy", ["greedy"], "x" * 5000])
def test_a_name_that_is_near_to_none_lists_all(name):
    with pytest.raises(DomainError, match=r"stages-N$") as caught:
        method(name)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300


def test_a_method_itself_is_accepted_where_a_name_is():
    one = maker("ours")(None)
    assert method(one) is one
    stack = model("mlp", TaskShape((5,), 3), depth=3, width=5, readout="shared")
    loss = Supervised(torch.nn.functional.cross_entropy, torch.arange(7) % 3)
    probe = MethodProbe(one, stack, torch.randn(7, 5), loss)
    assert probe.difference() == 0.0
    assert probe.costs(1)["vjps"] == 3


def test_what_is_exact_and_what_is_a_horizon():
    some = ("backprop", "checkpoint-2", "horizon-7", "greedy", "loco-3")
    assert [method(name).exact for name in some] == [True, True, False, False, False]
    assert [method(name).horizon for name in some] == [None, None, 7, None, None]
    assert [method(name).readout for name in some] == [None, None, None, "exits", None]
    assert method("accumulate-2").whole_batch is False
    assert method("checkpoint-2").whole_batch


def test_the_predicted_angle_is_theorem_ds_and_is_measured():
    """A residual tanh network of 100 layers smooth in depth: sin^2 at m = 4 within 8 % of the prediction."""
    depth, task = 100, TaskShape((6,), 6)
    stack = model(
        "deep", task, 1, depth=depth, width=6, activation="tanh", layers="smooth", dtype=torch.float64
    )
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    loss = Supervised(
        torch.nn.functional.mse_loss, torch.randn(40, 6, generator=generator, dtype=torch.float64)
    )
    law = initial_law(stack, x, loss)
    seen = float(alignment(stack.blocks, x, loss, [96], stack.readout).sin2[0])
    assert method("horizon-96").sin2(law, depth) == pytest.approx(seen, rel=0.08)
    assert method("horizon-96").sin2(law, depth) == float(decay_law(*law, 4, depth))
    assert method("horizon-100").sin2(law, depth) == 0.0
    constants = DecayConstants(1.0, 2.0)
    for name in ("backprop", "checkpoint", "checkpoint-3", "accumulate-2", "combined-2"):
        assert method(name).sin2(constants, depth) == 0.0
    assert all(method(name).sin2 is None for name in ("greedy", "loco-3", "forward-2"))


def test_a_plugin_registers_when_it_is_loaded(tmp_path, monkeypatch):
    (tmp_path / "plugged_methods.py").write_text(
        "from dlinear.bridge.methods import Family, method, register\n"
        "def make(number):\n    return method('backprop')\n"
        "register(Family('plugged', make, bare=True))\n"
    )
    (tmp_path / "needs_more.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        registry.load(["plugged_methods"])
        registry.load(["plugged_methods"])
        assert "plugged" in names()
    finally:
        sys.modules.pop("plugged_methods", None)
    with pytest.raises(
        DomainError, match="plugin 'not_there_at_all' cannot be found; give the name of a module"
    ):
        registry.load(["not_there_at_all"])
    with pytest.raises(DomainError, match=r"plugin 'no_such_package\.part' cannot be found"):
        registry.load(["no_such_package.part"])
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        registry.load(["needs_more"])


def test_the_example_of_the_documentation():
    """The method of docs/bridge.md: its loss is the loss, its gradient `factor` times back-propagation's."""
    text = (ROOT / "docs" / "bridge.md").read_text(encoding="utf-8")
    (example,) = [part for part in text.split("```python\n") if "register(" in part]
    exec(compile(example.partition("```")[0], "docs/bridge.md", "exec"), {})
    one = method("scaled-3")
    assert (one.name, one.family, one.number, one.cost(5).vjps) == ("scaled-3", "scaled", 3, 5)
    stack = model("mlp", TaskShape((5,), 3), depth=3, width=5, readout="shared")
    loss = Supervised(torch.nn.functional.cross_entropy, torch.arange(7) % 3)
    probe = MethodProbe(one, stack, torch.randn(7, 5), loss)
    assert probe.difference() == pytest.approx(2.0, rel=1e-5)
    found = [method(name)(stack.blocks, probe.x, loss, stack.readout) for name in ("scaled-3", "backprop")]
    torch.testing.assert_close(*found)
