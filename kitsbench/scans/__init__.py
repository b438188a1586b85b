"""Files of voxels, read and written by one set of rules.

In: a file or a folder of slices. Out: its checked header, findings, and voxels as (z, y, x).
"""
