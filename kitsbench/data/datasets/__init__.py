"""Folders of scans as users have them.

In: a folder. Out: its cases with their files, labels by name, patients, and what was set aside.
"""

from kitsbench.data.datasets.dataset import Case, Dataset, open_dataset

__all__ = ["Case", "Dataset", "open_dataset"]
