"""Scans with truth and predictions laid over them, in a browser and without the network.

In: the cases of an experiment, or files. Out: a folder that opens from where it lies, for the
report; or a small local server of the same page at full resolution.
"""
