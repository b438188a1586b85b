"""Predict the held-out cases of a trial and score them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kitsbench.data.preparation.store import PreparedCase, PreparedStore
from kitsbench.data.preparation.volumes import check_pair
from kitsbench.evaluation import score_case
from kitsbench.evaluation.protocols import for_labels
from kitsbench.experiments.tables import SCORES
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.files import read_json, write_json
from kitsbench.inference.case import Trained, segment
from kitsbench.scans.geometry import Axes
from kitsbench.scans.grids import axes_onto
from kitsbench.scans.label_names import name_labels
from kitsbench.scans.nifti import read_header, read_label
from kitsbench.scans.writing import write_label
from kitsbench.training.checkpoint import latest_checkpoint
from kitsbench.training.failures import plugin_code

Report = Callable[[str, float], None]


@dataclass
class CaseReader:
    """Prepared volumes and truths of the held-out cases, opened when they are needed."""

    task: TrialTask
    stores: dict[str, PreparedStore] = field(default_factory=dict)

    def volumes(self, case: str, folders: dict[str, Path]) -> dict[str, PreparedCase]:
        """Prepared volumes of a case, one a grid."""
        found = {}
        for grid, path in folders.items():
            if str(path) not in self.stores:
                self.stores[str(path)] = PreparedStore.open(path)
            found[grid] = self.stores[str(path)].case(case)
        return found

    def truth(self, case: str) -> tuple[np.ndarray, tuple[float, float, float], np.ndarray]:
        """Labels on the scan's own voxels, turned to (z, y, x) as the scan is, and their grid.

        Returns
        -------
        labels : ndarray of uint8 (z, y, x)
        spacing : tuple of float
            (z, y, x) in mm.
        affine : ndarray (4, 4)
            Of the label map's file, its axes as on disk.

        Raises
        ------
        Refused
            The mask cannot be used, or does not lie on the grid of its scan.
        """
        files = self.task.cases[case]
        assert files.image is not None
        assert files.label is not None
        image, mask = read_header(files.image, case), read_header(files.label, case)
        check_pair(image, mask)
        axes = axes_onto(mask, image.affine)
        z, y, x = (mask.spacing[k] for k in axes.order)
        labels = read_label(mask, self.task.names, axes)
        return labels, (z, y, x), mask.affine


def score_held_out(
    task: TrialTask, trained: Trained, cases: CaseReader, case: str, *protocols: str
) -> tuple[list[dict[str, Any]], np.ndarray, dict[str, Any]]:
    """Predict one held-out case and score it: rows, the label map on disk axes, its geometry."""
    sources = [member.stores for member in task.members] or [task.stores]
    volumes = [cases.volumes(case, folders) for folders in sources]
    with plugin_code("decode"):
        labels = segment(trained, volumes)
    native = next(iter(volumes[0].values())).native
    truth, spacing, affine = cases.truth(case)
    turned = Axes(tuple(native["order"]), tuple(native["flipped"])).to_zyx(labels)
    named = {name for name, _ in task.spec.labels}
    rows = []
    for protocol in protocols:
        rule = for_labels(protocol, dict(task.spec.labels))
        for row in score_case(turned, truth, spacing, rule, affine=affine):
            # A dataset without cysts says nothing about how well they are found.
            if protocol != "labels" or row["region"] in named:
                rows.append({"protocol": protocol, "case": case, **row})
    return rows, labels, native


def _weights(task: TrialTask) -> list[str]:
    """Hashes of the weights that a trial is scored with."""
    newest = [latest_checkpoint(t.folder.checkpoints) for t in task.members or [task]]
    return [str(read_json(c / "SHA256.json")["model.safetensors"]) for c in newest if c is not None]


def score_trial(
    task: TrialTask, trained: Trained, cases: CaseReader, report: Report
) -> pd.DataFrame:
    """Score every held-out case; rows of a case that was scored before a kill are kept."""
    part, weights = task.folder.partial_scores, _weights(task)
    scored: dict[str, list[dict[str, Any]]] = {}
    # After a damaged checkpoint the training was repeated from the one before, and on most
    # devices that gives other weights.
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = read_json(part)
        scored = dict(kept["scored"]) if kept["weights"] == weights else {}
    for index, case in enumerate(task.test_cases):
        report("score", index / len(task.test_cases))
        prediction = task.folder.predictions / f"{case}.nii.gz"
        if case in scored and (prediction.exists() or not task.keep_predictions):
            continue
        scored[case], labels, native = score_held_out(task, trained, cases, case, *task.protocols)
        if task.keep_predictions:
            write_label(prediction, task.names.write(labels), native)
            name_labels(task.folder.path, task.names)
        write_json(part, {"weights": weights, "scored": scored})
    rows = [row for case in task.test_cases for row in scored[case]]
    return pd.DataFrame(rows, columns=list(SCORES))
