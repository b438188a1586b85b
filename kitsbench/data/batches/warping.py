"""Moving the voxels of a patch: affine, elastic and mirrored at once, in one resampling.

A position x of the output, in mm from the middle of the patch, shows the point
``matrix @ (x + u(x)) + shift`` of the scan. The displacement ``u`` is a cubic B-spline over a
coarse grid of control points. Everything that a sample's positions are made of is computed on the
host and is small: a term for each axis, and what is left of the control points. On the device a
position is a sum of such terms, never a matrix product, whose precision is a setting there (with
TF32, one label in fifteen came from another voxel).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kitsbench.data.batches.paths import Bend, Box, Path, to_tensor
from kitsbench.spec import Grid

Edges = Sequence[int] | np.ndarray
# Displacement sd in a B-spline of independent control points of sd 1: the mean over positions of
# the sum of squared weights is 151/315 along an axis.
BSPLINE_SD = (151 / 315) ** 1.5
# A box of source voxels is a little wider than the positions say, since those are rounded.
ROUNDING = 1e-3
STILL = np.eye(3)
ROUNDED = 1e-8 + 1e-5 * STILL  # by how much a matrix may differ that moves nothing
CELLS = 4096  # elements of a mesh beyond which its bounds are not worth their time


@dataclass(frozen=True)
class Motion:
    """Where the voxels of one sample come from.

    Attributes
    ----------
    matrix : ndarray (3, 3)
        From output to source, about the middle of the patch, in mm.
    shift : ndarray (3,)
        mm, in the source.
    flips : tuple of bool
        Axes (z, y, x) along which the result is mirrored, after everything else.
    control : ndarray (3, cz, cy, cx) or None
        Displacement in mm of the control points of the elastic deformation.
    """

    matrix: np.ndarray
    shift: np.ndarray
    flips: tuple[bool, bool, bool] = (False, False, False)
    control: np.ndarray | None = None

    @property
    def still(self) -> bool:
        """Whether nothing but mirroring happens."""
        return (
            self.control is None
            and not self.shift.any()
            and bool((np.abs(self.matrix - STILL) <= ROUNDED).all())
        )


def rotation_matrix(angles: np.ndarray) -> np.ndarray:
    """Rotation about z, then y, then x, by angles (z, y, x) in radians; acts on (z, y, x)."""
    cz, cy, cx = np.cos(angles)
    sz, sy, sx = np.sin(angles)
    about_z = np.array([[1, 0, 0], [0, cz, -sz], [0, sz, cz]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[cx, -sx, 0], [sx, cx, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def bspline_weights(positions: np.ndarray, elements: int) -> np.ndarray:
    """Weights of the control points of a uniform cubic B-spline.

    Parameters
    ----------
    positions : ndarray (n,)
        In elements of the mesh, from 0 to ``elements``; what lies beyond is moved to the border.
    elements : int

    Returns
    -------
    ndarray (n, elements + 3)
        Control point j acts around position j - 1.
    """
    place = np.clip(np.asarray(positions, dtype=float), 0, elements)
    distance = np.abs(place[:, None] + 1 - np.arange(elements + 3))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    return np.where(distance < 1, near, far)


def mesh_of(
    grids: Sequence[Grid], spacing: Sequence[float], width: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mesh of control points that covers all grids.

    Parameters
    ----------
    grids : sequence of Grid
    spacing : sequence of float
        mm, of the first grid.
    width : sequence of float
        Largest distance of control points in mm, (z, y, x).

    Returns
    -------
    extent : ndarray (3,)
        mm; 5/8 of a voxel beyond the middles of the outermost voxels, as in ITK, so that the same
        control points mean the same in torchio.
    elements : ndarray of int (3,)
        There are three control points more than elements along each axis.
    """
    # One mesh for all grids: the same point of the body moves alike in each.
    extents = [(np.array(g.shape) + 0.25) * np.array(spacing) * np.array(g.ratio) for g in grids]
    extent = np.max(extents, axis=0)
    # An extent that is a multiple of the width shall not get another element by rounding.
    return extent, np.maximum(np.ceil(extent / np.array(width) - 1e-9).astype(int), 1)


