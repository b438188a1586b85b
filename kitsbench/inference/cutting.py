"""The volumes of a scan on the device, and the tiles that are cut out of them there.

Tiles overlap, and a volume is HU of two bytes. So it goes to the device once, whole and as it is;
to cut and normalise tiles on the host would move each voxel several times, at twice the size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from kitsbench.channels import CT, Channel, Input
from kitsbench.data.channels.derived import number_at, outside_of
from kitsbench.data.channels.places import place_values
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
    inputs : sequence of Input
        Numbers that the network wants beside.
    """

    def __init__(
        self,
        volumes: Mapping[str, PreparedCase],
        grids: Sequence[Grid],
        window: tuple[float, float, float, float],
        device: torch.device,
        inputs: Sequence[Input] = (),
    ):
        self.volumes, self.grids, self.window, self.device = volumes, grids, window, device
        self.first, self.inputs = volumes[grids[0].name], inputs
        # Grids of equal spacing share one volume.
        shared: dict[int, Tensor] = {}
        self._stored: dict[tuple[str, str], Tensor] = {}
        for grid in grids:
            case = volumes[grid.name]
            for channel in grid.channels:
                if not channel.is_stored:
                    continue
                voxels = case.image if channel.is_ct else case.channels[channel.name]
                if id(voxels) not in shared:
                    shared[id(voxels)] = _upload(voxels, device)
                self._stored[grid.name, channel.name] = shared[id(voxels)]

    def tiles(self, centres: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Network inputs around some points.

        Parameters
        ----------
        centres : sequence of ndarray (3,)
            In voxels of the first grid's volume, where k + 0.5 is the middle of voxel k.

        Returns
        -------
        dict of str to Tensor
            {grid: (B, C, z, y, x)} and {input: (B, size)}, float32, on the device, equal to what
            the same patches are in training without augmentation. Outside the scan lies the lower
            end of the window.
        """
        _, _, shift, scale = self.window
        inputs = {}
        for grid in self.grids:
            shape, count = np.array(grid.shape), len(grid.channels)
            found = torch.empty((len(centres), count, *grid.shape), device=self.device)
            for tile, centre in zip(found, centres, strict=True):
                corner = place_on(self.volumes[grid.name], self.first, centre) - shape / 2
                # A fraction that comes from rounding would have every tile resampled.
                start = np.floor(corner + ROUNDING).astype(int)
                part = np.where(np.abs(corner - start) >= ROUNDING, corner - start, 0.0)
                for channel, voxels in zip(grid.channels, tile, strict=True):
                    self._fill(grid, channel, start, part, voxels)
            if grid.channels == CT:
                found.sub_(shift).mul_(scale)
            inputs[grid.name] = found
        for entry in self.inputs:
            values = np.stack([self._number(entry, centre) for centre in centres])
            inputs[entry.name] = torch.from_numpy(values).to(self.device)
        return inputs

    def _fill(
        self, grid: Grid, channel: Channel, start: np.ndarray, part: np.ndarray, voxels: Tensor
    ) -> None:
        """One channel of a tile that begins ``part`` of a voxel behind voxel ``start``."""
        low, high, shift, scale = self.window
        case = self.volumes[grid.name]
        if not channel.is_stored:
            index = []
            for axis, edge in enumerate(grid.shape):
                line = torch.arange(edge, dtype=torch.float32, device=self.device)
                line = line + float(start[axis] + part[axis])
                index.append(line.view([-1 if other == axis else 1 for other in range(3)]))
            voxels.copy_(place_values(channel, index, case.image.shape, case.spacing))
            return
        fill = outside_of(channel, low)
        voxels.fill_(fill)
        _copy_box(self._stored[grid.name, channel.name], start, voxels)
        if channel.source == "image":
            voxels.clamp_(low, high)
        for axis in (2, 1, 0):
            if part[axis]:
                _move(voxels, axis, float(part[axis]), fill)
        if channel.source == "image" and grid.channels != CT:
            voxels.sub_(shift).mul_(scale)

    def _number(self, entry: Input, centre: np.ndarray) -> np.ndarray:
        """Values of an input for the tile around a point."""
        case = self.volumes[entry.grid or self.grids[0].name]
        # Points count from the face of the first voxel, an input from its middle.
        return number_at(entry, case, case.spacing, place_on(case, self.first, centre) - 0.5)


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
