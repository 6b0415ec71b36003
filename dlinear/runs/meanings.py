"""What the variables of records are: a name for people and a unit, by the name of the variable.

A new array or field that several experiments share gets its line here.
"""

from __future__ import annotations

MEANINGS = {  # name -> (long name, unit)
    "sin2": ("sin^2 of the angle between g_h and g_T", "1"),
    "cos": ("cosine of the angle between g_h and g_T", "1"),
    "norm_ratio": ("||g_h||/||g_T||", "1"),
    "shortfall": ("m = T - h, layers that the horizon does not see", "layers"),
    "horizon": ("h, layers that a window spans", "layers"),
    "depth": ("T, depth", "layers"),
    "width": ("n, width", "1"),
    "seed": ("seed of the random numbers", "1"),
    "ensemble": ("kind of layers", ""),
    "predicted_quadratic": ("q of Theorem C", "1"),
    "predicted_cubic": ("C of Theorems B and C", "1"),
}


def attributes_of(name: str) -> dict[str, str]:
    """`long_name` and `units` of a variable, as xarray and netCDF know them; none for an unknown one."""
    if name not in MEANINGS:
        return {}
    said, unit = MEANINGS[name]
    return {"long_name": said} | ({"units": unit} if unit else {})
