"""Grids, shapes and smooth random fields from which the phantom is painted.

Only additions, multiplications, divisions and square roots touch voxels here: their results are
fixed by IEEE 754, so that one seed gives the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Vector = tuple[float, float, float]
Box = tuple[slice, slice, slice]


def vector(values: Iterable[float]) -> Vector:
    """Three numbers (z, y, x) as a tuple of floats."""
    z, y, x = (float(value) for value in values)
    return z, y, x


@dataclass(frozen=True)
class Grid:
    """Points of a box, by one coordinate array an axis.

    Attributes
    ----------
    z, y, x : ndarray of float32
        Ascending coordinates in mm: z to the head, y to the front, x to the patient's right.
    """

    z: np.ndarray
    y: np.ndarray
    x: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of points (z, y, x)."""
        return len(self.z), len(self.y), len(self.x)

    def box(self, centre: Vector, reach: float | Vector) -> Box | None:
        """Slices (z, y, x) of the points within ``reach`` mm of ``centre``, None if there are none.

        ``centre`` and ``reach`` are in the order (z, y, x).
        """
        reaches = (reach,) * 3 if isinstance(reach, int | float) else reach
        slices = []
        for axis, middle, radius in zip((self.z, self.y, self.x), centre, reaches, strict=True):
            first = int(np.searchsorted(axis, middle - radius))
            last = int(np.searchsorted(axis, middle + radius, side="right"))
            if first >= last:
                return None
            slices.append(slice(first, last))
        return slices[0], slices[1], slices[2]

    def part(self, box: Box) -> Grid:
        """The grid of a box only."""
        return Grid(self.z[box[0]], self.y[box[1]], self.x[box[2]])

    def offsets(self, centre: Vector) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates relative to ``centre`` (z, y, x), shaped to broadcast against each other."""
        return (
            (self.z - np.float32(centre[0]))[:, None, None],
            (self.y - np.float32(centre[1]))[None, :, None],
            (self.x - np.float32(centre[2]))[None, None, :],
        )

    def rotated(
        self, centre: Vector, rotation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates in the frame of a posed shape.

        Parameters
        ----------
        centre : tuple of float
            Origin of the frame (z, y, x) in mm.
        rotation : ndarray (3, 3)
            Rows are the axes of the frame, each (z, y, x).
        """
        z, y, x = self.offsets(centre)
        rows = []
        for row in np.asarray(rotation, dtype=np.float32):
            rows.append((z * row[0] + y * row[1]) + x * row[2])
        return rows[0], rows[1], rows[2]


class SmoothField:
    """A random function of space with mean 0 and a standard deviation near 1.

    Random numbers on a coarse lattice, joined by smooth steps: cheap on a grid, since every axis
    is interpolated by itself.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the lattice values.
    step : float
        Distance of the lattice points in mm: the size of the blobs.
    low, high : tuple of float
        Corners (z, y, x) of the region in mm; outside it the edge values continue.
    """

    # Interpolation between independent normals shrinks the standard deviation by about this
    # factor an axis (mean of s^2 + (1 - s)^2 over a smooth step, square root).
    _SHRINK = 0.8619

    def __init__(self, rng: np.random.Generator, step: float, low: Vector, high: Vector):
        self.step = step
        self.low = low
        counts = [int((b - a) / step) + 3 for a, b in zip(low, high, strict=True)]
        self.values = (rng.standard_normal(counts) / self._SHRINK**3).astype(np.float32)

    def on(self, grid: Grid) -> np.ndarray:
        """Values at the points of a grid, float32."""
        result = self.values
        for axis, (coordinates, low) in enumerate(
            zip((grid.z, grid.y, grid.x), self.low, strict=True)
        ):
            position = (coordinates.astype(np.float64) - low) / self.step
            position = np.clip(position, 0, self.values.shape[axis] - 1.001)
            left = position.astype(np.intp)
            fraction = position - left
            weight = (fraction * fraction * (3 - 2 * fraction)).astype(np.float32)
            weight = weight.reshape([-1 if i == axis else 1 for i in range(3)])
            lower = result.take(left, axis)
            upper = result.take(left + 1, axis)
            upper -= lower
            upper *= weight
            upper += lower
            result = upper
        return result


def rotation(about_z: float, about_y: float, about_x: float) -> np.ndarray:
    """Rotation matrix in (z, y, x) order from three angles in degrees, applied x, then y, then z.

    The rows are the axes of the turned frame.
    """
    a, b, c = np.deg2rad([about_z, about_y, about_x])
    turn_z = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_y = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    turn_x = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return turn_z @ turn_y @ turn_x


def path(points: list[Vector], radii: list[float], step: float) -> list[tuple[Vector, float]]:
    """Balls along a polyline, close enough to look like a tube.

    Parameters
    ----------
    points : list of (z, y, x)
        Corners in mm.
    radii : list of float
        Radius in mm at every corner, interpolated between them.
    step : float
        Distance between two balls in mm.
    """
    balls = []
    for (start, end), (r0, r1) in zip(pairwise(points), pairwise(radii), strict=True):
        delta = [b - a for a, b in zip(start, end, strict=True)]
        length = (delta[0] ** 2 + delta[1] ** 2 + delta[2] ** 2) ** 0.5
        count = max(1, int(length / step))
        for k in range(count):
            t = k / count
            centre = (start[0] + t * delta[0], start[1] + t * delta[1], start[2] + t * delta[2])
            balls.append((centre, r0 + t * (r1 - r0)))
    balls.append((points[-1], radii[-1]))
    return balls
