"""Certificates written to prove or refute what is not so, or to keep the checker busy: all are refused."""

from __future__ import annotations

import time

import pytest

from dlinear.certify import CertificateError, check
from dlinear.certify.trusted.check import FORMAT

SYMBOLS = {
    "x": "real", "u": "real", "s": "real", "y": "nonneg", "z": "positive", "k": "natural", "j": "natural",
    "h": "posint", "i": "integer", "c": "nonneg", "A": "matrix", "B": "matrix", "n": "posint",
}  # fmt: skip
FALSE = "1 <= 0"


def proves(*steps, conclusion=FALSE, goals=None, auxiliary=None, **statement):
    """A proof of `conclusion` by steps (rule, conclusion, parts)."""
    whole = {"symbols": SYMBOLS, "conclusions": [conclusion], **statement}
    lines = [{"rule": rule, "conclusion": text, **parts} for rule, text, parts in steps]
    last = [len(steps) - 1] if goals is None else goals
    data = {"format": FORMAT, "statement": whole, "steps": lines, "goals": last}
    return data | ({"auxiliary": auxiliary} if auxiliary else {})


def refutes(conclusion, values, *, bits=128, **statement):
    """A refutation of a conclusion."""
    body = {"values": values, "fails": 0, "bits": bits}
    return {"format": FORMAT, "statement": {"conclusions": [conclusion], **statement}, "refutation": body}


def linear(conclusion=FALSE, multipliers=(), at=(), **parts):
    return ("linear", conclusion, {"multipliers": list(multipliers), "from": list(at), **parts})


def assume(text):
    return ("assume", text, {})


def two_values(*cases, **more):
    """g(0) by each of two cases: their difference is 1 <= 0."""
    items = [{"if": list(given), "then": term} for given, term in cases]
    taken = [("definition", f"g(0) == {term}", {"name": "g", "at": "0", "case": at, "from": []})
             for at, (_, term) in enumerate(cases)]  # fmt: skip
    steps = [*taken, linear(FALSE, ["1", "-1"], [0, 1])]
    return proves(*steps, definitions={"g": {"index": "t", "cases": items}}, **more)


def bounded(bound, **more):
    """0 <= N(D(0)) <= bound."""
    return proves(("layer", f"N(D(0)) <= {bound}", {"family": "D", "at": "0"}), linear(FALSE, ["1"], [0]),
                  families={"D": bound}, **more)  # fmt: skip


def power_of(base, count):
    return "*".join([base] * count)


