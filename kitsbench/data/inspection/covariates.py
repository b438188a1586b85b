"""Properties of cases that explain why some are hard: sizes, slices, cysts, contrast phase."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from kitsbench.data.datasets.dataset import Dataset
from kitsbench.data.inspection.describe import count_labels
from kitsbench.data.preparation.volumes import check_pair
from kitsbench.errors import DataError
from kitsbench.scans.findings import Refused
from kitsbench.scans.geometry import voxel_volume
from kitsbench.scans.grids import axes_onto
from kitsbench.scans.nifti import read_header, read_image, read_label

ENHANCEMENT = "kidney_hu"


def measure_cases(
    dataset: Dataset,
    enhancement: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Measure every case of a dataset on its label map.

    Parameters
    ----------
    dataset : Dataset
        Cases without a readable label map are left out.
    enhancement : bool
        Read the images too, for the column ``kidney_hu``.
    progress : callable, optional
        Called as ``progress(done, total)``.

    Returns
    -------
    DataFrame
        Indexed by case. ``<label>_volume_ml`` of every label; ``cyst_present`` (yes, no) where
        the dataset labels cysts; ``slice_thickness_mm``: distance of slices along the body;
        ``kidney_hu``: median Hounsfield units of the kidney, a proxy of the contrast phase (the
        kidney is brightest in the nephrographic phase).

    Raises
    ------
    DataError
        No case could be measured.
    """
    rows = {}
    for done, case in enumerate(dataset.cases, start=1):
        if case.label is not None:
            try:
                header = read_header(case.label, case.id)
                axes, scan = header.axes, None
                if enhancement and case.image is not None:
                    scan = read_header(case.image, case.id)
                    check_pair(scan, header)
                    axes = axes_onto(header, scan.affine)
                label = read_label(header, dataset.names, axes)
                counts = count_labels(label)
                voxel = voxel_volume(header.affine) / 1000
                row: dict[str, object] = {
                    f"{name}_volume_ml": round(float(counts[value]) * voxel, 3)
                    for name, value in dataset.labels.items()
                }
                if "cyst" in dataset.labels:
                    row["cyst_present"] = "yes" if counts[dataset.labels["cyst"]] else "no"
                thickness = header.spacing[axes.order[0]]
                row["slice_thickness_mm"] = round(float(thickness), 4)
                if scan is not None and "kidney" in dataset.labels:
                    kidney = read_image(scan)[0][label == dataset.labels["kidney"]]
                    row[ENHANCEMENT] = float(np.median(kidney)) if kidney.size else None
                rows[case.id] = row
            except Refused:
                pass  # `data verify` says why; such a case is of unknown kind
        if progress is not None:
            progress(done, len(dataset.cases))
    if not rows:
        raise DataError(
            f"No label map of {dataset.name} could be read; see `kitsbench data verify`."
        )
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "case"
    return table
