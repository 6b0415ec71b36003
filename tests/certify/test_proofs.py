"""The registered claims: each reaches its verdict, each twin fails, damaged certificates are rejected."""

from __future__ import annotations

import copy
import json
import pkgutil
import random
import re
import sys
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from step_by_step import Derived

from dlinear import certify
from dlinear.certify import CertificateError, Proof, check, decide, refutation, registry, show, store
from dlinear.certify.claims import Form, Outcome, Relation, Verdict
from dlinear.certify.prover.scalar_case import Language, explicit
from dlinear.certify.trusted.context import read_context
from dlinear.certify.trusted.evaluation import Model
from dlinear.certify.trusted.terms import parse
from dlinear.certify.trusted.witness import check_witness
from dlinear.errors import DomainError
from dlinear.report.claims_page import claims_page
from dlinear.runs import script
from dlinear.theory import bounds
from proofs import __main__ as command
from proofs.__main__ import Knobs

REGISTRY = registry.discover(command.FOLDER)
CLAIMS = {claim.id: claim for claims in REGISTRY.values() for claim in claims}
FORMAL = [name for name, claim in CLAIMS.items() if claim.expected in decide.CHECKED]


@cache
def outcome(name):
    """Outcome of a claim, confirmed by the checker."""
    return decide.confirmed(CLAIMS[name], CLAIMS[name].prove())


@cache
def text(name):
    """Certificate of a claim, as the file holds it."""
    row = decide.Row(CLAIMS[name], outcome(name), outcome(name), 0.0)
    data = {**row.outcome.certificate, "claim": name, "verdict": str(row.outcome.verdict)}
    return json.dumps(data)


def verify(tmp_path, data):
    path = tmp_path / "certificate.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return decide.verify(path, CLAIMS.values())


SLOW = {
    "theorem_d_rough",
    "theorem_d_smooth",
    "theorem_c",
    "lemma_c5_series",
    "lemma_c5_bound_below",
    "lemma_c5_bound_above",
    "theorem_e1_nonlinear",
    "theorem_e1_nonlinear_rough",
    "theorem_e1_smooth",
    "theorem_e3",
    "theorem_e4_averaged",
    "theorem_e4_sampled",
    "theorem_f2_rough",
    "theorem_g1_step",
    "theorem_e2_anchored",
    "theorem_e2_value",
    "highway_2",
    "highway_3",
}  # a second or more each
EACH = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CLAIMS]


# a claim and its twin follow each other: in one process they share what was measured
each_claim = pytest.mark.parametrize("name", EACH, scope="module")


# -- verdicts -----------------------------------------------------------------------------------------------
@each_claim
def test_each_claim_reaches_its_expected_verdict(name):
    found = outcome(name)
    assert found.verdict == CLAIMS[name].expected, found.evidence
    assert found.method
    assert found.evidence
    if found.verdict in decide.CHECKED:
        assert check(found.certificate, CLAIMS[name].goal).verdict == found.verdict
    else:
        assert found.verdict is Verdict.SUPPORTED


@each_claim
def test_each_false_twin_fails(name):
    claim = CLAIMS[name]
    twin = claim.twin()
    assert twin.verdict != claim.expected
    assert claim.twin_statement


@pytest.mark.parametrize("name", [n for n in FORMAL if CLAIMS[n].expected is Verdict.REFUTED])
def test_the_twin_of_a_refuted_claim_is_a_statement_that_its_example_satisfies(name):
    assert "does not violate" in CLAIMS[name].twin().evidence


LEMMA_C5, THEOREM_B, REMARK_C7 = (sys.modules[f"_proof_{n}"] for n in ("lemma_c5", "theorem_b", "remark_c7"))
EXPLICIT = [
    (explicit(LEMMA_C5.order_goal(), LEMMA_C5.CLOSED), LEMMA_C5.POINT, 0),
    (explicit(LEMMA_C5.series_goal(), LEMMA_C5.CLOSED), LEMMA_C5.POINT, 0),
    (
        explicit(LEMMA_C5.series_goal(degenerate=True), {"y": "2*exp(c)", **LEMMA_C5.CLOSED}),
        {"c": "1", "eps": "1/2"},
        0,
    ),
    *[
        (explicit(LEMMA_C5.bound_goal(*LEMMA_C5.BOXES[name]), LEMMA_C5.CLOSED | LEMMA_C5.RATIO), point, 1)
        for name, (_, point) in LEMMA_C5.TOO_SMALL.items()
    ],
    (
        explicit(
            THEOREM_B.commuting_goal(),
            {name: term for tag in THEOREM_B.TAGS for name, term in Language(tag=tag).closed_terms().items()},
        ),
        THEOREM_B.POINT,
        0,
    ),
    (explicit(CLAIMS["remark_c7_closed_form"].goal, REMARK_C7.closed_terms()), REMARK_C7.POINT, 1),
]


