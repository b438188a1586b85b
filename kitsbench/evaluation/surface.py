"""Exact surface Dice, as the KiTS21 and KiTS23 organisers define it, without distance maps.

Their code uses DeepMind's surface-distance (Nikolov et al. 2018, arXiv 1809.04430): the surface
of a mask is cut into elements, one for every corner point shared by eight voxels that are not
all alike; an element's area is that of the marching-cubes triangles in its eight voxels; the
distance between elements is the distance between corner points.

Two facts make it fast. The tolerances are about one millimetre, a handful of corner points, so
whether a surface is near is looked up rather than measured. And the corner points of all regions
are among those where the eight *labels* differ, so one search serves every region.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np

from kitsbench.evaluation.protocols import Region

CUBE: list[tuple[int, ...]] = list(product((0, 1), repeat=3))
"""The eight voxels round a corner point; their place in this list is their bit in a code."""


Box = tuple[slice, slice, slice]


class Corners(NamedTuple):
    """The corner points where a label map is not uniform.

    Attributes
    ----------
    points : ndarray of int64, shape (n, 3)
        Corner point ``(z, y, x)``; point ``(0, 0, 0)`` is the outer corner of the first voxel.
    labels : ndarray of uint8, shape (8, n)
        Labels of the voxels round it; outside the image is background.
    """

    points: np.ndarray
    labels: np.ndarray


def bounding_box(labels: np.ndarray) -> Box:
    """Smallest box with everything that is not background; three empty slices if nothing is."""
    if 0 in labels.shape:
        return (slice(0, 0),) * 3
    # Most slices of a scan hold nothing, and whether one does is seen fastest.
    filled = np.flatnonzero(_filled_slices(labels))
    inner = labels[filled[0] : filled[-1] + 1] if filled.size else labels[:0]
    plane = inner.max(axis=0, initial=0)
    used = [filled, np.flatnonzero(plane.max(axis=1)), np.flatnonzero(plane.max(axis=0))]
    z, y, x = (slice(u[0], u[-1] + 1) if u.size else slice(0, 0) for u in used)
    return z, y, x


def _filled_slices(labels: np.ndarray) -> np.ndarray:
    flat = labels.reshape(len(labels), -1)
    if flat.shape[1] % 8 == 0 and flat.flags.c_contiguous:
        flat = flat.view(np.uint64)  # eight voxels at a time
    return np.bitwise_or.reduce(flat, axis=1)


def label_corners(labels: np.ndarray, box: Box | None = None) -> Corners:
    """Find the corner points where the eight voxels do not all have one label.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        A label map.
    box : tuple of slice, optional
        Its bounding box, where that is known already.
    """
    box = bounding_box(labels) if box is None else box
    inner = labels[box]
    depth, height, width = inner.shape
    # rows[z, y]: whether row y of slice z or of the slice below has something in it.
    rows = np.zeros((depth + 1, height), bool)
    rows[:-1] = inner.max(axis=2, initial=0) > 0
    rows[1:] |= rows[:-1].copy()
    found, around = [np.zeros((3, 0), np.int64)], [np.zeros((8, 0), np.uint8)]
    for z in np.flatnonzero(rows.any(axis=1)):
        used = np.flatnonzero(rows[z])
        top, bottom = used[0], used[-1] + 1
        # Two slices with a margin of background; never the whole volume, which may be large
        # on account of one stray voxel.
        row, plane = width + 2, (bottom - top + 2) * (width + 2)
        pair = np.zeros((2, plane // row, row), np.uint8)
        for half, source in enumerate((z - 1, z)):
            if 0 <= source < depth:
                pair[half, 1:-1, 1:-1] = inner[source, top:bottom]
        flat = _mixed_points(pair)
        y, x = np.divmod(flat, row)
        found.append(np.stack([np.full_like(y, z), y + top, x]))
        steps = [dz * plane + dy * row + dx for dz, dy, dx in CUBE]
        around.append(np.stack([pair.ravel().take(flat + step) for step in steps]))
    start = np.array([[edge.start] for edge in box])
    return Corners((np.concatenate(found, axis=1) + start).T, np.concatenate(around, axis=1))


def _mixed_points(pair: np.ndarray) -> np.ndarray:
    """Flat indices of the points between two slices whose eight voxels are not all alike.

    The last point of a row takes in voxels of the next row; but there and here is the margin.
    """
    row = pair.shape[2]
    flat = pair.reshape(2, -1)
    low, high = np.minimum(*flat), np.maximum(*flat)
    low, high = np.minimum(low[:-row], low[row:]), np.maximum(high[:-row], high[row:])
    low, high = np.minimum(low[:-1], low[1:]), np.maximum(high[:-1], high[1:])
    return np.flatnonzero(low != high)


def surface_areas(spacing: Sequence[float]) -> np.ndarray:
    """Area in mm² of the surface element of every code.

    Parameters
    ----------
    spacing : sequence of float
        Voxel size in mm, ``(z, y, x)``.

    Returns
    -------
    ndarray, shape (256,)
        By the code of the eight voxels: bit ``4 dz + 2 dy + dx`` is set where the voxel is
        inside.
    """
    z, y, x = spacing
    faces = np.array([y * x, z * x, z * y])
    diagonal = np.sqrt((faces**2).sum())
    oblique = np.sqrt(np.maximum((faces**2).sum() - faces**2, 0))
    return _area_coefficients() @ np.concatenate([[diagonal], oblique, faces])


@cache
def _area_coefficients() -> np.ndarray:
    """Area of each code as a sum of seven elementary areas of one voxel.

    They are the norm of the three faces' areas (a cut across a corner), the norms of two faces'
    areas (a cut parallel to one axis), and the faces themselves. The vertices of a cut lie in
    the middle of voxel-to-voxel edges. Where a face of the cube is ambiguous, the phase with
    fewer voxels is cut off in pieces; hence each connected piece of it has its own area, and a
    code and its complement have the same.
    """
    table = np.zeros((256, 7))
    for code in range(1, 255):
        inside = [corner for bit, corner in enumerate(CUBE) if code >> bit & 1]
        outside = [corner for corner in CUBE if corner not in inside]
        minority = min(inside, outside, key=len)
        for piece in _connected(minority):
            table[code] += _piece_coefficients(piece)
    return table


def _connected(corners: list[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    pieces: list[list[tuple[int, ...]]] = []
    for corner in corners:
        touching = [p for p in pieces if any(_axis_between(corner, other) for other in p)]
        pieces = [p for p in pieces if p not in touching]
        pieces.append([corner, *(other for p in touching for other in p)])
    return pieces


def _axis_between(a: tuple[int, ...], b: tuple[int, ...]) -> list[int]:
    """Return the axis along which two corners are neighbours, as a list of one or none."""
    differing = [axis for axis in range(3) if a[axis] != b[axis]]
    return differing if len(differing) == 1 else []


def _piece_coefficients(piece: list[tuple[int, ...]]) -> np.ndarray:
    # Views, so that what is set below lands in the one array that is returned.
    coefficients = np.zeros(7)
    diagonal, oblique, face = coefficients[:1], coefficients[1:4], coefficients[4:]
    steps = {c: [axis for other in piece for axis in _axis_between(c, other)] for c in piece}
    axes = {axis for step in steps.values() for axis in step}
    most = max(len(step) for step in steps.values())
    if len(piece) == 1:  # a triangle
        diagonal[0] = 1 / 8
    elif len(piece) == 2:  # a rectangle along the axis that joins the two
        oblique[list(axes)] = 1 / 2
    elif len(piece) == 3:  # a bent pentagon over the plane of the three
        diagonal[0] = 3 / 8
        face[[axis for axis in range(3) if axis not in axes]] = 1 / 2
    elif len(axes) == 2:  # four in a plane: the whole face
        face[[axis for axis in range(3) if axis not in axes]] = 1
    elif most == 3:  # one voxel and its three neighbours: a flat hexagon
        diagonal[0] = 3 / 4
    else:  # four in a winding row: a bent hexagon, the same seen from either end
        middle = [step for step in steps.values() if len(step) == 2]
        shared = set(middle[0]) & set(middle[1])
        diagonal[0] = 1 / 2
        oblique[[axis for axis in range(3) if axis not in shared]] = 1 / 4
    return coefficients


def surface_dice(
    prediction: Corners, truth: Corners, region: Region, spacing: Sequence[float]
) -> float:
    """Share of the two surfaces' area that lies within the region's tolerance of the other.

    Parameters
    ----------
    prediction, truth : Corners
        From :func:`label_corners`; the region must be present in both.
    region : Region
        Which labels are inside, and the tolerance in mm.
    spacing : sequence of float
        Voxel size in mm, ``(z, y, x)``.
    """
    areas = surface_areas(spacing)
    elements = [_elements(corners, region) for corners in (prediction, truth)]
    offsets = offsets_within(region.tolerance_mm, spacing)
    # A margin of the largest offset keeps every look-up inside one flat array.
    margin = np.abs(offsets).max(axis=0)
    everything = [index for index, _ in elements]
    low = np.minimum(*(index.min(axis=0) for index in everything)) - margin
    high = np.maximum(*(index.max(axis=0) for index in everything)) + margin
    shape = high - low + 1
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    flat = [(index - low) @ strides for index in everything]
    # Both directions count together, weighed by area: two surfaces of unequal size have one share.
    near = total = 0.0
    for own, other, (_, codes) in zip(flat, flat[::-1], elements, strict=True):
        area = areas[codes]
        total += area.sum()
        near += area[_has_neighbour(own, other, offsets @ strides, shape.prod())].sum()
    return float(near / total)


def _elements(corners: Corners, region: Region) -> tuple[np.ndarray, np.ndarray]:
    """Corner points on the region's surface, and their codes."""
    inside = np.zeros(256, np.uint8)
    inside[list(region.labels)] = 1
    # By a table of all labels: faster than to compare with each label of the region.
    codes = np.zeros(corners.labels.shape[1], np.uint8)
    for bit, labels in enumerate(corners.labels):
        codes |= (inside << np.uint8(bit)).take(labels)
    surface = np.flatnonzero((codes != 0) & (codes != 255))
    return corners.points[surface], codes[surface]


def offsets_within(tolerance: float, spacing: Sequence[float]) -> np.ndarray:
    """Steps ``(n, 3)`` between corner points that are within a tolerance, the shortest first."""
    sizes = np.asarray(spacing, float)
    # A whole number of steps shall count as such, though it is not one in binary; what is a hair
    # too far for the rule is left out by its length below.
    reach = np.floor(tolerance / sizes * (1 + 1e-9)).astype(int)
    steps = np.stack(
        np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    lengths = np.sqrt(((steps * sizes) ** 2).sum(axis=1))
    order = np.argsort(lengths, kind="stable")
    return steps[order[lengths[order] <= tolerance]]


def _has_neighbour(own: np.ndarray, other: np.ndarray, shifts: np.ndarray, size: int) -> np.ndarray:
    """Whether each point has one of the others at one of the shifts from it."""
    marked = np.zeros(size, bool)
    marked[other] = True
    found = np.zeros(own.size, bool)
    left = np.arange(own.size)
    # The shortest first: who has found a neighbour is not asked again, and most find one soon.
    for shift in shifts:
        hit = marked.take(own + shift)
        found[left[hit]] = True
        left, own = left[~hit], own[~hit]
    return found
