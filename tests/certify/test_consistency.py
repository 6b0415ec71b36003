"""What a statement declares has a model, or the statement is refused when it is read."""

from __future__ import annotations

import json

import pytest

from dlinear.certify import CertificateError, Proof, check, decide, read, refutation
from dlinear.certify.trusted import consistency
from dlinear.certify.trusted.check import FORMAT
from dlinear.certify.trusted.context import read_context

SYMBOLS = {
    "x": "real", "c": "nonneg", "z": "positive", "k": "natural", "T": "posint", "i": "integer", "A": "matrix",
    "n": "posint",
}  # fmt: skip


def goal(*, cases=None, index="t", **more):
    """A statement that says 1 <= 0, with a definition g of these cases, each (conditions, term)."""
    statement = {"symbols": dict(SYMBOLS), "conclusions": ["1 <= 0"], **more}
    if cases is not None:
        items = [{"if": list(conditions), "then": term} for conditions, term in cases]
        statement["definitions"] = {**more.get("definitions", {}), "g": {"index": index, "cases": items}}
    return statement


# -- bounds of families -------------------------------------------------------------------------------------
NEGATIVE = [
    "-1", "c - 1", "-c", "-z", "x", "i", "k - 1", "1 - c/T", "x**3", "min(c, 1)", "log(z)", "c - T", "-N(A)",
    "N(A) - 1", "N(E(0)) - 1", "1 - exp(x)", "floor(z)", "x*x - 1", "phi(k, x)", "ip(A, A)", "1/x",
]  # fmt: skip


@pytest.mark.parametrize("bound", NEGATIVE)
def test_a_bound_that_is_not_manifestly_non_negative_is_refused(bound):
    with pytest.raises(CertificateError, match="bound of the family D is not manifestly non-negative"):
        read_context(goal(families={"D": bound, "E": None}))


@pytest.mark.parametrize(
    "bound",
    ["0", "c/T", "sqrt(2)", "z", "1 + c", "x**2", "N(A)", "exp(x)", "k/T", "0*x", "N(E(0))", "F(D(1))", None],
)
def test_a_bound_that_is_shown_by_the_sorts_is_accepted(bound):
    read_context(goal(families={"D": bound, "E": None}))


def one_is_zero(given):
    """0 <= N(D(0)) <= bound < 0, the route that a negative bound would open."""
    p = Proof(given)
    return p.finish(p.linear("1 <= 0", {p.layer("D", "0"): "1"}))


def test_a_negative_bound_proved_that_one_is_at_most_zero():
    with pytest.raises(CertificateError, match="non-negative"):
        one_is_zero(goal(families={"D": "-1"}))
    # the same certificate without the builder
    steps = [
        {"rule": "layer", "conclusion": "N(D(0)) <= -1", "family": "D", "at": "0"},
        {"rule": "linear", "conclusion": "1 <= 0", "from": [0], "multipliers": ["1"]},
    ]
    certificate = {
        "format": FORMAT,
        "statement": goal(families={"D": "-1"}),
        "steps": steps,
        "goals": [1],
    }
    with pytest.raises(CertificateError, match="non-negative"):
        check(certificate)
    certificate["statement"]["families"]["D"] = "1"
    with pytest.raises(CertificateError, match="does not give this conclusion"):
        check(certificate)


def test_the_check_of_bounds_is_what_refuses_it(monkeypatch):
    """With the check taken out, 1 <= 0 is proved: the test above sees this hole and no other reason."""
    monkeypatch.setattr("dlinear.certify.trusted.context.check_bound", lambda name, context: None)
    assert check(one_is_zero(goal(families={"D": "-1"}))).verdict == "proved"


