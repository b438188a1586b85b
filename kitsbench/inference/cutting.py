"""The volumes of a scan on the device, and the tiles that are cut out of them there.

Tiles overlap, and a volume is HU of two bytes. So it goes to the device once, whole and as it is;
to cut and normalise tiles on the host would move each voxel several times, at twice the size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from kitsbench.data.preparation.store import PreparedCase
from kitsbench.inference.native import slabs
from kitsbench.inference.tiles import place_on
from kitsbench.spec import Grid

PIECE = 2**23  # voxels that are uploaded at once
ROUNDING = 1e-4  # voxels by which two affines that mean one grid may differ


class DeviceScan:
    """The prepared volumes of one scan, one a grid, on a device.

    Parameters
    ----------
    volumes : mapping of str to PreparedCase
        {grid: the scan prepared at that grid's spacing}.
    grids : sequence of Grid
        What the network wants; the first one's volume is what tiles are placed in.
    window : (float, float, float, float)
        ``low, high, shift, scale``: HU are clipped to the first two; then ``(HU - shift) * scale``.
    device : torch.device
    """

    def __init__(
        self,
        volumes: Mapping[str, PreparedCase],
        grids: Sequence[Grid],
        window: tuple[float, float, float, float],
        device: torch.device,
    ):
        self.volumes, self.grids, self.window, self.device = volumes, grids, window, device
        self.first = volumes[grids[0].name]
        # Grids of equal spacing share one volume.
        shared: dict[int, Tensor] = {}
        self._images: dict[str, Tensor] = {}
        for grid in grids:
            case = volumes[grid.name]
            if id(case) not in shared:
                shared[id(case)] = _upload(case.image, device)
            self._images[grid.name] = shared[id(case)]

    def tiles(self, centres: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Network inputs around some points.

        Parameters
        ----------
        centres : sequence of ndarray (3,)
            In voxels of the first grid's volume, where k + 0.5 is the middle of voxel k.

        Returns
        -------
        dict of str to Tensor
            {grid: (B, 1, z, y, x), float32, on the device}, equal to what the same patches are in
            training without augmentation. Outside the scan lies the lower end of the window.
        """
        low, high, shift, scale = self.window
        inputs = {}
        for grid in self.grids:
            image, shape = self._images[grid.name], np.array(grid.shape)
            found = torch.full((len(centres), 1, *grid.shape), low, device=self.device)
            for tile, centre in zip(found[:, 0], centres, strict=True):
                corner = place_on(self.volumes[grid.name], self.first, centre) - shape / 2
                # A fraction that comes from rounding would have every tile resampled.
                start = np.floor(corner + ROUNDING).astype(int)
                _copy_box(image, start, tile)
                tile.clamp_(low, high)
                part = corner - start
                for axis in (2, 1, 0):
                    if abs(part[axis]) >= ROUNDING:
                        _move(tile, axis, float(part[axis]), low)
            inputs[grid.name] = found.sub_(shift).mul_(scale)
        return inputs


def _upload(image: np.ndarray, device: torch.device) -> Tensor:
    """Copy a volume, which may be a mapped file that only allows reading, to a device."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return torch.from_numpy(np.array(image)).to(device)
    # From page-locked memory it travels several times as fast. In pieces, so that one is copied
    # there while the one before travels, and little of such memory is taken.
    found = torch.from_numpy(np.empty(0, image.dtype)).new_empty(image.shape, device=device)
    for first, last in slabs(image.shape, PIECE):
        piece = torch.empty(found[first:last].shape, dtype=found.dtype, pin_memory=True)
        np.copyto(piece.numpy(), image[first:last])
        found[first:last].copy_(piece, non_blocking=True)
    return found


def _copy_box(volume: Tensor, start: np.ndarray, box: Tensor) -> None:
    """Copy the part of a volume that lies in a box into the box; the rest of it stays."""
    source, target = [], []
    for first, edge, size in zip(start.tolist(), box.shape, volume.shape, strict=True):
        low, high = max(first, 0), min(first + edge, size)
        if low >= high:  # on another grid a tile may lie outside altogether
            return
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
    box[tuple(target)] = volume[tuple(source)]


def _move(tile: Tensor, axis: int, part: float, fill: float) -> None:
    """Move a tile's content back by a part of a voxel, linearly; beyond its end lies ``fill``."""
    edge = tile.shape[axis]
    beyond = torch.full_like(tile.narrow(axis, 0, 1), fill)
    following = torch.cat([tile.narrow(axis, 1, edge - 1), beyond], axis)
    tile.lerp_(following, part)
