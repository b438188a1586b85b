"""A dataset or a prepared store in a few numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kitsbench.data.datasets import Dataset
from kitsbench.data.findings import Refused
from kitsbench.data.geometry import axes_of, orientation_name
from kitsbench.data.nifti import Header, read_header, read_label
from kitsbench.data.store import PreparedStore

QUANTILES = (5, 25, 50, 75, 95)


def describe_dataset(
    dataset: Dataset, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Describe a dataset: where, what, how large, and the volumes of its labels.

    Parameters
    ----------
    dataset : Dataset
        Headers of all images and all masks are read, no voxels of images.
    progress : callable, optional
        Called as ``progress(done, total)``.

    Returns
    -------
    dict
        Plain data. Lengths (z, y, x) in mm, volumes in ml; quantiles by percent.
    """
    rows, volumes, excluded = [], [], dict(dataset.excluded)
    for done, case in enumerate(dataset.cases, start=1):
        try:
            header = read_header(case.image or case.label or dataset.root, case.id)
            rows.append(_row(header))
            if case.label is not None:
                volumes.append(_volumes(read_header(case.label, case.id), dataset.labels))
        except Refused as error:
            excluded[case.id] = error.finding.what
        if progress is not None:
            progress(done, len(dataset.cases))
    return {
        "name": dataset.name,
        "root": str(dataset.root),
        "layout": dataset.layout,
        "labels": dataset.labels,
        "synthetic": dataset.synthetic,
        "note": dataset.note,
        "fingerprint": dataset.fingerprint,
        "n_cases": len(dataset.cases),
        "n_images": sum(case.image is not None for case in dataset.cases),
        "excluded": excluded,
        "orientations": sorted({row["orientation"] for row in rows}),
        "spacing_mm": _quantiles([row["spacing"] for row in rows]),
        "shape": _quantiles([row["shape"] for row in rows]),
        "volume_ml": {
            name: {
                "n_cases": sum(v[name] > 0 for v in volumes),
                **_quantiles([v[name] for v in volumes if v[name] > 0]),
            }
            for name in dataset.labels
        },
    }


def describe_store(store: PreparedStore) -> dict[str, Any]:
    """Describe a prepared store."""
    return {
        "id": store.id,
        "folder": str(store.folder),
        "spacing_mm": list(store.spacing),
        "dataset": store.manifest["dataset"],
        "n_cases": len(store.cases),
        "excluded": store.excluded,
        "fingerprint": store.fingerprint,
    }


def _row(header: Header) -> dict[str, Any]:
    order = axes_of(header.affine).order
    return {
        "orientation": orientation_name(header.affine),
        "spacing": [header.spacing[k] for k in order],
        "shape": [header.shape[k] for k in order],
    }


def _volumes(header: Header, labels: dict[str, int]) -> dict[str, float]:
    counts = np.bincount(read_label(header).reshape(-1), minlength=256)
    voxel = abs(float(np.linalg.det(header.affine[:3, :3]))) / 1000.0
    return {name: float(counts[value] * voxel) for name, value in labels.items()}


def _quantiles(values: list[Any]) -> dict[str, Any]:
    if not values:
        return {}
    found = np.percentile(np.asarray(values, dtype=float), QUANTILES, axis=0)
    return {f"p{q}": np.round(v, 4).tolist() for q, v in zip(QUANTILES, found, strict=True)}
