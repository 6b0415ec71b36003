"""Learning rules that do not go back through the weights: feedback alignment, PEPITA and relatives.

    loss = method("pepita")(blocks, x, loss_fn, readout)     # fills .grad, as every method of the bridge

One file for each rule, with its equations, source and conventions; it ends with FAMILIES, which the
registry of methods collects. docs/rules.md has the table."""

import dlinear.bridge  # noqa: F401 - its registry collects the rules of this package
