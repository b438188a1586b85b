"""Datasets in other tools' formats.

In: a dataset. Out: a folder that nnU-Net reads.
"""
