"""Scores of one case, with the rules for empty and failed masks.

| truth / prediction | status | Dice, surface Dice | precision | recall | HD95, ASSD |
|---|---|---|---|---|---|
| both present | ok | formula | formula | formula | formula |
| prediction empty | empty_prediction | 0 | 0 | 0 | image diagonal |
| truth empty | false_positive | 0 | 0 | undefined | image diagonal |
| both empty | both_empty | 1 | undefined | undefined | 0 |
| no prediction at all | failed | 0 | 0 | 0 | image diagonal |

The first, third and fourth lines are those of the KiTS21 and KiTS23 organisers' code. A failed
prediction is penalised, never dropped, so that every method is measured on the same cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kitsbench.errors import DataError
from kitsbench.evaluation.counts import Counts, joint_histogram, region_counts
from kitsbench.evaluation.distances import assd, directed_distances, hd95
from kitsbench.evaluation.protocols import Protocol, check_metrics, get_protocol
from kitsbench.evaluation.surface import label_corners, surface_dice

STATUSES = ("ok", "empty_prediction", "both_empty", "false_positive", "failed")
"""Every status of a score."""

ON_SURFACES = {"surface_dice", "hd95_mm", "assd_mm"}
"""Metrics that need the surfaces of both masks."""


def score_case(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float],
    protocol: str | Protocol,
    metrics: Sequence[str] | None = None,
    names: tuple[str, str] = ("prediction", "truth"),
) -> list[dict[str, Any]]:
    """Score one predicted label map.

    Parameters
    ----------
    prediction, truth : ndarray of integers, shape (z, y, x)
        Label maps on one grid.
    spacing : sequence of float
        Voxel size in mm, ``(z, y, x)``.
    protocol : str or Protocol
        A name for :func:`~kitsbench.evaluation.get_protocol`, or its answer.
    metrics : sequence of str, optional
        Names from :data:`~kitsbench.evaluation.METRICS`; by default the protocol's own.
    names : tuple of str
        What to call the two in messages, for instance their files.

    Returns
    -------
    list of dict
        One row per region and metric with the keys ``region``, ``metric``, ``value`` (float, or
        None where it is undefined) and ``status``.

    Raises
    ------
    DataError
        The shapes differ, the spacing is not positive, or a label is not a whole number that
        the protocol knows.
    UsageError
        There is no such protocol or metric.
    """
    protocol = get_protocol(protocol)
    prediction = as_label_map(prediction, names[0])
    truth = as_label_map(truth, names[1])
    spacing = _check_spacing(spacing)
    if prediction.shape != truth.shape:
        raise DataError(
            f"{names[0]} has shape {prediction.shape}, {names[1]} {truth.shape} (z, y, x); "
            "both must be on one grid."
        )
    prediction, truth, spacing = _in_memory_order(prediction, truth, spacing)
    histogram = joint_histogram(prediction, truth)
    check_labels(histogram.sum(axis=0), protocol, names[0])
    check_labels(histogram.sum(axis=1), protocol, names[1])
    return _rows(histogram, prediction, truth, spacing, protocol, metrics, failed=False)


def score_failed_case(
    truth: np.ndarray,
    spacing: Sequence[float],
    protocol: str | Protocol,
    metrics: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Rows of a case for which there is no prediction: crash, time-out, out of memory.

    Every region gets the penalty and the status ``failed``. Where the truth lacks the region,
    recall stays undefined, since there was nothing to find.

    Parameters
    ----------
    truth : ndarray of integers, shape (z, y, x)
        The true label map.
    spacing, protocol, metrics
        As for :func:`score_case`.

    Returns
    -------
    list of dict
        As for :func:`score_case`.
    """
    protocol = get_protocol(protocol)
    truth = as_label_map(truth, "truth")
    spacing = _check_spacing(spacing)
    truth, _, spacing = _in_memory_order(truth, truth, spacing)
    histogram = np.zeros((256, 256), np.int64)
    histogram[:, 0] = joint_histogram(truth, truth).diagonal()
    check_labels(histogram.sum(axis=1), protocol, "truth")
    return _rows(histogram, truth, truth, spacing, protocol, metrics, failed=True)