@pytest.mark.parametrize("at", range(len(EXPLICIT)))
def test_the_point_that_refutes_a_twin_does_not_refute_the_claim(at):
    goal, values, fails = EXPLICIT[at]
    with pytest.raises(CertificateError, match="does not violate"):
        check(refutation(goal, values, fails))


@pytest.mark.parametrize("name", CLAIMS)
def test_each_claim_is_well_described(name):
    claim = CLAIMS[name]
    assert re.fullmatch(r"[a-z0-9_]+", name)
    assert claim.reference
    assert claim.statement
    assert isinstance(claim.form, Form)
    assert isinstance(claim.relation, Relation)
    if claim.expected in decide.CHECKED:
        assert claim.goal["conclusions"]
    if claim.expected is Verdict.PROVED:
        assert "exists" not in claim.goal


ROWS = {
    "appendix C.1, (22)-(25)": "eq_25",
    "(9)": "eq_9_printed eq_9",
    "(10)": "eq_10_forward eq_10_backward",
    "(11) and section E.1": "eq_11_eager eq_11_static",
    "(13)": "eq_13",
    "(14)": "eq_14_convexity eq_14_constant eq_14_domination eq_14_rate eq_14_measured eq_14_step",
    "(17)": "eq_17_printed eq_17_repaired eq_17_model",
    "(18)": "eq_18_printed eq_18_repaired",
    "(27)": "eq_27_printed eq_27",
    "(37), (38)": "eq_37_printed eq_37",
    "(42)": "eq_42 eq_42_line",
    "(45), (46)": "eq_45_family_printed eq_45_gap eq_45_limits",
    "section 3.3": (
        "example_33_printed example_33_interval_printed example_33_repaired example_33_interior "
        "example_33_interior_only example_33_integers example_33_integers_inner example_33_integers_first "
        "example_33_integers_last"
    ),
    "Theorem 3.4, informal": "theorem_34_informal",
    "Theorem 3.4, formal, (26)": (
        "theorem_34_angle_printed theorem_34_identity_printed "
        "theorem_34_order_five_printed theorem_34_parallel oscillating_limit "
        "oscillating_limit_gap oscillating_limit_primitive"
    ),
    "Lemma C.1": (
        "lemma_c1_upper_printed lemma_c1_upper lemma_c1_lower_printed lemma_c1_lower "
        "lemma_c1_frobenius_printed lemma_c1_frobenius lemma_c1_frobenius_lower"
    ),
    "Lemma C.2": "lemma_c2_printed lemma_c2_meant_printed lemma_c2_meant lemma_c2",
    "Lemma C.3": "lemma_c3",
    "Lemma C.4": "lemma_c4_printed lemma_c4",
    "Lemma C.5": (
        "lemma_c5_printed lemma_c5_domain_printed lemma_c5_closed_form "
        "lemma_c5_series lemma_c5_order_five lemma_c5_bound_below "
        "lemma_c5_bound_above"
    ),
    "Remark C.7": "remark_c7_printed remark_c7_closed_form remark_c7_value remark_c7_repaired",
    "Theorem C.8, (63)": "theorem_c8_printed theorem_c8_exponent theorem_c8_one_step theorem_c8_repaired",
    "Theorem A": "theorem_a",
    "Theorem B": (
        "theorem_b theorem_b_response theorem_b_flow theorem_b_commuting theorem_b_commuting_all "
        "theorem_b_leading"
    ),
    "Theorem C": "theorem_c theorem_c_pathwise theorem_c_variance",
    "Theorem D": "theorem_d_smooth theorem_d_rough",
    "(D2), (D3)": "theorem_e_identity_value theorem_e_identity_anchored",
    "Theorem E1": ("theorem_e1 theorem_e1_descent theorem_e_surrogate_anchored theorem_e_surrogate_value"),
    "Theorem E1, laws": "theorem_e1_smooth theorem_e1_nonlinear theorem_e1_nonlinear_rough",
    "Theorem E3, E4": "theorem_e3 theorem_e4_averaged theorem_e4_sampled",
    "Theorem E2": "theorem_e2_anchored theorem_e2_value theorem_e2_scalar",
    "Theorem F": "theorem_f1_windows theorem_f1_count theorem_f2_smooth theorem_f2_rough theorem_f3",
    "Theorem G": (
        "theorem_g1_step theorem_g1_path theorem_g2_above theorem_g2_below theorem_g3 theorem_g3_below "
        "theorem_g4_modes theorem_g4_plateau theorem_g4_ringing theorem_g5_plain "
        "theorem_g5_anchored theorem_g5_tail theorem_g6"
    ),
    "balance": "balance_stage balance_steps balance_rate balance_path",
    "Theorem H": "theorem_h1 theorem_h2 theorem_h3 theorem_g4_kernel",
    "highway": "highway_1 highway_2 highway_3 highway_narrow highway_level highway_every",
    "fixed points": ("fixed_points_forward fixed_points_backward fixed_points_tail fixed_points_shorter"),
    "time": "time_count time_measured",
    "I1 to I3, I6": (
        "pepita_feedback pepita_split pepita_hebbian goodness_linear goodness_relu autoencoder_pepita"
    ),
    "I4, I5, I8, I13": (
        "feedback_direct foton_gradient foton_orthonormal balance_feedback balance_pepita broadcast_descent"
    ),
    "I7": "mirror_mean mirror_variance",
    "I9, I10": "feedback_from_zero target_drift",
    "I11, I12": "goodness_gram label_overlay oja_step oja_limit",
    "first-order reading": "read_once",
}


