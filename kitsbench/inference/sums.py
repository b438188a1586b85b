"""Weighted sums of tiles over a whole volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kitsbench.inference.tiles import tile_weight
from kitsbench.recipe import Inference
from kitsbench.spec import Head


class Sums:
    """The tiles of one head, added up, and the weights that they came with.

    Parameters
    ----------
    head : Head
    shape : sequence of int
        Of the volume on the head's grid, (z, y, x).
    rule : Inference
        How tiles are blended.
    home : torch.device
        Where the sums lie. They are float32 whatever the network computes in: of half precision,
        sums of eight tiles would lose what tells two labels apart.
    """

    def __init__(self, head: Head, shape: Sequence[int], rule: Inference, home: torch.device):
        self.head = head
        whole = (1, 1, 1) if head.kind == "scalar" else tuple(shape)
        self._total = torch.zeros(len(head.channels), *whole, device=home)
        self._weights = torch.zeros(1, *whole, device=home)
        self._rule, self._weight = rule, torch.empty(0, device=home)

    def add(self, values: Tensor, place: np.ndarray) -> None:
        """Add one tile, as far as it lies inside the volume.

        Parameters
        ----------
        values : Tensor (C, z, y, x)
            Probabilities, where the sums lie.
        place : ndarray (3,)
            Middle of the tile in voxels of the volume, where k + 0.5 is the middle of voxel k.
        """
        if self.head.kind == "scalar":
            self._total += values.view(-1, 1, 1, 1)
            self._weights += 1
            return
        for axis, step in enumerate(self.head.stride, start=1):
            if step > 1:
                # A coarse head speaks for every voxel that its own covers.
                values = _repeated(values, axis, step)
        edges = values.shape[1:]
        if self._weight.shape != edges:  # brought here once a scan, not once a tile
            self._weight = tile_weight(edges, self._rule).to(self._weight.device)
        corner = np.round(place - np.array(self.head.shape) * self.head.stride / 2).astype(int)
        inside, source = [slice(None)], [slice(None)]
        for start, edge, size in zip(corner.tolist(), edges, self._total.shape[1:], strict=True):
            low, high = max(start, 0), min(start + edge, size)
            # On another grid a tile may lie outside altogether.
            if low >= high:
                return
            inside.append(slice(low, high))
            source.append(slice(low - start, high - start))
        weight = self._weight[None]
        here, part = tuple(inside), weight[tuple(source)]
        self._total[here].add_(values[tuple(source)] * part)
        self._weights[here].add_(part)

    def mean(self) -> Tensor:
        """Weighted mean, (C, z, y, x), float32; it takes the place of the sums.

        Tiles cover the first grid. A head on another may have voxels that none of them reaches:
        they get 0, not NaN.
        """
        return self._total.div_(self._weights.clamp_min_(1e-12))


def _repeated(values: Tensor, axis: int, step: int) -> Tensor:
    """Each voxel ``step`` times along an axis."""
    shape = list(values.shape)
    return (
        values.unsqueeze(axis + 1)
        .expand(*shape[: axis + 1], step, *shape[axis + 1 :])
        .flatten(axis, axis + 1)
    )
