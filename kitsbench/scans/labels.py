"""What a label is: one rule for masks, truths and predictions, in files and in arrays.

A label is a whole number from 0 to 255. A number that misses one by 1e-4 or less is rounded to it,
never cut off: resamplers write 1.9999999, and a slope of 1/255 in single precision gives 0.99998.
The distance is measured on the scaled value in double precision, in which nibabel scales too. NaN,
infinite and other numbers are no labels, and whatever holds one is refused.
"""

from __future__ import annotations

import numpy as np

from kitsbench.errors import DataError

TOLERANCE = 1e-4
"""Largest distance of a number from the label that it stands for."""
HIGHEST = 255


def round_labels(values: np.ndarray, out: np.ndarray) -> float | None:
    """Round numbers to the labels that they stand for.

    Parameters
    ----------
    values : ndarray of booleans, integers or floating-point numbers
        Scaled values.
    out : ndarray of uint8, of the same shape
        Gets the labels; its content is undefined where a value is none.

    Returns
    -------
    float or None
        The first value that is no label, if there is one.
    """
    with np.errstate(invalid="ignore"):  # what cannot be cast comes back as something else
        out[...] = values
    if values.dtype == np.uint8 or values.dtype == bool or (out == values).all():
        return None
    if values.dtype.kind in "iu":
        return float(values[(values < 0) | (values > HIGHEST)][0])
    values = values.astype(np.float64, copy=False)
    whole = np.rint(values)
    with np.errstate(invalid="ignore"):  # an infinity is caught as out of range
        near = np.abs(values - whole) <= TOLERANCE
        wrong = ~(near & (whole >= 0) & (whole <= HIGHEST))
    if wrong.any():
        return float(values[wrong][0])
    out[...] = whole
    return None


def foreign_labels(labels: np.ndarray, known: set[int]) -> list[int]:
    """Labels that a map holds and should not.

    Parameters
    ----------
    labels : ndarray of uint8
        A label map.
    known : set of int
        Labels that it may hold besides 0.
    """
    highest = int(labels.max(initial=0))
    # Labels are mostly 0, 1, 2, ...: then the highest says it all, and fast.
    if known.issuperset(range(1, highest + 1)):
        return []
    seen = np.zeros(HIGHEST + 1, dtype=bool)
    # Along the slowest axis in memory, so that no copy of the map is needed.
    for plane in np.moveaxis(labels, int(np.argmax(np.abs(labels.strides))), 0):
        seen[np.unique(plane)] = True
    return sorted(set(np.flatnonzero(seen).tolist()) - known - {0})


def as_label_map(array: np.ndarray, name: str) -> np.ndarray:
    """Return a label map as uint8, in the memory order of the array.

    Parameters
    ----------
    array : ndarray with three axes
        Whole numbers from 0 to 255 of any number type, missed by 1e-4 at most.
    name : str
        What to call it in messages.

    Raises
    ------
    DataError
        The array has not three axes, or holds something that is no label.
    """
    array = np.asarray(array)
    if array.ndim != 3:
        raise DataError(f"{name} has {array.ndim} axes; a label map has three (z, y, x).")
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.view(np.uint8)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{name} holds {array.dtype}; labels are whole numbers.")
    labels = np.empty_like(array, dtype=np.uint8)
    # Slice by slice, because a volume of floats with its copies may not fit into memory.
    slowest = int(np.argmax(np.abs(array.strides)))
    slices = zip(np.moveaxis(array, slowest, 0), np.moveaxis(labels, slowest, 0), strict=True)
    for values, out in slices:
        odd = round_labels(values, out)
        if odd is not None:
            raise DataError(
                f"{name} holds {odd:.7g}; labels are whole numbers from 0 to {HIGHEST}. "
                "Save the label map without interpolation or probabilities."
            )
    return labels
