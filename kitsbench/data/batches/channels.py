"""The channels and numbers of a patch, as augmentation moves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kitsbench.channels import Channel, Input
from kitsbench.data.batches.intensity import Change
from kitsbench.data.batches.paths import Path
from kitsbench.data.batches.prepared import Course, Sample
from kitsbench.data.batches.resampling import resample, resample_volume
from kitsbench.data.channels.derived import number_at, outside_of
from kitsbench.data.channels.places import place_values
from kitsbench.data.preparation.store import PreparedCase
from kitsbench.errors import ContractError
from kitsbench.spec import Grid

EVERYTHING = (-float("inf"), float("inf"))
# Noise of two channels has nothing in common; a seed has 53 bits.
_APART, _SEEDS = 0x9E3779B97F4A7, 2**53


def stored_channels(grid: Grid) -> tuple[Channel, ...]:
    """Channels of a grid whose voxels are read beside those of the CT, in order."""
    return tuple(channel for channel in grid.channels if channel.is_stored and not channel.is_ct)


def image_channels(grid: Grid) -> tuple[int, ...]:
    """Places of the channels that hold intensities, which changes of intensity touch."""
    return tuple(k for k, channel in enumerate(grid.channels) if channel.source == "image")


def change_of(change: Change, place: int) -> Change:
    """A change of intensity as it acts on one of a grid's images."""
    # All numbers but the noise are one for all phases: they show one scan, and a network may
    # compare them.
    return replace(change, seed=(change.seed + place * _APART) % _SEEDS) if place else change


def placed(samples: Sequence[Sample], grid: Grid, window: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Channels and labels of a grid that has more channels than the CT, moved and normalised.

    Parameters
    ----------
    samples : sequence of Sample
    grid : Grid
    window : sequence of float
        ``low, high, shift, scale`` of images.

    Returns
    -------
    images : Tensor (B, C, z, y, x)
        float32.
    labels : Tensor (B, z, y, x)
    """
    device = samples[0].image.device
    kind = samples[0].label.dtype if device.type == "cpu" else torch.int64
    images = torch.empty((len(samples), len(grid.channels), *grid.shape), device=device)
    labels = torch.empty((len(samples), *grid.shape), dtype=kind, device=device)
    for sample, channels, marks in zip(samples, images, labels, strict=True):
        _fill(sample, grid, channels, marks, window)
    return images, labels


def _fill(
    sample: Sample, grid: Grid, channels: Tensor, marks: Tensor, window: Sequence[float]
) -> None:
    """Put one sample's channels (C, z, y, x) and labels (z, y, x) where they belong."""
    low, high, shift, scale = window
    course, stored = sample.course, stored_channels(grid)
    if sample.place is None or len(sample.more) != len(stored):
        raise ContractError(
            f"grid '{grid.name}' has channels beside the CT, which this source of batches does not "
            "cut: transforms from outside (torchio's, MONAI's, functions) are given the CT alone. "
            "Leave them out of the recipe."
        )
    more = {channel.name: volume for channel, volume in zip(stored, sample.more, strict=True)}
    axes = [axis for axis in range(3) if course.flips[axis]]
    if course.path is None:
        marks.copy_(sample.label.flip(axes) if axes else sample.label)
    else:
        # Labels move with the CT, also where the network does not see it.
        seen = next((k for k, channel in enumerate(grid.channels) if channel.is_ct), None)
        moved = torch.empty_like(channels[0]) if seen is None else channels[seen]
        resample(sample.image, sample.label, course.path, (low, high), (moved, marks))
    index: tuple[Tensor, ...] | None = None
    for channel, out in zip(grid.channels, channels, strict=True):
        if not channel.is_stored:
            index = index or voxel_index(sample, grid.shape)
            out.copy_(place_values(channel, index, sample.place.shape, sample.place.spacing))
            continue
        clip = (low, high) if channel.source == "image" else EVERYTHING
        if course.path is None:
            volume = sample.image if channel.is_ct else more[channel.name]
            out.copy_(volume.flip(axes) if axes else volume).clamp_(*clip)
        elif not channel.is_ct:
            fill = outside_of(channel, low)
            resample_volume(more[channel.name], course.path, fill, clip, out)
        if channel.source == "image":
            out.sub_(shift).mul_(scale)


def voxel_index(sample: Sample, shape: Sequence[int]) -> tuple[Tensor, ...]:
    """Where in the scan each voxel of a patch comes from, along z, y and x.

    Returns
    -------
    tuple of Tensor
        In voxels of the scan, where k is the middle of voxel k; they broadcast to ``shape``.
    """
    assert sample.place is not None
    course, device = sample.course, sample.image.device
    path, box = course.path, course.box
    if path is None:
        lines = []
        for axis, edge in enumerate(shape):
            first = sample.place.start[axis] + box.start[axis]
            line = torch.arange(edge, dtype=torch.float32, device=device) + first
            line = line.flip(0) if course.flips[axis] else line
            lines.append(line.view([-1 if other == axis else 1 for other in range(3)]))
        return tuple(lines)
    if isinstance(path, Path):
        found = list(path.positions())
        begin = sample.place.start
    else:
        # As grid_sample takes them: x first, -1 and 1 at the outer faces of the box.
        unit = path.grid()
        found = [((unit[..., 2 - a] + 1) * n - 1) / 2 for a, n in enumerate(box.shape)]
        begin = tuple(s + b for s, b in zip(sample.place.start, box.start, strict=True))
    return tuple(own + first for own, first in zip(found, begin, strict=True))


@dataclass(frozen=True)
class Numbers:
    """The inputs of a spec, for patches as they are cut.

    Attributes
    ----------
    inputs : tuple of Input
    grids : tuple of Grid
    """

    inputs: tuple[Input, ...]
    grids: tuple[Grid, ...]

    def of(
        self,
        cases: Mapping[str, PreparedCase],
        starts: Mapping[str, Sequence[int] | np.ndarray],
        courses: Mapping[str, Course],
    ) -> dict[str, np.ndarray]:
        """Values of one sample, {input: (size,)}.

        Parameters
        ----------
        cases : mapping of str to PreparedCase
            {grid: its volume}.
        starts : mapping
            {grid: first voxel of the source patch}.
        courses : mapping of str to Course
            {grid: what augmentation does}; its path is one of the host.
        """
        found, shapes = {}, {grid.name: grid.shape for grid in self.grids}
        for entry in self.inputs:
            grid = entry.grid or self.grids[0].name
            case = cases[grid]
            step, middle = _seen(courses[grid], case.spacing, shapes[grid])
            found[entry.name] = number_at(entry, case, step, np.asarray(starts[grid]) + middle)
        return found


def _seen(
    course: Course, spacing: Sequence[float], shape: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Steps of a patch in mm, and its middle in voxels of the source patch."""
    edges, path = np.array(spacing, float), course.path
    if path is None:
        return edges, np.array(course.box.start) + (np.array(shape) - 1) / 2
    terms = [term.numpy() for term in (path.by_z, path.by_y, path.by_x)]
    steps = [
        np.linalg.norm((term[:, -1] - term[:, 0]) / (term.shape[1] - 1) * edges)
        if term.shape[1] > 1
        else edges[axis]
        for axis, term in enumerate(terms)
    ]
    return np.array(steps), np.sum([(term[:, 0] + term[:, -1]) / 2 for term in terms], 0)
