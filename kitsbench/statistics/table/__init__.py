"""Scores as a checked table.

In: long tables of scores. Out: blocks [case, seed] a fold for one endpoint.
"""
