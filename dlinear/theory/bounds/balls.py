"""exp, log and sqrt in ball arithmetic, as the formulas of `bounds` take them."""

from __future__ import annotations

from typing import Any

from dlinear.optional import needed


class _Arb:
    """exp, log, sqrt over python-flint balls; integers are converted exactly."""

    @staticmethod
    def _ball(x: Any) -> Any:
        with needed("ball arithmetic"):
            from flint import arb

        return arb(x)

    def exp(self, x: Any) -> Any:
        return self._ball(x).exp()

    def log(self, x: Any) -> Any:
        return self._ball(x).log()

    def sqrt(self, x: Any) -> Any:
        return self._ball(x).sqrt()


ARB = _Arb()
