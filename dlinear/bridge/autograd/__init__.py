"""A stack of blocks under autograd: a graph for each block, gradients summed aside, side effects undone."""
