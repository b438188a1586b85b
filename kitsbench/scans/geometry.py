"""Affines: orientation, spacing, grids.

An array inside the project has the axes (z, y, x), each ascending: z to the head, y to the front
and x to the patient's right (RAS+ transposed). The affine of such an array maps the homogeneous
index (iz, iy, ix, 1) to world coordinates (x, y, z, 1) in mm, RAS+. On disk anything goes; the
position of an axis is never trusted, only the affine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHEAR_TOLERANCE = 1e-3  # of the cosine of the angle between two axes


@dataclass(frozen=True)
class Axes:
    """How the axes of an array on disk become (z, y, x).

    Attributes
    ----------
    order : tuple of int
        ``order[k]`` is the axis on disk that becomes axis k of (z, y, x).
    flipped : tuple of bool
        Whether axis k of (z, y, x) runs against its axis on disk.
    """

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def to_zyx(self, array: np.ndarray) -> np.ndarray:
        """View of an array on disk with the axes (z, y, x)."""
        return self._flip(array.transpose(self.order))

    def from_zyx(self, array: np.ndarray) -> np.ndarray:
        """View of a (z, y, x) array with the axes on disk."""
        return self._flip(array).transpose(np.argsort(self.order))

    def then(self, other: Axes) -> Axes:
        """Return what these axes and the others after them amount to."""
        order = tuple(self.order[k] for k in other.order)
        flipped = tuple(
            bool(self.flipped[k] != flip)
            for k, flip in zip(other.order, other.flipped, strict=True)
        )
        return Axes((order[0], order[1], order[2]), (flipped[0], flipped[1], flipped[2]))

    def _flip(self, array: np.ndarray) -> np.ndarray:
        return array[tuple(slice(None, None, -1 if f else 1) for f in self.flipped)]


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Length in mm of the step along every index axis of an affine."""
    lengths = np.sqrt((np.asarray(affine, dtype=np.float64)[:3, :3] ** 2).sum(0))
    return float(lengths[0]), float(lengths[1]), float(lengths[2])


def voxel_volume(affine: np.ndarray) -> float:
    """Volume of a voxel in mm³, also where the axes are not perpendicular."""
    return abs(float(np.linalg.det(np.asarray(affine, dtype=np.float64)[:3, :3])))


def is_sheared(affine: np.ndarray) -> bool:
    """Whether the axes are not perpendicular, so that voxels are no boxes (a tilted gantry)."""
    steps = np.asarray(affine, dtype=np.float64)[:3, :3] / spacing_of(affine)
    return bool(np.abs(steps.T @ steps - np.eye(3)).max() > SHEAR_TOLERANCE)


def axes_of(affine: np.ndarray) -> Axes:
    """Find the axes of an array on disk from its affine (closest canonical orientation)."""
    from nibabel.orientations import io_orientation

    towards = io_orientation(np.asarray(affine, dtype=np.float64))
    # towards[i] = (RAS axis that disk axis i lies along, direction)
    order, flipped = [], []
    for world in (2, 1, 0):
        disk = int(np.flatnonzero(towards[:, 0] == world)[0])
        order.append(disk)
        flipped.append(bool(towards[disk, 1] < 0))
    return Axes((order[0], order[1], order[2]), (flipped[0], flipped[1], flipped[2]))


def canonical_affine(
    affine: np.ndarray, shape: tuple[int, ...], axes: Axes | None = None
) -> np.ndarray:
    """Affine of ``axes.to_zyx(array)`` for an array of ``shape`` on disk.

    ``axes`` are those of the affine where they are not given.
    """
    axes = axes or axes_of(affine)
    disk_from_zyx = np.zeros((4, 4))
    disk_from_zyx[3, 3] = 1.0
    for k, (disk, flipped) in enumerate(zip(axes.order, axes.flipped, strict=True)):
        disk_from_zyx[disk, k] = -1.0 if flipped else 1.0
        disk_from_zyx[disk, 3] = shape[disk] - 1 if flipped else 0.0
    return np.asarray(affine, dtype=np.float64) @ disk_from_zyx


def orientation_name(affine: np.ndarray) -> str:
    """Three letters such as ``IPL``: where the axes on disk run to."""
    from nibabel.orientations import aff2axcodes

    return "".join(str(code) for code in aff2axcodes(affine))


def grid_shift(a: np.ndarray, b: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance of equal corners of two grids, in voxels of the first."""
    corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners[:, :3] *= np.array(shape[:3]) - 1
    moved = corners @ (np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)).T
    return float(np.sqrt((moved[:, :3] ** 2).sum(1)).max() / min(spacing_of(a)))


def fitting_spacing(
    affine: np.ndarray,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    most: tuple[int, int, int],
) -> tuple[float, float, float]:
    """The spacing, or the smallest multiple of it at which an array has no more than some voxels.

    Parameters
    ----------
    affine, shape, spacing
        As of :func:`resampled_grid`.
    most : tuple of int
        Largest shape (z, y, x).
    """
    old, wanted = np.array(spacing_of(affine)), np.array(spacing, float)
    count = np.array(resampled_grid(affine, shape, spacing)[1])
    factor = float((np.array(shape) * old / (wanted * most)).max())
    while (count > most).any():
        z, y, x = (wanted * max(factor, 1.0)).tolist()
        spacing = (z, y, x)
        count = np.array(resampled_grid(affine, shape, spacing)[1])
        factor = max(factor, 1.0) * 1.002  # an axis may have been kept, see there
    return spacing


def resampled_grid(
    affine: np.ndarray, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Grid with another spacing that covers the same box, with the same directions.

    Parameters
    ----------
    affine : ndarray (4, 4)
        Affine of a (z, y, x) array.
    shape : tuple of int
        Its shape.
    spacing : tuple of float
        Wanted spacing (z, y, x) in mm.

    Returns
    -------
    affine : ndarray (4, 4)
        Affine of the new grid; the middle of the box stays where it is.
    shape : tuple of int
        Shape of the new grid, at least 1 along every axis. Where old and new spacing agree to
        0.1 %, the axis stays as it is.
    """
    old = spacing_of(affine)
    new_from = np.eye(4)
    counts = []
    for k in range(3):
        if abs(old[k] - spacing[k]) <= 1e-3 * spacing[k]:
            counts.append(int(shape[k]))
            continue
        scale = spacing[k] / old[k]
        count = max(1, int(np.floor(shape[k] / scale + 0.5)))
        new_from[k, k] = scale
        new_from[k, 3] = (shape[k] - 1) / 2 - scale * (count - 1) / 2
        counts.append(count)
    return np.asarray(affine, dtype=np.float64) @ new_from, (counts[0], counts[1], counts[2])
