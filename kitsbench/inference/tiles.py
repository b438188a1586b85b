"""Where tiles lie in a volume and how much each of their voxels counts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from kitsbench.data.preparation.store import PreparedCase
from kitsbench.recipe import Inference
from kitsbench.spec import Spec

TILE_VOXELS = 2**18  # of the tiles that a CPU takes at once
# Of those that a GPU takes at once, if it has so much memory; with less, in proportion. More do not
# fill it better: four tiles of 128^3 do.
DEVICE_VOXELS = 2**23
DEVICE_MEMORY = 16 * 2**30


def tile_starts(size: int, tile: int, overlap: float) -> list[int]:
    """First voxels of the tiles along one axis: evenly spread, the whole axis covered.

    Parameters
    ----------
    size, tile : int
        Voxels of the volume and of a tile's output.
    overlap : float
        Least share of a tile that its neighbour covers again.

    Returns
    -------
    list of int
        A single, negative start (a centred tile) where the tile is larger than the volume.
    """
    if size <= tile:
        return [-((tile - size) // 2)]
    step = max(1, math.floor(tile * (1 - overlap)))
    count = math.ceil((size - tile) / step) + 1
    return [round(k * (size - tile) / (count - 1)) for k in range(count)]


def tile_corners(
    shape: Sequence[int], tile: Sequence[int], overlap: float
) -> list[tuple[int, int, int]]:
    """Corners of all tiles of a volume, (z, y, x)."""
    z, y, x = (tile_starts(n, t, overlap) for n, t in zip(shape, tile, strict=True))
    return list(itertools.product(z, y, x))


def tile_weight(tile: Sequence[int], rule: Inference) -> Tensor:
    """Weight of each voxel of a tile, (z, y, x), at most 1 and never 0.

    It is kept for the next tile of that shape, so it must not be changed in place.
    """
    return torch.from_numpy(_weight(tuple(int(edge) for edge in tile), rule.blend, rule.sigma))


@lru_cache(maxsize=8)
def _weight(tile: tuple[int, ...], blend: str, sigma: float) -> np.ndarray:
    if blend == "uniform":
        return np.ones(tile, dtype=np.float32)
    curves = []
    for edge in tile:
        place = np.arange(edge) - (edge - 1) / 2
        curves.append(np.exp(-0.5 * (place / max(sigma * edge, 1e-3)) ** 2))
    weight = np.einsum("i,j,k->ijk", *curves)
    return np.maximum(weight / weight.max(), 1e-6).astype(np.float32)


def place_on(case: PreparedCase, first: PreparedCase, centre: np.ndarray) -> np.ndarray:
    """The point of a volume that a point of the first grid's volume is.

    By the rule by which patches are cut, or probabilities would lie beside what they belong to.

    Parameters
    ----------
    case, first : PreparedCase
        The volume, and that of the first grid.
    centre : ndarray (3,)
        In voxels of ``first``, where k + 0.5 is the middle of voxel k.

    Returns
    -------
    ndarray (3,)
        In voxels of ``case``, counted alike.
    """
    if case is first:
        return np.asarray(centre, dtype=float)
    # Affines lead to the middle of voxel k from k, which is k + 0.5 here.
    point = first.affine @ np.append(centre - 0.5, 1.0)
    return np.asarray((np.linalg.inv(case.affine) @ point)[:3] + 0.5)


def tiles_at_once(spec: Spec, device: torch.device) -> int:
    """Tiles of one forward pass, by the patch and the device alone: other parts round otherwise.

    So a prediction is the same on a CPU with more memory, and on any device of one kind however
    much of it is free.
    """
    voxels = sum(math.prod(grid.shape) for grid in spec.grids)
    if device.type == "cuda":
        # All memory of the device, not what is free of it, which depends on who else is there.
        memory = torch.cuda.get_device_properties(device).total_memory
        room = int(DEVICE_VOXELS * min(memory / DEVICE_MEMORY, 1))
        return min(max(room // max(voxels, 1), 1), 32)
    # Of small patches many, since much of a pass of few is overhead.
    return min(max(TILE_VOXELS // max(voxels, 1), 2), 8)
