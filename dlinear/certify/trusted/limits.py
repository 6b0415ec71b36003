"""A bound on the work of one check: a certificate that asks for more is rejected, it does not run on.

Every loop of the trusted room whose length a certificate decides calls `spend`. One unit is about a
microsecond. Outside `limited`, as in the provers, nothing is counted.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

from dlinear.certify.trusted.errors import CertificateError

WORK = 4_000_000
"""Units of one check; the registered certificates need at most a quarter."""


class _Work(threading.local):
    left: float = math.inf


_work = _Work()


def spend(units: float = 1) -> None:
    """Takes units from what is left; `CertificateError` when nothing is."""
    _work.left -= units
    if _work.left < 0:
        raise CertificateError(f"the certificate asks for more than {WORK} units of work, a few seconds")


@contextmanager
def limited(units: float = WORK) -> Iterator[None]:
    """At most this many units inside."""
    before, _work.left = _work.left, units
    try:
        yield
    finally:
        _work.left = before


def bits(value: Fraction) -> int:
    """Length of the longer of numerator and denominator."""
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def cost(*values: Fraction) -> float:
    """Units of one operation on rationals: quadratic in their length."""
    return 4 + (sum(map(bits, values)) / 1000) ** 2