class Geometry:
    """Positions of one grid's voxels, prepared once.

    Parameters
    ----------
    grid : Grid
    spacing : sequence of float
        mm, (z, y, x), of the first grid.
    mesh : tuple of ndarray, optional
        As of :func:`mesh_of`, for elastic deformation.
    """

    def __init__(
        self,
        grid: Grid,
        spacing: Sequence[float],
        mesh: tuple[np.ndarray, np.ndarray] | None = None,
    ):
        self.shape = tuple(grid.shape)
        self.spacing = np.array(spacing, dtype=float) * np.array(grid.ratio)
        self.axes = [
            (np.arange(n) - (n - 1) / 2) * step
            for n, step in zip(self.shape, self.spacing, strict=True)
        ]
        self.basis: list[np.ndarray] = []
        self.hull: list[tuple[np.ndarray, np.ndarray]] = []
        if mesh is None:
            return
        for axis, extent, elements in zip(self.axes, *mesh, strict=True):
            place = (axis + extent / 2) * (elements / extent)
            self.basis.append(bspline_weights(place, int(elements)))
            if mesh[1].prod() <= CELLS:
                first, last = int(np.floor(place[0])), int(np.ceil(place[-1]))
                places, weights = bezier_weights(int(elements), first, last)
                self.hull.append((places * (extent / elements) - extent / 2, weights))

    def path(self, motion: Motion, source: Edges, offset: np.ndarray) -> Path:
        """Where the voxels of one sample come from.

        Parameters
        ----------
        motion : Motion
        source : sequence of int
            Shape of the source patch.
        offset : ndarray (3,)
            How far the centre lies from the middle of the source patch, in voxels.
        """
        # Mirrored by going through the output backwards: exactly what flipping it would give.
        order = [slice(None, None, -1 if flip else 1) for flip in motion.flips]
        axes = [axis[turn] for axis, turn in zip(self.axes, order, strict=True)]
        # A position is a sum of terms in z, y and x, so all positions need not be kept at once.
        matrix = motion.matrix / self.spacing[:, None]  # mm to voxels of the source
        start = motion.shift / self.spacing + (np.array(source) - 1) / 2 + offset
        terms = [matrix[:, axis, None] * values for axis, values in enumerate(axes)]
        terms[0] = terms[0] + start[:, None]
        by_z, by_y, by_x = map(to_tensor, terms)
        if motion.control is None:
            # Each term is monotonous, so the outermost positions lie at corners.
            low = sum(term.min(1) for term in terms)
            high = sum(term.max(1) for term in terms)
            return Path(by_z, by_y, by_x, self._box(low, high, source))
        # The points move before the matrix acts, so the matrix acts on the displacements as well.
        # On the few control points that costs nothing.
        bent = np.tensordot(matrix, motion.control.astype(float), 1)
        weights = [own[turn] for own, turn in zip(self.basis, order, strict=True)]
        bend = Bend(
            to_tensor(np.einsum("zk,ckyx->czyx", weights[0], bent), np.float32),
            to_tensor(weights[1], np.float32),
            to_tensor(weights[2], np.float32),
        )
        box = self._bent_box(matrix, start, bent, source)
        return Path(by_z, by_y, by_x, box, bend)

    def _bent_box(
        self, matrix: np.ndarray, start: np.ndarray, bent: np.ndarray, source: Edges
    ) -> Box:
        """Source voxels that an elastic deformation may touch."""
        if not self.hull:
            return Box((0, 0, 0), tuple(map(int, source)))
        # A curve stays within its Bezier points, and those of a sum are the sums of theirs.
        (z, by_z), (y, by_y), (x, by_x) = self.hull
        points = np.einsum("zk,ckyx->czyx", by_z, bent)
        points = by_y @ points @ by_x.T
        points += matrix[:, 0, None, None, None] * z[:, None, None]
        points += matrix[:, 1, None, None, None] * y[:, None]
        points += matrix[:, 2, None, None, None] * x
        flat = points.reshape(3, -1)
        return self._box(flat.min(1) + start, flat.max(1) + start, source)

    def _box(self, low: np.ndarray, high: np.ndarray, source: Edges) -> Box:
        """Voxels of the source that positions between two corners touch, at least one."""
        edges = np.array(source)
        # A position touches the voxel below it and the next. Beyond the source patch lies nothing.
        first = np.clip(np.floor(low - ROUNDING), 0, edges - 1).astype(int)
        last = np.clip(np.floor(high + ROUNDING) + 2, first + 1, edges).astype(int)
        return Box(tuple(first.tolist()), tuple((last - first).tolist()))


def bezier_weights(elements: int, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Bezier points of a uniform cubic B-spline as weights of its control points.

    Parameters
    ----------
    elements : int
        Of the whole mesh.
    first, last : int
        From which element to which.

    Returns
    -------
    places : ndarray (n,)
        Of the Bezier points, in elements: three for each element, and the last.
    weights : ndarray (n, elements + 3)
    """
    third = np.arange(3 * first, 3 * last + 1)
    weights = np.zeros((len(third), elements + 3))
    for row, (element, part) in zip(weights, np.stack(np.divmod(third, 3), 1), strict=True):
        near = {0: (1, 4, 1), 1: (0, 4, 2), 2: (0, 2, 4)}[int(part)]
        row[element : element + 3] = np.array(near) / 6
    return third / 3, weights