def as_label_map(array: np.ndarray, name: str) -> np.ndarray:
    """Return a label map as uint8, in the memory order of the array.

    Parameters
    ----------
    array : ndarray with three axes
        Whole numbers from 0 to 255 of any number type; a scaled file may miss them by 1e-4.
    name : str
        What to call it in messages.

    Raises
    ------
    DataError
        The array has not three axes, or holds something that is no label.
    """
    array = np.asarray(array)
    if array.ndim != 3:
        raise DataError(f"{name} has {array.ndim} axes; a label map has three (z, y, x).")
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.view(np.uint8)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{name} holds {array.dtype}; labels are whole numbers.")
    labels = np.empty_like(array, dtype=np.uint8)
    # Slice by slice, because a volume of floats with its copies may not fit into memory.
    slowest = int(np.argmax(np.abs(array.strides)))
    slices = zip(np.moveaxis(array, slowest, 0), np.moveaxis(labels, slowest, 0), strict=True)
    for values, out in slices:
        whole = np.rint(values)
        with np.errstate(invalid="ignore"):  # an infinity is caught as out of range
            wrong = ~((np.abs(values - whole) <= 1e-4) & (whole >= 0) & (whole <= 255))
        if wrong.any():
            raise DataError(
                f"{name} holds {values[wrong][0]:g}; labels are whole numbers from 0 to 255. "
                "Save the label map without interpolation or probabilities."
            )
        out[...] = whole
    return labels


def check_labels(voxels: np.ndarray, protocol: Protocol, name: str) -> None:
    """Check that a map holds no label that the protocol does not know.

    Parameters
    ----------
    voxels : ndarray
        Number of voxels of each label.
    protocol : Protocol
        Whose labels are allowed.
    name : str
        What to call the map in messages.

    Raises
    ------
    DataError
        It holds others; the message names them.
    """
    found = np.flatnonzero(voxels)
    unknown = [int(label) for label in found if label not in protocol.labels]
    if unknown:
        raise DataError(
            f"{name} holds the label values {unknown}; protocol {protocol.name} knows "
            f"{list(protocol.labels)}. Map them first, for instance to background."
        )


def _check_spacing(spacing: Sequence[float]) -> tuple[float, float, float]:
    values = tuple(float(value) for value in spacing)
    if len(values) != 3 or not all(np.isfinite(value) and value > 0 for value in values):
        raise DataError(
            f"The spacing is {values}; it must be three positive sizes in mm (z, y, x)."
        )
    return values


def _in_memory_order(prediction, truth, spacing):
    """Turn both maps so that the truth lies in memory as C has it.

    Files often store their axes reversed or flipped. No score minds how the axes are named or
    directed, but going through memory in its order is several times faster.
    """
    order = sorted(range(3), key=lambda axis: -abs(truth.strides[axis]))
    flips = tuple(slice(None, None, -1 if truth.strides[axis] < 0 else 1) for axis in order)
    prediction = np.ascontiguousarray(prediction.transpose(order)[flips])
    truth = np.ascontiguousarray(truth.transpose(order)[flips])
    return prediction, truth, tuple(spacing[axis] for axis in order)


def _status(counts: Counts) -> str:
    has_truth, has_prediction = counts.tp + counts.fn > 0, counts.tp + counts.fp > 0
    if has_truth:
        return "ok" if has_prediction else "empty_prediction"
    return "false_positive" if has_prediction else "both_empty"


def _rows(histogram, prediction, truth, spacing, protocol, metrics, failed):
    metrics = check_metrics(metrics, protocol)
    # An axis of n voxels is n voxel sizes long: no two points of the image are further apart.
    diagonal = float(np.linalg.norm(np.multiply(truth.shape, spacing)))
    corners = None
    rows = []
    for region in protocol.regions:
        counts = region_counts(histogram, region)
        status = "failed" if failed else _status(counts)
        values = _volumetric(counts, status, spacing)
        if status != "ok":
            apart, distance = (1.0, 0.0) if status == "both_empty" else (0.0, diagonal)
            values |= {"surface_dice": apart, "hd95_mm": distance, "assd_mm": distance}
        elif ON_SURFACES & set(metrics):
            # One search for corner points serves every region and metric.
            corners = corners or (label_corners(prediction), label_corners(truth))
            if "surface_dice" in metrics:
                values["surface_dice"] = surface_dice(*corners, region, spacing)
            if {"hd95_mm", "assd_mm"} & set(metrics):
                distances = directed_distances(*corners, region, spacing)
                values |= {"hd95_mm": hd95(distances), "assd_mm": assd(distances)}
        rows += [
            {"region": region.name, "metric": name, "value": values[name], "status": status}
            for name in metrics
        ]
    return rows


def _volumetric(counts: Counts, status: str, spacing) -> dict[str, float | None]:
    tp, fp, fn, _ = counts
    voxel_ml = float(np.prod(spacing)) / 1000
    if status == "both_empty":
        dice, precision, recall = 1.0, None, None
    else:
        # A failed case has no hits, so its Dice is 0 even where the truth is empty.
        dice = 2 * tp / (2 * tp + fp + fn) if tp else 0.0
        precision = tp / (tp + fp) if tp else 0.0
        recall = tp / (tp + fn) if tp + fn else None
    return {
        "dice": dice,
        "precision": precision,
        "recall": recall,
        "volume_error_ml": (fp - fn) * voxel_ml,
    }
