"""Everything volumetric from one joint histogram of two label maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kitsbench.evaluation.protocols import Region

# 1 Mi voxels of each map stay in the cache while they are compared.
_BLOCK = 1 << 20


class Counts(NamedTuple):
    """Voxels of one region: hits (tp), false alarms (fp), misses (fn), and the rest (tn)."""

    tp: int
    fp: int
    fn: int
    tn: int


def joint_histogram(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Count the voxels of every pair of labels.

    Parameters
    ----------
    prediction, truth : ndarray of uint8
        Label maps of one shape, any number of axes.

    Returns
    -------
    ndarray of int64, shape (256, 256)
        ``[t, p]``: voxels with true label ``t`` and predicted label ``p``.

    Notes
    -----
    Most voxels of an abdominal scan are background in both maps. Eight are compared at once as
    one 64-bit word, and only words with something in them are counted.
    """
    flat_prediction = np.ascontiguousarray(prediction).reshape(-1)
    flat_truth = np.ascontiguousarray(truth).reshape(-1)
    size = flat_truth.size
    counts = np.zeros(1 << 16, np.int64)
    for start in range(0, size, _BLOCK):
        p = flat_prediction[start : start + _BLOCK]
        t = flat_truth[start : start + _BLOCK]
        whole = p.size // 8 * 8
        p_words, t_words = p[:whole].view(np.uint64), t[:whole].view(np.uint64)
        used = np.flatnonzero(p_words | t_words)
        if used.size:
            counts += _count(p_words[used].view(np.uint8), t_words[used].view(np.uint8))
        if whole < p.size:
            counts += _count(p[whole:], t[whole:])
    counts[0] = size - counts[1:].sum()
    return counts.reshape(256, 256)


def voxels_with(labels: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
    """Find the voxels that have one of some labels other than background.

    Parameters
    ----------
    labels : ndarray of uint8
        A label map in C order.
    wanted : sequence of int
        The labels.

    Returns
    -------
    ndarray of int64
        Flat indices in ascending order.
    """
    inside = np.zeros(256, bool)
    inside[list(wanted)] = True
    flat = np.ascontiguousarray(labels).reshape(-1)
    found = [np.zeros(0, np.int64)]
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        whole = block.size // 8 * 8
        # Of eight voxels at a time, most are background and looked at no further.
        words = block[:whole].view(np.uint64)
        used = np.flatnonzero(words)
        word, byte = np.nonzero(inside[words[used].view(np.uint8)].reshape(-1, 8))
        found.append(start + used[word] * 8 + byte)
        found.append(start + whole + np.flatnonzero(inside[block[whole:]]))
    return np.concatenate(found)


def _count(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    pairs = truth.astype(np.uint16)
    pairs <<= 8
    pairs |= prediction
    return np.bincount(pairs, minlength=1 << 16)


def region_counts(histogram: np.ndarray, region: Region) -> Counts:
    """Sum a joint histogram into the four counts of one region.

    Parameters
    ----------
    histogram : ndarray, shape (n, n)
        From :func:`joint_histogram`.
    region : Region
        Labels outside it count as background.
    """
    inside = np.zeros(len(histogram), bool)
    inside[list(region.labels)] = True
    tp = int(histogram[inside][:, inside].sum())
    fn = int(histogram[inside].sum()) - tp
    fp = int(histogram[:, inside].sum()) - tp
    return Counts(tp, fp, fn, int(histogram.sum()) - tp - fp - fn)
