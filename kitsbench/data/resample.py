"""Resampling along the axes of a grid, by SimpleITK."""

from __future__ import annotations

import numpy as np


def resample(
    array: np.ndarray,
    shape: tuple[int, int, int],
    scale: tuple[float, float, float],
    offset: tuple[float, float, float],
    nearest: bool,
) -> np.ndarray:
    """Sample an array at ``index = scale * new index + offset`` along every axis.

    Parameters
    ----------
    array : ndarray (z, y, x)
        int16 HU or uint8 labels.
    shape : tuple of int
        Shape (z, y, x) of the result.
    scale, offset : tuple of float
        Old voxels per new voxel, and where new voxel 0 lies.
    nearest : bool
        Nearest neighbour (labels) or linear (images).

    Returns
    -------
    ndarray
        Same type as ``array``; linear values are rounded. Outside, the edge continues.
    """
    import SimpleITK as sitk

    # In index space the grid has no direction, so that a sheared affine needs no special care.
    source = sitk.GetImageFromArray(np.ascontiguousarray(array))
    target = sitk.ResampleImageFilter()
    target.SetSize([int(v) for v in shape[::-1]])
    target.SetOutputSpacing([float(v) for v in scale[::-1]])
    target.SetOutputOrigin([float(v) for v in offset[::-1]])
    target.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
    # ITK cuts fractions off when it writes integers, which would lower every mean by half a HU.
    target.SetOutputPixelType(source.GetPixelID() if nearest else sitk.sitkFloat32)
    target.UseNearestNeighborExtrapolatorOn()
    target.SetNumberOfThreads(1)
    # The view does not keep its image alive: `sampled` must stay in scope until it is copied.
    sampled = target.Execute(source)
    result = sitk.GetArrayViewFromImage(sampled)
    if nearest:
        return np.array(result)
    out = np.empty(result.shape, dtype=array.dtype)
    for plane in range(len(out)):  # one plane at a time, to hold no second float copy
        out[plane] = np.rint(result[plane])
    return out
