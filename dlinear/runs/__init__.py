"""Cells, their records, and the sweeps that compute them."""

from dlinear.runs.collection import consolidate, load, load_latest

__all__ = ["consolidate", "load", "load_latest"]
