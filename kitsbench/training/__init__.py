"""One network, trained under one budget.

In: a job (architecture, recipe, prepared cases, budget, seed). Out: the network, its ledger, its
curve, and checkpoints to go on from.
"""
