"""Batches of patches as a pure function of (seed, step).

Nothing here has a state that training would need to save: the batch of a step is drawn by a
counter-based generator from the seed, the step and the sample's place in the batch. So workers
cannot change results, and a resumed run sees the batches that an uninterrupted one would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from kitsbench.channels import CT
from kitsbench.data.batches.channels import Numbers, stored_channels
from kitsbench.data.batches.positions import Positions, on_whole_voxels
from kitsbench.data.batches.prepared import Course, Place, Prepared, Sample
from kitsbench.data.channels.derived import outside_of
from kitsbench.data.preparation.store import PreparedCase, PreparedStore
from kitsbench.errors import DataError
from kitsbench.recipe import Recipe
from kitsbench.spec import Grid, Spec


def generator(*key: int) -> np.random.Generator:
    """Random numbers that depend on the key alone (Philox, Salmon et al. 2011)."""
    # The key's second word says what is drawn: 1 the order of cases, 2 where a patch lies, 3 the
    # augmentation, 4 initial weights, 5 dropout, 6 to 9 what a plugin's own step, sampler,
    # transforms and adaptation draw. One word for two would tie them together.
    words = np.random.SeedSequence(key).generate_state(2, np.uint64)
    return np.random.Generator(np.random.Philox(key=words))


@dataclass(frozen=True)
class Batch:
    """Source patches of one step, before augmentation.

    Attributes
    ----------
    images : dict of str to Tensor
        {grid: HU, (B, 1, z, y, x), int16}; larger than the grid by the margin.
    labels : dict of str to Tensor
        {grid: label values, (B, z, y, x), uint8}.
    offsets : dict of str to Tensor
        {grid: (B, 3)}, where the patch centre lies relative to the middle of the source patch, in
        voxels of the grid; 0 for the first grid, fractions for the others. Stays on the CPU,
        where it decides what has to be resampled.
    cases : tuple of str
        Case of each sample.
    step : int
    first : int
        Place of the first sample here within the batch of the step, of which several processes
        may draw a part each.
    """

    images: dict[str, Tensor]
    labels: dict[str, Tensor]
    offsets: dict[str, Tensor]
    cases: tuple[str, ...]
    step: int
    first: int = 0

    def to(self, device: torch.device) -> Batch:
        """Copy to a device; the copy overlaps with computation where the memory is pinned."""
        return replace(
            self,
            images={k: image.to(device, non_blocking=True) for k, image in self.images.items()},
            labels={k: label.to(device, non_blocking=True) for k, label in self.labels.items()},
        )


class Planner(Protocol):
    """Host half of the augmentation (:class:`~kitsbench.data.batches.augmentation.Augmenter`)."""

    def plan(
        self,
        step: int,
        sample: int,
        sources: Mapping[str, tuple[Sequence[int] | np.ndarray, np.ndarray]],
    ) -> dict[str, Course]:
        """What is done to a sample on each grid, and which voxels of its source that takes."""

    def prepare(self, batch: Batch) -> Prepared:
        """The same for a batch that was cut already."""


class Sampler(Protocol):
    """A plugin's rule for where patches lie."""

    def __call__(self, step: int) -> Sequence[tuple[str, np.ndarray]]:
        """Case of every sample of a step, and the centre of its patch."""


