"""A second pass of the scanner over the same patient, appended to the first without labels."""

from __future__ import annotations

import numpy as np

from kitsbench.scans.findings import Finding
from kitsbench.scans.header import Header

SIDE = 8  # blocks along either side of a slice, whose means are compared
AIR, RANGE = -1000, 1300  # HU from which on, and how far, a difference counts
LEAST = 6  # slices that repeat
DIP = 0.65  # scans of one pass measured 0.85 and more, of two mostly 0.2 to 0.6


def second_phase(header: Header, image: np.ndarray, label: np.ndarray) -> list[Finding]:
    """Warn of a scan whose labelled part is there once more, without labels.

    Parameters
    ----------
    header : Header
        Of the image.
    image : ndarray of int16 (z, y, x)
        HU.
    label : ndarray of uint8 (z, y, x)
    """
    labelled = np.asarray(label.any(axis=(1, 2)))
    same = image.shape == label.shape
    distance = distance_of_passes(image) if same and labelled.any() else None
    if distance is None:
        return []
    above, below = labelled[distance:], labelled[:-distance]
    one = np.flatnonzero(above != below)
    if len(one) < min(LEAST, labelled.sum()) or np.count_nonzero(above & below) > len(one) / 4:
        return []  # labels on both passes
    # Of either pass, the slices that have no label though their likes have.
    later, earlier = one[below[one]] + distance, one[above[one]]
    bare = later if len(later) >= len(earlier) else earlier
    shown = bare - distance if bare is later else bare + distance
    return [
        Finding(
            header.case,
            str(header.path),
            f"slices {bare[0]}-{bare[-1]} of {len(image)} (from the feet) have no label and show "
            f"what the labelled slices {shown[0]}-{shown[-1]} show",
            "A scan passes over its patient once, and every kidney in it is labelled.",
            "A second phase was probably appended: cut scan and mask to the labelled one.",
            "warning",
        )
    ]


def distance_of_passes(image: np.ndarray) -> int | None:
    """Distance in slices at which a scan is like itself; None where there is no such.

    Slices of one pass differ the more, the farther they are apart. If they are much more alike at
    one distance, a fifth of the scan or more, than at slightly smaller and larger ones, the
    patient was scanned twice.

    Parameters
    ----------
    image : ndarray of int16 (z, y, x)
        HU.
    """
    slices = _thumbnails(image)
    # One pass may go on where the other has ended, above or below: there is no like for that.
    found = (_distance(slices), _distance(slices[::-1]))
    return min((distance for distance in found if distance is not None), default=None)


def _distance(slices: np.ndarray) -> int | None:
    """Distance at which the last slices are like earlier ones."""
    count = len(slices)
    distances = range(max(LEAST, count // 5), count - LEAST + 1)
    unlike = np.array(
        [np.abs(slices[d:] - slices[:-d]).mean(axis=1)[-d:].mean() for d in distances]
    )
    near = max(2, count // 16)  # slices change slowly, so that the next distances are like it
    for place, distance in enumerate(distances):
        below = unlike[max(0, place - 3 * near) : max(0, place - near + 1)]
        above = unlike[place + near : place + 3 * near + 1]
        sides = [side.mean() for side in (below, above) if len(side)]
        around = unlike[max(0, place - near) : place + near + 1]
        if len(below) and unlike[place] == around.min() and unlike[place] < DIP * min(sides):
            return distance
    return None


def _thumbnails(image: np.ndarray) -> np.ndarray:
    """Means of blocks of every slice, as (z, blocks)."""
    starts, sizes = [], []
    for length in image.shape[1:]:
        edges = np.unique(np.linspace(0, length, SIDE + 1).astype(int))
        starts.append(edges[:-1])
        sizes.append(np.diff(edges))
    means = np.empty((len(image), len(starts[0]) * len(starts[1])), dtype=np.float32)
    air = max(AIR, int(image.min()))  # higher where the offset of HU was left out
    for z, plane in enumerate(image):  # by slices, since a volume of floats takes much memory
        values = np.clip(plane, air, air + RANGE).astype(np.float32)
        rows = np.add.reduceat(values, starts[0], axis=0)
        means[z] = (np.add.reduceat(rows, starts[1], axis=1) / np.outer(*sizes)).ravel()
    return means
