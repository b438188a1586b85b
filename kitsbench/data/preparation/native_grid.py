"""The way back: from the prepared grid to the voxels of the file on disk.

Preparation turns, flips and rescales axes but never mixes them, so that each axis maps by itself:
resampling back is separable whatever the orientation, even where the affine is sheared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kitsbench.scans.geometry import Axes, canonical_affine


@dataclass(frozen=True)
class NativeGrid:
    """Grid of a file, seen from the prepared grid.

    Attributes
    ----------
    shape : tuple of int
        Shape on disk.
    axes : Axes
        How the axes on disk become (z, y, x).
    scale, offset : tuple of float
        Along (z, y, x): ``native index = scale * prepared index + offset``, both in the canonical
        direction.
    """

    shape: tuple[int, int, int]
    axes: Axes
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]

    @classmethod
    def of(cls, native: Mapping[str, Any], prepared_affine: np.ndarray) -> NativeGrid:
        """Find the mapping between a file and its prepared grid.

        Parameters
        ----------
        native : mapping
            ``shape``, ``affine``, ``order`` and ``flipped`` of the file.
        prepared_affine : ndarray (4, 4)
            Affine of the prepared (z, y, x) array.

        Raises
        ------
        ValueError
            The two grids do not have parallel axes: one does not belong to the other.
        """
        i, j, k = (int(v) for v in native["shape"])
        order, flipped = native["order"], native["flipped"]
        axes = Axes((order[0], order[1], order[2]), (flipped[0], flipped[1], flipped[2]))
        canonical = canonical_affine(np.asarray(native["affine"]), (i, j, k), axes)
        mapping = np.linalg.inv(canonical) @ np.asarray(prepared_affine, dtype=np.float64)
        scale = np.diag(mapping)[:3]
        if not np.allclose(mapping[:3, :3], np.diag(scale), atol=1e-6):
            raise ValueError(
                "the prepared grid is turned against the file: they do not belong together"
            )
        offset = mapping[:3, 3]
        return cls(
            (i, j, k),
            axes,
            (float(scale[0]), float(scale[1]), float(scale[2])),
            (float(offset[0]), float(offset[1]), float(offset[2])),
        )

    @property
    def canonical_shape(self) -> tuple[int, int, int]:
        """Shape of the file's voxels as (z, y, x)."""
        z, y, x = (self.shape[k] for k in self.axes.order)
        return z, y, x

    @property
    def identical(self) -> bool:
        """Whether the prepared grid is the file's own, up to turning axes."""
        return np.allclose(self.scale, 1, atol=1e-6) and np.allclose(self.offset, 0, atol=1e-6)

    def positions(self, axis: int) -> np.ndarray:
        """Prepared index (float64) of every native voxel along axis 0 (z), 1 (y) or 2 (x).

        The values can lie up to half a prepared voxel outside the prepared grid; clamp them to
        the index range of the array when interpolating.
        """
        index = np.arange(self.canonical_shape[axis], dtype=np.float64)
        return (index - self.offset[axis]) / self.scale[axis]

    def to_disk(self, array: np.ndarray) -> np.ndarray:
        """Turn a native array with the axes (z, y, x) into the axes on disk (a view)."""
        return self.axes.from_zyx(array)

    def nearest(self, array: np.ndarray) -> np.ndarray:
        """Sample a prepared (z, y, x) array at the voxels of the file, nearest neighbour.

        Returns
        -------
        ndarray
            Axes and shape as on disk.
        """
        picks = []
        for axis in range(3):
            index = np.floor(self.positions(axis) + 0.5).astype(np.intp)
            picks.append(np.clip(index, 0, array.shape[axis] - 1))
        return self.to_disk(array[np.ix_(*picks)])
