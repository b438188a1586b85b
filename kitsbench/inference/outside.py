"""What was cut off a scan before networks saw it is background on the scan's own voxels."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from kitsbench.spec import Head

# Voxels of the prepared grid from the middle of its first one to that of a voxel of the scan beyond
# which something was cut off: a grid of whole voxels ends up to a quarter before its scan.
REACH = 0.75


def with_background(
    found: Mapping[str, Tensor],
    affines: Mapping[str, np.ndarray],
    heads: Sequence[Head],
    native_affine: np.ndarray,
    shape: Sequence[int],
) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    """Lay a voxel of background on each side of the probabilities beyond which the scan goes on.

    Beyond a grid its nearest voxel counts, so that is what the rest of the scan then gets.

    Parameters
    ----------
    found : mapping
        {head: (C, z, y, x)}.
    affines : mapping
        {head: affine of the grid that its probabilities lie on}.
    heads : sequence of Head
    native_affine : ndarray
        Of the scan, for its axes as they are on disk.
    shape : sequence of int
        Of the scan on disk.

    Returns
    -------
    probabilities, affines : dict
        Those that were given, where nothing was cut off.
    """
    volumes, grids = dict(found), dict(affines)
    for head in heads:
        values, affine = found[head.name], affines[head.name]
        if head.kind == "scalar":
            continue
        before, after = _cut(values.shape[1:], affine, native_affine, shape)
        if not (before.any() or after.any()):
            continue
        # F.pad wants the last axis first.
        sides = [int(side) for axis in (2, 1, 0) for side in (before[axis], after[axis])]
        volumes[head.name] = F.pad(values, sides)
        if head.kind == "softmax":
            inside = F.pad(values.new_ones(values.shape[1:]), sides)
            for channel, labels in enumerate(head.channels):
                if 0 in labels:
                    volumes[head.name][channel].add_(1 - inside)
        grids[head.name] = affine.copy()
        grids[head.name][:3, 3] -= affine[:3, :3] @ before
    return volumes, grids


def _cut(
    size: Sequence[int], affine: np.ndarray, native_affine: np.ndarray, shape: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the scan goes on before and behind a grid along its axes, (3,) bool each."""
    corners = np.array([*itertools.product(*((0, edge - 1) for edge in shape))], float)
    to_prepared = np.linalg.inv(affine) @ native_affine
    places = corners @ to_prepared[:3, :3].T + to_prepared[:3, 3]
    return places.min(0) < -REACH, places.max(0) > np.array(size) - 1 + REACH