# -- cases of a definition ----------------------------------------------------------------------------------
CONTRADICTING = {
    "no conditions": [((), "0"), ((), "1")],
    "overlap in a point": [(("t <= 1",), "1"), (("1 <= t",), "2*t")],
    "overlap in a symbol": [(("t <= T",), "0"), (("T <= t",), "1")],
    "overlap in two points": [(("t <= 1",), "0"), (("0 <= t",), "t*(t - 1)*(t + 1)")],
    "overlap of a half line": [(("0 <= t",), "1"), (("1 <= t",), "0")],
    "overlap at a real bound": [(("t <= x",), "0"), (("x <= t",), "1")],
    "strict, not disjoint": [(("t < 2",), "0"), (("0 < t",), "1")],
    "an equation": [(("t == 0",), "1"), (("t <= 0",), "0")],
    "two equations": [(("t == T",), "0"), (("t == 1",), "1")],
    "shifted, touching": [(("t + 1 <= T",), "0"), (("T - 1 <= t",), "1")],
    "matrices": [(("t <= 0",), "A"), (("0 <= t",), "2*A")],
    "matrices at one point": [(("t <= 0",), "t*A"), (("0 <= t",), "I")],
    "equal only for some symbols": [(("t <= 0",), "x"), (("0 <= t",), "c")],
    "third of three": [(("t < 0",), "0"), (("t == 0",), "1"), (("0 <= t",), "2")],
    "through another definition": [(("t <= 0",), "f(t)"), (("0 <= t",), "f(t) + 1")],
    "condition of another definition": [(("f(t) <= 0",), "0"), (("0 <= f(t)",), "1")],
    "matrix condition": [(("A == I",), "0"), (("A == I",), "1")],
    "real bounds apart by less than one": [(("t <= x",), "0"), (("x - 1/2 <= t",), "1")],
}


@pytest.mark.parametrize("kind", CONTRADICTING)
def test_cases_that_can_hold_together_with_two_values_are_refused(kind):
    definitions = {"f": {"index": "t", "cases": [{"then": "t**2"}]}}
    with pytest.raises(CertificateError, match="cases of g are not shown"):
        read_context(goal(cases=CONTRADICTING[kind], definitions=definitions))


CONSISTENT = {
    "one case": [(("t <= 0",), "1")],
    "apart": [(("t < 0",), "0"), (("0 <= t",), "1")],
    "apart as integers": [(("t <= 0",), "0"), (("1 <= t",), "1")],
    "apart as strict integers": [(("t < 1",), "0"), (("0 < t",), "1")],
    "apart at a symbol": [(("t <= T",), "0"), (("T + 1 <= t",), "1")],
    "apart at a real symbol": [(("t < x",), "0"), (("x <= t",), "1")],
    "apart by several conditions": [(("0 <= t", "t <= 2"), "0"), (("3 <= t", "t <= 5"), "1")],
    "a case that never holds": [(("1 <= 0",), "0"), ((), "1")],
    "equal everywhere": [(("0 <= t",), "t**2 - 1"), ((), "(t - 1)*(t + 1)")],
    "equal in a point": [(("t <= 1",), "1"), (("1 <= t",), "t")],
    "equal at a symbol": [(("t <= T",), "t*A"), (("T <= t",), "T*A")],
    "equal at a sum": [(("t + k <= T",), "t + k"), (("T <= t + k",), "T")],
    "equal under an equation": [(("t == 0",), "0"), ((), "t*x")],
    "two equations": [(("t == 1",), "0"), (("t == 2",), "1")],
}


@pytest.mark.parametrize("kind", CONSISTENT)
def test_cases_that_exclude_each_other_or_agree_are_accepted(kind):
    read_context(goal(cases=CONSISTENT[kind]))


def both_cases(given, at="1"):
    """g(1) is both values, the route that overlapping cases would open."""
    p = Proof(given)
    facts = [
        p.definition("g", at, case, [p.linear(f"{a} <= {b}")])
        for case, (a, b) in enumerate(((at, "1"), ("1", at)))
    ]
    return p.finish(p.linear("1 <= 0", {facts[0]: "-1", facts[1]: "1"}))


def test_an_equation_of_matrices_shows_nothing_about_cases():
    """Only equations of numbers are used, although this one would do."""
    cases = [(["A == E(0)"], "N(A)"), (["A == E(0)"], "N(E(0))")]
    with pytest.raises(CertificateError, match="one value"):
        read_context(goal(cases=cases, families={"E": None}))
    numbers = [(["x == c"], "x**2"), (["x == c"], "c**2")]
    read_context(goal(cases=numbers))


