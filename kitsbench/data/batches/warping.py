"""Moving the voxels of a patch: affine, elastic and mirrored at once, in one resampling.

A position x of the output, in mm from the middle of the patch, shows the point
``matrix @ (x + u(x)) + shift`` of the scan. The displacement ``u`` is a cubic B-spline over a
coarse grid of control points, so that evaluating it is three small matrix products. On a CPU the
voxels are gathered by flat indices, which is several times faster than ``grid_sample`` there and
gives the same numbers; on other devices ``grid_sample`` does it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kitsbench.spec import Grid

# Displacement sd in a B-spline of independent control points of sd 1: the mean over positions of
# the sum of squared weights is 151/315 along an axis.
BSPLINE_SD = (151 / 315) ** 1.5
CHUNK = 65536  # voxels that a CPU resamples at a time


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
            and bool(np.isclose(self.matrix, np.eye(3)).all())
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
        if mesh is not None:
            for axis, extent, elements in zip(self.axes, *mesh, strict=True):
                place = (axis + extent / 2) * (elements / extent)
                self.basis.append(bspline_weights(place, int(elements)))

    def path(
        self, motion: Motion, source: Sequence[int], offset: np.ndarray, device: torch.device
    ) -> Path:
        """Where the voxels of one sample come from.

        Parameters
        ----------
        motion : Motion
        source : sequence of int
            Shape of the source patch.
        offset : ndarray (3,)
            How far the centre lies from the middle of the source patch, in voxels.
        device : torch.device
        """

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(device)

        # Mirrored by going through the output backwards: exactly what flipping it would give.
        order = [slice(None, None, -1 if flip else 1) for flip in motion.flips]
        z, y, x = (axis[turn] for axis, turn in zip(self.axes, order, strict=True))
        # A position is a sum of terms in z, y and x. Only the last depends on x, so all positions
        # are products of rows (terms in z and y, 1) and columns (1, term in x), and need not be
        # kept at once.
        matrix = motion.matrix / self.spacing[:, None]  # mm to voxels of the source
        start = motion.shift / self.spacing + (np.array(source) - 1) / 2 + offset
        rows = matrix[:, 0, None] * z + start[:, None]
        plane = rows[:, :, None] + matrix[:, 1, None, None] * y[None, None]
        left = tensor(np.stack([plane, np.ones_like(plane)], -1))
        right = tensor(np.stack([np.ones((3, len(x))), matrix[:, 2, None] * x], 1))
        if motion.control is None:
            return Path(left, right)
        shape = motion.control.shape[1:]
        # The points move before the matrix acts, so the matrix acts on the displacements as well.
        # On the few control points that costs nothing.
        bent = tensor((matrix @ motion.control.reshape(3, -1)).reshape(3, *shape))
        weights = [tensor(own[turn]) for own, turn in zip(self.basis, order, strict=True)]
        bent = apply_along(apply_along(bent, 1, weights[0]), 2, weights[1])
        last = weights[2].T.expand(3, -1, -1)
        return Path(torch.cat([bent, left], -1), torch.cat([last, right], 1))


@dataclass(frozen=True)
class Path:
    """Positions in the source of all voxels of a patch, kept as a product of small tensors.

    Attributes
    ----------
    left, right : Tensor (3, z, y, k) and (3, k, x)
        Index 0 is the middle of the first voxel of the source. The displacement and the affine
        part are added up in the product.
    """

    left: Tensor
    right: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the output."""
        return self.left.shape[1], self.left.shape[2], self.right.shape[2]

    def positions(self, planes: slice = slice(None)) -> Tensor:
        """Indices in the source for some z of the output, (3, z, y, x), float32."""
        return self.left[:, planes] @ self.right[:, None]


