"""Cases onto the grid that networks see.

In: a dataset and a spacing. Out: memory-mapped volumes that remember the grid of their files.
"""
