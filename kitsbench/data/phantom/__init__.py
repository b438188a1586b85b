"""The built-in synthetic dataset.

In: a number of cases and a seed. Out: a folder of scans with masks, the same bytes everywhere.
"""
