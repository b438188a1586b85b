"""Checkpoints: copied from the device, written whole or not at all, read back.

In: the state of a training. Out: folders to go on from.
"""
