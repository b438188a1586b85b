"""Resampling along the axes of a grid, by SimpleITK, in slabs so that memory stays bounded."""

from __future__ import annotations

import numpy as np

SLAB_BYTES = 64 << 20  # of interpolated numbers that are held at a time


def resample(
    array: np.ndarray,
    shape: tuple[int, int, int],
    scale: tuple[float, float, float],
    offset: tuple[float, float, float],
    nearest: bool,
) -> np.ndarray:
    """Sample an array at ``index = scale * new index + offset`` along every axis.

    Of an image, a slab of planes is held beside ``array`` and the result, whatever the size.

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
    if nearest:
        # A label map is small; in slabs, ties between neighbours could be rounded in another way.
        return _sample(array, shape, scale, offset, nearest)
    out = np.empty(shape, dtype=array.dtype)
    step = max(1, SLAB_BYTES // (shape[1] * shape[2] * 4))
    for first in range(0, shape[0], step):
        last = min(first + step, shape[0])
        start, end = (offset[0] + scale[0] * k for k in (first, last - 1))
        # One plane more on either side than any interpolation of this slab touches.
        low = int(np.clip(np.floor(start) - 1, 0, len(array) - 1))
        high = int(np.clip(np.ceil(end) + 2, low + 1, len(array)))
        out[first:last] = _sample(
            array[low:high],
            (last - first, shape[1], shape[2]),
            scale,
            (start - low, offset[1], offset[2]),
            nearest,
        )
    return out


def _sample(
    array: np.ndarray,
    shape: tuple[int, int, int],
    scale: tuple[float, float, float],
    offset: tuple[float, float, float],
    nearest: bool,
) -> np.ndarray:
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
    sampled = target.Execute(source)
    del source
    result = sitk.GetArrayFromImage(sampled)
    return result if nearest else np.rint(result, out=result)
