"""Distances between voxel surfaces: HD95 and ASSD.

A surface voxel is a voxel of the mask with a face neighbour outside it (outside the image is
outside the mask); distances run between centres of surface voxels. This is what MONAI and
Metrics Reloaded do. MedPy pools both directions before it takes the percentile, and DeepMind
weighs by area, so their numbers differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kitsbench.evaluation.protocols import Region
from kitsbench.evaluation.surface import bounding_box


def surface_voxels(labels: np.ndarray, region: Region) -> np.ndarray:
    """Indices ``(n, 3)`` of the voxels on the surface of a region."""
    box = bounding_box(labels)
    inside = np.zeros(256, bool)
    inside[list(region.labels)] = True
    mask = np.pad(inside[labels[box]], 1)
    core = mask[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for step in (slice(0, -2), slice(2, None)):
            window = [slice(1, -1)] * 3
            window[axis] = step
            core &= mask[tuple(window)]
    surface = mask[1:-1, 1:-1, 1:-1] & ~core
    return np.argwhere(surface) + [s.start for s in box]


def directed_distances(
    prediction: np.ndarray, truth: np.ndarray, region: Region, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Distances in mm from every surface voxel to the nearest one of the other map.

    Parameters
    ----------
    prediction, truth : ndarray of uint8, shape (z, y, x)
        Label maps with the region present in both.
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

    points = [
        surface_voxels(labels, region) * np.asarray(spacing) for labels in (prediction, truth)
    ]
    trees = [cKDTree(p) for p in points]
    return trees[1].query(points[0])[0], trees[0].query(points[1])[0]


def hd95(distances: tuple[np.ndarray, np.ndarray]) -> float:
    """Larger of the two directed 95th percentiles (linear interpolation), in mm."""
    return float(max(np.percentile(d, 95) for d in distances))


def assd(distances: tuple[np.ndarray, np.ndarray]) -> float:
    """Mean over all surface voxels of both maps together, in mm."""
    return float(np.concatenate(distances).mean())
