"""Formulas of the theory: bounds, limits, the scalar network, the law of decay, what a horizon costs."""

from dlinear.theory import bounds, costs, feedback_laws, limits, scalar

__all__ = ["bounds", "costs", "feedback_laws", "limits", "scalar"]
