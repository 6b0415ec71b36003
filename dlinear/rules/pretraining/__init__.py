"""Training before the training: hidden layers start from what a rule learns without labels.

Nothing is imported here: the registry of methods looks into `dlinear.rules` while it is being made.
"""
