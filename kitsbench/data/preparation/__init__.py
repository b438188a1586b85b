"""Cases onto the grid that networks see.

In: a dataset and a spacing. Out: a store of memory-mapped volumes that knows the way back.
"""
