"""All rules on one model: what each reaches, what it costs, how far it is from back-propagation.

`sims.rules` has the question, the knobs and the verdicts. The registry of methods imports this package when
it looks for rules: nothing is imported here.
"""