def test_overlapping_cases_proved_that_one_is_at_most_zero(monkeypatch):
    wrong = goal(cases=[(("t <= 1",), "0"), (("1 <= t",), "-1")])
    with pytest.raises(CertificateError, match="not shown"):
        both_cases(wrong)
    monkeypatch.setattr("dlinear.certify.trusted.context.check_cases", lambda *given: None)
    certificate = both_cases(wrong)
    assert check(certificate, wrong).verdict == "proved"
    monkeypatch.undo()
    with pytest.raises(CertificateError, match="not shown"):
        check(certificate, wrong)


def test_each_part_of_the_check_of_cases_is_needed(monkeypatch):
    """Without one of its three reasons a definition is refused that is accepted now: none is idle."""
    for part, value, kind in (
        ("_same", lambda *given: False, "equal everywhere"),
        ("_excluded", lambda *given: False, "apart"),
        ("_equal_sides", lambda *given: [], "equal in a point"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(consistency, part, value)
            with pytest.raises(CertificateError, match="not shown"):
                read_context(goal(cases=CONSISTENT[kind]))


# -- names and recursion ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ({"families": {"x": None}}, "declared twice"),
        ({"sequences": ["L", "L"]}, "declared twice"),
        ({"sequences": ["D"], "families": {"D": None}}, "declared twice"),
        ({"families": {"D": None}, "products": {"D": "D"}}, "declared twice"),
        ({"products": {"W": "D"}}, "needs a declared family"),
        ({"families": {"D": None}, "products": {"W": "E"}}, "needs a declared family"),
        ({"families": {"D": None}, "products": {"V": "D", "W": "V"}}, "needs a declared family"),
        ({"totals": {"Y": "D"}}, "needs a declared family"),
        ({"families": {"D": None}, "totals": {"Y": "D", "W": "Y"}}, "needs a declared family"),
        ({"families": {"D": None}, "products": {"W": "D"}, "totals": {"W": "D"}}, "declared twice"),
        ({"products": {"W": "g"}, "cases": [((), "t")]}, "needs a declared family"),
        ({"sequences": ["L"], "totals": {"Y": "L"}}, "needs a declared family"),
        ({"products": {"W": "g"}, "cases": [((), "W(0, t)")]}, "unknown function W"),
        ({"totals": {"Y": "g"}, "cases": [((), "A + Y(0, t + 1)")]}, "unknown function Y"),
        ({"families": {"D": "A"}}, "must be a number"),
        ({"families": {"D": "1 <= c"}}, "must be a number"),
        ({"families": {"D": "t"}}, "undeclared symbol t"),
        ({"families": ["D"]}, "families must be an object"),
        ({"symbols": [["x", "real"]]}, "symbols must be an object"),
        ({"cases": [((), "g(t)")]}, "unknown function g"),
        ({"cases": [((), "f(t)")]}, "unknown function f"),
        ({"cases": [((), "s")]}, "undeclared symbol s"),
        ({"cases": [((), "t"), ((), "A")]}, "cases of one kind"),
        ({"cases": [((), "t <= 1")]}, "cases of one kind"),
        ({"cases": []}, "at least one case"),
        ({"cases": [(("t",), "1")]}, "must be a comparison"),
        ({"cases": [(("A",), "1")]}, "must be a comparison"),
        ({"cases": [((), "t")], "index": "n"}, "index 'n'"),
        ({"cases": [((), "1")], "index": "I"}, "index 'I'"),
        ({"cases": [((), "1")], "index": "2t"}, "index '2t'"),
        ({"cases": [((), "1")], "index": "g"}, "index 'g'"),
        ({"cases": [((), "1")], "index": "exp"}, "index 'exp'"),
        ({"sums": {"G": {"index": "G", "term": "1"}}}, "index 'G'"),
        ({"sums": {"G": {"index": "n", "term": "n"}}}, "index 'n'"),
        ({"sums": {"G": {"index": "t", "term": "G(t)"}}}, "unknown function G"),
        ({"sums": {"G": {"index": "t", "term": "t*A"}}}, "must be a number"),
        ({"sums": {"G": {"index": "t", "term": "t <= 1"}}}, "must be a number"),
        ({"sums": {"G": {"index": "t", "term": "1", "from": "1"}}}, "unknown parts"),
        ({"definitions": {"f": {"index": "t", "cases": [{"iff": [], "then": "1"}]}}}, "unknown parts"),
        ({"definitions": {"f": {"index": "t", "cases": [{"then": "1"}], "else": "0"}}}, "unknown parts"),
    ],
)  # fmt: skip
def test_what_declares_itself_twice_or_in_a_circle_is_refused(statement, message):
    with pytest.raises(CertificateError, match=message):
        read_context(goal(**statement))


