"""From probabilities on the prepared grid to a label map on the scan's own voxels.

The native volume is filled slab by slab: a KiTS scan has up to 278 million voxels, and a
probability for each class of each voxel would not fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kitsbench.inference.landing import fetch

SLAB_VOXELS = 4_000_000


def slabs(shape: Sequence[int], voxels: int = SLAB_VOXELS) -> Iterator[tuple[int, int]]:
    """Ranges of the first axis that hold about ``voxels`` each."""
    depth = max(1, voxels // max(shape[1] * shape[2], 1))
    for start in range(0, shape[0], depth):
        yield start, min(start + depth, shape[0])


def sample_native(
    volume: Tensor, to_prepared: np.ndarray, shape: Sequence[int], rows: tuple[int, int]
) -> Tensor:
    """Sample a prepared volume at the voxels of a slab of the native grid, trilinearly.

    Parameters
    ----------
    volume : Tensor
        (C, z, y, x) on the prepared grid; it is sampled where it lies.
    to_prepared : ndarray
        4 x 4, native index -> prepared index (z, y, x).
    shape : sequence of int
        Native shape in the file's axis order.
    rows : (int, int)
        Range of the first native axis.

    Returns
    -------
    Tensor
        (C, rows, n1, n2). Beyond the prepared grid its nearest voxel counts.
    """
    extents = (range(*rows), range(shape[1]), range(shape[2]))
    linear = to_prepared[:3, :3]
    # The prepared grid nearly always follows the scan's axes. Then they are sampled one by one,
    # which takes a fraction of the time; what is off the axes may be a thousandth of a voxel.
    main = np.abs(linear).argmax(1)
    scale = np.abs(linear).max(1)
    off_axis = np.abs(linear).sum(1) - scale
    if sorted(main) == [0, 1, 2] and (off_axis * np.max(shape) < 1e-3).all():
        return _separable(volume, linear, to_prepared[:3, 3], main, extents)
    # In double: an index times a matrix, and a difference of such, loses places in single.
    kind, home = torch.float64, volume.device
    axes = [torch.arange(e.start, e.stop, dtype=kind, device=home) for e in extents]
    voxels = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    matrix = torch.from_numpy(np.ascontiguousarray(to_prepared)).to(home)
    index = voxels @ matrix[:3, :3].T + matrix[:3, 3]
    edges = torch.tensor(volume.shape[1:], dtype=kind, device=home)
    unit = ((2 * index + 1) / edges - 1).flip(-1).float()
    return F.grid_sample(volume[None], unit[None], "bilinear", "border", align_corners=False)[0]


def _separable(
    volume: Tensor,
    linear: np.ndarray,
    shift: np.ndarray,
    main: np.ndarray,
    extents: Sequence[range],
) -> Tensor:
    """Trilinear sampling where each prepared axis follows one native axis."""

    def there(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(volume.device, non_blocking=True)

    # The slab axis first: it shrinks the volume before the others enlarge it.
    for axis in sorted(range(3), key=lambda a: main[a]):
        extent = extents[main[axis]]
        place = linear[axis, main[axis]] * np.arange(extent.start, extent.stop) + shift[axis]
        size = volume.shape[axis + 1]
        # Beyond the grid its nearest voxel counts, as for grid_sample's border.
        place = np.clip(place, 0, size - 1)
        if (place == np.rint(place)).all():
            # On whole voxels there is nothing between two of them, as where no resampling was done.
            index = place.astype(np.int64)
            if not np.array_equal(index, np.arange(size)):
                volume = volume.index_select(axis + 1, there(index))
            continue
        # The last voxel is the right neighbour with weight 1, so that there is always a right one.
        low = np.minimum(np.floor(place).astype(np.int64), max(size - 2, 0))
        part = there((place - low).astype(np.float32))
        view = [1, 1, 1, 1]
        view[axis + 1] = len(place)
        below = volume.index_select(axis + 1, there(low))
        above = volume.index_select(axis + 1, there(np.minimum(low + 1, size - 1)))
        volume = torch.lerp(below, above, part.view(view))
    order = np.argsort(main)
    return volume.permute(0, *(int(a) + 1 for a in order))


def decide_native(
    members: Sequence[Mapping[str, Tensor]],
    affines: Sequence[Mapping[str, np.ndarray]],
    native_affine: np.ndarray,
    shape: Sequence[int],
    decide: Callable[[list[dict[str, Tensor]]], Tensor],
) -> np.ndarray:
    """Decide the label of every native voxel.

    Parameters and result as of :func:`native_labels`; an array on the host.
    """
    return fetch(native_labels(members, affines, native_affine, shape, decide)).numpy()


def native_labels(
    members: Sequence[Mapping[str, Tensor]],
    affines: Sequence[Mapping[str, np.ndarray]],
    native_affine: np.ndarray,
    shape: Sequence[int],
    decide: Callable[[list[dict[str, Tensor]]], Tensor],
) -> Tensor:
    """Decide the label of every native voxel, where the probabilities lie.

    Parameters
    ----------
    members : sequence of mapping
        {head: (C, z, y, x)} of each network, all on one device; one unless it is an ensemble.
    affines : sequence of mapping
        {head: affine of the grid that its probabilities lie on}, for each member.
    native_affine : ndarray
        Of the scan, for its axes as they are on disk.
    shape : sequence of int
        Of the scan on disk.
    decide : callable
        Takes [{head: (C, n0, n1, n2)} of each member] and returns labels (n0, n1, n2), uint8.

    Returns
    -------
    Tensor
        Label map, uint8, in the axis order of the scan on disk.
    """
    home = next(iter(members[0].values())).device
    labels = torch.empty(tuple(shape), dtype=torch.uint8, device=home)
    maps = [
        {head: np.linalg.inv(affine) @ native_affine for head, affine in member.items()}
        for member in affines
    ]
    for rows in slabs(shape):
        sampled = [
            {
                head: values
                # A scalar head says one thing about the whole scan; there is nothing to sample.
                if values.shape[1:] == (1, 1, 1)
                else sample_native(values, maps[index][head], shape, rows)
                for head, values in member.items()
            }
            for index, member in enumerate(members)
        ]
        labels[rows[0] : rows[1]] = decide(sampled)
    return labels


def maps_on_native(
    found: Mapping[str, Tensor],
    affines: Mapping[str, np.ndarray],
    native_affine: np.ndarray,
    shape: Sequence[int],
) -> dict[str, Tensor]:
    """Probabilities of some heads on every native voxel, {head: (C, n0, n1, n2)}, on the CPU.

    Parameters as of :func:`decide_native`, for one network.
    """
    maps = {}
    for head, values in found.items():
        to_prepared = np.linalg.inv(affines[head]) @ native_affine
        maps[head] = torch.empty(values.shape[0], *shape)
        for rows in slabs(shape):
            maps[head][:, rows[0] : rows[1]] = sample_native(values, to_prepared, shape, rows)
    return maps


def nearest_native(labels: Tensor, to_prepared: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Label of the nearest prepared voxel for every native voxel; same arguments as above."""
    source = labels.cpu().numpy()
    linear, shift = to_prepared[:3, :3], to_prepared[:3, 3]
    limits = np.array(source.shape) - 1
    main = np.abs(linear).argmax(1)
    if sorted(main) == [0, 1, 2] and np.count_nonzero(linear) == 3:
        # Each prepared axis follows one native axis: a table each, instead of every voxel's place.
        for axis, native in enumerate(main):
            place = np.rint(linear[axis, native] * np.arange(shape[native]) + shift[axis])
            index = np.clip(place.astype(np.int64), 0, limits[axis])
            source = np.take(source, index, axis)
        return np.ascontiguousarray(source.transpose(np.argsort(main)))
    result = np.empty(tuple(shape), dtype=np.uint8)
    for rows in slabs(shape):
        axes = [np.arange(*rows), np.arange(shape[1]), np.arange(shape[2])]
        voxels = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
        index = np.rint(voxels @ linear.T + shift).astype(np.int64)
        # The prepared grid may end a fraction of a voxel before the scan does.
        index = np.clip(index, 0, limits)
        result[rows[0] : rows[1]] = source[index[..., 0], index[..., 1], index[..., 2]]
    return result
