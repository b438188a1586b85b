"""Trials: their identity, plan, store, execution, and what they left behind.

In: what one call asks for. Out: trials that were run, each in its folder, and their results read
back as tables.
"""