def test_the_rows_of_the_paper_are_all_there():
    listed = [name for names in ROWS.values() for name in names.split()]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(CLAIMS)


def test_what_a_certificate_leaves_to_the_reader_is_shown():
    """Limits are outside the language: a row about them says what it assumes."""
    for name, claim in CLAIMS.items():
        if claim.relation is Relation.ASYMPTOTIC and claim.expected is Verdict.PROVED:
            assert claim.assumes, name
    page = command.DOCS.read_text(encoding="utf-8")
    for claim in CLAIMS.values():
        assert claim.assumes.replace("|", "\\|") in page
    row = decide.Row(CLAIMS["oscillating_limit_gap"], outcome("oscillating_limit_gap"), outcome("eq_13"), 0.0)
    assert "assumes: for J = int psi" in store.record(row)["evidence"]


def test_a_supported_or_unchecked_outcome_never_counts_as_proved():
    claim = CLAIMS["eq_13"]
    bare = Outcome(Verdict.PROVED, "by assertion", "trust me", None)
    assert decide.confirmed(claim, bare).verdict is Verdict.UNDECIDED
    other = Outcome(Verdict.PROVED, "another proof", "", json.loads(text("eq_25")))
    assert decide.confirmed(claim, other).verdict is Verdict.UNDECIDED
    louder = Outcome(Verdict.CERTIFIED, "", "", json.loads(text("eq_13")))
    assert decide.confirmed(claim, louder).verdict is Verdict.UNDECIDED


# -- witnesses ----------------------------------------------------------------------------------------------
PROVED = [name for name, claim in CLAIMS.items() if claim.expected in (Verdict.PROVED, Verdict.CERTIFIED)]


@pytest.mark.parametrize("name", PROVED)
def test_the_hypotheses_of_a_proved_claim_hold_together_somewhere(name):
    goal = CLAIMS[name].goal
    if goal.get("hypotheses"):
        check_witness(goal)
        for text in goal["hypotheses"]:  # the opposite of one of them contradicts the rest, and is noticed
            relation, left, right = parse(text)
            if relation != "==":
                opposite = {"<=": f"{show(right)} < {show(left)}", "<": f"{show(right)} <= {show(left)}"}
                false = {**goal, "hypotheses": [*goal["hypotheses"], opposite[relation]]}
                with pytest.raises(CertificateError, match="witness does not satisfy"):
                    check_witness(false)


