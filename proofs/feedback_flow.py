"""Identities I9, I10 (new): where feedback alignment goes from zero, and where random targets go.

Problem. Two linear layers, whitened data, end error R = W_2 W_1 - Phi. Feedback alignment steps W_1 along B R
and W_2 along R W_1^T. Where does the flow from zero end? DRTP hands B y in place of the error: where does it
end?

Statement. I9. B^T B = I. W_1 = B A, W_2 = A A^T B^T/2 with A' = -R is feedback alignment's flow from
zero: R A^T is symmetric where A and Phi have common singular vectors, as from A = 0 on, and then R W_1^T is
the change of A A^T B^T/2 along R. It rests where A A^T A = 2 Phi: singular values (2 phi)^{1/3} of W_1,
(2 phi)^{2/3}/2 of W_2. I10. A hidden layer under DRTP moves by eta B Y X^T in each step, whatever the error
is: |W(t) - W(0)| = t eta |B Y X^T|, without end.

Guarantee. Identities for every Phi, feedback and step. Layers of other shapes are these with rows or columns
of zeros; B^T B then leaves A as it is.

Method. Expansion.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict

KEPT = ("Phi*A.T == A*Phi.T", "A.T*Phi == Phi.T*A")


def from_zero(rate: str) -> dict[str, Any]:
    """I9; `rate` is that of W_2 along R W_1^T as W_1 moves along B R at the rate u."""
    return {
        "symbols": {"u": "real", **dict.fromkeys(("A", "B", "R", "Phi"), "matrix")},
        "hypotheses": ["B.T*B*A == A", "R == A*A.T*B.T/2*(B*A) - Phi", *KEPT],
        "conclusions": [
            "R == A*A.T*A/2 - Phi",
            "R*A.T == A*R.T",
            f"(A - u*R)*(A - u*R).T*B.T/2 == A*A.T*B.T/2 - {rate}*R*(B*A).T + u**2*R*R.T*B.T/2",
            *(text.replace("A", "(A - u*R)") for text in KEPT),
        ],
    }


def prove_from_zero(goal: dict[str, Any]) -> dict[str, Any]:
    """W_2 W_1 = A A^T A/2; A A^T A Phi^T is symmetric, and so is Phi^T A A^T A."""
    p = Proof(goal)
    rows, error, left, right = (p.assume(text) for text in goal["hypotheses"])
    closed = p.matrix(goal["conclusions"][0], {error: ("I", "I"), rows: ("A*A.T/2", "I")})
    turned = p.matrix("R.T == A.T*A*A.T/2 - Phi.T", {closed: ("I", "I")}, transposed=[closed])
    parts = {closed: ("I", "A.T"), turned: ("-A", "I"), left: ("-I", "I")}
    same = p.matrix(goal["conclusions"][1], parts)
    change = p.matrix(goal["conclusions"][2], {same: ("u/2*I", "B.T")})
    again = [p.assume(text) for text in KEPT]  # each is used twice
    outer = p.matrix(
        "Phi*A.T*A*A.T == A*A.T*A*Phi.T",
        {left: ("I", "A*A.T"), right: ("-A", "A.T"), again[0]: ("A*A.T", "I")},
    )
    inner = p.matrix(
        "A.T*A*A.T*Phi == Phi.T*A*A.T*A",
        {right: ("A.T*A", "I"), left: ("-A.T", "A"), again[1]: ("I", "A.T*A")},
    )
    half = ("-u/2*I", "I")
    first = {left: ("I", "I"), turned: ("-u*Phi", "I"), closed: ("u*I", "Phi.T"), outer: half}
    second = {right: ("I", "I"), turned: ("-u*I", "Phi"), closed: ("u*Phi.T", "I"), inner: half}
    kept = [p.matrix(goal["conclusions"][3], first), p.matrix(goal["conclusions"][4], second)]
    return p.finish(closed, same, change, *kept)


def drift(after: str) -> dict[str, Any]:
    """I10."""
    return {
        "symbols": {"t": "natural", "eta": "nonneg", **dict.fromkeys("WBYXE", "matrix")},
        "definitions": {"M": {"index": "t", "cases": [{"if": [], "then": "W + t*eta*(B*Y*X.T)"}]}},
        "conclusions": [
            "M(0) == W",
            f"M(t+1) == M(t) - eta*({after}*X.T)",
            "F(M(t) - W) == t*eta*F(B*Y*X.T)",
        ],
    }


def prove_drift(goal: dict[str, Any]) -> dict[str, Any]:
    """The definition at t and t + 1; the norm of a multiple."""
    p = Proof(goal)
    start, now, after = (p.definition("M", at) for at in ("0", "t", "t+1"))
    first = p.matrix(goal["conclusions"][0], {start: ("I", "I")})
    step = p.matrix(goal["conclusions"][1], {after: ("I", "I"), now: ("-I", "I")})
    moved = p.matrix("M(t) - W == t*eta*(B*Y*X.T)", {now: ("I", "I")})
    size = p.axiom("F_scale", "t*eta", "B*Y*X.T")
    return p.finish(first, step, p.substitute(moved, size, goal["conclusions"][2], reverse=True))


TEST = "tests/certify/test_learned_proofs.py"
ONE = [[1]]

CLAIMS = (
    claim(
        "feedback_from_zero",
        "I9",
        Form.NEW,
        "feedback alignment from zero, two layers, B^T B = I: the flow is W_1 = B A, W_2 = A A^T B^T/2, "
        "A' = -R, R A^T = A R^T; it rests where A A^T A = 2 Phi",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=from_zero("u"),
        witness={"u": 1, "A": ONE, "B": ONE, "Phi": ONE, "R": [["-1/2"]]},
        route=prove_from_zero,
        twin_goal=from_zero("2*u"),
        twin_statement="W_2 twice as fast",
        letters={
            "A": "W_1 = B A; at the start 0, for which all hypotheses hold, and each step along R keeps them",
            "B": "the feedback matrix",
            "R": "end error W_2 W_1 - Phi",
            "Phi": "E[y x^T] of whitened x",
            "u": "size of a step",
        },
        assumes="the flow from zero is unique: a curve from zero with the rule's steps as its tangents",
        evidence="singular values (2 phi)^{1/3} of W_1 and (2 phi)^{2/3}/2 of W_2",
        test=TEST,
    ),
    claim(
        "target_drift",
        "I10",
        Form.NEW,
        "DRTP, a hidden linear layer with the input x: W(t) = W(0) + t eta B Y X^T whatever the error, "
        "|W(t) - W(0)| = t eta |B Y X^T|",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=drift("(-B*Y)"),
        witness=None,
        route=prove_drift,
        twin_goal=drift("(B*(E - Y))"),
        twin_statement="with an error E - Y in place of -Y, as direct feedback has it",
        letters={
            "W": "W(0)",
            "M": "W(t)",
            "B": "the feedback matrix",
            "Y": "targets, a sample in each column",
            "X": "inputs, a sample in each column",
            "E": "outputs of the net, which the rule does not see",
            "eta": "size of a step, over the number of samples",
            "t": "number of steps",
        },
        evidence="saturating units, decay or an end of training are part of the rule",
        test=TEST,
    ),
)
