"""
Your own statement, with a proof
================================

A statement is a formal goal and a route to it. Each step of the route is checked where it is written; what
comes out is a certificate that a small checker, which knows nothing of the route, accepts or rejects.
"""

from dlinear.certify import CertificateError, Proof

# %%
# **The statement**: windows of horizon h need h (T - h + 1) products of blocks, never less than the T of
# back-propagation.

goal = {
    "symbols": {"T": "posint", "h": "posint"},
    "hypotheses": ["h <= T"],
    "conclusions": ["T <= h*(T - h + 1)"],
    "witness": {"T": 3, "h": 2},  # values at which the hypotheses hold: they do not contradict each other
}

# %%
# **A first try.** ``linear`` asks for right - left as a combination of facts. A step that does not hold is
# refused, and the message prints what is left over.

p = Proof(goal)
inside = p.assume("h <= T")
try:
    p.linear("T <= h*(T - h + 1)", {inside: "1"})
except CertificateError as error:
    print(error)

# %%
# **The idea.** h (T - h + 1) - T = (h - 1)(T - h), a product of two numbers that are not negative. With the
# product among the facts, multipliers can be looked for: linear programming over exact rationals finds
# them, the checker stays the judge.

both = p.product(p.sort("h"), inside)  # 1 <= h and h <= T
done = p.linear("T <= h*(T - h + 1)", auto=[inside, both])
certificate = p.finish(done)
print(p.steps[-1])

# %%
# **The checker** re-derives all of it from the data alone.

from dlinear.certify import check

print(check(certificate, goal))

# %%
# **A false twin must fail.** One product more is not true at h = 1, and no multipliers are found.

try:
    p.linear("T + 1 <= h*(T - h + 1)", auto=[inside, both])
except CertificateError as error:
    print(error)

# %%
# **Into a ledger of your own.** A file in a folder of yours: the goal, the route, a witness and a false twin,
# which the same route must not prove. ``docs/templates/claim.py`` is such a file with all its comments.

import subprocess
import sys
import tempfile
from pathlib import Path

FILE = '''"""Windows never do less work than back-propagation."""

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict


def statement(least):
    return {
        "symbols": {"T": "posint", "h": "posint"},
        "hypotheses": ["h <= T"],
        "conclusions": [f"{least} <= h*(T - h + 1)"],
    }


def route(goal):
    p = Proof(goal)
    inside = p.assume("h <= T")
    both = p.product(p.sort("h"), inside)
    return p.finish(p.linear(goal["conclusions"][0], auto=[inside, both]))


CLAIMS = (
    claim(
        "my_windows",
        "my notes",
        Form.NEW,
        "windows of horizon h need at least T products",
        Relation.UPPER_BOUND,
        Verdict.PROVED,
        goal=statement("T"),
        witness={"T": 3, "h": 2},
        letters={"T": "depth", "h": "horizon"},
        route=route,
        twin_goal=statement("T + 1"),
        twin_statement="one product more, which fails at h = 1",
        evidence="every 1 <= h <= T",
        function="dlinear.costs.block_vjps",  # computes the quantity
        test="tests/theory/test_costs.py",  # tests that function
    ),
)
'''
folder = Path(tempfile.mkdtemp())
(folder / "my_claims").mkdir()
(folder / "my_claims" / "windows.py").write_text(FILE)

# %%
# ``dlinear prove --folder my_claims`` decides what lies there, writes the certificates to ``results/``, and
# its exit status is 1 if a verdict is not the expected one.

words = ["prove", "--folder", "my_claims"]
told = subprocess.run([sys.executable, "-m", "dlinear", *words], capture_output=True, text=True, cwd=folder)
print(told.stdout + told.stderr)
