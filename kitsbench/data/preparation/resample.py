"""Resampling along the axes of a grid, in slabs so that memory stays bounded.

Linear interpolation and nearest neighbours are SimpleITK's; splines are interpolated here, axis by
axis, which takes a fraction of the time of any interpolator in three dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SLAB_BYTES = 64 << 20  # of interpolated numbers that are held at a time
# Voxels beyond a slab that a spline looks at. The influence of a voxel falls by a factor of .268
# with each one between: at twelve, 1000 HU are 0.0001.
REACH = 12
NEAREST, LINEAR, CUBIC = 0, 1, 3
ORDERS = {"nearest": NEAREST, "linear": LINEAR, "cubic": CUBIC}
"""Order of the spline of each interpolation."""

Triple = tuple[float, float, float]


def resample(
    array: np.ndarray,
    shape: tuple[int, int, int],
    scale: Triple,
    offset: Triple,
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
    for first, last, low, high in _slabs(array, shape, scale, offset, 1):
        out[first:last] = _sample(
            array[low:high],
            (last - first, shape[1], shape[2]),
            scale,
            (offset[0] + scale[0] * first - low, offset[1], offset[2]),
            nearest,
        )
    return out


def resample_by(
    array: np.ndarray,
    shape: tuple[int, int, int],
    scale: Triple,
    offset: Triple,
    orders: Sequence[int],
) -> np.ndarray:
    """As :func:`resample` of an image, by a spline of another order along each axis.

    Parameters
    ----------
    array, shape, scale, offset
        As there.
    orders : sequence of int
        Of the splines along (z, y, x): 0 nearest, 1 linear, 3 cubic.

    Returns
    -------
    ndarray
        Same type as ``array``; values are rounded, and kept within the range of the type.
    """
    if set(orders) == {LINEAR}:
        return resample(array, shape, scale, offset, nearest=False)
    if set(orders) == {NEAREST}:
        return resample(array, shape, scale, offset, nearest=True)
    out = np.empty(shape, dtype=array.dtype)
    span = np.iinfo(array.dtype)
    for first, last, low, high in _slabs(array, shape, scale, offset, REACH):
        found = array[low:high].astype(np.float32)
        rows = np.arange(first, last) * scale[0] + offset[0] - low
        found = _along(found, 0, rows, orders[0])
        for axis in (1, 2):
            places = np.arange(shape[axis]) * scale[axis] + offset[axis]
            found = _along(found, axis, places, orders[axis])
        out[first:last] = np.clip(np.rint(found, out=found), span.min, span.max, out=found)
    return out


def resample_labels(
    array: np.ndarray,
    shape: tuple[int, int, int],
    scale: Triple,
    offset: Triple,
    orders: Sequence[int],
) -> np.ndarray:
    """Resample a label map by the shares of its labels, as :func:`resample_by` does images.

    Returns
    -------
    ndarray
        Of each voxel the label whose share reaches one half; 0 where none does, as where three
        meet. Of two halves the larger value counts.
    """
    if set(orders) == {NEAREST}:
        return resample(array, shape, scale, offset, nearest=True)
    out = np.zeros(shape, dtype=array.dtype)
    whole = 20_000  # of a share: rounded, it is off by 1/40,000 at most
    for value in np.flatnonzero(np.bincount(array.ravel(), minlength=1)[1:]) + 1:
        share = (array == value).astype(np.int16) * whole
        out[resample_by(share, shape, scale, offset, orders) >= whole // 2] = value
    return out


def _slabs(
    array: np.ndarray, shape: Sequence[int], scale: Triple, offset: Triple, reach: int
) -> list[tuple[int, int, int, int]]:
    """Planes of the result, and the planes of the array that interpolating these touches."""
    step = max(1, SLAB_BYTES // (shape[1] * shape[2] * 4))
    found = []
    for first in range(0, shape[0], step):
        last = min(first + step, shape[0])
        start, end = (offset[0] + scale[0] * k for k in (first, last - 1))
        low = int(np.clip(np.floor(start) - reach, 0, len(array) - 1))
        high = int(np.clip(np.ceil(end) + reach + 1, low + 1, len(array)))
        found.append((first, last, low, high))
    return found


def _along(array: np.ndarray, axis: int, places: np.ndarray, order: int) -> np.ndarray:
    """Values between the voxels of one axis, float32; beyond its ends the edge continues."""
    from scipy import ndimage

    size = array.shape[axis]
    if order != CUBIC:
        places = np.clip(places, 0, size - 1)
    if size == 1 or np.array_equal(places, np.arange(size)):
        return array if len(places) == size else np.repeat(array, len(places), axis)
    if order == NEAREST:
        return np.take(array, np.ceil(places - 0.5).astype(int), axis)
    if order == LINEAR:
        low = np.minimum(np.floor(places).astype(int), size - 2)
        part = (places - low).astype(np.float32)
        return _weighted(array, axis, low, (1 - part, part))
    # As scipy's splines with the mode "nearest": the edge is repeated before they are fitted.
    pad = [(REACH, REACH) if k == axis else (0, 0) for k in range(3)]
    fitted = ndimage.spline_filter1d(
        np.pad(array, pad, mode="edge"), CUBIC, axis, np.float32, mode="mirror"
    )
    places = np.clip(places + REACH, 1, size + 2 * REACH - 3)
    low = np.floor(places).astype(int)
    t = places - low
    weights = (
        (1 - t) ** 3 / 6,
        2 / 3 - t**2 + t**3 / 2,
        2 / 3 - (1 - t) ** 2 + (1 - t) ** 3 / 2,
        t**3 / 6,
    )
    return _weighted(fitted, axis, low - 1, [w.astype(np.float32) for w in weights])


def _weighted(
    array: np.ndarray, axis: int, low: np.ndarray, weights: Sequence[np.ndarray]
) -> np.ndarray:
    """Sum of weighted neighbours that begin at ``low`` along an axis."""
    view = [1, 1, 1]
    view[axis] = len(low)
    total: np.ndarray | None = None
    for place, weight in enumerate(weights):
        part = np.take(array, low + place, axis) * weight.reshape(view)
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None
    return total


def _sample(
    array: np.ndarray,
    shape: tuple[int, int, int],
    scale: Triple,
    offset: Triple,
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
