"""Label maps of whole scans from networks that see patches.

In: trained networks and the prepared volumes of a scan. Out: labels on the scan's own voxels.
"""
