"""Scores of one case, with the rules for empty and failed masks.

| truth / prediction | status | Dice, surface Dice | precision | recall | HD95, ASSD |
|---|---|---|---|---|---|
| both present | ok | formula | formula | formula | formula |
| prediction empty | empty_prediction | 0 | 0 | 0 | image diagonal |
| truth empty | false_positive | 0 | 0 | undefined | image diagonal |
| both empty | both_empty | 1 | undefined | undefined | 0 |
| no prediction at all | failed | 0 | 0 | 0 | image diagonal |

The first four lines are those of the KiTS21 and KiTS23 organisers' code. A failed prediction is
penalised, never dropped, so that every method is measured on the same cases. The sensitivity for
lesions follows recall; a failed prediction has no number of false positives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kitsbench.errors import DataError
from kitsbench.evaluation.counts import Counts
from kitsbench.evaluation.distances import assd, hd95, hd95_pooled
from kitsbench.evaluation.pairs import LabelPair, PredictedMap
from kitsbench.evaluation.protocols import (
    LESION_METRICS,
    SURFACE_METRICS,
    Protocol,
    Region,
    check_metrics,
    get_protocol,
)

STATUSES = ("ok", "empty_prediction", "both_empty", "false_positive", "failed")
"""Every status of a score."""


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
    labels = as_label_map(prediction, names[0])
    truth = as_label_map(truth, names[1])
    pair = LabelPair(PredictedMap(labels, _check_spacing(spacing)), truth, names)
    return score_pair(pair, protocol, metrics)


def score_pair(
    pair: LabelPair,
    protocol: Protocol,
    metrics: Sequence[str] | None = None,
    failed: bool = False,
) -> list[dict[str, Any]]:
    """Score a pair of label maps; what protocols have in common is worked out once.

    Parameters
    ----------
    pair : LabelPair
        Prediction and truth. Where the prediction failed, an empty map stands for it.
    protocol : Protocol
        By which.
    metrics : sequence of str, optional
        Names from :data:`~kitsbench.evaluation.METRICS`; by default the protocol's own.
    failed : bool
        Whether there is no prediction, so that every score is the penalty.

    Returns
    -------
    list of dict
        As for :func:`score_case`.

    Raises
    ------
    DataError
        A map holds a label that the protocol does not know.
    """
    metrics = check_metrics(metrics, protocol)
    for axis, name in enumerate(pair.names):
        check_labels(pair.histogram.sum(axis=axis), protocol, name)
    rows = []
    for region in protocol.regions:
        counts = pair.counts(region)
        status = "failed" if failed else _status(counts)
        values = _volumetric(counts, status, pair.spacing)
        values |= _surface(pair, region, metrics, status)
        if region.lesion and set(LESION_METRICS) & set(metrics):
            values |= _lesions(pair, region, status)
        rows += [
            {"region": region.name, "metric": name, "value": values[name], "status": status}
            for name in metrics
            if name in values
        ]
    return rows


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
    empty = PredictedMap(np.zeros_like(truth), _check_spacing(spacing))
    pair = LabelPair(empty, truth, ("prediction", "truth"))
    return score_pair(pair, protocol, metrics, failed=True)


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


def _status(counts: Counts) -> str:
    has_truth, has_prediction = counts.tp + counts.fn > 0, counts.tp + counts.fp > 0
    if has_truth:
        return "ok" if has_prediction else "empty_prediction"
    return "false_positive" if has_prediction else "both_empty"


def _volumetric(counts: Counts, status: str, spacing: Sequence[float]) -> dict[str, float | None]:
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


def _surface(
    pair: LabelPair, region: Region, metrics: Sequence[str], status: str
) -> dict[str, float]:
    """Values of the metrics on surfaces that were asked for."""
    asked = set(metrics) & set(SURFACE_METRICS)
    if status != "ok":
        apart, distance = (1.0, 0.0) if status == "both_empty" else (0.0, pair.diagonal)
        return {name: apart if name == "surface_dice" else distance for name in asked}
    values = {}
    if "surface_dice" in asked:
        values["surface_dice"] = pair.surface_dice(region)
    for name, summary in (("hd95_mm", hd95), ("hd95_pooled_mm", hd95_pooled), ("assd_mm", assd)):
        if name in asked:
            values[name] = summary(pair.distances(region))
    return values


def _lesions(pair: LabelPair, region: Region, status: str) -> dict[str, float | None]:
    counts = pair.lesions(region)
    return {
        "lesion_sensitivity": counts.n_found / counts.n_lesions if counts.n_lesions else None,
        "lesion_false_positives": None if status == "failed" else float(counts.n_false_positive),
    }