def test_an_index_hides_a_symbol_of_its_name():
    """x is a real symbol and the integer index of g: g(2) is 2 times the other symbol, not the symbol x."""
    statement = {**goal(cases=[(("x <= 3",), "x*c")], index="x"), "conclusions": ["g(2) == 2*c"]}
    p = Proof(statement)
    p.definition("g", "2", 0, [p.linear("2 <= 3")])
    assert p.text(0 + 1) == "g(2) == (2*c)"
    assert "x" not in read_context(statement).fixed()
    with pytest.raises(CertificateError, match="does not violate"):
        check(refutation({**statement, "symbols": {"x": "real", "c": "nonneg"}}, {"x": 7, "c": 3}))


# -- duplicate names in the file, missing witnesses ---------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        '{"format": "F", "format": "F"}',
        '{"format": "F", "statement": {"conclusions": ["1 <= 0"], "conclusions": ["0 <= 1"]}}',
        '{"format": "F", "steps": [{"rule": "assume", "rule": "linear"}]}',
        '{"format": "F", "refutation": {"values": {"D": {"0": [[1]], "0": [[2]]}}}}',
    ],
)
def test_a_file_that_says_something_twice_is_refused(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text.replace('"F"', json.dumps(FORMAT)))
    with pytest.raises(CertificateError, match="stands twice in one object"):
        read(path)


@pytest.mark.parametrize(
    "values", [{"D": {"0": [["1/2"]], "00": [["1/4"]]}}, {"D": {"0": [["1/2"]], "0/1": [["1/4"]]}}]
)
def test_one_index_has_one_layer(values):
    statement = {
        "symbols": {"n": "posint"},
        "families": {"D": None},
        "conclusions": ["N(D(0)) <= 0"],
    }
    with pytest.raises(CertificateError, match="two values at one index"):
        check(refutation(statement, values))


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 50_000, "9" * 5000, "\ufeff{}", '{"format": NaN}']
)
def test_a_file_that_no_parser_can_read_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "c.json"
    path.write_text(content)
    with pytest.raises(CertificateError, match=r"^c\.json ") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_pipe_are_no_certificates(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    for name in ("", "pipe", "absent"):
        with pytest.raises(CertificateError, match="not a readable certificate"):
            read(tmp_path / name)


def test_a_file_whose_hypotheses_have_no_witness_is_rejected(tmp_path):
    """`verify` asks for the witness, like `confirmed`: 1 <= x <= 0 would prove anything."""
    from dlinear import certify
    from dlinear.certify.claims import Form, Relation, Verdict

    false = {"symbols": {"x": "real"}, "hypotheses": ["1 <= x", "x <= 0"], "conclusions": ["1 <= 0"]}

    def route(given):
        p = Proof(given)
        low, high = (p.assume(text) for text in given["hypotheses"])
        return p.finish(p.linear("1 <= 0", {low: "1", high: "1"}))

    about = ("hole", "x", Form.NEW, "1 <= 0", Relation.IDENTITY, Verdict.PROVED)
    mine = certify.claim(*about, goal=false, route=route, twin_goal=false, twin_statement="none")
    path = tmp_path / "hole.json"
    path.write_text(json.dumps({**route(false), "claim": "hole", "verdict": "proved"}))
    with pytest.raises(CertificateError, match="no witness"):
        decide.verify(path, [mine])
