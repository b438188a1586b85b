"""Folds.

In: case ids and a rule or a file. Out: a split, each case in the test set of one fold.
"""
