"""Lesions found, missed and made up: connected pieces of two masks that touch or do not.

The challenges have no rule for this. Here, a lesion is a piece of a mask whose voxels are
connected by faces, edges or corners; a true lesion is found when at least one voxel of it is
predicted, and a predicted lesion is a false positive when not one voxel of it is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kitsbench.evaluation.counts import voxels_with


class LesionCounts(NamedTuple):
    """How many lesions there are, and how many were found.

    Attributes
    ----------
    n_lesions : int
        In the truth.
    n_found : int
        Of them, touched by the prediction.
    n_false_positive : int
        Predicted lesions that touch no true one.
    """

    n_lesions: int
    n_found: int
    n_false_positive: int


def count_lesions(prediction: np.ndarray, truth: np.ndarray, labels: Sequence[int]) -> LesionCounts:
    """Count the lesions of two label maps.

    Parameters
    ----------
    prediction, truth : ndarray of uint8
        Label maps of one shape with three axes, C order.
    labels : sequence of int
        Labels that make up a lesion.
    """
    where = [voxels_with(map_, labels) for map_ in (prediction, truth)]
    shape, axes = _squeezed(np.concatenate(where), truth.shape)
    predicted_at, true_at = (
        tuple(table[c] for table, c in zip(axes, np.unravel_index(w, truth.shape), strict=True))
        for w in where
    )
    true_piece, n_lesions = _pieces(true_at, shape)
    touched = true_piece[predicted_at]
    n_found = np.unique(touched[touched > 0]).size
    del true_piece
    predicted_piece, n_predicted = _pieces(predicted_at, shape)
    touching = np.unique(predicted_piece[predicted_at][touched > 0]).size
    return LesionCounts(n_lesions, n_found, n_predicted - touching)


def _squeezed(voxels: np.ndarray, shape: tuple[int, ...]) -> tuple[list[int], list[np.ndarray]]:
    """Shape of the box without empty planes, and where each plane of the image goes in it.

    One empty plane is left between planes that were apart, so that nothing becomes connected.
    Two small lesions at opposite ends of a scan need no more memory than side by side.
    """
    squeezed, tables = [], []
    for size, coordinates in zip(shape, np.unravel_index(voxels, shape), strict=True):
        used = np.zeros(size, bool)
        used[coordinates] = True
        planes = np.flatnonzero(used)
        table = np.zeros(size, np.int64)
        table[planes[1:]] = np.cumsum(np.minimum(np.diff(planes), 2))
        tables.append(table)
        squeezed.append(int(table.max(initial=0)) + 1)
    return squeezed, tables


def _pieces(at: tuple[np.ndarray, ...], shape: list[int]) -> tuple[np.ndarray, int]:
    import cc3d

    # An empty plane at each end: cc3d 4.1 runs out of labels in images of a single row.
    mask = np.zeros([size + 1 for size in shape], bool)
    mask[at] = True
    return cc3d.connected_components(mask, connectivity=26, return_N=True)
