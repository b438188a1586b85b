"""The official data from their public homes.

In: a dataset's name. Out: its folder, every file checked.
"""
