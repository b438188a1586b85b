"""A tilted patch touches half of the box around it: only the touched part of each row travels.

The host cuts the rows out of the box and lays them behind each other; the device puts them back.
What lies between them there has no meaning, since nothing is taken from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kitsbench.data.batches.paths import Path, to_tensor

WORTH = 0.9  # share of the box above which it travels as it is
SLACK = 1.001  # a position touches voxels less than one away, and is rounded


@dataclass(frozen=True)
class Rows:
    """Which voxels of a box are touched.

    Attributes
    ----------
    first, last : ndarray of int (z, y)
        Of each row; ``last`` is not touched any more.
    length : int
        Of a row of the box.
    """

    first: np.ndarray
    last: np.ndarray
    length: int

    @property
    def count(self) -> int:
        """How many voxels that are."""
        return int((self.last - self.first).sum())

    def cut(self, *boxes: Tensor) -> list[Tensor]:
        """The touched voxels of boxes (z, y, x), one row behind the other."""
        # Short numbers are compared several times as quickly.
        first, last = (ends.astype(np.int16)[..., None] for ends in (self.first, self.last))
        x = np.arange(self.length, dtype=np.int16)
        inside = (x >= first) & (x < last)
        return [torch.from_numpy(box.numpy()[inside]) for box in boxes]

    def begins(self) -> Tensor:
        """Where the first voxel of each row would lie among those cut, (z, y), int32."""
        ends = np.cumsum(self.last - self.first).reshape(self.first.shape)
        return to_tensor(ends - self.last, np.int32)


def touched_rows(path: Path) -> Rows | None:
    """The voxels that a path touches; None where that is about all of its box."""
    terms = [term.numpy() for term in (path.by_z, path.by_y, path.by_x)]
    if min(path.shape) < 2:
        return None
    # Which place of the output shows a point of the source: the affine part the other way round.
    steps = np.stack([(t[:, -1] - t[:, 0]) / (t.shape[1] - 1) for t in terms], 1)
    middle = np.sum([(t[:, 0] + t[:, -1]) / 2 for t in terms], 0)
    back = np.linalg.inv(steps)
    # A voxel is touched if a point less than one away from it, along each axis, lies in the output.
    reach = (np.array(path.shape) - 1) / 2 + SLACK * np.abs(back).sum(1)
    if path.bend is not None:
        # A spline stays within its control points; so far at most does it reach beyond the output.
        bent = np.tensordot(back, path.bend.control.numpy().astype(float), 1)
        reach += np.abs(bent).reshape(3, -1).max(1)
    z, y, x = (
        np.arange(n) + start - m
        for n, start, m in zip(path.box.shape, path.box.start, middle, strict=True)
    )
    low = np.full((len(z), len(y)), x[0])
    high = np.full((len(z), len(y)), x[-1])
    for (by_z, by_y, by_x), far in zip(back, reach, strict=True):
        # |at + by_x * x| <= far is an interval of x in each row.
        at = by_z * z[:, None] + by_y * y
        if abs(by_x) < 1e-9:
            high = np.where(np.abs(at) > far + 1e-6 * len(x), x[0] - 1, high)
            continue
        one, other = (-far - at) / by_x, (far - at) / by_x
        low = np.maximum(low, np.minimum(one, other))
        high = np.minimum(high, np.maximum(one, other))
    first = np.clip(np.ceil(low - x[0]), 0, len(x)).astype(int)
    last = np.clip(np.floor(high - x[0]) + 1, first, len(x)).astype(int)
    rows = Rows(first, last, len(x))
    return rows if 0 < rows.count <= WORTH * first.size * len(x) else None


def put_back(begins: Tensor, length: int, *parts: Tensor) -> list[Tensor]:
    """Boxes (z, y, x) of the rows that were cut out of them, on any device."""
    index = begins[..., None] + torch.arange(length, dtype=torch.int32, device=begins.device)
    # Beside a row lie voxels of others; before the first and after the last, nothing.
    flat = index.clamp_(0, parts[0].numel() - 1).view(-1)
    return [part.index_select(0, flat).view(index.shape) for part in parts]
