"""Cleaning of whole label maps: parts for the hook ``postprocess`` of architectures.

Label maps are (z, y, x), uint8, 0 is background, the last axis runs from one side of the patient
to the other. Components are 26-connected. Nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Box = tuple[slice, ...]


def keep_largest(labels: Tensor, count: int) -> Tensor:
    """Remove all but the largest components of the foreground.

    Parameters
    ----------
    labels : Tensor
        (z, y, x); the foreground is every label above 0.
    count : int
        How many components stay; among equally large ones the first in memory order.

    Returns
    -------
    Tensor
        Labels, zero outside the components that stay.
    """
    values = labels.cpu().numpy()
    return _with_zeros(labels, (values > 0) & ~_largest(values > 0, count))


def keep_kidney_each_side(labels: Tensor, kidney: Sequence[int] = (1,)) -> Tensor:
    """Keep the largest kidney component left and the largest right of the volume's middle.

    The mask is cut at the mid-sagittal plane of the volume, so that a horseshoe kidney counts once
    on either side. With an odd number of sagittal slices the middle one belongs to the upper half.

    Parameters
    ----------
    labels : Tensor
        (z, y, x).
    kidney : sequence of int
        Labels whose components are meant; all others are left alone.

    Returns
    -------
    Tensor
        Labels without the smaller kidney components.
    """
    mask = np.isin(labels.cpu().numpy(), list(kidney))
    kept = np.zeros_like(mask)
    middle = mask.shape[2] // 2
    for half in (np.s_[..., :middle], np.s_[..., middle:]):
        kept[half] = _largest(mask[half], 1)
    return _with_zeros(labels, mask & ~kept)


def tumor_touching_kidney(
    labels: Tensor, tumor: Sequence[int] = (2,), kidney: Sequence[int] = (1,)
) -> Tensor:
    """Keep tumour components only where they touch a kidney.

    Parameters
    ----------
    labels : Tensor
        (z, y, x).
    tumor, kidney : sequence of int
        Labels of either; several tumour labels form components together.

    Returns
    -------
    Tensor
        Labels without the tumour components none of whose voxels has a kidney voxel among its 26
        neighbours.
    """
    values = labels.cpu().numpy()
    mask = np.isin(values, list(tumor))
    box = _box(mask, 1)
    if box is None:
        return labels.clone()
    inside = np.isin(values[box], list(kidney))
    components = _components(mask[box])
    touching = np.zeros(int(components.max()) + 1, dtype=bool)
    # The separable maximum over 3 voxels an axis is the dilation by all 26 neighbours.
    touching[components[_grown(inside)]] = True
    touching[0] = True
    drop = np.zeros_like(mask)
    drop[box] = ~touching[components]
    return _with_zeros(labels, drop)


def within_dilated(
    labels: Tensor,
    mask: Tensor,
    iterations: float,
    steps: Sequence[float] = (1.0, 1.0, 1.0),
) -> Tensor:
    """Remove labels outside a dilated mask.

    Parameters
    ----------
    labels : Tensor
        (z, y, x).
    mask : Tensor
        (z, y, x), bool.
    iterations : float
        Dilations by the 6 neighbours. The result is the set of voxels at a city-block distance of
        at most this from the mask.
    steps : sequence of float
        Cost of a step along each axis. With the spacing in mm, ``iterations`` is a length in mm:
        10 dilations at 1 mm mean the same for voxels of any shape.

    Returns
    -------
    Tensor
        Labels, zero where the mask is farther away.
    """
    values = labels.cpu().numpy()
    reach = [int(iterations / step) + 1 for step in steps]
    box = _box(values > 0, *reach)
    if box is None:
        return labels.clone()
    inside = mask.cpu().numpy()[box].astype(bool)
    # Exact city-block distance: along one axis after the other, each in both directions.
    distance = np.where(inside, 0.0, np.inf).astype(np.float32)
    for axis, step in enumerate(steps):
        shape = [1, 1, 1]
        shape[axis] = -1
        ramp = (np.arange(distance.shape[axis]) * step).astype(np.float32).reshape(shape)
        ahead = np.minimum.accumulate(distance - ramp, axis) + ramp
        turned = np.flip(distance, axis)
        behind = np.flip(np.minimum.accumulate(turned - ramp, axis) + ramp, axis)
        distance = np.minimum(ahead, behind)
    drop = values > 0
    drop[box] &= distance > iterations + 1e-3
    return _with_zeros(labels, drop)


def _with_zeros(labels: Tensor, drop: np.ndarray) -> Tensor:
    return labels.masked_fill(torch.from_numpy(drop).to(labels.device), 0)


def _box(mask: np.ndarray, *margin: int) -> Box | None:
    """Bounding box of a mask with a margin (one for all axes, or one each), or None if empty."""
    margins = margin * mask.ndim if len(margin) == 1 else margin
    box = []
    for axis, extra in zip(range(mask.ndim), margins, strict=True):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        found = np.flatnonzero(mask.any(axis=others))
        if not len(found):
            return None
        box.append(slice(max(int(found[0]) - extra, 0), int(found[-1]) + 1 + extra))
    return tuple(box)


def _components(mask: np.ndarray) -> np.ndarray:
    """Number the 26-connected components of a mask from 1."""
    import cc3d

    # A border of zeros: up to version 4.1 thin volumes of many components overflow a table there.
    bordered = np.pad(mask, 1)
    found = cc3d.connected_components(bordered, connectivity=26, binary_image=True)
    return found[1:-1, 1:-1, 1:-1]


def _largest(mask: np.ndarray, count: int) -> np.ndarray:
    """Mask of the ``count`` largest components of a mask."""
    kept = np.zeros_like(mask)
    box = _box(mask, 0)
    if box is None:
        return kept
    components = _components(mask[box])
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    stays = np.zeros(len(sizes), dtype=bool)
    stays[np.argsort(-sizes, kind="stable")[:count]] = True
    stays[0] = False
    kept[box] = stays[components]
    return kept


def _grown(mask: np.ndarray) -> np.ndarray:
    """Dilate a mask by one voxel in all 26 directions."""
    for axis in range(mask.ndim):
        grown = mask.copy()
        near, far = [slice(None)] * mask.ndim, [slice(None)] * mask.ndim
        near[axis], far[axis] = slice(None, -1), slice(1, None)
        grown[tuple(near)] |= mask[tuple(far)]
        grown[tuple(far)] |= mask[tuple(near)]
        mask = grown
    return mask
