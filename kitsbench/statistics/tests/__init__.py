"""Tests of one pair, and families of them.

In: blocks of two architectures. Out: estimates, intervals, p-values.
"""
