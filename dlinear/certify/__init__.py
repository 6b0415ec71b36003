"""Certificates: statements, the proofs that a small checker re-derives, and the builder that writes them.

**Statement** (the `goal` of a claim), JSON data, universally quantified over its symbols::

    goal = {
        "symbols": {"c": "nonneg", "T": "posint", "b": "positive", "A": "matrix", "n": "posint"},
        "families": {"D": "c/T"},            # D(t), t integer, with N(D(t)) <= c/T (or null: no bound)
        "products": {"W": "D"},              # W(a, b) = (I + D(b-1)) ... (I + D(a)), W(a, a) = I
        "totals": {"Y": "D"},                # Y(a, b) = D(a) + ... + D(b-1), Y(a, a) = 0
        "sequences": ["L"],                  # L(t), an arbitrary real for every integer t
        "definitions": {"g": {"index": "t", "cases": [{"if": ["t <= T"], "then": "W(t, T)*A"}]}},
        "sums": {"G": {"index": "t", "term": "ip(g(t), g(t))"}},     # G(j) = sum over 0 <= t < j
        "exists": ["C"],                     # only to refute "there is a real C such that ..."
        "hypotheses": ["b == 1 - c/T"],
        "conclusions": ["b**3 <= 1"],        # each must hold
    }

Products and totals may also be of a definition whose terms are matrices.
Sorts: real, nonneg, positive, integer, natural (0, 1, ...), posint (1, 2, ...), matrix (n x n, `n` reserved
for the width). Terms: see `trusted.terms`: integers and fractions only, `+ - * / **`, exp, log, sqrt,
floor, min, max, phi(k, x) = sum_j x^j/(j+k)!, Int(x, lo, hi, f), F, N, S (Frobenius, spectral, smallest
singular value), ip(X, Y), `X.T`, I. Relations: <=, <, ==. Write a quantity you divide by as a positive symbol
with a hypothesis (`b == 1 - c/T`), or use `reciprocal`. A double inequality is two conclusions.

**Prove**: build steps with `Proof`; every method returns the number of its fact and raises `CertificateError`
at once if the checker would refuse the step::

    def route(goal):
        p = Proof(goal, u="real")                                # extra symbols of the proof
        f = p.taylor("1 + u <= exp(u)", "u", 2)                  # f(0) = f'(0) = 0, f'' >= 0
        g = p.instantiate(f, u="-x")                             # symbols are universally quantified
        return p.finish(p.linear("1 - x <= exp(-x)", {g: "1"}))  # one fact per conclusion

The work horse is `linear(conclusion, {fact: multiplier}, squares=[(weight, expr)])`: right - left must
equal the multiples of (right - left) of the premises, plus weighted squares, plus terms that are
manifestly non-negative from the sorts. `linear(conclusion, auto=[facts])` looks for the multipliers by
linear programming, and a rejection prints the remainder. `ball(conclusion, {"c": ("1/4", "1"), ...},
bits=64)` proves an inequality over a rational box (it keeps lo <= x, x <= hi as hypotheses: put them in the
goal). Others: assume, cut, cases, instantiate, induction, product, antisymmetry, reciprocal, root,
substitute, taylor, ftc, phi_step, axiom, sort, layer, window_empty, window_step, definition, sum_empty,
sum_step, matrix, definite, discrete, absurd (docstrings in `Proof`).

**Witness**: hypotheses that contradict each other prove anything, so a goal with hypotheses carries a
`"witness"` (`claim(witness=...)`): values at which they hold, or closed terms (`"y": "2*exp(c)"`), which the
checker verifies like a counterexample. A proved claim without one counts as undecided.

**Refute**: `refutation(goal, {"c": "1", "T": 10, "D": {0: [["1/2"]]}}, fails=0)`.

**Words**: `claim(letters={"c": "bound of the layers", "J": assumed("int phi")}, assumes=..., uses=...)` says
what the names of the goal stand for, what is taken for granted between goal and words, and which other
claims are used; see `letters` and `words`.

**Decide**: `check(certificate, goal)` -> `Checked(verdict, steps, boxes, evidence)`;
`outcome(certificate)` turns it into an `Outcome`; `claim(id=..., goal=..., route=..., twin_goal=..., ...)`
makes a `Claim` whose twin takes the same route to `twin_goal`, or is refuted at `twin_values`. A verdict
"certified" means that some step is ball arithmetic; "proved" that none is.

A verdict rests on the room `trusted` alone; `prover` writes what `trusted.check` accepts, and may be wrong.
`Proof` runs the kernel of `trusted` on each step, so that a faulty step is refused where it is written: an
error of the kernel is then an error of both, which only its tests can find (`tests/certify/test_fuzz.py`).
"""

from dlinear.certify.outcomes import attempt, claim, outcome
from dlinear.certify.prover.proof import Proof, refutation, show
from dlinear.certify.prover.search import subdivide
from dlinear.certify.trusted.check import Checked, check, read
from dlinear.certify.trusted.terms import CertificateError

__all__ = [
    "CertificateError",
    "Checked",
    "Proof",
    "attempt",
    "check",
    "claim",
    "outcome",
    "read",
    "refutation",
    "show",
    "subdivide",
]
