"""Channels and numbers beside the CT, by one rule for training and inference.

In: prepared volumes of a case, and what a spec names. Out: the case with its channels.
"""
