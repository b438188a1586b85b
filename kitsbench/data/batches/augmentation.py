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
            low, high = transform["range"]
            margin *= max(high, 1.0) if transform["coordinates"] else 1 / min(low, 1.0)
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
        self.mesh = None if elastic is None else self._mesh_of(elastic)
        self.geometries = [Geometry(grid, spacing, self.mesh) for grid in self.grids]
        # A smoother deformation has another mesh. There are few, since a mesh has whole elements.
        self._others: dict[tuple[int, ...], list[Geometry]] = {}

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
        geometries = self._geometries_of(motion)
        for grid, geometry in zip(self.grids, geometries, strict=True):
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
        control, changes, before = None, [], False
        for transform, (*chances, a, b, c, last) in zip(self.transforms, numbers, strict=True):
            name, values = transform.name, np.array([a, b, c])
            if name == "mirror":
                for axis in transform["axes"]:
                    # Twice mirrored is not mirrored, as if one came after the other.
                    flips[axis] ^= chances[axis] < transform.probability
                continue
            # Drawn all the same, so that what one does depends on no other's chance.
            before = chances[0] < transform.probability and (before or not transform.together)
            if not before:
                continue
            if name == "rotation":
                matrix = self._turn(transform, values) @ matrix
            elif name == "scale":
                zoom = _zoom(transform, values)[:, None]
                # The matrix leads from the output to the source, so what shall look larger is
                # divided.
                matrix = zoom * matrix if transform["coordinates"] else matrix / zoom
            elif name == "translation":
                reach = np.array(transform["mm"]) * self._unit(transform)
                shift = shift + reach * (2 * values - 1)
            elif name == "elastic":
                control = self._control(transform, step, sample, values)
            else:
                value, *others = _drawn(transform, RANGES[name], values).tolist()
                own = name == "blur" and not transform["isotropic"]
                # A random float has 53 bits; none of them is lost in the seed.
                seed = int(last * 2**53)
                changes.append(Change(transform, value, seed, tuple(others) if own else None))
        z, y, x = (bool(flip) for flip in flips)
        return Drawn(Motion(matrix, shift, (z, y, x), control), tuple(changes))

    def _turn(self, transform: Transform, values: np.ndarray) -> np.ndarray:
        """Matrix of a rotation, in mm."""
        turn = rotation_matrix(np.radians(transform["degrees"]) * (2 * values - 1))
        unit = self._unit(transform)
        return turn * unit[:, None] / unit  # to these units, turned, and back

    def _unit(self, transform: Transform) -> np.ndarray:
        """Length in mm, along each axis, of what a transform counts in."""
        return np.array(self.spacing) if transform["voxels"] else np.ones(3)

    def _mesh_of(
        self, transform: Transform, smoothness: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray]:
        width = np.broadcast_to(transform["spacing_mm"], 3) * self._unit(transform)
        return mesh_of(self.grids, self.spacing, width * smoothness)

    def _geometries_of(self, motion: Motion) -> list[Geometry]:
        """Geometry of each grid, with the mesh that a deformation has."""
        if motion.control is None or self.mesh is None:
            return self.geometries
        elements = tuple(edge - 3 for edge in motion.control.shape[1:])
        if elements == tuple(self.mesh[1].tolist()):
            return self.geometries
        if elements not in self._others:
            mesh = self.mesh[0], np.array(elements)
            made = [Geometry(grid, self.spacing, mesh) for grid in self.grids]
            self._others[elements] = made
        return self._others[elements]

    def _control(
        self, transform: Transform, step: int, sample: int, values: np.ndarray
    ) -> np.ndarray | None:
        """Displacement of the control points in mm, (3, cz, cy, cx)."""
        assert self.mesh is not None
        strength = _within(transform["strength"], float(values[0]))
        sd = np.broadcast_to(transform["magnitude_mm"], 3) * self._unit(transform) * strength
        mesh = self.mesh
        low, high = transform["smoothness"]
        if (low, high) != (1, 1):
            smoothness = _within((low, high), float(values[1]))
            sd, mesh = sd * smoothness**-1.5, self._mesh_of(transform, smoothness)
        if not sd.any():
            return None
        # A counter of their own: how many points there are depends on the grids, and the numbers of
        # other transforms must not.
        shape = (3, *(mesh[1] + 3))
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


def _drawn(transform: Transform, key: str, shares: np.ndarray) -> np.ndarray:
    """Values of a transform's range for numbers in [0, 1)."""
    if not transform.arguments().get("halves"):
        return _within(transform[key], shares)
    low, high = transform[key]
    part = 2 * shares
    return np.where(part < 1, _within((low, 1.0), part), _within((1.0, high), part - 1))


def _zoom(transform: Transform, shares: np.ndarray) -> np.ndarray:
    """Factor of each axis."""
    zoom = _drawn(transform, "range", shares)
    if transform["isotropic"]:
        zoom = np.full(3, zoom[0])
    axes = [int(axis) for axis in transform["axes"]]
    return np.array([zoom[axis] if axis in axes else 1.0 for axis in range(3)])
