"""Means over cases, with the rules for who is counted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kitsbench.evaluation.protocols import Protocol
from kitsbench.metrics import FAILED, TRUTH_PRESENT, UNDEFINED, find

Row = Mapping[str, Any]


def summarise(
    rows: Sequence[Row], protocol: Protocol, absent: Collection[tuple[str, str]] = ()
) -> list[dict[str, Any]]:
    """Summarise the scores of one prediction folder by region and metric.

    Which cases enter a mean is fixed by the truth, never by the prediction. Means run over all
    cases with the official values for empty masks, or over the cases whose truth has the region:
    the latter in a protocol with ``gt_positive``, and for metrics that say nothing elsewhere. Where
    no truth has the region, there is no mean of a metric by which silence is perfect.

    Parameters
    ----------
    rows : sequence of dict
        With the keys ``case``, ``region``, ``metric``, ``value``, ``status``.
    protocol : Protocol
        Whose regions and convention hold.
    absent : collection of (case, region)
        Failed scores whose truth lacks the region; for all others the status says so.

    Returns
    -------
    list of dict
        ``region``, ``metric``, ``mean``, ``std`` (over cases, n - 1; None below two), ``n``
        (cases in the mean) and ``n_undefined`` (cases that are not).
    """
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        grouped.setdefault((row["region"], row["metric"]), []).append(row)
    nowhere = set(unseen_regions(rows, absent))
    summary = []
    for region in protocol.regions:
        for (name, metric), group in grouped.items():
            if name != region.name:
                continue
            over = find(metric).mean_over
            positive_only = over == "present" or (over == "protocol" and protocol.gt_positive)
            if find(metric).silence_is_perfect and name in nowhere:
                positive_only = True
            values = [
                row["value"]
                for row in group
                if row["value"] is not None and (not positive_only or _in_truth(row, absent))
            ]
            summary.append(
                {
                    "region": name,
                    "metric": metric,
                    "mean": float(np.mean(values)) if values else None,
                    "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                    "n": len(values),
                    "n_undefined": len(group) - len(values),
                }
            )
    return summary


def unseen_regions(rows: Sequence[Row], absent: Collection[tuple[str, str]] = ()) -> list[str]:
    """Regions that were scored and that no truth has, in the order of the rows."""
    present = {row["region"] for row in rows if _in_truth(row, absent)}
    return list(dict.fromkeys(row["region"] for row in rows if row["region"] not in present))


def detection(
    rows: Sequence[Row],
    protocol: Protocol,
    absent: Collection[tuple[str, str]] = (),
    lesions: Sequence[Row] = (),
) -> list[dict[str, Any]]:
    """Count, region by region, where something was found and where something was there.

    A mean over cases that lack a structure says little about it: whoever never predicts a cyst
    has Dice 1 on every scan without one. These counts say it.

    Parameters
    ----------
    rows, protocol, absent
        As for :func:`summarise`.
    lesions : sequence of dict
        With the keys ``case``, ``region``, ``n_lesions``, ``n_found``, ``n_false_positive``.

    Returns
    -------
    list of dict
        ``region``; ``n_present`` cases whose truth has it, ``n_found`` of them with a
        prediction (overlapping or not), ``sensitivity``; ``n_absent``, ``n_false_positive``,
        ``false_positive_rate``; ``n_failed``. Where lesions were counted also ``n_lesions``,
        ``n_lesions_found``, ``lesion_sensitivity``, ``n_lesions_false_positive`` and
        ``false_positives_per_case``, the last over the cases that did not fail. A rate without
        cases is None.
    """
    result = []
    for region in protocol.regions:
        # A score that is undefined says nothing about what was predicted; others of its case do.
        known = (row for row in rows if row["status"] != UNDEFINED)
        by_case = {row["case"]: row for row in known if row["region"] == region.name}
        statuses = [row["status"] for row in by_case.values()]
        present = [row["status"] for row in by_case.values() if _in_truth(row, absent)]
        n_absent, n_failed = len(statuses) - len(present), statuses.count("failed")
        found, false_positive = present.count("ok"), statuses.count("false_positive")
        entry = {
            "region": region.name,
            "n_present": len(present),
            "n_found": found,
            "sensitivity": _rate(found, len(present)),
            "n_absent": n_absent,
            "n_false_positive": false_positive,
            "false_positive_rate": _rate(false_positive, n_absent),
            "n_failed": n_failed,
        }
        counted = [row for row in lesions if row["region"] == region.name]
        if counted:
            total, hits, wrong = (
                sum(row[key] for row in counted)
                for key in ("n_lesions", "n_found", "n_false_positive")
            )
            entry |= {
                "n_lesions": total,
                "n_lesions_found": hits,
                "lesion_sensitivity": _rate(hits, total),
                "n_lesions_false_positive": wrong,
                "false_positives_per_case": _rate(wrong, len(counted) - n_failed),
            }
        result.append(entry)
    return result


def _rate(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def headline(summary: Sequence[Row], protocol: Protocol) -> dict[str, float | None]:
    """Return the numbers by which the challenge ranks: means over its regions.

    Returns
    -------
    dict
        ``dice`` (for KiTS19 the composite), and ``surface_dice`` where it was computed; empty
        for protocols that are no challenge's.
    """
    if protocol.name == "labels":
        return {}
    result = {}
    for metric in ("dice", "surface_dice"):
        means = [row["mean"] for row in summary if row["metric"] == metric]
        if means:
            result[metric] = None if None in means else float(np.mean(means))
    return result


def _in_truth(row: Row, absent: Collection[tuple[str, str]]) -> bool:
    if row["status"] in FAILED:
        return (row["case"], row["region"]) not in absent
    return row["status"] in TRUTH_PRESENT