def test_contradictory_hypotheses_prove_nothing():
    """1 <= x <= 0 proves 0 == 1: without a witness the claim is undecided, and no witness is accepted."""
    goal = {"symbols": {"x": "real"}, "hypotheses": ["1 <= x", "x <= 0"], "conclusions": ["1 <= 0"]}

    def route(given):
        p = Proof(given)
        low, high = (p.assume(text) for text in given["hypotheses"])
        return p.finish(p.linear("1 <= 0", {low: "1", high: "1"}))

    assert check(route(goal), goal).verdict == "proved"
    assert not check(route(goal), goal).witnessed
    for witness in (None, {"x": 0}, {"x": 1}, {"x": "1/2"}, {"x": "exp(1)"}, {}):
        about = ("x", "x", Form.NEW, "x", Relation.IDENTITY, Verdict.PROVED)
        words = {"goal": goal, "route": route, "twin_goal": goal, "twin_statement": "none"}
        mine = certify.claim(*about, **words, witness=witness)
        found = decide.confirmed(mine, mine.prove())
        assert found.verdict is Verdict.UNDECIDED
        assert "witness" in found.evidence or "no value for x" in found.evidence


@pytest.mark.parametrize(
    ("symbols", "hypotheses", "witness", "message"),
    [
        ({"x": "positive"}, ["x <= 1"], {"x": 0}, "not positive"),
        ({"x": "posint"}, ["x <= 1"], {"x": "1/2"}, "not posint"),
        ({"x": "posint"}, ["x <= 1"], {"x": "exp(0)"}, "only a real"),
        ({"x": "positive"}, ["x <= 1"], {"x": "1 - exp(1)"}, "0 < x"),
        ({"x": "nonneg"}, ["x <= 1"], {"x": "-exp(1)"}, "0 <= x"),
        ({"x": "real", "y": "real"}, ["x == y"], {"x": "exp(1)", "y": "exp(2)"}, "x == y"),
        ({"x": "real", "y": "real"}, ["x*y == 1"], {"x": "exp(1)", "y": "exp(-2)"}, "y == 1"),
        ({"x": "real"}, ["x <= 1"], {"x": "x + exp(1)"}, "not closed"),
        ({"x": "real"}, ["x <= 1"], {"x": "y"}, "y"),
        ({"x": "real"}, ["x <= 1"], {"x": 0.5}, "0.5"),
        ({"x": "real"}, ["x <= 1"], {"x": 0, "z": 1}, "z"),
    ],
)
def test_a_false_witness_is_rejected(symbols, hypotheses, witness, message):
    goal = {"symbols": symbols, "hypotheses": hypotheses, "conclusions": ["0 <= 1"], "witness": witness}
    with pytest.raises(CertificateError, match=message):
        check_witness(goal)
    p = Proof(goal)
    with pytest.raises(CertificateError):
        check(p.finish(p.linear("0 <= 1")), goal)


def test_a_witness_by_terms_is_exact():
    goal = {
        "symbols": {"c": "positive", "x": "positive", "y": "real"},
        "hypotheses": ["x*exp(-c) == 2", "y == x**2*exp(-2*c)", "3 <= x"],
        "conclusions": ["0 <= 1"],
        "witness": {"c": "1/2", "x": "2*exp(c)", "y": "x*x*exp(-1)"},
    }
    check_witness(goal)
    with pytest.raises(CertificateError, match="y == "):
        check_witness({**goal, "witness": {**goal["witness"], "y": "x*x*exp(-1) + 1/10**60"}})


def test_a_layer_of_a_witness_keeps_its_bound():
    goal = dict(CLAIMS["theorem_a"].goal)
    with pytest.raises(CertificateError, match="bound"):
        check_witness({**goal, "witness": {**goal["witness"], "D": {"0": [["3/4"]]}}})


# -- statements on numbers ----------------------------------------------------------------------------------
def sample(rng, context):
    """Random values for the symbols and layers of a statement about networks."""
    n, depth = int(rng.integers(1, 4)), int(rng.integers(1, 7))

    def quarter(low, high):
        return str(Fraction(int(rng.integers(4 * low, 4 * high + 1)), 4))

    def matrix(size):
        return [[str(size * Fraction(int(v), 8)) for v in row] for row in rng.integers(-8, 9, size=(n, n))]

    draw = {
        "real": lambda: quarter(-2, 2),
        "nonneg": lambda: quarter(0, 2),
        "positive": lambda: quarter(1, 3),
        "integer": lambda: int(rng.integers(-2, 3)),
        "natural": lambda: int(rng.integers(0, depth + 1)),
        "posint": lambda: int(rng.integers(1, depth + 1)),
        "matrix": lambda: matrix(Fraction(1)),
    }
    values = {name: draw[sort]() for name, sort in context.symbols.items()}
    values |= {name: fixed for name, fixed in (("n", n), ("T", depth)) if name in values}
    if {"h", "m", "T"} <= set(values):
        values["m"] = depth - values["h"]
    for name in context.families:
        size = Fraction(values.get("c", 2)) / depth / n
        values[name] = {str(t): matrix(size) for t in range(-3, 14)}
    return values | stacks(rng, context, n, depth)


