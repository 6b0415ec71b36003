"""A laboratory for horizon-truncated learning in deep linear networks: prove it, simulate it, bridge it."""
