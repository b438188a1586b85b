"""Who runs trials, here or on a cluster.

In: tasks. Out: events; the trials leave their folders.
"""
