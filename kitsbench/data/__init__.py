"""Everything between scans on disk and batches of patches.

In: folders of scans. Out: checked cases, folds, prepared volumes and batches; and the phantom.
"""
