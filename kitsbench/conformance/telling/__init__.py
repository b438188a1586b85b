"""Faults in words.

In: an error or a hook. Out: the function, file and line that are meant, and what to do.
"""
