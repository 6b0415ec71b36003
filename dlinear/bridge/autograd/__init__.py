"""A stack under autograd: one graph a block, cut at the states between them; nothing left behind."""