REAL = {"symbols": {"x": "real", "y": "real"}}
HOSTILE = {
    # what a statement declares
    "two values of a definition": two_values(([], "0"), ([], "1")),
    "two values where both conditions hold": two_values((["t <= 0"], "0"), (["0 <= t"], "1")),
    "two values under conditions on matrices": two_values((["A == A"], "0"), (["B == B"], "1")),
    "two values by a hidden index": two_values((["t <= x"], "0"), (["x <= t"], "1")),
    "a definition by itself": proves(
        ("definition", "g(0) == g(0) + 1", {"name": "g", "at": "0", "case": 0}),
        linear(FALSE, ["1"], [0]),
        definitions={"g": {"index": "t", "cases": [{"then": "g(t) + 1"}]}},
    ),
    "a definition by a later one": proves(
        linear("0 <= 0"), definitions={"g": {"index": "t", "cases": [{"then": "f(t) + 1"}]},
                                       "f": {"index": "t", "cases": [{"then": "g(t)"}]}}),
    "a sum of itself": proves(
        ("sum_step", "G(1) == G(0) + G(1) + 1", {"sum": "G", "at": "0"}),
        linear(FALSE, ["1"], [0]), sums={"G": {"index": "t", "term": "G(t + 1) + 1"}},
    ),
    "a misspelt condition": proves(
        linear("0 <= 0"), definitions={"g": {"index": "t", "cases": [{"fi": ["t <= 0"], "then": "1"}]}}),
    "a negative bound": bounded("-1"),
    "a bound that may be negative": bounded("c - 1"),
    "a bound by an odd power": bounded("x**3"),
    "a bound by a sequence": bounded("L(0)", sequences=["L"]),
    "a matrix for a bound": bounded("A"),
    "the width as a real": proves(linear("0 <= 0"), symbols={"n": "real"}),
    "a family with the name of a function": proves(linear("0 <= 0"), families={"exp": "1"}),
    "an auxiliary family": proves(linear("0 <= 0"), auxiliary={"D": "real"}, families={"D": "1"}),
    "an auxiliary symbol that changes a sort": proves(
        ("sort", "1 <= x", {"symbol": "x"}), conclusion="1 <= x", auxiliary={"x": "posint"}),
    # logic
    "an assumption that is kept": proves(assume(FALSE)),
    "a goal that is not yet derived": proves(linear("0 <= 0"), goals=[1]),
    "a goal before the first": proves(linear("0 <= 0"), goals=[-1]),
    "a goal that is a truth value": proves(linear("0 <= 1"), linear("0 <= 0"), goals=[True]),
    "fewer goals": proves(linear("0 <= 0"), goals=[]),
    "a premise that follows": proves(linear(FALSE, ["1"], [0])),
    "a cut of something else": proves(
        assume(FALSE), linear("0 <= 1"), ("cut", FALSE, {"from": [0, 1]})),
    "one case of two": proves(assume("x <= 0"), ("cases", "x <= 0", {"on": "x <= 0", "from": [0]}),
                              conclusion="x <= 0"),
    "cases without the border": proves(
        assume("x < 0"), assume("0 < x"), ("cases", "0 < x**2", {"on": "x < 0", "from": [0, 1]}),
        conclusion="0 < x**2"),
    "a symbol of a bound": proves(
        ("layer", "N(D(0)) <= c", {"family": "D", "at": "0"}),
        ("instantiate", "N(D(0)) <= 0", {"with": {"c": "0"}, "from": [0]}),
        conclusion="N(D(0)) <= 0", families={"D": "c"}),
    "a symbol of a definition": proves(
        ("definition", "g(0) == x", {"name": "g", "at": "0", "case": 0}),
        ("instantiate", "g(0) == 1", {"with": {"x": "1"}, "from": [0]}),
        conclusion="g(0) == 1", definitions={"g": {"index": "t", "cases": [{"then": "x"}]}}),
    "a value outside the sort": proves(
        ("sort", "0 <= y", {"symbol": "y"}), ("instantiate", "0 <= -1", {"with": {"y": "-1"}, "from": [0]}),
        conclusion="0 <= -1"),
    "half for an integer": proves(
        ("sort", "1 <= h", {"symbol": "h"}), ("instantiate", "1 <= 1/2", {"with": {"h": "1/2"}, "from": [0]}),
        conclusion="1 <= 1/2"),
    "an instance below an assumption": proves(
        assume("x <= 0"), ("instantiate", "1 <= 0", {"with": {"x": "1"}, "from": [0]})),
    "an induction from its step": proves(
        assume("k <= 0"), ("induction", "k <= 0", {"variable": "k", "from": [0, 0]}), conclusion="k <= 0"),
    "an induction with a hypothesis on k": proves(
        linear("0 <= 0"), assume("k + 1 <= 0"), ("induction", "k <= 0", {"variable": "k", "from": [0, 1]}),
        conclusion="k <= 0"),
    "an induction over integers": proves(
        linear("0 <= 0"), assume("0 <= i"), linear("0 <= i + 1", ["1"], [1]),
        ("induction", "0 <= i", {"variable": "i", "from": [0, 2]}), conclusion="0 <= i"),
    "an absurd premise that is true": proves(linear("0 <= 0"), ("absurd", FALSE, {"from": [0]})),
    # numbers
    "a negative multiplier": proves(
        ("sort", "0 <= y", {"symbol": "y"}), linear("y <= 0", ["-1"], [0]), conclusion="y <= 0"),
    "a multiplier of any sign": proves(
        ("sort", "0 <= y", {"symbol": "y"}), linear("0 <= x*y", ["x"], [0]), conclusion="0 <= x*y"),
    "a negative square": proves(linear("x**2 <= 0", squares=[["-1", "x"]]), conclusion="x**2 <= 0"),
    "an equation from an inequality": proves(
        ("sort", "0 <= y", {"symbol": "y"}), linear("0 == y", ["1"], [0]), conclusion="0 == y"),
    "fewer multipliers": proves(assume(FALSE), linear("0 <= 0", [], [0]), linear(FALSE, ["1"], [0, 1])),
    "a product of an equation": proves(
        linear("0 == 0"), linear("0 <= 1"), ("product", "0 < 0", {"from": [0, 1]}), conclusion="0 < 0"),
    "antisymmetry of one premise": proves(
        ("sort", "0 <= y", {"symbol": "y"}), ("antisymmetry", "y == 0", {"from": [0, 0]}),
        conclusion="y == 0"),
    "discreteness of reals": proves(
        ("sort", "0 < z", {"symbol": "z"}), ("discrete", "1 <= z", {"from": [0]}), conclusion="1 <= z"),
    "the reciprocal of zero": proves(
        ("reciprocal", "y*(1/y) == 1", {"of": "y", "from": []}), conclusion="y*(1/y) == 1"),
    "the root of a negative": proves(("root", "sqrt(x)**2 == x", {"of": "x", "from": []}),
                                     conclusion="sqrt(x)**2 == x"),
    "the least sort": proves(("sort", "1 <= k", {"symbol": "k"}), conclusion="1 <= k"),
    "a cancelled reciprocal": proves(linear("x*(1/x) == 1"), conclusion="x*(1/x) == 1"),
    "a root of a square": proves(linear("sqrt(x**2) == x"), conclusion="sqrt(x**2) == x"),
    # calculus
    "a primitive with a pole": proves(
        ("ftc", "Int(s, -1, 1, -1/s**2) == 2", {"primitive": "1/s"}),
        conclusion="Int(s, -1, 1, -1/s**2) == 2"),
    "a primitive with a jump": proves(
        ("ftc", "Int(s, 0, 1, 0) == 1", {"primitive": "floor(s)"}), conclusion="Int(s, 0, 1, 0) == 1"),
    "an integral over integers": proves(
        ("ftc", "Int(k, 0, 1, 2*k) == 1", {"primitive": "k**2"}), conclusion="Int(k, 0, 1, 2*k) == 1"),
    "a captured variable": proves(
        ("ftc", "Int(s, 0, 1, x) == x", {"primitive": "x*s"}),
        ("instantiate", "Int(s, 0, 1, s) == s", {"with": {"x": "s"}, "from": [0]}),
        conclusion="Int(s, 0, 1, s) == s"),
    "an equation under an integral": proves(
        assume("s == 0"), ("ftc", "Int(s, 0, 1, 2*s) == 1", {"primitive": "s**2"}),
        ("substitute", "Int(s, 0, 1, 0) == 1", {"from": [0, 1]}), conclusion="Int(s, 0, 1, 0) == 1",
        hypotheses=["s == 0"]),
    "an integral whose ends differ": proves(linear("Int(s, 0, x, s) == 0"),
                                            conclusion="Int(s, 0, x, s) == 0"),
    "an odd derivative on both sides": proves(
        ("taylor", "0 <= x**3", {"variable": "x", "order": 3, "from": []}), conclusion="0 <= x**3"),
    "a derivative that does not vanish": proves(
        ("taylor", "0 <= y - 1", {"variable": "y", "order": 1, "from": []}), conclusion="0 <= y - 1"),
    "a hypothesis away from zero": proves(
        assume("1 <= y"), linear("0 <= 2*y - 2", ["2"], [0]),
        ("taylor", "0 <= y**2 - 2*y", {"variable": "y", "order": 1, "from": [1]}),
        conclusion="0 <= y**2 - 2*y", hypotheses=["1 <= y"], witness={"y": 1}, symbols={"y": "nonneg"}),
    # matrices, windows, sums
    "matrices that commute": proves(("matrix", "A*B == B*A", {"from": []}), conclusion="A*B == B*A"),
    "a norm that is no bound": proves(
        ("axiom", "N(x*A) == x*N(A)", {"name": "N_scale", "args": ["x", "A"]}),
        conclusion="N(x*A) == x*N(A)"),
    "an axiom of another name": proves(
        ("axiom", "F(A) <= N(A)", {"name": "F_below_S", "args": ["A"]}), conclusion="F(A) <= N(A)"),
    "an axiom with its arguments turned": proves(
        ("axiom", "N(A)*N(B) <= N(A*B)", {"name": "N_product", "args": ["A", "B"]}),
        conclusion="N(A)*N(B) <= N(A*B)"),
    "definiteness of a number": proves(
        linear("0 <= 0"), ("definite", "x == 0", {"from": [0]}), conclusion="x == 0"),
    "a window that runs backwards": proves(
        ("window_step", "W(1, 0) == (I + D(-1))*W(1, -1)", {"product": "W", "start": "1", "stop": "-1"}),
        conclusion="W(1, 0) == (I + D(-1))*W(1, -1)", families={"D": "c"}, products={"W": "D"}),
    "half a window": proves(
        ("window_empty", "W(1/2, 1/2) == I", {"product": "W", "at": "1/2"}),
        conclusion="W(1/2, 1/2) == I", families={"D": "c"}, products={"W": "D"}),
    "a sum below zero": proves(
        ("sum_step", "G(0) == G(-1) + 1", {"sum": "G", "at": "-1"}), conclusion="G(0) == G(-1) + 1",
        sums={"G": {"index": "t", "term": "1"}}),
    "a case whose condition is not shown": proves(
        ("definition", "g(x) == 1", {"name": "g", "at": "0", "case": 0, "from": []}),
        conclusion="g(0) == 1",
        definitions={"g": {"index": "t", "cases": [{"if": ["1 <= t"], "then": "1"}]}}),
    # balls
    "a leaf that is wrong": proves(
        ("ball", "1 <= x", {"box": {"x": ["0", "2"]}, "tree": "."}), conclusion="1 <= x"),
    "a box that is not kept": proves(
        ("ball", "0 <= x + 1", {"box": {"x": ["0", "2"]}, "tree": "."}), conclusion="0 <= x + 1"),
    "a box turned round": proves(
        ("ball", "1 <= x", {"box": {"x": ["2", "0"]}, "tree": "."}), conclusion="1 <= x"),
    "half a tree": proves(
        ("ball", "1 <= x", {"box": {"x": ["0", "2"]}, "tree": "0."}), conclusion="1 <= x"),
    "a mark in another script": proves(
        ("ball", "0 <= x", {"box": {"x": ["0", "2"]}, "tree": "\u0660.."}), conclusion="0 <= x"),
    "one bit": proves(
        ("ball", "0 <= x", {"box": {"x": ["0", "2"]}, "tree": ".", "bits": 1}), conclusion="0 <= x"),
    "a pole in the box": proves(
        ("ball", "0 < x*(1/x)", {"box": {"x": ["-1", "1"]}, "tree": "."}), conclusion="0 < x*(1/x)",
        hypotheses=["-1 <= x", "x <= 1"]),
    # refutations
    "an example outside the sort": refutes("0 <= y", {"y": -1}, symbols={"y": "nonneg"}),
    "an example that is infinite": refutes("x < 0", {"x": float("inf")}, **REAL),
    "an example that is no number": refutes("x <= x", {"x": float("nan")}, **REAL),
    "an example in another script": refutes("x < 0", {"x": "\u0661"}, **REAL),
    "an example with blanks": refutes("x < 0", {"x": " 1"}, **REAL),
    "an example that is a truth value": refutes("x < 0", {"x": True}, **REAL),
    "an example that does not keep a hypothesis": refutes(
        "x <= 1", {"x": 2, "y": 0}, hypotheses=["x <= y"], **REAL),
    "an example on the edge of rounding": refutes(
        "exp(x)*exp(-x) <= 1", {"x": "1/3", "y": 0}, **REAL),
    "an open constant in a hypothesis": refutes(
        "x <= 1", {"x": 2}, hypotheses=["y <= x"], exists=["y"], **REAL),
    "an open constant that can be met": refutes("x <= y", {"x": 2}, exists=["y"], **REAL),
    "an open constant of a sort": refutes(
        "x <= z", {"x": 2}, exists=["z"], symbols={"x": "real", "z": "positive"}),
    "a layer above its bound": refutes(
        "N(D(0)) <= c", {"c": 1, "D": {"0": [[2]]}}, symbols={"c": "nonneg"}, families={"D": "c"}),
    "two layers at one index": refutes(
        "N(D(0)) <= 1", {"D": {"0": [[0]], "00": [[2]]}}, families={"D": None}),
    "matrices of two widths": refutes(
        "F(A) <= F(B)", {"A": [[1, 1], [1, 1]], "B": [[1]]}, symbols={"A": "matrix", "B": "matrix"}),
    "a value for a definition": refutes(
        "g(0) <= 0", {"g": {"0": 1}}, definitions={"g": {"index": "t", "cases": [{"then": "0"}]}}),
    # witnesses
    "hypotheses that contradict each other": proves(
        assume("x <= 0"), assume("1 <= x"), linear(FALSE, ["1", "1"], [0, 1]),
        hypotheses=["x <= 0", "1 <= x"], witness={"x": 0}, symbols={"x": "real"}),
    "a witness outside a sort": proves(
        assume("y <= -1"), ("sort", "0 <= y", {"symbol": "y"}), linear(FALSE, ["1", "1"], [0, 1]),
        hypotheses=["y <= -1"], witness={"y": -1}, symbols={"y": "nonneg"}),
    "a witness that is not closed": proves(
        linear("0 <= 0"), hypotheses=["x == u + 1"], conclusion="0 <= 0", symbols={"x": "real", "u": "real"},
        witness={"x": "u + 1", "u": "x - 1"}),
    # the language
    "a chain": proves(linear("0 <= 1 <= 0")),
    "a float": proves(linear("0.1 + 0.2 <= 3/10"), conclusion="0.1 + 0.2 <= 3/10"),
    "a comprehension": proves(linear("[x for x in y] <= 0")),
    "an attribute": proves(linear("A.S <= 0")),
    "a name from Python": proves(linear("__import__ <= 0")),
    "a truth value": proves(linear("True <= 0")),
    # work
    "a word of matrices": proves(linear(f"ip({power_of('(A + B)', 16)}, I) <= 0")),
    "an expansion": proves(linear("(x + u + y + z + c + s)**60 <= 0")),
    "a tower": proves(linear("2**(2**(2**(2**(2**2)))) <= 0")),
    "a tower of an example": refutes("2**(2**(2**(2**(2**2)))) <= x", {"x": 0, "y": 0}, **REAL),
    "a sum of windows": refutes(
        "G(4000) <= x", {"x": 0, "y": 0, "D": {"0": [["1/7"]]}}, **REAL, families={"D": None},
        products={"W": "D"}, sums={"G": {"index": "t", "term": "N(W(0, 4000 - t))"}}),
    "long windows of wide matrices": refutes(
        "N(W(0, 4000)) <= 0", {"D": {str(t): [[f"{t + 1}/7"] * 12] * 12 for t in range(300)}},
        families={"D": None}, products={"W": "D"}),
    "a wide singular value": refutes(
        "N(A) <= 0", {"A": [[f"{i * j + 1}/{i + j + 1}" for i in range(60)] for j in range(60)]},
        symbols={"A": "matrix"}),
    "deep brackets": proves(linear("(" * 300 + "0" + ")" * 300 + " <= 0")),
    "many leaves": proves(
        ("ball", "0 <= exp(exp(exp(x)))", {"box": {"x": ["0", "1"]}, "tree": "0" * 400_000 + "." * 400_001}),
        conclusion="0 <= exp(exp(exp(x)))"),
    "a long trace": proves(linear(f"ip({power_of('A', 900)}, I) <= 0")),
}  # fmt: skip


SLOW = {"long windows of wide matrices", "a wide singular value", "a word of matrices", "an expansion",
        "many leaves", "a sum of windows"}  # fmt: skip


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind in SLOW else kind for kind in HOSTILE]
)
def test_a_hostile_certificate_is_refused_soon(kind):
    start = time.process_time()
    with pytest.raises(CertificateError) as caught:
        check(HOSTILE[kind])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 500
    assert time.process_time() - start < 20
