"""Processes that train one network together.

In: each one's share of a batch. Out: the gradients, losses and seconds of all.
"""