def apply_along(volume: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """Multiply a matrix (n, m) onto one axis of length m, which gets length n."""
    shape = list(volume.shape)
    if axis in (-1, volume.ndim - 1):
        return volume @ matrix.T
    flat = volume.reshape(*shape[:axis], shape[axis], -1)
    shape[axis] = len(matrix)
    return (matrix @ flat).reshape(shape)


def resample(
    image: Tensor, label: Tensor, paths: Sequence[Path], clip: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Clip the image and interpolate it linearly; labels are those of the nearest voxel.

    Parameters
    ----------
    image : Tensor (B, 1, z, y, x)
        HU.
    label : Tensor (B, z, y, x)
        uint8.
    paths : sequence of Path
        One a sample, as of :meth:`Geometry.path`.
    clip : (float, float)
        In HU. Outside the source lies the lower value, and label 0.

    Returns
    -------
    image : Tensor (B, 1, z', y', x')
        float32, HU.
    label : Tensor (B, z', y', x')
    """
    low, high = clip
    if image.device.type == "cpu":
        shape = (len(image), *paths[0].shape)
        moved, nearest = torch.empty(shape), torch.empty(shape, dtype=label.dtype)
        for sample in zip(image[:, 0], label, paths, moved, nearest, strict=True):
            _gather(*sample, low, high)
        return moved[:, None], nearest
    where = torch.stack([path.positions() for path in paths])
    size = torch.tensor(image.shape[2:], device=image.device).view(1, 3, 1, 1, 1)
    # grid_sample wants x first, and -1 and 1 at the outer edges of the volume. It pads with 0, so
    # HU are counted from the lower value: what lies outside gets that one.
    unit = ((where * 2 + 1) / size - 1).flip(1).permute(0, 2, 3, 4, 1)
    # A copy, since the image is int16; so clamping in place leaves the batch alone.
    above = image.float().clamp_(low, high).sub_(low)
    moved = F.grid_sample(above, unit, "bilinear", "zeros", align_corners=False).add_(low)
    marks = label[:, None].float()
    nearest = F.grid_sample(marks, unit, "nearest", "zeros", align_corners=False)
    return moved, nearest[:, 0].to(label.dtype)


def _gather(
    image: Tensor,
    label: Tensor,
    path: Path,
    moved: Tensor,
    nearest: Tensor,
    low: float,
    high: float,
) -> None:
    """Resample one sample on a CPU into ``moved`` and ``nearest``.

    A few planes at a time, so that they stay in the cache.
    """
    pixels = _rimmed(image, low, torch.float32).clamp_(low, high)
    marks = _rimmed(label, 0, label.dtype)
    _, rows, columns = (n + 2 for n in image.shape)
    # Whole numbers up to 2^24 are exact in float32.
    exact = torch.float32 if len(pixels) < 2**24 else torch.int32
    depth, *face = moved.shape
    step = max(1, CHUNK // math.prod(face))
    for first in range(0, depth, step):
        planes = slice(first, first + step)
        where = path.positions(planes).view(3, -1)
        for axis, edge in zip(where, image.shape, strict=True):
            axis.clamp_(-1, edge)  # the rim is as far out as anything differs
        # A half goes to the even voxel, as in grid_sample.
        index = _flat(where.round().to(exact), rows, columns)
        torch.index_select(marks, 0, index, out=nearest[planes].view(-1))
        corner = where.floor()
        z, y, x = where.sub_(corner)
        index = _flat(corner.to(exact), rows, columns)
        faces = []
        # One index serves all eight corners: the volume is taken from a later start instead. Beyond
        # the rim that is a voxel of the next row or plane, whose weight is 0.
        for deep in (0, rows * columns):
            edges = []
            for down in (0, columns):
                left = pixels[deep + down :].index_select(0, index)
                right = pixels[deep + down + 1 :].index_select(0, index)
                edges.append(left.lerp_(right, x))
            faces.append(edges[0].lerp_(edges[1], y))
        torch.lerp(faces[0], faces[1], z, out=moved[planes].view(-1))


def _rimmed(volume: Tensor, fill: float, dtype: torch.dtype) -> Tensor:
    """The volume with one voxel of ``fill`` on every side, flat, and more of it at the end."""
    z, y, x = (n + 2 for n in volume.shape)
    flat = torch.full((z * y * x + y * x + x + 1,), fill, dtype=dtype)
    flat[: z * y * x].view(z, y, x)[1:-1, 1:-1, 1:-1] = volume
    return flat


def _flat(index: Tensor, rows: int, columns: int) -> Tensor:
    """Place in a rimmed volume of whole indices (3, n), which count without the rim."""
    z, y, x = index
    flat = x.add(y.add(z, alpha=rows), alpha=columns).add_((rows + 1) * columns + 1)
    return flat.to(torch.int32)
