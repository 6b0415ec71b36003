"""Each guard of the trusted room has its smallest input: what this `raise` refuses, and nothing before it.

The last test compares the lines that these inputs reach with all `raise` statements of the room.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import dlinear.certify.trusted
from dlinear.certify import CertificateError, check, read
from dlinear.certify.trusted.arithmetic import rational
from dlinear.certify.trusted.check import FORMAT, MAX_BYTES
from dlinear.certify.trusted.context import read_context
from dlinear.certify.trusted.evaluation import Model
from dlinear.certify.trusted.kinds import kind_of
from dlinear.certify.trusted.limits import limited
from dlinear.certify.trusted.normal_form import Normaliser
from dlinear.certify.trusted.terms import parse

ROOM = Path(dlinear.certify.trusted.__file__).parent
SYMBOLS = {
    "x": "real", "u": "real", "y": "nonneg", "z": "positive", "k": "natural", "h": "posint", "i": "integer",
    "c": "nonneg", "A": "matrix", "B": "matrix", "n": "posint",
}  # fmt: skip
STATEMENT = {
    "symbols": SYMBOLS,
    "families": {"D": "c", "E": None},
    "products": {"W": "D"},
    "sequences": ["L"],
    "definitions": {"g": {"index": "t", "cases": [
        {"if": ["t == 1"], "then": "t"}, {"if": ["2 <= t"], "then": "0"},
    ]}},
    "sums": {"G": {"index": "t", "term": "t"}},
    "conclusions": ["0 <= 1"],
}  # fmt: skip


def steps(*assumed, **last):
    """A proof that assumes some formulas and then takes one step."""
    given = [{"rule": "assume", "conclusion": formula} for formula in assumed]
    last.setdefault("from", list(range(len(given))))
    last.setdefault("conclusion", "0 <= 1")
    return check({"format": FORMAT, "statement": STATEMENT, "steps": [*given, last], "goals": [len(given)]})


def linear(conclusion, *assumed, **last):
    """A `linear` step."""
    return steps(*assumed, rule="linear", conclusion=conclusion, **last)


def proof(statement=None, **parts):
    """A proof whose only step is 0 <= 1."""
    step = {"rule": "linear", "conclusion": "0 <= 1"}
    whole = {"format": FORMAT, "statement": {"conclusions": ["0 <= 1"], **(statement or {})}}
    return check({**whole, "steps": [step], "goals": [0], **parts})


def refute(conclusion, values=None, *, fails=0, exists=(), bits=128, **declared):
    """A refutation."""
    statement = {"conclusions": [conclusion], **declared}
    if exists:
        statement["exists"] = list(exists)
    body = {"values": values or {}, "fails": fails, "bits": bits}
    return check({"format": FORMAT, "statement": statement, "refutation": body})


def witness(values, *hypotheses, **symbols):
    """A proof of 0 <= 1 with these hypotheses and this witness."""
    return proof({"symbols": symbols, "hypotheses": list(hypotheses), "witness": values})


def file(text, folder, name="c.json"):
    """A certificate from a file."""
    path = folder / name
    path.write_text(text)
    return read(path)


def ball(conclusion="0 <= x + 1", **parts):
    """A `ball` step over [0, 1]."""
    parts = {"box": {"x": ["0", "1"]}, "tree": ".", **parts}
    return steps(rule="ball", conclusion=conclusion, **parts)


def declared(**parts):
    """Reads a statement."""
    return read_context({"symbols": {"x": "real", "A": "matrix"}, **parts})


def tired():
    """Reads a text with less work left than it takes."""
    with limited(10):
        return parse("1 + 1 + 1")


REAL = {"symbols": {"x": "real"}}
GUARDS = {
    # arithmetic
    "a float": ("an integer or a fraction in quotes, got 0.5", lambda t: rational(0.5)),
    "a boolean": ("an integer or a fraction in quotes, got True", lambda t: rational(True)),
    "too many digits": ("more than 2000 digits", lambda t: rational("1" * 2001)),
    "a decimal": ("fraction in quotes, got '0.5'", lambda t: rational("0.5")),
    "half a fraction": ("fraction in quotes, got '1/'", lambda t: rational("1/")),
    "division by zero": ("fraction in quotes, got '1/0'", lambda t: rational("1/0")),
    "product of large numbers": (
        "1000000 bits is not evaluated",
        lambda t: refute("x**90000*x**90000 <= 0", {"x": 1024}, **REAL),
    ),
    "large power": ("a power of more than", lambda t: refute("0*x**90000 < 0", {"x": 4096}, **REAL)),
    "broken power": ("broken power", lambda t: refute("x**(1/3) < 0", {"x": -1}, **REAL)),
    "ragged rows": ("square list", lambda t: refute("F(A) < 0", {"A": [[1], []]}, symbols={"A": "matrix"})),
    "no rows": ("square list", lambda t: refute("F(A) < 0", {"A": []}, symbols={"A": "matrix"})),
    "two widths": (
        "1 x 1",
        lambda t: refute(
            "F(A) < 0", {"A": [[1]], "B": [[1, 0], [0, 1]]}, symbols={"A": "matrix", "B": "matrix"}
        ),
    ),
    # balls
    "bits": ("bits must be", lambda t: refute("1 < 0", bits=23)),
    "no ball function": ("no ball evaluation", lambda t: ball("0 <= 1 + floor(x)")),
    "tree is no text": ("a string of bounded length", lambda t: ball(tree=["."])),
    "a leaf too many": ("belong to no box", lambda t: ball(tree="..")),
    "a leaf that fails": ("does not prove", lambda t: ball("1 <= x")),
    "a mark": ("unknown mark '1'", lambda t: ball(tree="1..")),
    "an open box": ("does not cover", lambda t: ball(tree="0.")),
    # calculus
    "not smooth": (
        "differentiable in y",
        lambda t: steps(rule="taylor", variable="y", order=1, conclusion="0 <= floor(y)"),
    ),
    # check
    "large file": ("larger than", lambda t: file(" " * (MAX_BYTES + 1), t)),
    "no JSON": ("not a readable certificate", lambda t: file("{", t)),
    "another format": ("does not have the format", lambda t: file('{"format": "other"}', t)),
    "a name twice": ("'a' stands twice", lambda t: file('{"a": 1, "a": 1}', t)),
    "a malformed whole": (
        "malformed certificate .KeyError: 'statement'",
        lambda t: check({"format": FORMAT}),
    ),
    "format": ("format is not", lambda t: proof(format="other")),
    "another statement": (
        "not the registered goal",
        lambda t: check(
            {
                "format": FORMAT,
                "statement": {"conclusions": ["0 <= 1"]},
                "goals": [0],
                "steps": [{"rule": "linear", "conclusion": "0 <= 1"}],
            },
            {"conclusions": ["0 <= 2"]},
        ),
    ),
    "no conclusions": ("without conclusions", lambda t: proof({"conclusions": []}, goals=[])),
    "unknown part": ("unknown parts", lambda t: proof({"axioms": []})),
    "a text for a list": ("exists must be a list", lambda t: proof({"exists": ""})),
    "steps and a refutation": ("either steps or", lambda t: proof(refutation={})),
    "no such conclusion": ("name the conclusion", lambda t: refute("1 < 0", fails=-1)),
    "a true conclusion index": ("name the conclusion", lambda t: refute("1 < 0", fails=False)),
    "false hypothesis": ("does not satisfy", lambda t: refute("1 < 0", hypotheses=["1 < 0"])),
    "true conclusion": ("does not violate", lambda t: refute("0 < 1")),
    "undecided conclusion": ("does not violate", lambda t: refute("exp(1) < exp(1)")),
    "open constant": ("only be refuted", lambda t: proof({"exists": ["x"], **REAL})),
    "auxiliary twice": ("auxiliary", lambda t: proof(REAL, auxiliary={"x": "real"})),
    "auxiliary sort": ("auxiliary", lambda t: proof(auxiliary={"q": "odd"})),
    "many steps": (
        "at most 5000",
        lambda t: proof(steps=[{"rule": "linear", "conclusion": "0 <= 1"}] * 5001),
    ),
    "a step": ("step 0 .linear.: KeyError: 'conclusion'", lambda t: proof(steps=[{"rule": "linear"}])),
    "goals": ("number of goals", lambda t: proof(goals=[0, 0])),
    "another conclusion": ("does not conclude", lambda t: proof({"conclusions": ["1 <= x"], **REAL})),
    "open hypothesis": (
        "are not in the statement",
        lambda t: proof(
            {"conclusions": ["x <= 1"], **REAL}, steps=[{"rule": "assume", "conclusion": "x <= 1"}]
        ),
    ),
    # consistency and context
    "bound is a matrix": ("must be a number", lambda t: declared(families={"D": "A"})),
    "negative bound": ("manifestly non-negative", lambda t: declared(families={"D": "x"})),
    "contradicting cases": (
        "not shown to exclude",
        lambda t: declared(definitions={"g": {"index": "t", "cases": [{"then": "0"}, {"then": "1"}]}}),
    ),
    "sort": ("unknown sort", lambda t: read_context({"symbols": {"x": "complex"}})),
    "width": ("n is the width", lambda t: read_context({"symbols": {"n": "real"}})),
    "product of no family": ("declared family", lambda t: declared(products={"W": "D"})),
    "no table": ("symbols must be an object", lambda t: read_context({"symbols": []})),
    "reserved name": ("reserved, malformed", lambda t: read_context({"symbols": {"exp": "real"}})),
    "malformed name": ("reserved, malformed", lambda t: read_context({"symbols": {"x'": "real"}})),
    "name twice": ("declared twice", lambda t: declared(sequences=["x"])),
    "part of a definition": (
        "unknown parts",
        lambda t: declared(definitions={"g": {"index": "t", "cases": [{"then": "0", "iff": []}]}}),
    ),
    "index is a function": ("index 'exp'", lambda t: declared(sums={"G": {"index": "exp", "term": "0"}})),
    "index is a matrix": ("index 'I'", lambda t: declared(sums={"G": {"index": "I", "term": "0"}})),
    "index is the width": ("index 'n'", lambda t: declared(sums={"G": {"index": "n", "term": "0"}})),
    "condition": (
        "must be a comparison",
        lambda t: declared(definitions={"g": {"index": "t", "cases": [{"if": ["t"], "then": "0"}]}}),
    ),
    "no case": ("at least one case", lambda t: declared(definitions={"g": {"index": "t", "cases": []}})),
    "a comparison as a value": (
        "one kind",
        lambda t: declared(definitions={"g": {"index": "t", "cases": [{"then": "0 <= t"}]}}),
    ),
    "matrix sum": ("must be a number", lambda t: declared(sums={"G": {"index": "t", "term": "A"}})),
    # evaluation
    "undeclared value": ("undeclared names: w", lambda t: refute("1 < 0", {"w": 1})),
    "value of a definition": (
        "takes no value",
        lambda t: refute("1 < 0", {"g": {}}, definitions={"g": {"index": "t", "cases": [{"then": "0"}]}}),
    ),
    "open integer": ("only a real", lambda t: refute("1 < 0", exists=["k"], symbols={"k": "integer"})),
    "no value": ("no value for x", lambda t: refute("1 < 0", **REAL)),
    "layers in a list": ("object index -> value", lambda t: refute("1 < 0", {"D": []}, families={"D": None})),
    "two layers at one index": (
        "two values at one index",
        lambda t: refute("1 < 0", {"L": {"0": 1, "00": 1}}, sequences=["L"]),
    ),
    "index of a layer": ("layer index", lambda t: refute("1 < 0", {"L": {"1/2": 1}}, sequences=["L"])),
    "out of the sort": (
        "x = -1 is not nonneg",
        lambda t: refute("1 < 0", {"x": -1}, symbols={"x": "nonneg"}),
    ),
    "layer above its bound": (
        "keep its bound",
        lambda t: refute("1 < 0", {"D": {"0": [[2]]}}, families={"D": "1"}),
    ),
    "no value of an integral": (
        "no exact evaluation",
        lambda t: refute("Int(x, 0, 1, x) < 0", {"x": 1}, **REAL),
    ),
    "no value of a matrix": (
        "no exact evaluation",
        lambda t: Model(declared(), {"x": 1, "A": [[1]]}, ()).matrix(parse("exp(x)")),
    ),
    "broken index": ("small integer", lambda t: refute("L(1/2) < 0", sequences=["L"])),
    "large index": ("small integer", lambda t: refute("L(4001) < 0", sequences=["L"])),
    "irrational index": ("small integer", lambda t: refute("L(exp(1)) < 0", sequences=["L"])),
    "undefined value": (
        "g.0. is not defined",
        lambda t: refute(
            "g(0) < 0", definitions={"g": {"index": "t", "cases": [{"if": ["1 <= t"], "then": "0"}]}}
        ),
    ),
    "irrational matrix": (
        "not rational",
        lambda t: refute("F(exp(1)*A) < 0", {"A": [[1]]}, symbols={"A": "matrix"}),
    ),
    "no width": ("width n is unknown", lambda t: refute("F(I) < 0")),
    "window backwards": (
        "runs backwards",
        lambda t: refute(
            "F(W(1, 0)) < 0", {"n": 1}, symbols={"n": "posint"}, families={"D": None}, products={"W": "D"}
        ),
    ),
    "floor of a ball": ("needs rational values", lambda t: refute("floor(exp(1)) < 0")),
    # kernel
    "a term": ("not a comparison", lambda t: linear("1")),
    "a later step": ("refers to step 0", lambda t: linear("0 <= 1", **{"from": [0], "multipliers": ["0"]})),
    "a true step": (
        "refers to step False",
        lambda t: linear("0 <= 1", "x <= 1", **{"from": [False], "multipliers": ["0"]}),
    ),
    "a step before the first": (
        "refers to step -1",
        lambda t: linear("0 <= 1", "x <= 1", **{"from": [-1], "multipliers": ["0"]}),
    ),
    "unknown rule": ("unknown rule 'believe'", lambda t: steps(rule="believe")),
    "not what the rule gives": (
        "does not give this conclusion",
        lambda t: steps(rule="sum_empty", sum="G", conclusion="G(0) == 1"),
    ),
    "kind of a term": ("expected a scalar", lambda t: linear("0 <= 1", "x <= 1", multipliers=["A"])),
    "no integer": (
        "not manifestly an integer",
        lambda t: steps(rule="layer", family="D", at="x", conclusion="N(D(x)) <= c"),
    ),
    "side condition": ("side condition", lambda t: steps(rule="root", of="x", conclusion="sqrt(x)**2 == x")),
    "under an integral": (
        "under an integral",
        lambda t: steps(
            "x == 0", "0 <= Int(x, 0, 1, x)", rule="substitute", conclusion="0 <= Int(x, 0, 1, 0)"
        ),
    ),
    "condition of a case": (
        "not among the premises",
        lambda t: steps(rule="definition", name="g", at="1", case=0, conclusion="g(1) == 1"),
    ),
    # kinds
    "undeclared": ("undeclared symbol w", lambda t: linear("0 <= w - w")),
    "a number plus a matrix": ("sum of a number", lambda t: linear("0 <= 0*F(1 + A)")),
    "variable of an integral": ("declared as real", lambda t: linear("0 <= Int(k, 0, 1, 0)*0")),
    "integral over a term": ("declared as real", lambda t: linear("0 <= Int(x + u, 0, 1, 0)*0")),
    "number equals matrix": ("between a number and", lambda t: linear("1 == A")),
    "no tree": ("ill-formed", lambda t: kind_of(("odd",), declared())),
    "function": ("unknown function f", lambda t: linear("0 <= 0*f(1)")),
    "number of arguments": ("unknown function exp of 2", lambda t: linear("0 <= 0*exp(1, 2)")),
    "matrix argument": ("where a number is expected", lambda t: linear("0 <= 0*exp(A)")),
    "number argument": ("where a matrix is expected", lambda t: linear("0 <= 0*F(1)")),
    "number argument, no normal form": (  # only the kinds are looked at
        "where a matrix is expected",
        lambda t: declared(sums={"G": {"index": "t", "term": "F(1)"}}),
    ),
    "comparison as a term": ("a comparison stands", lambda t: linear("0 <= 0*(0 <= 1)")),
    # limits
    "work": ("units of work", lambda t: tired()),
    # normal_form
    "power of a number": ("power above", lambda t: linear("0 <= z*0 + 1**10001*0 + (-1)**10001*0")),
    "power of many bits": ("100000 bits", lambda t: linear("0 <= (2**99)**9999*0")),
    "product of many bits": ("100000 bits", lambda t: linear("0 <= x*x*(2**9999)**9*(2**9999)**9*0")),
    "large expansion": ("is too large", lambda t: linear("0 <= 0*(1 + x + u + y + z + k + h + i + c)**60")),
    "number of a matrix": (
        "where a number is expected",
        lambda t: Normaliser(declared()).scalar(parse("A.T")),
    ),
    "trace of the identity": (
        "needs the width",
        lambda t: proof(steps=[{"rule": "linear", "conclusion": "0 <= 0*ip(I, I) + 1"}]),
    ),
    "matrix of a number": ("where a matrix is expected", lambda t: Normaliser(declared()).matrix(parse("1"))),
    # rules of logic
    "split": ("cases split on", lambda t: steps("x < 1", rule="cases", on="x < 1")),
    "another case": (
        "concludes something else",
        lambda t: steps("x <= 0", "0 <= x", rule="cases", on="x <= 0"),
    ),
    "symbol of a definition": (
        "c cannot be",
        lambda t: steps("0 <= 1", rule="instantiate", **{"with": {"c": "1"}}),
    ),
    "width for a term": (
        "n cannot be",
        lambda t: steps("0 <= 1", rule="instantiate", **{"with": {"n": "1"}}),
    ),
    "unknown symbol": ("w cannot be", lambda t: steps("0 <= 1", rule="instantiate", **{"with": {"w": "1"}})),
    "induction over": ("natural symbol", lambda t: steps("0 <= 1", "0 <= 1", rule="induction", variable="i")),
    "base": (
        "the base is",
        lambda t: steps(
            "0 <= x", "k + 1 <= x", rule="induction", variable="k", conclusion="k <= x", **{"from": [1, 1]}
        ),
    ),
    "step": (
        "the step is",
        lambda t: steps("0 <= x", "k + 2 <= x", rule="induction", variable="k", conclusion="k <= x"),
    ),
    "limit": (
        "the limit of",
        lambda t: steps("0 <= 1", "0 <= 1", rule="induction", variable="k", upto="k + x"),
    ),
    "hypothesis on k": (
        "depends on the induction",
        lambda t: steps("0 <= x", "k + 1 <= x", rule="induction", variable="k", conclusion="k <= x"),
    ),
    "absurd matrices": ("inequality of numbers", lambda t: steps("A == B", rule="absurd")),
    "not absurd": ("not manifestly false", lambda t: steps("x <= 1", rule="absurd")),
    "not absurd, zero": ("not manifestly false", lambda t: steps("0 <= 0*x", rule="absurd")),
    # rules of matrices
    "matrix of numbers": (
        "concludes an equation of matrices",
        lambda t: steps(rule="matrix", conclusion="x == x"),
    ),
    "matrix from numbers": (
        "a premise is not an",
        lambda t: steps("x == 0", rule="matrix", conclusion="A == A", left=["0*I"], right=["0*I"]),
    ),
    "another matrix": ("one normal form", lambda t: steps(rule="matrix", conclusion="A == B")),
    "definite": (
        "follows X == Y for matrices",
        lambda t: steps("F(A - B) <= 1", rule="definite", conclusion="A == B"),
    ),
    "no equation": (
        "must be an equation",
        lambda t: steps("x <= u", "x <= 1", rule="substitute", conclusion="u <= 1"),
    ),
    "more than the equation": (
        "differ by more",
        lambda t: steps("x == u", "x <= 1", rule="substitute", conclusion="u <= 2"),
    ),
    "unknown axiom": ("unknown axiom", lambda t: steps(rule="axiom", name="sin_small", args=[])),
    "arguments of an axiom": (
        "takes 0 arguments",
        lambda t: steps(rule="axiom", name="N_identity", args=["A"], conclusion="N(I) == 1"),
    ),
    "negative scale": (
        "not manifestly non-negative",
        lambda t: steps(rule="axiom", name="N_scale", args=["x", "A"], conclusion="N(x*A) == x*N(A)"),
    ),
    "axiom without width": (
        "needs the width",
        lambda t: proof(
            steps=[{"rule": "axiom", "name": "F_below_N", "args": ["0*I"], "conclusion": "0 <= 0"}]
        ),
    ),
    "no bound": (
        "has no bound",
        lambda t: steps(rule="layer", family="E", at="0", conclusion="N(E(0)) <= 1"),
    ),
    "no window": (
        "unknown product",
        lambda t: steps(rule="window_empty", product="D", at="0", conclusion="W(0, 0) == I"),
    ),
    "no case of that number": (
        "unknown case",
        lambda t: steps(rule="definition", name="g", at="3", case=-1, conclusion="g(3) == 0"),
    ),
    "a true case": (
        "unknown case",
        lambda t: steps(rule="definition", name="g", at="3", case=True, conclusion="g(3) == 0"),
    ),
    "no sum": ("unknown sum", lambda t: steps(rule="sum_empty", sum="L", conclusion="L(0) == 0")),
    # rules of numbers
    "linear matrices": ("linear is for numbers", lambda t: linear("A == A")),
    "linear from matrices": (
        "an equation of matrices",
        lambda t: linear("0 <= 1", "A == B", multipliers=["0"]),
    ),
    "multiplier": ("multiplier x is not", lambda t: linear("0 <= x*(1 - x)", "x <= 1", multipliers=["x"])),
    "equation from inequality": ("cannot come from", lambda t: linear("x == 1", "x <= 1", multipliers=["1"])),
    "weight": ("non-negative weight", lambda t: linear("0 <= x*u**2", squares=[["x", "u"]])),
    "square in an equation": ("and an inequality", lambda t: linear("0 == x**2", squares=[["1", "x"]])),
    "two sides": ("one normal form", lambda t: linear("0 == 1")),
    "remainder": ("needed sign", lambda t: linear("0 <= x")),
    "strict remainder": ("needed sign", lambda t: linear("0 < y")),
    "product of equations": (
        "product is for",
        lambda t: steps("x == 1", "x == 2", rule="product", conclusion="0 <= (1 - x)*(2 - x)"),
    ),
    "strict product": (
        "give this relation",
        lambda t: steps("x < 1", "x <= 2", rule="product", conclusion="0 < (1 - x)*(2 - x)"),
    ),
    "another product": (
        "give this conclusion",
        lambda t: steps("x <= 1", "x <= 2", rule="product", conclusion="0 <= 1 - x"),
    ),
    "antisymmetry of order": (
        "equation of numbers",
        lambda t: steps("x <= 1", "1 <= x", rule="antisymmetry", conclusion="x <= 1"),
    ),
    "one inequality twice": (
        "not the two inequalities",
        lambda t: steps("x <= 1", "x <= 1", rule="antisymmetry", conclusion="x == 1"),
    ),
    "discrete reals": (
        "strict inequality between integers",
        lambda t: steps("x < 1", rule="discrete", conclusion="x + 1 <= 1"),
    ),
    "discrete, not strict": (
        "strict inequality between integers",
        lambda t: steps("i <= 1", rule="discrete", conclusion="i + 1 <= 1"),
    ),
    "order of matrices": (
        "inequality of numbers",
        lambda t: steps("x == 1", rule="order", conclusion="min(x, 1) == x"),
    ),
    "another order": (
        "give this conclusion",
        lambda t: steps("x <= 1", rule="order", conclusion="min(x, 1) == 1"),
    ),
    "Taylor in an integer": (
        "taylor needs",
        lambda t: steps(rule="taylor", variable="k", order=1, conclusion="0 <= k"),
    ),
    "Taylor in a fixed symbol": (
        "taylor needs",
        lambda t: steps(rule="taylor", variable="c", order=1, conclusion="0 <= c"),
    ),
    "Taylor of order 0": (
        "taylor needs",
        lambda t: steps(rule="taylor", variable="y", order=0, conclusion="0 <= y"),
    ),
    "odd order over the reals": (
        "must be even",
        lambda t: steps(rule="taylor", variable="x", order=1, conclusion="0 <= x"),
    ),
    "strict Taylor": (
        "non-strict",
        lambda t: steps(rule="taylor", variable="y", order=1, conclusion="0 < y"),
    ),
    "value at 0": (
        "does not vanish",
        lambda t: steps(rule="taylor", variable="y", order=1, conclusion="0 <= 2*y - 1"),
    ),
    "last derivative": (
        "last derivative is not",
        lambda t: steps(rule="taylor", variable="y", order=1, conclusion="0 <= x*y"),
    ),
    "another derivative": (
        "not the sign of",
        lambda t: steps("0 <= 1", rule="taylor", variable="y", order=1, conclusion="0 <= x*y"),
    ),
    "hypothesis away from 0": (
        "down to 0",
        lambda t: steps(
            "0 <= y - 1", rule="taylor", variable="y", order=2, conclusion="0 <= y**3/6 - y**2/2"
        ),
    ),
    "no integral": ("must be an integral", lambda t: steps(rule="ftc", primitive="x", conclusion="x == x")),
    "primitive": (
        "does not have this derivative",
        lambda t: steps(rule="ftc", primitive="x", conclusion="Int(x, 0, 1, x) == 1 - 0"),
    ),
    "order of phi": (
        "an integer in 1..60",
        lambda t: steps(rule="phi_step", order=0, at="x", conclusion="x*phi(0, x) == phi(-1, x) - 1"),
    ),
    "ball equation": ("ball needs an inequality", lambda t: ball("x == x")),
    "ball over a matrix": ("declared numbers", lambda t: ball("0 <= 1", box={"A": ["0", "1"]})),
    "ball over nothing": ("declared numbers", lambda t: ball("0 <= 1", box={"w": ["0", "1"]})),
    "empty interval": ("is empty", lambda t: ball("x <= 2", box={"x": ["1", "0"]})),
    "interval of three": ("is empty", lambda t: ball("x <= 2", box={"x": ["0", "1", "2"]})),
    # terms
    "long text": ("at most 20000 characters", lambda t: parse("1" + " " * 20_000)),
    "no text": ("at most 20000 characters", lambda t: parse(1)),
    "no formula": ("cannot read", lambda t: parse("1 +")),
    "deep": ("nested deeper", lambda t: parse("-" * 202 + "1")),
    "decimal literal": ("not in the language: 0.5", lambda t: parse("0.5")),
    "two comparisons": ("not in the language: 0 <= 1 <= 2", lambda t: parse("0 <= 1 <= 2")),
    "inequality": ("not in the language: 0 != 1", lambda t: parse("0 != 1")),
    "operator": ("not in the language: 1 % 2", lambda t: parse("1 % 2")),
    "capture": (
        "captures",
        lambda t: steps(
            "0 <= Int(x, 0, 1, u)",
            rule="instantiate",
            conclusion="0 <= Int(x, 0, 1, x)",
            **{"with": {"u": "x"}},
        ),
    ),
    # witness
    "false witness": ("does not satisfy", lambda t: witness({"x": 1}, "x <= 0", x="real")),
    "undecided witness": ("does not satisfy", lambda t: witness({"x": "exp(1)"}, "x < exp(1)", x="real")),
    "term of an integer": ("only a real number", lambda t: witness({"k": "exp(0)"}, k="integer")),
    "matrix for a number": (
        "must be a number",
        lambda t: witness({"x": "A", "A": [[1]]}, x="real", A="matrix"),
    ),
    "open term": ("not closed", lambda t: witness({"x": "u", "u": "x"}, x="real", u="real")),
}


def reached(error):
    """Lines of the trusted room at which an error and its causes were raised."""
    lines = set()
    while error is not None:
        frame = error.__traceback__
        while frame.tb_next:
            frame = frame.tb_next
        path = Path(frame.tb_frame.f_code.co_filename)
        if isinstance(error, CertificateError) and path.parent == ROOM:
            lines.add((path.name, frame.tb_lineno))
        error = error.__cause__
    return lines


@pytest.mark.parametrize("kind", GUARDS)
def test_a_guard_refuses_its_smallest_input(kind, tmp_path):
    message, run = GUARDS[kind]
    with pytest.raises(CertificateError, match=message) as caught:
        run(tmp_path)
    assert "\n" not in str(caught.value)
    assert reached(caught.value)


def test_every_guard_of_the_trusted_room_has_an_input(tmp_path):
    hit = set()
    for number, (_, run) in enumerate(GUARDS.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            run(folder)
        except CertificateError as error:
            hit |= reached(error)
    all_lines = set()
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Raise)
                and node.exc is not None
                and "CertificateError" in ast.dump(node.exc)
            ):
                all_lines |= {(path.name, node.lineno)}
    assert not {f"{name}:{line}" for name, line in all_lines - hit}


# -- sorts --------------------------------------------------------------------------------------------------
OUTSIDE = {
    "nonneg": [-1, "-1/1000000"],
    "positive": [0, -1, "-1/1000000"],
    "integer": ["1/2", "-3/2"],
    "natural": [-1, "1/2"],
    "posint": [0, -1, "3/2"],
}
INSIDE = {
    "real": [-1, "1/2"],
    "nonneg": [0, "1/1000000"],
    "positive": ["1/1000000"],
    "integer": [-1, 0],
    "natural": [0, 1],
    "posint": [1],
}


@pytest.mark.parametrize(("sort", "value"), [(s, v) for s, values in OUTSIDE.items() for v in values])
def test_the_value_just_outside_a_sort_is_refused(sort, value):
    """Otherwise a true statement such as 1 <= h, h posint, would print as refuted."""
    words = f"x = {value} is not {sort}"
    with pytest.raises(CertificateError, match=words):
        refute("1 < 0", {"x": value}, symbols={"x": sort})
    with pytest.raises(CertificateError, match=words):
        witness({"x": value}, "x <= 5", x=sort)


@pytest.mark.parametrize(("sort", "value"), [(s, v) for s, values in INSIDE.items() for v in values])
def test_the_value_just_inside_a_sort_is_accepted(sort, value):
    assert refute("1 < 0", {"x": value}, symbols={"x": sort}).verdict == "refuted"
    assert witness({"x": value}, "x <= 5", x=sort).verdict == "proved"


@pytest.mark.parametrize(
    ("sort", "term", "holds"),
    [("nonneg", "exp(0) - 1", True), ("nonneg", "1 - exp(1)", False), ("positive", "exp(1)", True),
     ("positive", "1 - exp(1)", False), ("positive", "exp(0) - 1", False), ("real", "-exp(1)", True)],
)  # fmt: skip
def test_a_term_of_a_witness_has_the_sort_of_its_symbol(sort, term, holds):
    if holds:
        assert witness({"x": term}, "x <= 5", x=sort).witnessed
    else:
        with pytest.raises(CertificateError, match="does not satisfy the hypothesis 0 <"):
            witness({"x": term}, "x <= 5", x=sort)


def test_the_verdict_of_a_guard_is_one_line_also_for_hostile_names():
    certificate = {"format": FORMAT, "statement": {"conclusions": ["0 <= 1"]}, "steps": [{"rule": "a\nb"}]}
    with pytest.raises(CertificateError) as caught:
        check(json.loads(json.dumps(certificate)))
    assert "\n" not in str(caught.value)
