"""One trial from beginning to end.

In: a task. Out: the trial's folder with status, ledger, curve, scores and weights.
"""
