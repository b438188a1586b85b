"""Augmentation of a whole batch on the device, with parameters drawn per sample.

One resampling pass does rotation, zoom, translation, elastic deformation and mirroring, for all
grids with the same physical transform (image trilinear, labels nearest); changes of intensity
follow, in the order of the recipe. All parameters come from the counter-based generator, so the
augmentation of a step is a pure function of (seed, step).

It has two halves. The host half (:meth:`Augmenter.plan`, :meth:`Augmenter.prepare`) draws and
computes all that is small, in the loader's threads. The device half (:meth:`Augmenter.apply`)
changes voxels, and asks the host for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from kitsbench.channels import CT
from kitsbench.data.batches.channels import change_of, image_channels, placed
from kitsbench.data.batches.intensity import RANGES, Change
from kitsbench.data.batches.patches import Batch, generator
from kitsbench.data.batches.paths import middle_box
from kitsbench.data.batches.prepared import Course, Prepared, Sample
from kitsbench.data.batches.resampling import resample
from kitsbench.data.batches.warping import (
    BSPLINE_SD,
    Geometry,
    Motion,
    mesh_of,
    rotation_matrix,
)
from kitsbench.recipe import TRANSFORMS, Transform
from kitsbench.spec import Grid

Share = TypeVar("Share", float, np.ndarray)


def needed_margin(transforms: Sequence[Transform]) -> float:
    """How much larger than the patch the source must be, so that corners are seldom empty.

    The zoom is covered in full; the rotation up to what a cube's face needs, since covering its
    corners would double the voxels that are read.
    """
    margin = 1.0
    for transform in transforms:
        if transform.name == "scale":
            margin *= 1 / min(transform["range"][0], 1.0)
        if transform.name == "rotation":
            angle = math.radians(min(max(transform["degrees"]), 45.0))
            margin *= 1 + math.sin(angle) / 2
    # 1.6 along each axis are four times the voxels to read already.
    return min(margin, 1.6)


@dataclass(frozen=True)
class Drawn:
    """What is done to one sample: where its voxels come from, then how intensities change."""

    motion: Motion
    changes: tuple[Change, ...] = ()


class Augmenter:
    """Normalises and augments batches.

    Parameters
    ----------
    grids : sequence of Grid
        What the network wants.
    spacing : (float, float, float)
        mm, (z, y, x), of the first grid.
    transforms : sequence of Transform
        In order; empty for none. Those of torchio are left to the loader.
    window : (float, float, float, float)
        ``low, high, shift, scale`` as of :meth:`kitsbench.recipe.Intensity.resolve`.
    seed : int
    """

    def __init__(
        self,
        grids: Sequence[Grid],
        spacing: tuple[float, float, float],
        transforms: Sequence[Transform],
        window: tuple[float, float, float, float],
        seed: int,
    ):
        self.grids, self.spacing, self.window, self.seed = tuple(grids), spacing, window, seed
        self.transforms = [t for t in transforms if t.name in TRANSFORMS]
        elastic = next((t for t in self.transforms if t.name == "elastic"), None)
        self.mesh = None
        if elastic is not None:
            self.mesh = mesh_of(self.grids, spacing, np.broadcast_to(elastic["spacing_mm"], 3))
        self.geometries = [Geometry(grid, spacing, self.mesh) for grid in self.grids]

    @property
    def empty(self) -> float:
        """Network input of a voxel outside the scan."""
        low, _, shift, scale = self.window
        return (low - shift) * scale

    def __call__(self, batch: Batch | Prepared) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Network inputs and labels; both halves where the batch has not been prepared.

        Returns
        -------
        inputs : dict of str to Tensor
            {grid: (B, C, z, y, x), float32}, and {input: (B, size)}.
        labels : dict of str to Tensor
            {grid: (B, z, y, x), int64}.
        """
        if isinstance(batch, Batch):
            device = next(iter(batch.images.values())).device
            batch = self.prepare(batch).to(device)
        return self.apply(batch)

    def prepare(self, batch: Batch) -> Prepared:
        """The host half for patches that were cut with their whole margin.

        Returns
        -------
        Prepared
            It shares the batch's memory.
        """
        grids: dict[str, list[Sample]] = {name: [] for name in batch.images}
        for index in range(len(batch.cases)):
            sources = {
                name: (tuple(image.shape[2:]), batch.offsets[name][index].numpy())
                for name, image in batch.images.items()
            }
            # A process of several draws what one process would draw for the same samples.
            courses = self.plan(batch.step, batch.first + index, sources)
            for name, course in courses.items():
                image, label = batch.images[name][index, 0], batch.labels[name][index]
                where = course.box.slices
                grids[name].append(Sample(image[where], label[where], course))
        return Prepared({k: tuple(v) for k, v in grids.items()}, batch.cases, batch.step)

    def plan(
        self,
        step: int,
        sample: int,
        sources: Mapping[str, tuple[Sequence[int] | np.ndarray, np.ndarray]],
    ) -> dict[str, Course]:
        """What is done to a sample of a step on each grid, and which voxels that takes.

        Parameters
        ----------
        step, sample : int
            The sample's place in the batch.
        sources : mapping of str to (shape, offset)
            {grid: shape of the source patch, and where the patch centre lies relative to its
            middle, in voxels of the grid}.
        """
        drawn = self.draw(step, sample)
        motion, courses = drawn.motion, {}
        for grid, geometry in zip(self.grids, self.geometries, strict=True):
            source, offset = sources[grid.name]
            # The others need no interpolation, which blurs and takes longest of all, and no margin.
            if offset.any() or not motion.still:
                path = geometry.path(motion, source, offset)
                courses[grid.name] = Course(path.box, path, changes=drawn.changes)
            else:
                box = middle_box(source, grid.shape)
                courses[grid.name] = Course(box, None, motion.flips, drawn.changes)
        return courses

    def apply(self, batch: Prepared) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The device half: network inputs and labels; the batch stays as it is."""
        inputs, labels = {}, {}
        for grid in self.grids:
            image, label = self._place(batch.grids[grid.name], grid)
            for place in image_channels(grid):
                for voxels, sample in zip(image[:, place], batch.grids[grid.name], strict=True):
                    # The same numbers for every grid: they show one scan, and a network may compare
                    # them.
                    for change in sample.course.changes:
                        change_of(change, place).apply(voxels)
            inputs[grid.name], labels[grid.name] = image, label.long()
        return inputs | dict(batch.numbers), labels

    def draw(self, step: int, sample: int) -> Drawn:
        """What is done to a sample of a step; drawing it twice gives the same.

        Parameters
        ----------
        step, sample : int
            The sample's place in the batch.
        """
        # As many numbers for each transform, applied or not, so that none depends on another.
        numbers = generator(self.seed, 3, step, sample).random((len(self.transforms), 7))
        matrix, shift, flips = np.eye(3), np.zeros(3), np.zeros(3, dtype=bool)
        control, changes = None, []
        for transform, (*chances, a, b, c, last) in zip(self.transforms, numbers, strict=True):
            name, values = transform.name, np.array([a, b, c])
            if name == "mirror":
                for axis in transform["axes"]:
                    # Twice mirrored is not mirrored, as if one came after the other.
                    flips[axis] ^= chances[axis] < transform.probability
                continue
            if chances[0] >= transform.probability:
                continue
            if name == "rotation":
                angles = np.radians(transform["degrees"]) * (2 * values - 1)
                matrix = rotation_matrix(angles) @ matrix
            elif name == "scale":
                # The matrix leads from the output to the source, so what shall look larger is
                # divided.
                zoom = _within(transform["range"], values)
                matrix = matrix / (zoom[0] if transform["isotropic"] else zoom[:, None])
            elif name == "translation":
                shift = shift + np.array(transform["mm"]) * (2 * values - 1)
            elif name == "elastic":
                control = self._control(transform, step, sample, values[0])
            else:
                value = float(_within(transform[RANGES[name]], values[0]))
                # A random float has 53 bits; none of them is lost in the seed.
                changes.append(Change(transform, value, int(last * 2**53)))
        z, y, x = (bool(flip) for flip in flips)
        return Drawn(Motion(matrix, shift, (z, y, x), control), tuple(changes))

    def _control(
        self, transform: Transform, step: int, sample: int, strength: float
    ) -> np.ndarray | None:
        """Displacement of the control points in mm, (3, cz, cy, cx)."""
        assert self.mesh is not None
        sd = np.broadcast_to(transform["magnitude_mm"], 3) * _within(
            transform["strength"], strength
        )
        if not sd.any():
            return None
        # A counter of their own: how many points there are depends on the grids, and the numbers of
        # other transforms must not.
        shape = (3, *(self.mesh[1] + 3))
        points = generator(self.seed, 3, step, sample, 1).standard_normal(shape, np.float32)
        return points * (sd / BSPLINE_SD)[:, None, None, None]

    def _place(self, samples: Sequence[Sample], grid: Grid) -> tuple[Tensor, Tensor]:
        """Copy the samples that stay, resample those that move, and normalise."""
        if grid.channels != CT:
            return placed(samples, grid, self.window)
        low, high, shift, scale = self.window
        device = samples[0].image.device
        # Labels as the network gets them, but where they are gathered by kind.
        kind = samples[0].label.dtype if device.type == "cpu" else torch.int64
        image = torch.empty((len(samples), 1, *grid.shape), device=device)
        label = torch.empty((len(samples), *grid.shape), dtype=kind, device=device)
        for sample, voxels, marks in zip(samples, image[:, 0], label, strict=True):
            course = sample.course
            if course.path is not None:
                resample(sample.image, sample.label, course.path, (low, high), (voxels, marks))
                continue
            axes = [axis for axis in range(3) if course.flips[axis]]
            voxels.copy_(sample.image.flip(axes) if axes else sample.image).clamp_(low, high)
            marks.copy_(sample.label.flip(axes) if axes else sample.label)
        return image.sub_(shift).mul_(scale), label


def _within(span: tuple[float, float], share: Share) -> Share:
    """Value at a share of the way from the first to the second."""
    first, last = span
    return first + (last - first) * share
