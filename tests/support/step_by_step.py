"""A certificate that is derived once, so that one changed step of it can be judged without those before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlinear.certify import check  # noqa: F401 - importing the checker fills the table of rules
from dlinear.certify.trusted.context import read_context
from dlinear.certify.trusted.kernel import Kernel
from dlinear.certify.trusted.limits import limited


class Derived:
    """The facts of an accepted certificate.

    The checker takes the steps in order and stops at the first that is wrong. Where all steps but one are
    accepted ones, it rejects the certificate at that step if and only if the kernel, with the facts of the
    steps before it, refuses it.
    """

    def __init__(self, certificate: Mapping[str, Any]) -> None:
        statement = certificate["statement"]
        symbols = {**statement.get("symbols", {}), **certificate.get("auxiliary", {})}
        self._kernel = Kernel(read_context({**statement, "symbols": symbols}))
        for step in certificate["steps"]:
            self._kernel.step(step)
        self._facts = list(self._kernel.facts)

    def takes(self, number: int, step: Mapping[str, Any]) -> bool:
        """Whether the kernel accepts this step in the place of step `number`."""
        self._kernel.facts[:] = self._facts[:number]
        try:
            with limited():
                self._kernel.step(step)
        except Exception:  # as in `check`: a malformed step runs into anything
            return False
        return True
