"""Where the voxels of a patch come from, as small tables.

A position is a sum of a term for each axis and, where the patch is bent, of weighted control
points. The tables are made on the host; on a device they are summed elementwise. A matrix product
would have the precision that is set there: with TF32, one label in fifteen comes from another
voxel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Box:
    """Part of a source patch.

    Attributes
    ----------
    start, shape : tuple of int
        First voxel and size, (z, y, x).
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        """For the last three axes of an array."""
        return tuple(slice(s, s + n) for s, n in zip(self.start, self.shape, strict=True))


def middle_box(source: Sequence[int] | np.ndarray, shape: Sequence[int]) -> Box:
    """The middle of a source patch."""
    start = tuple((int(n) - int(m)) // 2 for n, m in zip(source, shape, strict=True))
    return Box(start, tuple(map(int, shape)))


def to_tensor(array: np.ndarray, kind: type = np.float64) -> Tensor:
    """A contiguous copy, or the array itself where it is one."""
    return torch.from_numpy(np.ascontiguousarray(array, dtype=kind))


@dataclass(frozen=True)
class Bend:
    """Displacements of an elastic deformation, in source voxels.

    Attributes
    ----------
    control : Tensor (3, z, cy, cx)
        Control points in y and x of each plane of the output.
    along_y, along_x : Tensor (y, cy) and (x, cx)
        Their weights.
    """

    control: Tensor
    along_y: Tensor
    along_x: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> Bend:
        """Change each table."""
        return Bend(change(self.control), change(self.along_y), change(self.along_x))


@dataclass(frozen=True)
class Path:
    """Positions in the source of all voxels of a patch, kept as small tables.

    Index 0 is the middle of the first voxel of the source patch.

    Attributes
    ----------
    by_z, by_y, by_x : Tensor (3, n)
        Terms of the affine part, float64.
    box : Box
        Source voxels that are touched.
    bend : Bend or None
    """

    by_z: Tensor
    by_y: Tensor
    by_x: Tensor
    box: Box
    bend: Bend | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the output."""
        return self.by_z.shape[1], self.by_y.shape[1], self.by_x.shape[1]

    def map(self, change: Callable[[Tensor], Tensor]) -> Path:
        """Change each table."""
        bend = self.bend and self.bend.map(change)
        return Path(change(self.by_z), change(self.by_y), change(self.by_x), self.box, bend)

    def positions(self, planes: slice = slice(None)) -> Tensor:
        """Indices in the source for some z of the output, (3, z, y, x), float32, on a CPU."""
        if self.bend is not None:
            left, right = self._factors
            return torch.from_numpy(left[:, planes] @ right)
        plane = (self.by_z[:, planes, None] + self.by_y[:, None]).float()
        return plane[..., None] + self.by_x.float()[:, None, None]

    @cached_property
    def _factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of a bent patch as a product, (3, z, y, k) and (3, 1, k, x).

        By numpy, whose products know no reduced precision; for a CPU one is much quicker than sums.
        """
        assert self.bend is not None
        bent = self.bend.along_y.numpy() @ self.bend.control.numpy()
        plane = (self.by_z[:, :, None] + self.by_y[:, None]).float().numpy()
        weights, last = self.bend.along_x.numpy().T, self.by_x.float().numpy()
        # The affine part goes with it: its terms in z and y times 1, and 1 times that in x.
        left = np.concatenate([bent, np.stack([plane, np.ones_like(plane)], -1)], -1)
        affine = np.stack([np.ones_like(last), last], 1)
        right = np.concatenate([np.broadcast_to(weights, (3, *weights.shape)), affine], 1)
        return left, right[:, None]

    def on_device(self) -> DevicePath:
        """The same for ``grid_sample`` on the box that is touched."""
        # It wants x first, and -1 and 1 at the outer edges of the volume.
        scale = 2 / np.array(self.box.shape, float)[:, None]
        shift = (1 - 2 * np.array(self.box.start, float)[:, None]) * scale / 2 - 1

        def turned(term: np.ndarray, kind: type = np.float64) -> Tensor:
            return to_tensor(np.moveaxis(term[::-1], 0, -1), kind)

        by_z, by_y, by_x = (term.numpy() * scale for term in (self.by_z, self.by_y, self.by_x))
        bend = self.bend
        if bend is not None:
            control = bend.control.numpy() * scale[..., None, None]
            bend = Bend(turned(control, np.float32), bend.along_y, bend.along_x)
        last = turned(by_x, np.float32)
        return DevicePath(turned(by_z + shift), turned(by_y), last, self.box, bend)


@dataclass(frozen=True)
class DevicePath:
    """Positions as ``grid_sample`` takes them, kept as small tables.

    Attributes
    ----------
    by_z, by_y, by_x : Tensor (n, 3)
        Terms of the affine part, float64 and the last one float32.
    box : Box
        Source voxels that are touched.
    bend : Bend or None
        Its control points (z, cy, cx, 3).
    begins : Tensor (z, y) or None
        Of voxels that come without the untouched part of each row of the box, see
        :mod:`~kitsbench.data.batches.rows`.
    """

    by_z: Tensor
    by_y: Tensor
    by_x: Tensor
    box: Box
    bend: Bend | None = None
    begins: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> DevicePath:
        """Change each table."""
        return replace(
            self,
            by_z=change(self.by_z),
            by_y=change(self.by_y),
            by_x=change(self.by_x),
            bend=self.bend and self.bend.map(change),
            begins=None if self.begins is None else change(self.begins),
        )

    def grid(self) -> Tensor:
        """Positions (z, y, x, 3), float32, by elementwise sums alone."""
        plane = (self.by_z[:, None] + self.by_y).float()
        where = plane[:, :, None] + self.by_x
        if self.bend is None:
            return where
        control, along_y, along_x = self.bend.control, self.bend.along_y, self.bend.along_x
        rows = control.new_zeros((len(control), len(along_y), *control.shape[2:]))
        for point in range(control.shape[1]):
            rows.addcmul_(control[:, None, point], along_y[:, point, None, None])
        for point in range(control.shape[2]):
            where.addcmul_(rows[:, :, point, None], along_x[:, point, None])
        return where
