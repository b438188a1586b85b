"""The built-in synthetic dataset.

In: a number of cases and a seed. Out: a folder of scans with masks, the same bytes everywhere.
"""

from kitsbench.data.phantom.dataset import write_phantom

__all__ = ["write_phantom"]
