"""The facts of a certificate: formula and hypotheses of each step, as the kernel carries them.

Nothing rests on this: Coq proves each step again, with the hypotheses that are written here. A step that the
kernel refuses gets the hypotheses of its premises, and its export does not compile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlinear.certify.trusted.context import read_context
from dlinear.certify.trusted.kernel import RULES, Fact, Kernel, formula
from dlinear.certify.trusted.terms import CertificateError


def kernel_of(certificate: Mapping[str, Any]) -> Kernel:
    """A kernel with the facts of all steps."""
    statement = certificate["statement"]
    symbols = {**statement.get("symbols", {}), **certificate.get("auxiliary", {})}
    kernel = Kernel(read_context({**statement, "symbols": symbols}), evaluate=False)
    for step in certificate["steps"]:
        premises = [kernel.fact(at) for at in step.get("from", [])]
        conclusion = formula(step["conclusion"], kernel.context, kernel.reader)
        try:
            fact = RULES[step["rule"]](kernel, step, premises, conclusion)
        except (CertificateError, ValueError):
            fact = Fact(kernel.join(premises), conclusion)
        kernel.facts.append(fact)
    return kernel
