"""Distances between voxel surfaces: HD95 in two variants, and ASSD.

A surface voxel is a voxel of the mask with a face neighbour outside it (outside the image is
outside the mask); distances run between centres of surface voxels. HD95 is the larger of the
two directed 95th percentiles, as MONAI and Metrics Reloaded have it. The pooled variant, which
MedPy and nnU-Net's older tools report, takes one percentile of both directions together.
DeepMind's, on corner points weighed by area, is yet another and is not computed here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kitsbench.evaluation.protocols import Region
from kitsbench.evaluation.surface import CUBE, Corners


def surface_voxels(corners: Corners, region: Region) -> np.ndarray:
    """Indices ``(n, 3)`` of the voxels on the surface of a region.

    A voxel and a face neighbour of another label share four corner points, so all surface voxels
    are found round the corner points where labels differ.
    """
    inside = np.zeros(256, bool)
    inside[list(region.labels)] = True
    around = inside[corners.labels]
    # The outer corner of voxel (0, 0, 0) is point (0, 0, 0), so the voxels round a point are
    # one lower; at the image's edge they lie outside it, but those are never inside the region.
    limits = corners.points.max(axis=0, initial=0) + 1
    flat = np.ravel_multi_index(tuple(corners.points.T), tuple(limits))
    found = []
    for bit, offset in enumerate(CUBE):
        # Of the six face neighbours three lie round the same point; the other three lie round
        # another corner of the voxel, and are found from there.
        neighbours = [bit ^ 4, bit ^ 2, bit ^ 1]
        surface = around[bit] & ~np.logical_and.reduce(around[neighbours])
        shift = ((offset[0] - 1) * limits[1] + offset[1] - 1) * limits[2] + offset[2] - 1
        found.append(flat[surface] + shift)
    # Each is found from several points. Sorting is faster than the hash table of numpy.unique.
    voxels = np.sort(np.concatenate(found))
    first = np.ones(voxels.size, bool)
    first[1:] = voxels[1:] != voxels[:-1]
    return np.stack(np.unravel_index(voxels[first], tuple(limits)), axis=1)


def directed_distances(
    prediction: Corners, truth: Corners, region: Region, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Distances in mm from every surface voxel to the nearest one of the other map.

    Parameters
    ----------
    prediction, truth : Corners
        From :func:`~kitsbench.evaluation.surface.label_corners`; the region must be present in
        both.
    region : Region
        Which labels are inside.
    spacing : sequence of float
        Voxel size in mm, ``(z, y, x)``.

    Returns
    -------
    tuple of ndarray
        From the prediction to the truth, and back.
    """
    from scipy.spatial import cKDTree

    surfaces = [surface_voxels(corners, region) for corners in (prediction, truth)]
    points = [voxels * np.asarray(spacing) for voxels in surfaces]
    trees = [cKDTree(p) for p in points]
    # A tree over the surfaces, no distance map: that would need memory for the whole image.
    return trees[1].query(points[0])[0], trees[0].query(points[1])[0]


def hd95(distances: tuple[np.ndarray, np.ndarray]) -> float:
    """Larger of the two directed 95th percentiles (linear interpolation), in mm."""
    return float(max(np.percentile(d, 95) for d in distances))


def hd95_pooled(distances: tuple[np.ndarray, np.ndarray]) -> float:
    """95th percentile of both sets of distances together (linear interpolation), in mm."""
    return float(np.percentile(np.concatenate(distances), 95))


def assd(distances: tuple[np.ndarray, np.ndarray]) -> float:
    """Mean over all surface voxels of both maps together, in mm."""
    return float(np.concatenate(distances).mean())
