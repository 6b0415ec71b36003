"""What the scans of a device are, whatever computes them (`scan_triton`, `scan_products`)."""

from __future__ import annotations

CLEAR = 0.8**2  # as in `products`: largest ||B||_F^2 of a block at which I + B keeps its digits

# name: (backward, right, transposed, deviation). X becomes W X, X W (right) or W^T X (transposed), from the
# first factor to the last or backward; W - I is added with `deviation`.
KINDS = {
    "states": (False, False, False, False),
    "prefixes": (False, False, False, True),
    "costates": (True, False, True, False),
    "suffixes": (True, True, False, True),
}
