"""Horizon selection on real models, Figure 5 of the paper: what is measured, what is run, who is better."""

from dlinear.bridge.selection.cells import (
    CURVE,
    FORWARD,
    METERS,
    RUN,
    Cell,
    Setting,
    cell_of,
    compute,
    loco_of_the_paper,
    method_of,
)
from dlinear.bridge.selection.columns import Column, Problems, measured_horizons
from dlinear.bridge.selection.outcome import (
    Algorithm,
    ModelRecords,
    Table,
    fixed_algorithms,
    model_records,
    rows_of_records,
)

__all__ = [
    "CURVE",
    "FORWARD",
    "METERS",
    "RUN",
    "Algorithm",
    "Cell",
    "Column",
    "ModelRecords",
    "Problems",
    "Setting",
    "Table",
    "cell_of",
    "compute",
    "fixed_algorithms",
    "loco_of_the_paper",
    "measured_horizons",
    "method_of",
    "model_records",
    "rows_of_records",
]
