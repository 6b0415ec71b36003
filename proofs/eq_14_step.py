"""Eq. (14) for one step (new): the best step along g_h gains cos^2(theta_h) times a ratio of curvatures.

Problem. Eq. (14) takes the speed of learning along g_h, over that along g_T, to be cos^2(theta_h). For one
step of the best length along each direction, is it?

Statement. Along a direction g the loss is, to second order in the step s,

    m(s) = J - s <g_T, g> + s^2 kappa |g|^2/2,        kappa = <g, J'' g>/|g|^2 > 0,

so that m(s) >= J - <g_T, g>^2/(2 kappa |g|^2), with equality at s = <g_T, g>/(kappa |g|^2). The gain along
g_h, over that along g_T, is therefore cos^2(theta_h) kappa_T/kappa_h: cos^2 alone only where J is as curved
along g_h as along g_T.

Guarantee. An identity of the second-order models; for the loss itself up to the third order of the steps.

Method. Completing the square.
"""

from __future__ import annotations

from typing import Any

from dlinear.certify import Proof, claim
from dlinear.certify.claims import Form, Relation, Verdict
from dlinear.certify.letters import assumed

MODEL = "J - {s}*p + {s}**2*kh*H/2"


def statement(ratio: str) -> dict[str, Any]:
    """The least value, where it is taken, and the gain over that along g_T."""
    return {
        "symbols": {
            **dict.fromkeys(("J", "p", "s", "x"), "real"),
            **dict.fromkeys(("H", "G", "kh", "kT"), "positive"),
            "cos2": "nonneg",
        },
        "hypotheses": ["cos2*H*G == p**2", "x*kh*H == p"],
        "conclusions": [
            f"J - cos2*G/(2*kh) <= {MODEL.format(s='s')}",
            f"{MODEL.format(s='x')} == J - cos2*G/(2*kh)",
            f"cos2*G/(2*kh) == {ratio}*(G/(2*kT))",
        ],
    }


def route(goal: dict[str, Any]) -> dict[str, Any]:
    """m(s) - m(x) = kh H (s - x)^2/2."""
    p = Proof(goal)
    angle, best = (p.assume(text) for text in goal["hypotheses"])
    # p^2 = cos2 H G and p = x kh H give p x = cos2 G/kh
    product = p.linear("cos2*G/(2*kh) == p*x/2", {angle: "1/(2*kh*H)", best: "-p/(2*kh*H)"})
    where = p.linear(goal["conclusions"][1], {product: "1", best: "x/2"})
    least = p.linear(goal["conclusions"][0], {where: "-1", best: "x - s"}, squares=[("kh*H/2", "s - x")])
    return p.finish(least, where, p.linear(goal["conclusions"][2], {}))


CLAIMS = (
    claim(
        "eq_14_step",
        "Eq. (14), one step",
        Form.NEW,
        "to second order the best step along g_h gains cos^2(theta_h) kappa_T/kappa_h times what the best "
        "step along g_T gains; kappa = <g, J'' g>/|g|^2 > 0",
        Relation.IDENTITY,
        Verdict.PROVED,
        goal=statement("(cos2*kT/kh)"),
        witness={
            **{"J": 1, "p": 1, "s": 0, "x": 1, "H": 1, "G": 2, "kh": 1, "kT": 1},
            "cos2": "1/2",
        },
        route=route,
        twin_goal=statement("cos2"),
        twin_statement="cos^2 alone",
        letters={
            "J": "the loss",
            "p": "<g_h, g_T>, the slope along g_h",
            "H": "|g_h|^2",
            "G": "|g_T|^2",
            "kh": "kappa_h, curvature along g_h",
            "kT": "kappa_T, curvature along g_T",
            "cos2": "cos^2(theta_h)",
            "s": assumed("any step; m(s) stands for J(u - s g_h) to second order"),
            "x": "the best step along g_h",
        },
        evidence="G/(2 kT) is the gain of the best step along g_T, the same with h = T",
        function="dlinear.dynamics.Trajectory",
        test="tests/dynamics/test_training.py::test_the_law_of_the_best_step_holds_near_the_target",
        assumes="the second-order model of the loss along a line",
    ),
)
