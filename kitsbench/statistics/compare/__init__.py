"""Verdicts.

In: a score table. Out: pairs, verdict sentences, ranking.
"""
