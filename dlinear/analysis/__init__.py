"""What numbers say: intervals over seeds, orders of decay, methods compared."""

from dlinear.analysis.decay import DecayFit, fit_decay

__all__ = ["DecayFit", "fit_decay"]
