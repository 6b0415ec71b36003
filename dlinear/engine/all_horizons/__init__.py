"""Every horizon at once: sums over all pairs of a layer and a window's end."""
