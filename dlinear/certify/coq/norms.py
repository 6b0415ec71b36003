"""What is assumed of the norms in a section, and the lemmas that show it for real matrices.

The hypotheses are the axioms of the kernel and the three facts that it takes without a name: norms are not
negative, and F(X - Y) <= 0 only for X = Y.
"""

from __future__ import annotations

import re

from dlinear.certify.coq.printer import Printer, ending
from dlinear.certify.trusted import axioms
from dlinear.certify.trusted.normal_form import Normaliser
from dlinear.certify.trusted.terms import Context, parse

NORMS = ("F", "N", "S")
LEMMAS = ("min_left", "min_right", "max_left", "max_right", "floor_below", "floor_above", "phi_zero")
"""Axioms of the kernel that are about numbers: lemmas of the prelude."""
REAL = {
    "F_nonneg": "frob_nonneg",
    "N_nonneg": "spec_nonneg",
    "S_nonneg": "least_nonneg",
    "F_definite": "frob_definite",
    "N_product": "spec_product",
    "F_product_NF": "frob_product_nf",
    "F_product_FN": "frob_product_fn",
    "S_product": "least_product",
    "F_product_SF": "frob_product_sf",
    "F_product_FS": "frob_product_fs",
    "N_triangle": "spec_triangle",
    "F_triangle": "frob_triangle",
    "N_reverse": "spec_reverse",
    "F_reverse": "frob_reverse",
    "S_shift": "least_shift",
    "S_difference": "least_difference",
    "S_below_N": "least_below",
    "N_below_F": "spec_frob",
    "F_below_N": "frob_below",
    "F_above_S": "frob_above",
    "N_transpose": "spec_transpose",
    "F_transpose": "frob_transpose",
    "S_transpose": "least_transpose",
    "N_identity": "spec_identity",
    "S_identity": "least_identity",
    "F_identity": "frob_identity",
    "N_scale": "spec_scale",
    "F_scale": "frob_scale",
    "S_scale": "least_scale",
    "N_negative": "spec_negative",
    "F_negative": "frob_negative",
    "F_square": "frob_square",
    "cauchy_schwarz": "frob_cs",
}
"""Hypothesis -> lemma of proofs/coq/real_matrices.v, where F, N and S are the norms of real matrices."""


def norm_hypotheses() -> dict[str, str]:
    """Name of each hypothesis -> its formula in Coq."""
    found = {f"{norm}_nonneg": f"forall X : Mat, 0 <= {norm} X" for norm in NORMS}
    found["F_definite"] = "forall X Y : Mat, F (X + (-1)%R *: Y)%M <= 0 -> X = Y"
    for name, (kinds, text) in axioms.TEMPLATES.items():
        if name in LEMMAS:
            continue
        sorts = {x: "real" if kind in ("scalar", "nonneg") else kind for x, kind in kinds.items()}
        context = Context({**sorts, "n": "posint"})
        printer = Printer(context, Normaliser(context))
        typed = " ".join(f"({x} : {printer.kind(x)})" for x in kinds)
        signs = "".join(f"0 <= {x} -> " for x, kind in kinds.items() if kind == "nonneg")
        found[name] = (f"forall {typed}, {signs}" if kinds else "") + printer.formula(parse(text))
    return found


def needed(text: str) -> dict[str, str]:
    """The hypotheses that a text names, and the signs."""
    words = set(re.findall(r"\w+", text))
    return {
        name: line for name, line in norm_hypotheses().items() if name in words or name.endswith("_nonneg")
    }


def instance(name: str, hypotheses: dict[str, str]) -> list[str]:
    """The theorem for real matrices of each size k + 1, without hypotheses on norms."""
    shown = " ".join(f"({REAL[hypothesis]} k)" for hypothesis in hypotheses)
    return [
        "",
        f"Definition {name}_real (k : nat) :=",
        f"  @{name} (reals k) (frob k) (spec k) (least k) {shown}.",
        *ending(f"{name}_real"),
    ]
