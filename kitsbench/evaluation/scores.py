"""Scores of one case: the formulas, where both masks hold the region, and the rules elsewhere.

What an empty mask or a missing prediction is worth stands in :mod:`kitsbench.metrics`. Where one
mask is empty, those are the values of the KiTS21 and KiTS23 organisers' code. A failed prediction
is penalised, never dropped, so that every method is measured on the same cases.

On a sheared grid voxels are no boxes, and no distance along its axes is one in the patient: metrics
on surfaces have no value and the status ``undefined`` there, whatever was predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kitsbench.errors import DataError
from kitsbench.evaluation.counts import Counts
from kitsbench.evaluation.distances import assd, hd95, hd95_pooled
from kitsbench.evaluation.lesions import LesionCounts
from kitsbench.evaluation.pairs import LabelPair, PredictedMap
from kitsbench.evaluation.protocols import Protocol, Region, check_metrics, get_protocol
from kitsbench.metrics import UNDEFINED, Value, find
from kitsbench.scans.labels import as_label_map


def score_case(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float],
    protocol: str | Protocol,
    metrics: Sequence[str] | None = None,
    names: tuple[str, str] = ("prediction", "truth"),
    affine: np.ndarray | None = None,
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
    affine : ndarray (4, 4), optional
        Of the grid, its axes in any order. Where it is sheared, the volume of a voxel comes from it
        and the metrics on surfaces are undefined.

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
    pair = LabelPair(PredictedMap(labels, _check_spacing(spacing), affine), truth, names)
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
    rows: list[dict[str, Any]] = []
    for region in protocol.regions:
        counts = pair.counts(region)
        status = "failed" if failed else _status(counts)
        for name in metrics:
            metric = find(name)
            if metric.lesions and not region.lesion:
                continue
            how = UNDEFINED if metric.surfaces and pair.sheared else status
            rule = metric.at(how, holds=counts.tp + counts.fn > 0)
            value = _value(rule, name, pair, region, counts)
            rows.append({"region": region.name, "metric": name, "value": value, "status": how})
    return rows


def score_failed_case(
    truth: np.ndarray,
    spacing: Sequence[float],
    protocol: str | Protocol,
    metrics: Sequence[str] | None = None,
    affine: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Rows of a case for which there is no prediction: crash, time-out, out of memory.

    Every region gets the status ``failed`` and what a missing prediction costs, see
    :mod:`kitsbench.metrics`.

    Parameters
    ----------
    truth : ndarray of integers, shape (z, y, x)
        The true label map.
    spacing, protocol, metrics, affine
        As for :func:`score_case`.

    Returns
    -------
    list of dict
        As for :func:`score_case`.
    """
    protocol = get_protocol(protocol)
    truth = as_label_map(truth, "truth")
    empty = PredictedMap(np.zeros_like(truth), _check_spacing(spacing), affine)
    pair = LabelPair(empty, truth, ("prediction", "truth"))
    return score_pair(pair, protocol, metrics, failed=True)


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


def _value(rule: Value, name: str, pair: LabelPair, region: Region, counts: Counts) -> float | None:
    if rule == "formula":
        return float(_FORMULAS[name](pair, region, counts))
    if rule == "diagonal":
        return pair.diagonal
    if rule == "true volume":
        return -(counts.tp + counts.fn) * _voxel_ml(pair)
    return None if rule is None else float(rule)


def _voxel_ml(pair: LabelPair) -> float:
    return pair.prediction.voxel_mm3 / 1000


# What each metric is where neither mask is empty; the last two also where the truth alone is.
_FORMULAS: dict[str, Callable[[LabelPair, Region, Counts], float]] = {
    "dice": lambda pair, region, n: 2 * n.tp / (2 * n.tp + n.fp + n.fn),
    "precision": lambda pair, region, n: n.tp / (n.tp + n.fp),
    "recall": lambda pair, region, n: n.tp / (n.tp + n.fn),
    "surface_dice": lambda pair, region, n: pair.surface_dice(region),
    "hd95_mm": lambda pair, region, n: hd95(pair.distances(region)),
    "hd95_pooled_mm": lambda pair, region, n: hd95_pooled(pair.distances(region)),
    "assd_mm": lambda pair, region, n: assd(pair.distances(region)),
    "lesion_sensitivity": lambda pair, region, n: _found(pair.lesions(region)),
    "volume_error_ml": lambda pair, region, n: (n.fp - n.fn) * _voxel_ml(pair),
    "lesion_false_positives": lambda pair, region, n: pair.lesions(region).n_false_positive,
}


def _found(lesions: LesionCounts) -> float:
    return lesions.n_found / lesions.n_lesions
