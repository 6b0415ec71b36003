"""Identities I1, I2, I3, I6 (new): rules of two forward passes, as one another and as feedback rules.

Problem. PEPITA compares a pass on x with one on x + s F e and steps along (h - herr) herr^T. Is it a
feedback rule? Its Hebbian variant steps along h h^T - herr herr^T, forward-forward along the gradient of a
goodness, an autoencoder of the LAC kind along the difference of a pass and one on its own output. How far
are they the same?

Statement. I1. Linear layers: PEPITA is feedback with the adaptive matrix -s P_{t+1} F for every size of F,
no remainder; the output layer with the modulated error has (I + s P_T F) e for e. I2. (h - herr) herr^T = h
herr^T - herr herr^T for any activation; what the Hebbian variant adds is h (h' - herr')^T with the
presynaptic h', herr', of the same order in F; on whitened data it symmetrises F R. I3. The Hebbian variant
is the gradient of the goodness |h|^2/2 on the clean pass less that on the modulated pass, layer by layer:
identity activation as matrices, ReLU by unit. I6. An autoencoder's second pass on its output o = x + e, F =
I: twice PEPITA with the sign turned, exactly. It is twice PEPITA with F = -I where the presynaptic term is
the clean one; with the modulated one they differ by 4 P_{t+1} e (P_t e)^T.

Guarantee. Identities for every depth, layers, feedback and data; the remainder of ReLU is a bound. Layers
of other shapes are these with rows or columns of zeros.

Method. Expansion. ReLU: four cases of signs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Claim, Form, Relation, Verdict
from dlinear.certify.prover.statements import LETTERS, network

AFTER, BEFORE = "W(0, t+1)", "W(0, t)"
MOVED = "(X + s*Z*E)"
STEP = f"({AFTER}*X - {AFTER}*{MOVED})*({BEFORE}*{MOVED}).T"
SECOND = f"s**2*{AFTER}*Z*E*E.T*Z.T*{BEFORE}.T"
DATA = dict.fromkeys(("X", "E", "Z", "R", "Y"), "matrix")
ERROR = {"E": "E == W(0, T)*X - Y", "R": "R == E*X.T"}


def passes(conclusions: list[str], *given: str) -> dict[str, Any]:
    """A goal about the two passes, with what is said of E or R."""
    names = {
        k: v for k, v in DATA.items() if k not in ("R", "Y") or k in given or (k == "Y" and "E" in given)
    }
    return network(conclusions, [ERROR[k] for k in given], bound=None, t="natural", s="real", **names)


def feedback(left: str) -> dict[str, Any]:
    """I1; `left` is the adaptive feedback."""
    mean = f"{STEP} == -s*{AFTER}*Z*R*{BEFORE}.T - {SECOND}"
    out = f"W(0, T)*{MOVED} - Y == (I + s*W(0, T)*Z)*E"
    return passes([f"{STEP} == ({left})*E*({BEFORE}*{MOVED}).T", mean, out], "E", "R")


def prove_feedback(goal: dict[str, Any]) -> dict[str, Any]:
    """Expansion; R and E by their values."""
    p = Proof(goal)
    error, covariance = (p.assume(text) for text in goal["hypotheses"])
    first = p.matrix(goal["conclusions"][0])
    mean = p.matrix(goal["conclusions"][1], {covariance: (f"s*{AFTER}*Z", f"{BEFORE}.T")})
    return p.finish(first, mean, p.matrix(goal["conclusions"][2], {error: ("-I", "I")}))


def split(hebbian: str) -> dict[str, Any]:
    """I2, any activities A, M after the layer and C, K before it."""
    mixed = "(A - M)*K.T"
    conclusions = [f"{mixed} == A*K.T - M*K.T", f"A*C.T - M*K.T == {hebbian}"]
    return {"symbols": dict.fromkeys("AMCK", "matrix"), "conclusions": conclusions}


def symmetrised(other: str) -> dict[str, Any]:
    """I2, linear layers, whitened data."""
    hebbian = f"{AFTER}*X*({BEFORE}*X).T - {AFTER}*{MOVED}*({BEFORE}*{MOVED}).T"
    return passes([f"{hebbian} == -s*{AFTER}*(Z*R{other})*{BEFORE}.T - {SECOND}"], "R")


def prove_symmetrised(goal: dict[str, Any]) -> dict[str, Any]:
    """R once as it is and once transposed."""
    p = Proof(goal)
    given = p.assume(goal["hypotheses"][0])
    turned = p.matrix("R.T == X*E.T", {given: ("I", "I")}, transposed=[given])
    factors = {given: (f"s*{AFTER}*Z", f"{BEFORE}.T"), turned: (f"s*{AFTER}", f"Z.T*{BEFORE}.T")}
    return p.finish(p.matrix(goal["conclusions"][0], factors))


def goodness(half: str) -> dict[str, Any]:
    """I3, identity: the change of the goodness as W becomes W + u V."""
    change = " - ".join(f"(ip((W + u*V)*{h}, (W + u*V)*{h}) - ip(W*{h}, W*{h})){half}" for h in ("C", "K"))
    linear = "u*ip(V, W*C*C.T - W*K*K.T)"
    square = "u**2*(ip(V*C, V*C) - ip(V*K, V*K))/2"
    symbols = {"u": "real", **dict.fromkeys("WVCK", "matrix")}
    return {"symbols": symbols, "conclusions": [f"{change} == {linear} + {square}"]}


def relu(most: str) -> dict[str, Any]:
    """I3, ReLU, one unit and one sample."""
    change = "max(0, a + u)**2/2 - max(0, a)**2/2 - u*max(0, a)"
    return {
        "symbols": {"a": "real", "u": "real"},
        "conclusions": [f"0 <= {change}", f"{change} <= {most}"],
    }


def relu_case(p: Proof, goal: Mapping[str, Any], before: bool, after: bool) -> list[int]:
    """Both conclusions where a >= 0 (or a <= 0) and a + u >= 0 (or <= 0)."""
    one = p.assume("0 <= a" if before else "a <= 0")
    two = p.assume("0 <= a + u" if after else "a + u <= 0")
    old, new = "a" if before else "0", "(a + u)" if after else "0"
    h, k = "max(0, a)", "max(0, a + u)"
    same = p.linear(
        f"{k}**2/2 - {h}**2/2 - u*{h} == {new}**2/2 - {old}**2/2 - u*{old}",
        {
            p.order(two, f"{k} == {new}"): f"({k} + {new})/2",
            p.order(one, f"{h} == {old}"): f"-({h} + {old})/2 - u",
        },
    )
    crossed = {p.product(one, two): "1"} if before != after else {}  # -a (a + u) >= 0
    low, high = {  # what the two sides are, as squares
        (True, True): ("u", "0"),
        (True, False): ("a", "a + u"),
        (False, True): ("a + u", "a"),
        (False, False): ("0", "u"),
    }[before, after]
    return [
        p.linear(goal["conclusions"][0], {same: "-1", **(crossed if before else {})}, [("1/2", low)]),
        p.linear(goal["conclusions"][1], {same: "1", **({} if before else crossed)}, [("1/2", high)]),
    ]


def prove_relu(goal: dict[str, Any]) -> dict[str, Any]:
    """Four cases."""
    p = Proof(goal)
    found = {(i, j): relu_case(p, goal, i, j) for i in (True, False) for j in (True, False)}
    done = []
    for k in range(2):
        up = p.cases("0 <= a + u", found[True, True][k], found[True, False][k])
        down = p.cases("0 <= a + u", found[False, True][k], found[False, False][k])
        done.append(p.cases("0 <= a", up, down))
    return p.finish(*done)


def autoencoder(gap: str) -> dict[str, Any]:
    """I6: the second pass on O = X + E, against PEPITA with s = 1 and F = I or -I."""
    own = f"2*({AFTER}*(X + E) - {AFTER}*X)*({BEFORE}*(X + E)).T"
    plus = f"({AFTER}*X - {AFTER}*(X + E))*({BEFORE}*(X + E)).T"
    minus = f"({AFTER}*X - {AFTER}*(X - E))*({BEFORE}*(X - E)).T"
    clean = own.replace(f"({BEFORE}*(X + E))", f"({BEFORE}*X)")
    other = minus.replace(f"({BEFORE}*(X - E))", f"({BEFORE}*X)")
    conclusions = [f"{own} == -2*{plus}", f"{own} - 2*{minus} == {gap}", f"{clean} == 2*{other}"]
    return network(conclusions, [], bound=None, t="natural", X="matrix", E="matrix")


def expand(goal: dict[str, Any]) -> dict[str, Any]:
    """Every conclusion by expansion."""
    p = Proof(goal)
    return p.finish(*[p.matrix(text) for text in goal["conclusions"]])


NAMES = LETTERS | {
    "E": "e, error of the last layer, a sample in each column",
    "X": "x, whitened inputs, a sample in each column",
    "Y": "targets, a sample in each column",
    "R": "sum of e x^T over the samples",
    "Z": "F, feedback to the input",
    "s": "sign of the error at the input, +1 or -1",
}
PAIR = {
    "A": "h, after the layer, clean pass",
    "M": "herr, after the layer, modulated pass",
    "C": "h', before the layer, clean pass",
    "K": "herr', before the layer, modulated pass",
}
WITNESS: dict[str, Any] = {"T": 1, "n": 1, "D": {}, "t": 0, "s": 1, "X": [[1]], "E": [[1]], "Z": [[1]]}
TEST = "tests/certify/test_rule_proofs.py"


def identity(
    name: str,
    reference: str,
    statement: str,
    goals: tuple[dict[str, Any], dict[str, Any]],
    route: Callable[[Mapping[str, Any]], dict[str, Any]],
    twin_statement: str,
    evidence: str,
    letters: Mapping[str, str],
    witness: Mapping[str, Any] | None = None,
    relation: Relation = Relation.IDENTITY,
    function: str = "",
) -> Claim:
    """A proved claim of this file, with its goal and that of its twin."""
    return claim(
        name,
        reference,
        Form.NEW,
        statement,
        relation,
        Verdict.PROVED,
        goal=goals[0],
        witness=witness,
        route=route,
        twin_goal=goals[1],
        twin_statement=twin_statement,
        letters=letters,
        evidence=evidence,
        function=function,
        test=TEST,
    )


PEPITA = "dlinear.engine.feedback_gradients.pepita_gradients"
CLAIMS = (
    identity(
        "pepita_feedback",
        "I1",
        "PEPITA, linear layers, any F: (h - herr) herr^T = -s P_{t+1} F e herr^T, summed over samples "
        "-s P_{t+1} F R P_t^T - s^2 P_{t+1} F e e^T F^T P_t^T; the modulated error is (I + s P_T F) e",
        (feedback(f"-s*{AFTER}*Z"), feedback(f"-s*{BEFORE}*Z")),
        prove_feedback,
        "P_t in place of P_{t+1}",
        "adaptive feedback, without a remainder",
        NAMES,
        WITNESS | {"Y": [[0]], "R": [[1]]},
        function=PEPITA,
    ),
    identity(
        "pepita_split",
        "I2",
        "any activation: (h - herr) herr'^T = h herr'^T - herr herr'^T, and the Hebbian variant "
        "h h'^T - herr herr'^T is this plus h (h' - herr')^T",
        (split("(A - M)*K.T + A*(C - K).T"), split("(A - M)*K.T")),
        expand,
        "without the last term: the variant is PEPITA",
        "h' - herr' is of the order of F, as h - herr is: not a small correction",
        PAIR,
    ),
    identity(
        "pepita_hebbian",
        "I2",
        "PEPITA-Hebbian, linear layers, whitened data, summed over samples: -s P_{t+1} (F R + (F R)^T) P_t^T "
        "- s^2 P_{t+1} F e e^T F^T P_t^T, PEPITA with F R symmetrised",
        (symmetrised(" + R.T*Z.T"), symmetrised("")),
        prove_symmetrised,
        "F R alone",
        "what is antisymmetric in F R is lost",
        NAMES,
        WITNESS | {"R": [[1]]},
        function=PEPITA,
    ),
    identity(
        "goodness_linear",
        "I3",
        "identity activation, goodness |h|^2/2 of the clean less that of the modulated pass: W + u V for W "
        "changes it by u <V, h h'^T - herr herr'^T> + u^2 (|V h'|^2 - |V herr'|^2)/2",
        (goodness("/2"), goodness("")),
        lambda goal: (p := Proof(goal)).finish(p.linear(goal["conclusions"][0])),
        "goodness |h|^2",
        "forward-forward with this goodness, without logistic weights, is PEPITA-Hebbian",
        PAIR | {"W": "the layer", "V": "direction", "u": "size of the change"},
    ),
    identity(
        "goodness_relu",
        "I3",
        "ReLU, one unit: 0 <= max(0, a + u)^2/2 - max(0, a)^2/2 - u max(0, a) <= u^2/2: the goodness h^2/2 "
        "grows with a at the rate h",
        (relu("u**2/2"), relu("u**2/4")),
        prove_relu,
        "half of the remainder",
        "so that forward-forward is PEPITA-Hebbian for ReLU too; tanh and leaky ReLU need a matched goodness",
        {"a": "input of the unit", "u": "change of it"},
        relation=Relation.UPPER_BOUND,
    ),
    identity(
        "autoencoder_pepita",
        "I6",
        "linear autoencoder, second pass on its output x + e: 2 (h2 - h1) h2'^T = -2 PEPITA(F = I) = "
        "2 PEPITA(F = -I) + 4 P_{t+1} e (P_t e)^T; 2 PEPITA(F = -I) if the presynaptic term is the clean one",
        (autoencoder(f"4*{AFTER}*E*({BEFORE}*E).T"), autoencoder("0*I")),
        expand,
        "equal to 2 PEPITA(F = -I) with the modulated presynaptic term",
        "F = I with the sign of the step turned",
        NAMES,
        function=PEPITA,
    ),
)
