"""Identity I7 (new): what a weight mirror learns: its mean, and how far it scatters.

Problem. Feedback matrices learn the transposed weights from noise: B <- (1 - lam) B + eta mean xi (W xi)^T.
What do they go to, and how near are they with b samples a step?

Statement. Noise with E[xi xi^T] = z I: after t steps E B = Z + (1 - lam)^t (B_0 - Z), Z = (eta z/lam) W^T;
without decay B_0 + t eta z W^T. Gaussian noise: the stationary E|B across W^T|^2 is lam c/((2 - lam) b) times
|Z|^2, c = d + 1 - 2 |W W^T|^2/|W|^4, d inputs; without decay c/(t b) times the square of the mean.

Guarantee. Identities for every W, decay and rate. Of the noise only moments enter: the second for the mean,
Gaussian fourth ones for the scatter. W of other shapes are these with rows or columns of zeros.

Method. Expansion; the stationary variance is the fixed point of its recursion.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.letters import assumed

STEP = "eta*X*(W*X).T"


def mean(limit: str) -> dict[str, Any]:
    """E B after t steps, with decay and without."""
    return {
        "symbols": {
            **{"t": "natural", "q": "positive", "eta": "real", "z": "nonneg"},
            **dict.fromkeys("BWZX", "matrix"),
        },
        "definitions": {
            "M": {"index": "t", "cases": [{"if": [], "then": "Z + q**t*(B - Z)"}]},
            "K": {"index": "t", "cases": [{"if": [], "then": "B + t*eta*z*W.T"}]},
        },
        "hypotheses": ["X*X.T == z*I", f"(1 - q)*Z == {limit}*W.T"],
        "conclusions": [
            "M(0) == B",
            f"M(t+1) == q*M(t) + {STEP}",
            "K(0) == B",
            f"K(t+1) == K(t) + {STEP}",
        ],
    }


def prove_mean(goal: dict[str, Any]) -> dict[str, Any]:
    """X (W X)^T = z W^T, and Z = q Z + eta z W^T."""
    p = Proof(goal)
    noise, limit = (p.assume(text) for text in goal["hypotheses"])
    found = []
    for name, factor, more in (("M", "q", {limit: ("I", "I")}), ("K", "1", {})):
        start, step = goal["conclusions"][len(found) : len(found) + 2]
        found.append(p.matrix(start, {p.definition(name, "0"): ("I", "I")}))
        now, after = p.definition(name, "t"), p.definition(name, "t+1")
        parts = {after: ("I", "I"), now: (f"-{factor}*I", "I"), noise: ("-eta*I", "W.T"), **more}
        found.append(p.matrix(step, parts))
    return p.finish(*found)


def scatter(inputs: str) -> dict[str, Any]:
    """The variance across W^T, stationary and after t steps without decay."""
    positive = dict.fromkeys(("lam", "b", "w", "t", "z"), "positive")
    return {
        "symbols": {**positive, **dict.fromkeys(("eta", "k", "d", "A", "C", "V", "v", "m", "c"), "real")},
        "hypotheses": [
            "A == z**2*(d + 2)*w",
            "C == z**2*(w**2 + 2*k)",
            "V == A - C/w",
            f"c == {inputs} - 2*k/w**2",
            "v == (1 - lam)**2*v + eta**2*V/b",
            "m == (eta*z/lam)**2*w",
        ],
        "conclusions": ["(2 - lam)*v == lam*c/b*m", "t*eta**2*V/b == c/(t*b)*((t*eta*z)**2*w)"],
    }


def prove_scatter(goal: dict[str, Any]) -> dict[str, Any]:
    """V = z^2 w c, and the fixed point of the recursion."""
    p = Proof(goal)
    a, c, v, const, fixed, mean_ = (p.assume(text) for text in goal["hypotheses"])
    size = p.linear("V == z**2*w*c", {v: "1", a: "1", c: "-1/w", const: "-z**2*w"})
    first = p.linear(
        goal["conclusions"][0],
        {fixed: "1/lam", size: "eta**2/(lam*b)", mean_: "-lam*c/b"},
    )
    return p.finish(first, p.linear(goal["conclusions"][1], {size: "t*eta**2/b"}))


TEST = "tests/certify/test_learned_proofs.py"
FUNCTION = "dlinear.rules.mirror.mirrored"
WITNESS = {"t": 1, "q": "1/2", "eta": 1, "z": 1, **{name: [[1]] for name in "BWX"}, "Z": [[2]]}

CLAIMS = (
    claim(
        "mirror_mean",
        "I7",
        Form.NEW,
        "mirror, noise of second moment z I: E B = Z + (1 - lam)^t (B_0 - Z), Z = (eta z/lam) W^T; without "
        "decay B_0 + t eta z W^T",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=mean("eta*z"),
        witness=WITNESS,
        route=prove_mean,
        twin_goal=mean("eta"),
        twin_statement="Z = (eta/lam) W^T whatever the noise",
        letters={
            "X": "noise of a step over the root of its samples: E X X^T = z I, in which the step is linear",
            "q": "1 - lam",
            "W": "the layer",
            "B": "B_0",
            "Z": "the stationary mean",
            "M": "E B after t steps",
            "K": "the same without decay",
            "z": "s^2, variance of the noise",
            "eta": "rate of the mirror",
            "t": "number of steps",
        },
        assumes="a step is linear in X X^T, so that its mean over the noise has z I in the place of X X^T",
        evidence="every W; an activation or a softmax between W and B changes what is learned",
        function=FUNCTION,
        test=TEST,
    ),
    claim(
        "mirror_variance",
        "I7",
        Form.NEW,
        "mirror, Gaussian noise, b samples a step: stationary E|B across W^T|^2 = lam c/((2 - lam) b) "
        "|E B|^2, c = d + 1 - 2 |W W^T|^2/|W|^4; without decay c/(t b) |E B|^2 after t steps from 0",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=scatter("d + 1"),
        witness={
            **dict.fromkeys(("lam", "b", "w", "t", "z", "eta", "k", "d", "m"), 1),
            **{"A": 3, "C": 3, "V": 0, "v": 0, "c": 0},
        },
        route=prove_scatter,
        twin_goal=scatter("d"),
        twin_statement="c smaller by 1",
        letters={
            "A": assumed("E |xi|^2 |W xi|^2, by Gaussian fourth moments"),
            "C": assumed("E (xi^T W^T W xi)^2, by Gaussian fourth moments"),
            "V": "variance across W^T of one sample's xi (W xi)^T",
            "v": "stationary variance of B across W^T",
            "m": "|E B|^2, of the stationary mean",
            "c": "the constant",
            "w": "|W|_F^2",
            "k": "|W W^T|_F^2",
            "d": "number of inputs",
            "b": "samples a step",
            "lam": "decay",
            "z": "s^2, variance of the noise",
            "eta": "rate of the mirror",
            "t": "number of steps",
        },
        assumes="E xi_i xi_j xi_k xi_l of Gaussian noise is z^2 times the sum over the three pairings",
        evidence="so that sin^2 of B to W^T is about v/(m + v)",
        function=FUNCTION,
        test=TEST,
    ),
)
