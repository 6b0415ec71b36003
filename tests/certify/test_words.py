"""What a row says in words, what its certificate says, and what it assumes agree."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dlinear.certify import decide, registry
from dlinear.certify.claims import Verdict
from dlinear.certify.letters import Letter, Tie, names_of, shown
from dlinear.certify.words import gaps, in_words
from dlinear.report.claims_page import claims_page
from dlinear.report.claims_table import claims_table
from proofs import __main__ as command

REGISTRY = registry.discover(command.FOLDER)
CLAIMS = {claim.id: claim for claims in REGISTRY.values() for claim in claims}
FORMAL = [name for name, claim in CLAIMS.items() if claim.expected in decide.CHECKED]


@pytest.mark.parametrize("name", FORMAL)
def test_statement_goal_and_assumptions_agree(name):
    """The message of a failure shows the statement above the goal in words."""
    claim = CLAIMS[name]
    words = in_words(claim)
    beside = f"\n{claim.statement}\n{', '.join(words)}\nassumes: {claim.assumes or '-'}"
    assert not list(gaps(claim, CLAIMS)), beside
    text = " ".join(words)
    assert "no meaning" not in text, beside
    for declared in names_of(claim.goal):
        assert f"`{declared}" in text, beside
        assert claim.letters[declared].means in text, beside
    formulas = [*claim.goal.get("hypotheses", []), *claim.goal["conclusions"]]
    assert all(formula in text for formula in formulas if len(formula) < 200), beside


LINKS = {
    "balance_path": "the residuals of the steps fall",
    "eq_10_forward": "linear part",
    "eq_14_domination": "chain rule",
    "eq_14_step": "second-order model",
    "eq_27": "linear part",
    "lemma_c5_printed": "O(.)",
    "lemma_c5_series": "O(.)",
    "lemma_c5_order_five": "O(.)",
    "feedback_from_zero": "is unique",
    "mirror_mean": "linear in X X^T",
    "mirror_variance": "three pairings",
    "oscillating_limit_gap": "Cauchy-Schwarz",
    "oscillating_limit_primitive": "vanish at 0",
    "remark_c7_printed": "dI1/dalpha",
    "remark_c7_closed_form": "dI1/dalpha",
    "remark_c7_value": "f(0+) = sign(G)",
    "remark_c7_repaired": "dI1/dalpha",
    "theorem_34_identity_printed": "T -> infinity",
    "theorem_34_order_five_printed": "T -> infinity",
    "theorem_34_parallel": "limits of",
    "theorem_b_flow": "product rule",
    "theorem_b_leading": "N = G^2",
    "theorem_c_variance": "mean 0 and variance 1/n",
    "theorem_c8_printed": "E J(u^tau)",
    "theorem_c8_exponent": "E J(u^tau)",
    "theorem_c8_one_step": "descent inequality",
    "theorem_c8_repaired": "total expectation",
    "theorem_g1_path": "induction over i",
    "theorem_g2_above": "Gronwall",
    "theorem_g2_below": "Gronwall",
    "theorem_g3": "leaves every bound",
    "theorem_g3_below": "leaves every bound",
    "theorem_g4_plateau": "solution is unique",
    "theorem_g4_ringing": "solution is unique",
}


@pytest.mark.parametrize("name", LINKS)
def test_a_link_that_is_not_listed_is_found(name):
    claim = CLAIMS[name]
    assert LINKS[name] in claim.assumes
    silent = replace(claim, assumes="", uses=())
    assert list(gaps(silent, CLAIMS)), claim.statement


def test_every_assumption_of_a_formal_claim_is_a_link_of_the_list():
    listed = {"eq_27_printed", *LINKS}  # the printed (27) assumes what the repaired one does
    assert {name for name in FORMAL if CLAIMS[name].assumes} == listed


BASE = CLAIMS["eq_42"]
PLANTED = {
    "a name without a meaning": (
        replace(BASE, letters={k: v for k, v in BASE.letters.items() if k != "c1"}),
        "c1 of the goal has no meaning",
    ),
    "a meaning without a name": (
        replace(BASE, letters={**BASE.letters, "zz": Letter("?", Tie.FREE)}),
        "zz is no name",
    ),
    "an assumed name": (
        replace(BASE, letters={**BASE.letters, "q": Letter("lim |b|", Tie.ASSUMED)}),
        "by assumption",
    ),
    "a claim that is none": (replace(BASE, uses=("eq_420",)), "eq_420 is no other claim"),
    "a refuted claim": (replace(BASE, uses=("eq_42_line",)), "eq_42_line is no other claim"),
    "itself": (replace(BASE, letters={**BASE.letters, "q": shown("|b|", "eq_42")}), "eq_42 is no other"),
    "a limit": (replace(BASE, statement="lim <a, b> >= 0 as c1 -> 1"), "'lim'"),
    "an order": (replace(BASE, statement="<a, b> = O(c1)"), "'O('"),
    "an expectation": (replace(BASE, statement="E <a, b> >= 0"), "'E'"),
    "a derivative": (replace(BASE, statement="f' = 0"), "f' ="),
    "a gradient": (replace(BASE, statement="the gradient is b"), "'the gradient'"),
    "another theorem": (replace(BASE, statement="the constant of Theorem B is 1"), "'Theorem B'"),
    "an integral": (replace(BASE, statement="int_0^1 a >= 0"), "'int_'"),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_gap_is_found(kind):
    claim, message = PLANTED[kind]
    found = list(gaps(claim, CLAIMS))
    assert len(found) == 1
    assert message in found[0]


def test_an_integral_of_the_goal_needs_no_assumption():
    closed = CLAIMS["lemma_c5_closed_form"]
    assert "int_" in closed.statement
    assert not closed.assumes
    assert "Int(" in str(closed.goal)


@pytest.mark.parametrize(
    "name",
    ["lemma_c5_printed", "lemma_c5_series", "lemma_c5_order_five", "lemma_c5_bound_below",
     "lemma_c5_bound_above", "eq_45_gap", "theorem_b_commuting", "remark_c7_closed_form",
     "remark_c7_value", "remark_c7_repaired"],
)  # fmt: skip
def test_goals_about_the_integrals_of_lemma_c5_state_them(name):
    """Not their closed form: that they agree is shown within the certificate."""
    assert sum("Int(s, " in text for text in CLAIMS[name].goal["hypotheses"]) in (2, 4)


def test_names_are_rendered_with_their_sort_and_meaning():
    text = " ".join(in_words(CLAIMS["theorem_b_commuting_all"]))
    assert "`q` (1, 2, ...): number of eigenvalues" in text
    assert "`G(t)` (a real sequence)" in text
    assert "(`lemma_c5_printed`)" in text
    assert "`SG(j)` = sum of `I1(i)*G(i)` over `0 <= i < j`" in text
    text = " ".join(in_words(CLAIMS["eq_14_domination"]))
    assert "`D(t)` (n x n matrices, `N(D(t)) <= c/T`)" in text
    assert "`W(a, b)` = `(I + D(b-1))*...*(I + D(a))`" in text
    assert "(assumed)" in text
    text = " ".join(in_words(CLAIMS["theorem_e2_anchored"]))
    assert "`Y(a, b)` = `D(a) + ... + D(b-1)`" in text
    assert "then there is `C` (real): the constant" in " ".join(in_words(CLAIMS["eq_14_constant"]))


def test_a_verdict_that_is_given_something_says_so():
    page = claims_page(REGISTRY, {name: str(claim.expected) for name, claim in CLAIMS.items()})
    rows = {name: next(line for line in page.splitlines() if f"[{name}](" in line) for name in CLAIMS}
    assert "**proved** (conditional)" in rows["oscillating_limit_gap"]
    assert "(conditional)" not in rows["eq_13"]
    assert "`lemma_c5_printed`" in rows["theorem_b_commuting_all"]
    for name, row in rows.items():
        assert ("(conditional)" in row) == bool(CLAIMS[name].assumes)
    for name in FORMAL:
        assert f"- **{name}**. " in page
    table = claims_table([decide.decide(CLAIMS[name]) for name in ("eq_13", "theorem_c8_repaired")])
    assert "proved, if " in table
    assert table.count(", if") == 1
    assert "if: given what the claim assumes" in table


def test_only_checked_claims_have_a_goal():
    assert {name for name, claim in CLAIMS.items() if claim.goal} == set(FORMAL)
    assert all(CLAIMS[n].expected is not Verdict.SUPPORTED for n in FORMAL)
