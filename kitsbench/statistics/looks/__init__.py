"""Looks at scores while trials come in, with the error of all looks together kept.

In: scores after each round, a plan made beforehand, the looks that were taken. Out: what is
decided, what is still open, what the look cost of alpha, and estimates that know of the looks.

``take_look(scores_or_blocks, plan, earlier=(), *, number=None, ...) -> Look`` is in
:mod:`~kitsbench.statistics.looks.take`; the plan in :mod:`~kitsbench.statistics.looks.plan`, what a
look found in :mod:`~kitsbench.look`. A look is a pure function of the scores, the
plan and the looks before it.
"""
