"""The simplex method over exact rationals, for the few unknowns of a proof step.

Bland's rule: of the columns and rows that qualify always the first, so that no basis comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

Row = list[Fraction]


def maximise(
    goal: Sequence[Fraction], rows: Sequence[Sequence[Fraction]], right: Sequence[Fraction]
) -> Row | None:
    """x >= 0 with rows x = right at which goal x is largest; None where there is no such x.

    Args:
        goal: (k,); goal x is bounded above on the feasible set.
        rows: (r, k).
        right: (r,).
    """
    k, r = len(goal), len(rows)
    table = []  # rows | one artificial unknown a row | right, the right side not negative
    for i, (row, b) in enumerate(zip(rows, right, strict=True)):
        sign = -1 if b < 0 else 1
        artificial = [Fraction(int(i == j)) for j in range(r)]
        table.append([sign * Fraction(v) for v in row] + artificial + [sign * Fraction(b)])
    basis = list(range(k, k + r))
    _climb(table, basis, [Fraction(0)] * k + [Fraction(-1)] * r, k + r)
    if any(column >= k and row[-1] for column, row in zip(basis, table, strict=True)):
        return None
    for i, column in enumerate(basis):  # an artificial unknown that is zero leaves where it can
        entering = next((j for j in range(k) if column >= k and table[i][j]), None)
        if entering is not None:
            _pivot(table, basis, i, entering)
    _climb(table, basis, [Fraction(v) for v in goal] + [Fraction(0)] * r, k)
    found = [Fraction(0)] * (k + r)
    for column, row in zip(basis, table, strict=True):
        found[column] = row[-1]
    return found[:k]


def _climb(table: list[Row], basis: list[int], goal: Row, columns: int) -> None:
    """Pivot among the first columns until goal x cannot grow.

    Raises:
        ValueError: goal x has no bound.
    """
    while True:
        entering = None
        for j in range(columns):
            gain = goal[j] - sum((goal[b] * row[j] for b, row in zip(basis, table, strict=True)), Fraction(0))
            if gain > 0:
                entering = j
                break
        if entering is None:
            return
        ratios = [(row[-1] / row[entering], basis[i], i) for i, row in enumerate(table) if row[entering] > 0]
        if not ratios:
            raise ValueError("the goal has no bound")
        _pivot(table, basis, min(ratios)[2], entering)


def _pivot(table: list[Row], basis: list[int], i: int, j: int) -> None:
    """Unknown j enters the basis in row i."""
    table[i] = [value / table[i][j] for value in table[i]]
    for other, row in enumerate(table):
        if other != i and row[j]:
            table[other] = [v - row[j] * w for v, w in zip(row, table[i], strict=True)]
    basis[i] = j
