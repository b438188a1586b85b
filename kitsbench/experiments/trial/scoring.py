"""Predict the held-out cases of a trial and score them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kitsbench.data.preparation.store import PreparedCase, PreparedStore
from kitsbench.data.preparation.volumes import check_pair
from kitsbench.errors import DataError
from kitsbench.evaluation import score_case
from kitsbench.evaluation.protocols import for_labels
from kitsbench.experiments.records import PartialScoresRecord, ScoreRow
from kitsbench.experiments.tables import SCORES
from kitsbench.experiments.trial.remembered import weights_of
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.inference.case import Trained, segment
from kitsbench.inference.sliding import NonFiniteOutput
from kitsbench.scans.findings import Refused
from kitsbench.scans.geometry import Axes
from kitsbench.scans.grids import axes_onto, grid_findings
from kitsbench.scans.label_names import name_labels
from kitsbench.scans.nifti import read_header, read_label
from kitsbench.scans.writing import write_label
from kitsbench.training.failures import TrialFailure, plugin_code

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
            self.stores[str(path)].verify([case])
            found[grid] = self.stores[str(path)].case(case)
        return found

    def label_map(self, file: Path, case: str) -> np.ndarray:
        """A label map that was kept, turned to (z, y, x) as the scan of its case is.

        Raises
        ------
        Refused
            It is missing or damaged, lies on another grid, or holds other labels.
        """
        scan = self.task.cases[case].image
        assert scan is not None
        image, header = read_header(scan, case), read_header(file, case)
        if found := grid_findings(image, header, "prediction"):
            raise Refused(found[0])
        return read_label(header, self.task.names, axes_onto(header, image.affine))

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
        try:
            labels = segment(trained, volumes)
        except NonFiniteOutput as error:
            raise TrialFailure("non-finite", f"{case}: {error}") from error
    native = next(iter(volumes[0].values())).native
    turned = Axes(tuple(native["order"]), tuple(native["flipped"])).to_zyx(labels)
    return score_map(task, cases, case, turned, protocols), labels, native


def score_map(
    task: TrialTask, cases: CaseReader, case: str, turned: np.ndarray, protocols: Sequence[str]
) -> list[dict[str, Any]]:
    """Score the label map of a held-out case, turned to (z, y, x) as its scan is."""
    truth, spacing, affine = cases.truth(case)
    named = {name for name, _ in task.spec.labels}
    rows = []
    for protocol in protocols:
        rule = for_labels(protocol, dict(task.spec.labels))
        for row in score_case(turned, truth, spacing, rule, affine=affine):
            # A dataset without cysts says nothing about how well they are found.
            if protocol != "labels" or row["region"] in named:
                rows.append({"protocol": protocol, "case": case, **row})
    return rows


def _weights(task: TrialTask) -> tuple[str, ...]:
    """Hashes of the weights that a trial is scored with."""
    found = [weights_of(owner) for owner in task.members or [task]]
    return tuple(one for one in found if one is not None)


def score_trial(
    task: TrialTask, trained: Trained, cases: CaseReader, report: Report
) -> pd.DataFrame:
    """Score every held-out case; rows of a case that was scored before a kill are kept."""
    part, weights = task.folder.partial_scores, _weights(task)
    kept = PartialScoresRecord(trial=task.id, weights=weights, protocols=task.protocols, scored={})
    scored: dict[str, list[dict[str, Any]]] = {}
    with contextlib.suppress(DataError):
        found = PartialScoresRecord.read(part)
        # After a damaged checkpoint the training was repeated from the one before, and on most
        # devices that gives other weights. Another run may want other protocols.
        if found.model_copy(update={"scored": {}}) == kept:
            scored = {
                case: [row.model_dump() for row in rows] for case, rows in found.scored.items()
            }
    for index, case in enumerate(task.test_cases):
        report("score", index / len(task.test_cases))
        prediction = task.folder.predictions / f"{case}.nii.gz"
        if case in scored and (prediction.exists() or not task.keep_predictions):
            continue
        scored[case], labels, native = score_held_out(task, trained, cases, case, *task.protocols)
        if task.keep_predictions:
            write_label(prediction, task.names.write(labels), native)
            name_labels(task.folder.path, task.names)
        rows_of = {name: tuple(ScoreRow(**row) for row in own) for name, own in scored.items()}
        kept.model_copy(update={"scored": rows_of}).write(part)
    rows = [row for case in task.test_cases for row in scored[case]]
    return pd.DataFrame(rows, columns=list(SCORES))
