"""A predicted and a true label map, and what has been worked out about the two so far.

Protocols share most of their regions, and regions of different names are often the same voxels
(without cysts, a mass is a tumor). So everything is worked out when it is first asked for, once
for each set of labels that occurs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from kitsbench.errors import DataError
from kitsbench.evaluation.counts import Counts, joint_histogram, region_counts
from kitsbench.evaluation.distances import directed_distances
from kitsbench.evaluation.lesions import LesionCounts, count_lesions
from kitsbench.evaluation.protocols import Region
from kitsbench.evaluation.surface import (
    Box,
    Corners,
    bounding_box,
    label_corners,
    offsets_within,
    surface_dice,
)
from kitsbench.scans.geometry import is_sheared, voxel_volume


class PredictedMap:
    """A predicted label map, turned so that it lies in memory as C has it.

    Files often store their axes reversed or flipped. No score minds how the axes are named or
    directed, but going through memory in its order is several times faster.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        The label map.
    spacing : sequence of float
        Voxel size in mm, ``(z, y, x)``.
    affine : ndarray (4, 4), optional
        Of the grid, its axes in any order; without it they are taken to be perpendicular.
    """

    def __init__(
        self, labels: np.ndarray, spacing: Sequence[float], affine: np.ndarray | None = None
    ):
        self.sheared, self.voxel_mm3 = False, float(np.prod(spacing))
        if affine is not None and is_sheared(affine):
            self.sheared, self.voxel_mm3 = True, voxel_volume(affine)
        self.original_shape = labels.shape
        self._order = sorted(range(3), key=lambda axis: -abs(labels.strides[axis]))
        signs = [-1 if labels.strides[axis] < 0 else 1 for axis in self._order]
        self._flips = tuple(slice(None, None, sign) for sign in signs)
        self.labels = self.turn(labels)
        self.spacing = tuple(float(spacing[axis]) for axis in self._order)

    def turn(self, other: np.ndarray) -> np.ndarray:
        """Turn another map on the same grid likewise; a copy only where it has to be."""
        return np.ascontiguousarray(other.transpose(self._order)[self._flips])

    @cached_property
    def box(self) -> Box:
        """Where the map is not background."""
        return bounding_box(self.labels)

    @cached_property
    def corners(self) -> Corners:
        """Corner points where labels differ."""
        return label_corners(self.labels, self.box)


class LabelPair:
    """A prediction and a truth on one grid.

    Parameters
    ----------
    prediction : PredictedMap
        May belong to several pairs.
    truth : ndarray of uint8, shape (z, y, x)
        The true label map, turned as the prediction was before it was made a map of.
    names : tuple of str
        What to call the two in messages, for instance their files.

    Raises
    ------
    DataError
        The shapes differ.
    """

    def __init__(self, prediction: PredictedMap, truth: np.ndarray, names: tuple[str, str]):
        if prediction.original_shape != truth.shape:
            raise DataError(
                f"{names[0]} has shape {prediction.original_shape}, {names[1]} {truth.shape} "
                "(z, y, x); both must be on one grid."
            )
        self.prediction = prediction
        self.truth = prediction.turn(truth)
        self.names = names
        self._dice: dict[tuple[tuple[int, ...], int], float] = {}
        self._distances: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
        self._lesions: dict[tuple[int, ...], LesionCounts] = {}

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm along the axes as they were turned."""
        return self.prediction.spacing

    @property
    def sheared(self) -> bool:
        """Whether voxels are no boxes, so that distances cannot be measured along axes."""
        return self.prediction.sheared

    @property
    def diagonal(self) -> float:
        """Length of the image's diagonal in mm: no two points of it are further apart.

        An axis of n voxels is n voxel sizes long.
        """
        return float(np.linalg.norm(np.multiply(self.truth.shape, self.spacing)))

    @cached_property
    def histogram(self) -> np.ndarray:
        """Joint histogram ``[true label, predicted label]``."""
        # All voxels of the other slices are background in both.
        spans = [box[0] for box in (self.prediction.box, self._truth_box) if box[0].stop]
        used = slice(
            min((s.start for s in spans), default=0), max((s.stop for s in spans), default=0)
        )
        counts = joint_histogram(self.prediction.labels[used], self.truth[used])
        counts[0, 0] += self.truth.size - self.truth[used].size
        return counts

    @cached_property
    def _truth_box(self) -> Box:
        return bounding_box(self.truth)

    @cached_property
    def _truth_corners(self) -> Corners:
        return label_corners(self.truth, self._truth_box)

    @cached_property
    def _occurring(self) -> frozenset[int]:
        voxels = self.histogram.sum(axis=0) + self.histogram.sum(axis=1)
        return frozenset(np.flatnonzero(voxels).tolist())

    def _labels(self, region: Region) -> tuple[int, ...]:
        return tuple(sorted(self._occurring.intersection(region.labels)))

    def counts(self, region: Region) -> Counts:
        """Voxels of a region: hits, false alarms, misses, and the rest."""
        return region_counts(self.histogram, region)

    def surface_dice(self, region: Region) -> float:
        """Surface Dice of a region that is in both maps."""
        # Tolerances that differ by less than the next voxel are one.
        steps = offsets_within(region.tolerance_mm, self.spacing)
        key = (self._labels(region), len(steps))
        if key not in self._dice:
            corners = self.prediction.corners, self._truth_corners
            self._dice[key] = surface_dice(*corners, region, self.spacing)
        return self._dice[key]

    def distances(self, region: Region) -> tuple[np.ndarray, np.ndarray]:
        """Distances in mm between the surfaces of a region that is in both maps."""
        key = self._labels(region)
        if key not in self._distances:
            corners = self.prediction.corners, self._truth_corners
            self._distances[key] = directed_distances(*corners, region, self.spacing)
        return self._distances[key]

    def lesions(self, region: Region) -> LesionCounts:
        """Lesions of a region, found, missed and made up."""
        key = self._labels(region)
        if key not in self._lesions:
            self._lesions[key] = count_lesions(self.prediction.labels, self.truth, key)
        return self._lesions[key]