def stacks(rng, context, n, depth):
    """Two stacks of matrices with rational norms and distance, for (13) and (42); else nothing."""
    pair = sorted(set(context.families) & {"A", "B", "X", "Y"})
    if len(pair) < 2:
        return {}
    places = rng.permutation(depth * n * n)[:2]
    second, apart, first = [(4, 3, 5), (12, 5, 13), (15, 8, 17), (2, -1, 1), (2, 3, 5)][rng.integers(5)]
    sideways = second**2 + apart**2 == first**2  # else along the second, or back
    if sideways and len(places) < 2:
        second, apart, first, sideways = 2, 1, 3, False

    def stack(entries):
        found = {str(t): [[0] * n for _ in range(n)] for t in range(depth)}
        for place, value in zip(places, entries, strict=False):
            found[str(place // n**2)][place % n**2 // n][place % n] = value
        return found

    near, far = stack([second]), stack([second, apart] if sideways else [second + apart])
    cosine = Fraction(second, first) if sideways else Fraction(1)
    norms = {"p": first, "q": second, "d": abs(apart), "x": first, "y": second, "kappa": str(cosine)}
    norms["best"] = str(cosine * Fraction(second, first))
    return {pair[0]: far, pair[1]: near} | {k: v for k, v in norms.items() if k in context.symbols}


@cache
def models(name):
    """Models of the hypotheses of a claim, from random values: none of them may violate a conclusion."""
    goal = CLAIMS[name].goal
    context = read_context(goal)
    found = []
    rng = np.random.default_rng(7)
    for _ in range(400):
        try:
            model = Model(context, sample(rng, context), ())
            if all(model.decide(parse(text)) is True for text in goal["hypotheses"]):
                found.append(model)
        except (CertificateError, ArithmeticError):
            continue
        if len(found) >= 12:
            break
    return found


NUMERIC = [
    "theorem_a", "theorem_34_informal", "theorem_34_parallel",
    "lemma_c1_upper", "lemma_c1_lower", "lemma_c1_frobenius", "lemma_c1_frobenius_lower",
    "lemma_c2", "lemma_c3", "lemma_c4", "eq_37", "eq_27", "eq_10_forward", "eq_10_backward", "eq_9", "eq_42",
    "eq_13",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", NUMERIC)
def test_proved_statements_hold_on_random_networks_and_are_not_vacuous(name):
    assert len(models(name)) >= 3
    for model in models(name):
        for text in CLAIMS[name].goal["conclusions"]:
            formula = parse(text)
            if formula[0] == "==" and not model._is_matrix(formula[1]):
                left, right = (float(_mid(model.number(side))) for side in formula[1:])
                assert left == pytest.approx(right, rel=1e-12, abs=1e-12)
            elif formula[0] != "==":
                left, right = (float(_mid(model.number(side))) for side in formula[1:])
                assert left <= right + 1e-12 * (1 + abs(right)), text
            else:
                assert model.decide(formula) is True, text


def _mid(value):
    return value if isinstance(value, Fraction) else value.mid()


def test_theorem_a_states_the_bound_of_the_library():
    exact, cubic = (text.split(" <= ")[1] for text in CLAIMS["theorem_a"].goal["conclusions"][2:])
    for model in models("theorem_a"):
        get = {name: float(value) for name, value in model.numbers.items()}
        radius = float(_mid(model.number(parse("F(W(0, T) - Phi)"))))
        depth, horizon, width = (int(get[x]) for x in ("T", "h", "n"))
        for side, function in ((exact, bounds.theorem_a), (cubic, bounds.theorem_a_cubic)):
            mine = float(_mid(model.number(parse(side))))
            assert float(function(depth, horizon, get["c"], width, radius)) == pytest.approx(mine, rel=1e-12)


# -- damaged certificates -----------------------------------------------------------------------------------
def put(value, *path):
    """A change that stores a value at a path of the certificate."""

    def change(data):
        *outer, last = path
        for key in outer:
            data = data[key]
        data[last] = value

    return change


def step(rule, **fields):
    """A change of the first step with a rule that has all these fields."""

    def change(data):
        found = next(s for s in data["steps"] if s["rule"] == rule and all(f in s for f in fields))
        for name, value in fields.items():
            found[name] = value(found[name]) if callable(value) else value

    return change


def added(formula):
    """A change that assumes the first conclusion's opposite and calls it the goal."""

    def change(data):
        data["steps"].append({"rule": "assume", "conclusion": formula})
        data["goals"][0] = len(data["steps"]) - 1

    return change


def drop(*path):
    """A change that removes an entry."""

    def change(data):
        *outer, last = path
        for key in outer:
            data = data[key]
        if isinstance(last, str) and isinstance(data, list):
            data.remove(last)
        else:
            data.pop(last)

    return change


def bound(text):
    """Theorem A's third conclusion with another power or constant."""
    return CLAIMS["theorem_a"].goal["conclusions"][2].replace("6*T**3", text)


TAMPERINGS = {
    "constant of the goal": put(bound("7*T**3"), "statement", "conclusions", 2),
    "order of the goal": put(bound("6*T**4"), "statement", "conclusions", 2),
    "hypothesis dropped": drop("statement", "hypotheses", "0 < F(W(0, T) - Phi)"),
    "weaker hypothesis": drop("statement", "hypotheses", "c < T"),
    "stronger hypothesis": put("c <= 0", "statement", "hypotheses", 0),
    "stronger sort": put("positive", "statement", "symbols", "c"),
    "larger layers": put("2*c/T", "statement", "families", "D"),
    "another gradient": put("W(t+1, T).T", "statement", "definitions", "gT", "cases", 0, "then"),
    "verdict": put("certified", "verdict"),
    "foreign claim": put("eq_13", "claim"),
    "unknown claim": put("theorem_z", "claim"),
    "multiplier": step("linear", multipliers=lambda old: ["2", *old[1:]]),
    "multiplier removed": step("linear", multipliers=lambda old: old[1:]),
    "premise removed": step("linear", **{"from": lambda old: old[1:]}),
    "premise redirected": step("substitute", **{"from": [0, 0]}),
    "later premise": step("substitute", **{"from": [10**6, 0]}),
    "step removed": drop("steps", 3),
    "steps truncated": lambda data: data.update(steps=data["steps"][:-5]),
    "axiom renamed": step("axiom", name="S_product"),
    "axiom invented": step("axiom", name="sin_small"),
    "axiom conclusion": step("axiom", conclusion="N(I) == 0"),
    "layer bound": step("layer", conclusion=lambda old: f"2*{old}"),
    "goal index": lambda data: data.update(goals=[data["goals"][0]] * 4),
    "induction base": step("induction", **{"from": lambda old: old[::-1]}),
    "induction limit": step("induction", upto="T + 1"),
    "auxiliary sort": put("real", "auxiliary", "b"),
    "auxiliary dropped": drop("auxiliary", "r"),
    "square": step("linear", squares=[["1/(H*G)", "H + HT(T)"]]),
    "assumption added": added("0 < TT(T)"),
    "refutation added": put({"values": {}, "fails": 0}, "refutation"),
    "unknown part": put("please accept", "note"),
    "format": put("dlinear-certificate/0", "format"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", TAMPERINGS)
def test_a_tampered_certificate_is_rejected(tmp_path, kind):
    data = json.loads(text("theorem_a"))
    assert "theorem_a: proved" in verify(tmp_path, data)
    with pytest.raises(CertificateError) as caught:
        verify(tmp_path, damaged("theorem_a", TAMPERINGS[kind]))
    assert "\n" not in str(caught.value)


REFUTED = {
    "values": put(3, "refutation", "values", "T"),
    "layer outside its bound": put([["-1"]], "refutation", "values", "D", "0"),
    "layer dropped": put({}, "refutation", "values", "D"),
    "value dropped": drop("refutation", "values", "c"),
    "float": put(1.0, "refutation", "values", "c"),
    "conclusion index": put(1, "refutation", "fails"),
    "verdict": put("proved", "verdict"),
    "hypothesis dropped": drop("statement", "hypotheses", "c < T"),
    "steps": put([], "steps"),
}


def damaged(name, change):
    data = json.loads(text(name))
    change(data)
    assert json.dumps(data) != json.dumps(json.loads(text(name)))
    return data


@pytest.mark.parametrize("kind", REFUTED)
def test_a_tampered_refutation_is_rejected(tmp_path, kind):
    data = json.loads(text("lemma_c1_lower_printed"))
    assert "refuted" in verify(tmp_path, data)
    with pytest.raises(CertificateError):
        verify(tmp_path, damaged("lemma_c1_lower_printed", REFUTED[kind]))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_rejected(tmp_path, share):
    whole = text("theorem_a")
    with pytest.raises(CertificateError):
        verify(tmp_path, whole[: int(share * len(whole))])


SWAPS = {"+": "-", "-": "+", "*": "+", "<=": "<", "<": "<=", "==": "<="}


def mutate(rng, string):
    """One number or operator of a formula changed."""
    places = [m for m in re.finditer(r"\d+|<=|==|<|[-+*]", string)]
    if not places:
        return None
    spot = rng.choice(places)
    old = spot.group()
    new = str(int(old) + rng.choice([-1, 1, 2])) if old.isdigit() else SWAPS[old]
    return string[: spot.start()] + new + string[spot.end() :]


def strings(step):
    """Places of a step that hold a formula or a term: (container, key)."""
    for key, value in step.items():
        if isinstance(value, str) and key != "rule":
            yield step, key
        if isinstance(value, list):
            yield from ((value, i) for i, item in enumerate(value) if isinstance(item, str))
        if isinstance(value, dict):
            yield from ((value, k) for k, item in value.items() if isinstance(item, str))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in FORMAL if CLAIMS[n].expected is Verdict.PROVED])
def test_random_mutations_of_steps_never_prove_something_else(name):
    """A mutated certificate is rejected, or it still proves the registered statement by sound steps."""
    rng = random.Random(name)
    original = json.loads(text(name))
    steps, derived = original["steps"], Derived(original)
    rejected = survived = 0
    budget = 12 if len(steps) > 60 else 25
    for _ in range(budget):
        at = rng.randrange(len(steps))
        step = copy.deepcopy(steps[at])
        container, key = rng.choice(list(strings(step)))
        changed = mutate(rng, container[key])
        if changed is None:
            continue
        container[key] = changed
        data = {**original, "steps": [*steps[:at], step, *steps[at + 1 :]]}
        alone = derived.takes(at, step)
        if not alone and rejected:  # the first one is judged by the checker too
            rejected += 1
            continue
        said = ""
        try:
            check(data, CLAIMS[name].goal)
        except CertificateError as error:
            said = str(error)
        assert said.startswith(f"step {at} (") != alone, said
        rejected, survived = rejected + bool(said), survived + (not said)
        assert said or data["statement"] == original["statement"]
    assert rejected > 3 * survived


@pytest.mark.slow
@pytest.mark.parametrize("name", NUMERIC)
def test_a_mutated_conclusion_is_rejected_or_true(name):
    """Fuzz of the kernel: a conclusion changed in the statement and in its last step is refused or true."""
    rng = random.Random(name)
    original = json.loads(text(name))
    derived, passed = Derived(original), 0
    for _ in range(40):
        data = copy.deepcopy(original)
        which = rng.randrange(len(data["goals"]))
        at = data["goals"][which]
        conclusion = data["statement"]["conclusions"][which]
        changed = mutate(rng, conclusion)
        data["statement"]["conclusions"][which] = changed
        data["steps"][at]["conclusion"] = changed
        if not derived.takes(at, data["steps"][at]):
            continue
        try:
            check(data)
        except CertificateError:
            continue
        passed += 1
        for model in models(name):
            assert model.decide(parse(changed)) is not False, changed
    assert passed < 20


# -- command line -------------------------------------------------------------------------------------------
@pytest.fixture
def certificates(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results" / "certificates"


@pytest.mark.slow
def test_the_command_line_writes_rows_and_certificates(tmp_path, capsys, certificates):
    path = tmp_path / "rows.json"
    assert command.main(Knobs(names=("eq_42", "eq_25"), json=str(path))) == 0
    rows = json.loads(path.read_text())
    assert [row["id"] for row in rows] == ["eq_25", "eq_42", "eq_42_line"]
    for row in rows:
        assert set(row) == {"id", "reference", "form", "relation", "verdict", "method", "seconds", "evidence"}
        assert row["form"] in {"printed", "repaired", "new"}
        assert row["verdict"] in {"proved", "certified", "supported", "refuted", "undecided"}
        assert isinstance(row["seconds"], float)
    output = capsys.readouterr().out
    assert "3 statements: 2 proved, 1 refuted" in output
    assert output.strip().splitlines()[-1].startswith("verdict: every statement")
    files = sorted(certificates.iterdir())
    assert [f.name for f in files] == ["eq_25.json", "eq_42.json", "eq_42_line.json"]
    assert command.main(Knobs(check=tuple(map(str, files)))) == 0
    files[0].write_text(files[0].read_text()[:-20])
    assert command.main(Knobs(check=tuple(map(str, files)))) == 1
    assert "rejected" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lemma_z9", "lemma_c9", "Lemma_c1", ""])
def test_an_unknown_name_lists_the_names(name):
    with pytest.raises(DomainError, match=r"the names are .*eq_10, ") as caught:
        command.main(Knobs(names=(name,)))
    message = str(caught.value)
    assert repr(name) in message
    assert "theorem_a" in message
    assert "\n" not in message
    assert ("did you mean lemma_c" in message) == bool(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["eq_9"], 0, "verdict: every statement"),
        (["lemma_z9"], 2, "error: unknown proof file or claim 'lemma_z9'"),
        (["--check"], 2, "error: --check without a file"),
        (["--check", "absent.json"], 1, "rejected absent.json: absent.json is not a readable certificate"),
        (["eq_9", "--check", "absent.json"], 2, "error: --check only re-checks"),
        (["--docs", "--check", "absent.json"], 2, "error: --check only re-checks"),
        (["--json", "x.json", "--check", "absent.json"], 2, "error: --check only re-checks"),
        (["--docs", "eq_9"], 2, "error: --docs with eq_9"),
        (["--docs", "--folder", "."], 2, "error: --docs with --folder"),
        (["--folder", "absent"], 2, "error: --folder absent: there is no such folder"),
        (["--folder", "."], 2, "error: --folder .: no file NAME.py"),
        (["--jsn", "x"], 2, "--jsn"),
    ],
)
def test_the_exit_status_and_the_message_of_the_command_line(
    arguments, status, words, monkeypatch, capsys, certificates
):
    monkeypatch.setattr(sys, "argv", ["proofs", *arguments])
    try:
        found = script.run(command.main, Knobs, command.__doc__)
    except SystemExit as stopped:  # tyro's own
        found = stopped.code
    output = capsys.readouterr()
    assert found == status
    assert words in output.out + output.err
    assert "Traceback" not in output.err


def test_an_unexpected_verdict_or_a_twin_that_proves_fails_the_run(monkeypatch, capsys, certificates):
    claim = CLAIMS["eq_13"]
    for change, word in (
        ({"expected": Verdict.CERTIFIED}, "expected certified"),
        ({"twin": claim.prove}, "twin"),
    ):
        wrong = replace(claim, **change)
        monkeypatch.setattr(command, "discover", lambda folder, wrong=wrong: {"eq_13": (wrong,)})
        assert command.main(Knobs()) == 1
        assert word in capsys.readouterr().out


def test_a_claim_is_one_file_and_two_of_one_id_are_refused(tmp_path):
    """Registering a claim touches its own file and nothing else."""
    for name in ("mine", "yours"):
        (tmp_path / f"{name}.py").write_text(
            "from proofs.eq_9 import CLAIMS as them\n"
            "from dataclasses import replace\n"
            f"CLAIMS = (replace(them[1], id='{name}'),)\n"
        )
    (tmp_path / "_helper.py").write_text("CLAIMS = 1/0\n")
    found = registry.discover(tmp_path)
    assert {stem: [claim.id for claim in claims] for stem, claims in found.items()} == {
        "mine": ["mine"],
        "yours": ["yours"],
    }
    assert decide.decide(found["mine"][0]).expected
    assert registry.discover(tmp_path)["mine"][0] is found["mine"][0], "what has not changed is not run again"
    (tmp_path / "yours.py").write_text((tmp_path / "mine.py").read_text())
    with pytest.raises(DomainError, match="declared twice: mine"):
        registry.discover(tmp_path)


def test_the_claims_page_is_fresh():
    page = claims_page(REGISTRY, {name: str(claim.expected) for name, claim in CLAIMS.items()})
    assert command.DOCS.read_text(encoding="utf-8") == page, "stale: run python -m proofs --docs"


def test_the_claims_page_names_things_that_exist():
    for claim in CLAIMS.values():
        if claim.test:
            assert (command.ROOT / claim.test.split("::")[0]).exists(), claim.test
        if claim.figure:
            assert (command.ROOT / "paper_figs" / f"{claim.figure}.py").exists(), claim.figure
        if claim.function:
            assert pkgutil.resolve_name(claim.function) is not None
