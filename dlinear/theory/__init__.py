"""Formulas of the theory: bounds, limits, the scalar network, the law of decay, what a horizon costs."""

from dlinear.theory import bounds, costs, limits, scalar

__all__ = ["bounds", "costs", "limits", "scalar"]
