"""Taking the voxels of a patch from where they come from.

On a CPU the voxels are gathered by flat indices, which is several times faster than ``grid_sample``
there and gives the same numbers; on other devices ``grid_sample`` does it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kitsbench.data.batches.paths import DevicePath, Path
from kitsbench.data.batches.rows import put_back

CHUNK = 65536  # voxels that a CPU resamples at a time


def resample(
    image: Tensor,
    label: Tensor,
    path: Path | DevicePath,
    clip: tuple[float, float],
    into: tuple[Tensor, Tensor],
) -> None:
    """Clip an image and interpolate it linearly; labels are those of the nearest voxel.

    Parameters
    ----------
    image : Tensor (z, y, x)
        HU, of the box that the path touches; flat, where the path says that only its rows came.
    label : Tensor (z, y, x)
        uint8.
    path : Path or DevicePath
        The latter for any device but a CPU.
    clip : (float, float)
        In HU. Outside the source lies the lower value, and label 0.
    into : tuple of Tensor (z', y', x')
        Where the image, float32 in HU, and the labels are put.
    """
    low, high = clip
    if isinstance(path, Path):
        _gather(image, label, path, *into, low, clip)
        return
    if path.begins is not None:
        image, label = put_back(path.begins, path.box.shape[2], image, label)
    where = path.grid()[None]
    # It pads with 0, so HU are counted from the lower value: what lies outside gets that one. A
    # copy, since the image is int16 or somebody's; so clamping in place leaves the batch alone.
    above = image.to(torch.float32, copy=True).clamp_(low, high).sub_(low)
    moved = F.grid_sample(above[None, None], where, "bilinear", "zeros", align_corners=False)
    torch.add(moved[0, 0], low, out=into[0])
    marks = label[None, None].float()
    into[1].copy_(F.grid_sample(marks, where, "nearest", "zeros", align_corners=False)[0, 0])


def resample_volume(
    volume: Tensor,
    path: Path | DevicePath,
    fill: float,
    clip: tuple[float, float],
    into: Tensor,
) -> None:
    """Clip a volume and interpolate it linearly, as :func:`resample` does with an image.

    Parameters
    ----------
    volume : Tensor (z, y, x)
        Of the box that the path touches; flat, where the path says that only its rows came.
    path : Path or DevicePath
        The latter for any device but a CPU.
    fill : float
        What lies outside the source.
    clip : (float, float)
        May be infinite.
    into : Tensor (z', y', x')
        float32.
    """
    if isinstance(path, Path):
        _gather(volume, None, path, into, None, fill, clip)
        return
    if path.begins is not None:
        (volume,) = put_back(path.begins, path.box.shape[2], volume)
    above = volume.to(torch.float32, copy=True).clamp_(*clip).sub_(fill)
    where = path.grid()[None]
    moved = F.grid_sample(above[None, None], where, "bilinear", "zeros", align_corners=False)
    torch.add(moved[0, 0], fill, out=into)


def _gather(
    image: Tensor,
    label: Tensor | None,
    path: Path,
    moved: Tensor,
    nearest: Tensor | None,
    fill: float,
    clip: tuple[float, float],
) -> None:
    """Resample one sample on a CPU into ``moved`` and, where there are labels, ``nearest``.

    A few planes at a time, so that they stay in the cache.
    """
    pixels = _rimmed(image, fill, torch.float32).clamp_(*clip)
    marks = None if label is None else _rimmed(label, 0, label.dtype)
    _, rows, columns = (n + 2 for n in image.shape)
    start = path.box.start
    # Whole numbers up to 2^24 are exact in float32. Positions count from the source patch's first
    # voxel, so that a smaller box leaves their every bit as it is.
    ends = [s + n + 2 for s, n in zip(start, image.shape, strict=True)]
    exact = torch.float32 if (ends[0] * rows + ends[1]) * columns < 2**23 else torch.int32
    first_of_box = ((1 - start[0]) * rows + 1 - start[1]) * columns + 1 - start[2]
    depth, *face = moved.shape
    step = max(1, CHUNK // math.prod(face))
    for first in range(0, depth, step):
        planes = slice(first, first + step)
        where = path.positions(planes).view(3, -1)
        for axis, edge, n in zip(where, start, image.shape, strict=True):
            axis.clamp_(edge - 1, edge + n)  # the rim is as far out as anything differs
        # A half goes to the even voxel, as in grid_sample.
        if marks is not None and nearest is not None:
            index = _flat(where.round().to(exact), rows, columns, first_of_box)
            torch.index_select(marks, 0, index, out=nearest[planes].view(-1))
        corner = where.floor()
        z, y, x = where.sub_(corner)
        index = _flat(corner.to(exact), rows, columns, first_of_box)
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


def _flat(index: Tensor, rows: int, columns: int, first: int) -> Tensor:
    """Place in a rimmed volume of whole indices (3, n); ``first`` is that of index 0."""
    z, y, x = index
    flat = x.add(y.add(z, alpha=rows), alpha=columns).add_(first)
    return flat.to(torch.int32)