def crop(
    volume: np.ndarray,
    start: Sequence[int] | np.ndarray,
    shape: Sequence[int] | np.ndarray,
    fill: float,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Cut a box out of a volume; what lies outside the volume is ``fill``.

    Parameters
    ----------
    volume : ndarray
        (z, y, x), may be memory-mapped.
    start, shape : sequence of int
        First voxel (may be negative) and size of the box.
    fill : float
    out : ndarray, optional
        Where to put it.

    Returns
    -------
    ndarray
        A copy of the given shape.
    """
    box = np.empty(tuple(shape), dtype=volume.dtype) if out is None else out
    inside = [
        (max(s, 0), min(s + n, size)) for s, n, size in zip(start, shape, volume.shape, strict=True)
    ]
    # Filling takes as long as copying, and a box that lies inside needs none.
    if any(high - low < n for (low, high), n in zip(inside, shape, strict=True)):
        box.fill(fill)
    if all(low < high for low, high in inside):
        target = tuple(
            slice(low - s, high - s) for (low, high), s in zip(inside, start, strict=True)
        )
        box[target] = volume[tuple(slice(low, high) for low, high in inside)]
    return box


def source_shape(shape: Sequence[int], margin: float) -> np.ndarray:
    """Size of a source patch: larger by ``margin``, of the same parity as the grid."""
    edges = np.array(shape)
    return edges + 2 * np.ceil((margin - 1) * edges / 2).astype(int)


class PatchSource:
    """Draws the batches of a training run.

    Parameters
    ----------
    stores : mapping of str to PreparedStore
        {grid name: the prepared volumes at that grid's spacing}.
    cases : sequence of str
        Training cases.
    spec : Spec
        Grids and heads of the architecture.
    recipe : Recipe
        Batch size and sampling.
    seed : int
    margin : float
        Source patches are this factor larger than the grid, for rotations and zooms.
    fill : int
        HU outside the scan.
    samples : range, optional
        The part of each batch that is drawn; by default all of it.

    Raises
    ------
    DataError
        There is no training case.
    """

    def __init__(
        self,
        stores: Mapping[str, PreparedStore],
        cases: Sequence[str],
        spec: Spec,
        recipe: Recipe,
        seed: int,
        margin: float = 1.0,
        fill: int = -1024,
        samples: range | None = None,
    ):
        if not cases:
            raise DataError("There is no training case left; add cases or use fewer folds.")
        self.stores, self.names, self.spec = dict(stores), sorted(cases), spec
        self.batch_size, self.sampling, self.seed = recipe.batch, recipe.sampling, seed
        self.margin, self.fill = margin, fill
        self.samples = samples or range(recipe.batch)
        self.sampler: Sampler | None = None
        # Size of each grid's source patches.
        self._shapes = {grid.name: source_shape(grid.shape, margin) for grid in spec.grids}
        self._positions = Positions(recipe.sampling, recipe.batch, spec)
        # Opening a mapped file takes longer than a patch of it.
        self._opened: dict[tuple[str, str], PreparedCase] = {}
        self._numbers = Numbers(spec.inputs, spec.grids)

    def batch(self, step: int) -> Batch:
        """Draw the batch of a step, CT and labels alone; drawing it twice gives the same."""
        grids = self.spec.grids
        shapes = self._shapes
        # Patches are cut straight into the batch: copying them again would take as long.
        images, labels = (
            {name: np.empty((len(self.samples), *shape), kind) for name, shape in shapes.items()}
            for kind in (np.int16, np.uint8)
        )
        offsets = {name: np.zeros((len(self.samples), 3), np.float32) for name in shapes}
        names = []
        for place, sample in enumerate(self.samples):
            name = self._case_name(step, sample)
            centre = self._centre(name, step, sample)
            names.append(name)
            for grid in grids:
                _, _, offsets[grid.name][place] = cut_patch(
                    self._case(grid.name, name),
                    self._case(grids[0].name, name),
                    shapes[grid.name],
                    centre,
                    self.fill,
                    (images[grid.name][place], labels[grid.name][place]),
                )
        return Batch(
            {g: torch.from_numpy(v)[:, None] for g, v in images.items()},
            {g: torch.from_numpy(v) for g, v in labels.items()},
            {g: torch.from_numpy(v) for g, v in offsets.items()},
            tuple(names),
            step,
            self.samples.start,
        )

    def prepared(self, step: int, planner: Planner) -> Prepared:
        """The batch of a step with the host half of its augmentation.

        Only the voxels that the augmentation takes are cut: a sample that nothing moves comes
        without the margin.
        """
        shapes, first = self._shapes, self.spec.grids[0].name
        found: dict[str, list[Sample]] = {name: [] for name in shapes}
        numbers: dict[str, list[np.ndarray]] = {entry.name: [] for entry in self.spec.inputs}
        names = []
        for sample in self.samples:
            name = self._case_name(step, sample)
            names.append(name)
            centre = self._centre(name, step, sample)
            cases = {grid: self._case(grid, name) for grid in shapes}
            places = {
                grid: place_patch(cases[grid], cases[first], shape, centre)
                for grid, shape in shapes.items()
            }
            sources = {
                grid: (shapes[grid], offset.astype(np.float32))
                for grid, (_, offset) in places.items()
            }
            courses = planner.plan(step, sample, sources)
            for grid in self.spec.grids:
                start, course = places[grid.name][0], courses[grid.name]
                found[grid.name].append(self._sample(grid, cases[grid.name], start, course))
            starts = {grid: start for grid, (start, _) in places.items()}
            for name, values in self._numbers.of(cases, starts, courses).items():
                numbers[name].append(values)
        return Prepared(
            {k: tuple(v) for k, v in found.items()},
            tuple(names),
            step,
            {k: torch.from_numpy(np.stack(v)) for k, v in numbers.items()},
        )

    def _sample(self, grid: Grid, case: PreparedCase, start: np.ndarray, course: Course) -> Sample:
        """Cut what augmentation takes of a source patch that begins at ``start``."""
        begin, shape = start + course.box.start, course.box.shape
        image = torch.from_numpy(crop(case.image, begin, shape, self.fill))
        assert case.label is not None
        label = torch.from_numpy(crop(case.label, begin, shape, 0))
        if grid.channels == CT:
            return Sample(image, label, course)
        more = [
            crop(case.channels[channel.name], begin, shape, outside_of(channel, self.fill))
            for channel in stored_channels(grid)
        ]
        place = Place(tuple(map(int, start)), case.image.shape, case.spacing)
        return Sample(image, label, course, tuple(map(torch.from_numpy, more)), place)

    def close(self) -> None:
        """Let go of whatever runs for the source; it can be used again."""

    def cases_of(self, step: int) -> tuple[str, ...]:
        """Case of every sample of a step, drawn here or elsewhere."""
        return tuple(self._case_name(step, sample) for sample in range(self.batch_size))

    def _case(self, grid: str, name: str) -> PreparedCase:
        if (grid, name) not in self._opened:
            self._opened[grid, name] = self.stores[grid].case(name)
        return self._opened[grid, name]

    def _case_name(self, step: int, sample: int) -> str:
        if self.sampler is not None:
            return self.sampler(step)[sample][0]
        return self.name_in_turn(step, sample)

    def name_in_turn(self, step: int, sample: int) -> str:
        """Case of a sample: each case comes once a round, in an order drawn for that round."""
        per_volume = self.sampling.per_volume
        volumes = -(-self.batch_size // per_volume)
        turn, place = divmod(step * volumes + sample // per_volume, len(self.names))
        return self.names[_order(self.seed, turn, len(self.names))[place]]

    def _centre(self, name: str, step: int, sample: int) -> np.ndarray:
        """Patch centre in voxels of the first grid, where k + 0.5 is the middle of voxel k."""
        case = self._case(self.spec.grids[0].name, name)
        if self.sampler is not None:
            return self._on_voxels(self.sampler(step)[sample][1], case)
        if self.spec.fit is not None:
            # In the middle, on whole voxels, as the one tile lies by which a scan is predicted.
            edges = np.array(self.spec.fit)
            return edges / 2 - (edges - case.image.shape) // 2
        rng = generator(self.seed, 2, step, sample)
        return self._on_voxels(self._positions.centre(case, rng, sample), case)

    def _on_voxels(self, centre: np.ndarray, case: PreparedCase) -> np.ndarray:
        # On whole voxels the first grid needs no interpolation.
        shape = case.image.shape if self.sampling.inside else None
        return on_whole_voxels(centre, self.spec.grids[0].shape, shape)


@lru_cache(maxsize=8)
def _order(seed: int, turn: int, count: int) -> np.ndarray:
    """In which order the cases come in a round: a function of its arguments, kept for a while."""
    return generator(seed, 1, turn).permutation(count)


def cut_patch(
    case: PreparedCase,
    first: PreparedCase,
    shape: Sequence[int] | np.ndarray,
    centre: np.ndarray,
    fill: int,
    into: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Cut the patch of one grid around a physical point.

    Parameters
    ----------
    case, first : PreparedCase
        The volume at the spacing of the grid and of the first grid.
    shape : sequence of int
        Voxels of ``case``.
    centre : ndarray
        Patch centre in voxels of ``first``, where k + 0.5 is the middle of voxel k.
    fill : int
        HU outside the scan.
    into : tuple of ndarray, optional
        Where to put image and label.

    Returns
    -------
    image, label : ndarray
        (z, y, x); no label where the case has none.
    offset : ndarray
        (3,), how far the centre lies from the middle of what was cut, in voxels of ``case``.
    """
    start, offset = place_patch(case, first, shape, centre)
    image_out, label_out = into or (None, None)
    image = crop(case.image, start, shape, fill, image_out)
    label = None if case.label is None else crop(case.label, start, shape, 0, label_out)
    return image, label, offset


def place_patch(
    case: PreparedCase,
    first: PreparedCase,
    shape: Sequence[int] | np.ndarray,
    centre: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Where :func:`cut_patch` cuts: first voxel, and the offset of the centre from the middle."""
    place = np.asarray(centre, dtype=float)
    if case is not first:
        # Affines lead to the middle of voxel k from k, which is k + 0.5 here.
        point = first.affine @ np.append(centre - 0.5, 1.0)
        place = (np.linalg.inv(case.affine) @ point)[:3] + 0.5
    corner = place - np.array(shape) / 2
    # Two affines that mean one grid differ by rounding; a fraction that comes from there would have
    # every sample resampled.
    start = np.floor(corner + 1e-4).astype(int)
    offset = corner - start
    return start, np.where(np.abs(offset) < 1e-4, 0.0, offset)
