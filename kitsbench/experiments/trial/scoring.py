"""Predict the held-out cases of a trial and score them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch

from kitsbench.data.preparation.store import PreparedCase, PreparedStore
from kitsbench.data.preparation.volumes import check_pair
from kitsbench.errors import DataError
from kitsbench.evaluation import score_case, score_failed_case
from kitsbench.evaluation.protocols import for_labels
from kitsbench.experiments.records import PartialScoresRecord, ScoreRow
from kitsbench.experiments.tables import SCORES
from kitsbench.experiments.trial.remembered import weights_of
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.experiments.trial.trained import open_stores
from kitsbench.inference.case import Predicted, Trained, label_map, predict
from kitsbench.inference.pipeline import one_by_one
from kitsbench.inference.sliding import NonFiniteOutput
from kitsbench.scans.findings import Refused
from kitsbench.scans.geometry import Axes
from kitsbench.scans.grids import axes_onto, grid_findings
from kitsbench.scans.header import Header
from kitsbench.scans.label_names import LabelNames, name_labels
from kitsbench.scans.nifti import read_header, read_label
from kitsbench.scans.writing import write_label
from kitsbench.training.failures import TrialFailure, plugin_code

Report = Callable[[str, float], None]
Found = tuple[list[dict[str, Any]], np.ndarray | None, dict[str, Any]]
"""Rows of a case, its label map on disk axes (None where there is none), and its geometry."""


class Segmenter(Protocol):
    """What makes the label maps of held-out cases, in three steps as of ``one_by_one``."""

    def load(self, case: str) -> Any:
        """Read what predicting a case needs."""

    def predict(self, case: str, loaded: Any) -> Any:
        """Do for a case what the device does."""

    def finish(self, case: str, predicted: Any, protocols: Sequence[str]) -> Found:
        """Score a case."""


@dataclass
class CaseReader:
    """Prepared volumes and truths of the held-out cases, opened when they are needed.

    Attributes
    ----------
    scoring_s, predicting_s : float
        Seconds in which their label maps were scored, and made, so far.
    """

    task: TrialTask
    stores: dict[str, dict[str, PreparedStore]] = field(default_factory=dict)
    scoring_s: float = 0.0
    predicting_s: float = 0.0

    def volumes(self, case: str, owner: TrialTask) -> dict[str, PreparedCase]:
        """Prepared volumes of a case for the network of a trial, one a grid."""
        if owner.id not in self.stores:
            self.stores[owner.id] = open_stores(owner)
        found = {}
        for grid, store in self.stores[owner.id].items():
            store.verify([case])
            found[grid] = store.case(case)
        return found

    def scan(self, case: str) -> Header:
        """Header of the scan of a case."""
        file = self.task.cases[case].image
        assert file is not None
        return read_header(file, case)

    def label_map(self, file: Path, case: str, names: LabelNames | None = None) -> np.ndarray:
        """A label map that was kept, turned to (z, y, x) as the scan of its case is.

        Parameters
        ----------
        file : Path
        case : str
        names : LabelNames, optional
            What its values mean; by default those of the dataset.

        Raises
        ------
        Refused
            It is missing or damaged, lies on another grid, or holds other labels.
        """
        image, header = self.scan(case), read_header(file, case)
        if found := grid_findings(image, header, "prediction"):
            raise Refused(found[0])
        return read_label(header, names or self.task.names, axes_onto(header, image.affine))

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


@dataclass(frozen=True)
class _ByNetworks:
    """Networks that were trained here, behind their trial."""

    task: TrialTask
    trained: Trained
    cases: CaseReader

    def load(self, case: str) -> Any:
        return prepared_volumes(self.task, self.cases, case)

    def predict(self, case: str, loaded: Any) -> Any:
        return predict_held_out(self.task, self.trained, case, loaded)

    def finish(self, case: str, predicted: Any, protocols: Sequence[str]) -> Found:
        return score_predicted(self.task, self.trained, self.cases, case, predicted, protocols)


def _segmenter(task: TrialTask, trained: Trained | Segmenter, cases: CaseReader) -> Segmenter:
    return _ByNetworks(task, trained, cases) if isinstance(trained, Trained) else trained


def score_held_out(
    task: TrialTask, trained: Trained | Segmenter, cases: CaseReader, case: str, *protocols: str
) -> Found:
    """Predict one held-out case and score it."""
    way = _segmenter(task, trained, cases)
    return way.finish(case, way.predict(case, way.load(case)), protocols)


def score_cases(
    task: TrialTask,
    trained: Trained | Segmenter,
    cases: CaseReader,
    names: Sequence[str],
    protocols: Sequence[str],
    keep: bool = False,
    overlap: bool | None = None,
) -> Generator[list[dict[str, Any]]]:
    """Predict and score held-out cases.

    Parameters
    ----------
    task : TrialTask
    trained : Trained or Segmenter
    cases : CaseReader
    names, protocols : sequence of str
        The cases, and by which protocols they are scored.
    keep : bool
        Whether their label maps are written into the trial's folder.
    overlap : bool, optional
        Whether a case is read, and another scored and written, while the device predicts one; by
        default wherever that is no CPU.

    Yields
    ------
    list of dict
        The rows of each case, in the order of ``names``.
    """
    way = _segmenter(task, trained, cases)

    def make(case: str, loaded: Any) -> Any:
        began = time.perf_counter()
        made = way.predict(case, loaded)
        cases.predicting_s += time.perf_counter() - began
        return made

    def finish(case: str, found: Any) -> list[dict[str, Any]]:
        rows, labels, native = way.finish(case, found, protocols)
        if keep and labels is not None:
            file = task.folder.predictions / f"{case}.nii.gz"
            write_label(file, task.names.write(labels), native)
            name_labels(task.folder.path, task.names)
        return rows

    return one_by_one(
        names,
        way.load,
        make,
        finish,
        runs_beside(task) if overlap is None else overlap,
    )


def runs_beside(task: TrialTask) -> bool:
    """Whether a case is scored while the device predicts another."""
    return torch.device(task.device).type != "cpu"


def prepared_volumes(
    task: TrialTask, cases: CaseReader, case: str
) -> list[dict[str, PreparedCase]]:
    """Prepared volumes of a case for each network of a trial."""
    return [cases.volumes(case, owner) for owner in task.members or (task,)]


def predict_held_out(
    task: TrialTask, trained: Trained, case: str, volumes: Sequence[dict[str, PreparedCase]]
) -> Predicted:
    """What the device does for a held-out case.

    Raises
    ------
    TrialFailure
        A hook raised, or what the network put out is not finite.
    """
    with plugin_code("decode"):
        try:
            return predict(trained, volumes)
        except NonFiniteOutput as error:
            raise TrialFailure("non-finite", f"{case}: {error}") from error


def score_predicted(
    task: TrialTask,
    trained: Trained,
    cases: CaseReader,
    case: str,
    found: Predicted,
    protocols: Sequence[str],
) -> tuple[list[dict[str, Any]], np.ndarray, dict[str, Any]]:
    """What the host does for a held-out case; result as of :func:`score_held_out`."""
    with plugin_code("decode"):
        labels = label_map(trained, found)
    native = dict(found.native)
    turned = Axes(tuple(native["order"]), tuple(native["flipped"])).to_zyx(labels)
    return score_map(task, cases, case, turned, protocols), labels, native


def score_map(
    task: TrialTask,
    cases: CaseReader,
    case: str,
    turned: np.ndarray | None,
    protocols: Sequence[str],
) -> list[dict[str, Any]]:
    """Score the label map of a held-out case, turned to (z, y, x) as its scan is; None: missed."""
    began = time.perf_counter()
    truth, spacing, affine = cases.truth(case)
    named = {name for name, _ in task.spec.labels}
    rows = []
    for protocol in protocols:
        rule = for_labels(protocol, dict(task.spec.labels))
        if turned is None:
            scored = score_failed_case(truth, spacing, rule, affine=affine)
        else:
            scored = score_case(turned, truth, spacing, rule, affine=affine)
        for row in scored:
            # A dataset without cysts says nothing about how well they are found.
            if protocol != "labels" or row["region"] in named:
                rows.append({"protocol": protocol, "case": case, **row})
    cases.scoring_s += time.perf_counter() - began
    return rows


def _weights(task: TrialTask) -> tuple[str, ...]:
    """Hashes of the weights that a trial is scored with."""
    owners = [] if task.elsewhere else task.members or [task]
    found = [weights_of(owner) for owner in owners]
    return tuple(one for one in found if one is not None)


def score_trial(
    task: TrialTask,
    trained: Trained | Segmenter,
    cases: CaseReader,
    report: Report,
    overlap: bool | None = None,
    seen: Callable[[Sequence[dict[str, Any]]], object] = lambda rows: None,
) -> pd.DataFrame:
    """Score every held-out case; rows of a case that was scored before a kill are kept.

    Parameters
    ----------
    task : TrialTask
    trained : Trained or Segmenter
    cases : CaseReader
    report : callable
        Called before each case.
    overlap : bool, optional
        As of :func:`score_cases`.
    seen : callable
        Called with the rows of each case, those of a case that was scored before among them.
    """
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
    there = {case for case in scored if _is_kept(task, case)}
    missing = [case for case in task.test_cases if case not in there]
    newly = score_cases(
        task, trained, cases, missing, task.protocols, task.keep_predictions, overlap
    )
    for index, case in enumerate(task.test_cases):
        report("score", index / len(task.test_cases))
        if case in there:
            seen(scored[case])
            continue
        scored[case] = next(newly)
        seen(scored[case])
        rows_of = {name: tuple(ScoreRow(**row) for row in own) for name, own in scored.items()}
        kept.model_copy(update={"scored": rows_of}).write(part)
    rows = [row for case in task.test_cases for row in scored[case]]
    return pd.DataFrame(rows, columns=list(SCORES))


def _is_kept(task: TrialTask, case: str) -> bool:
    """Whether the label map of a case lies where it is wanted, if it is."""
    return not task.keep_predictions or (task.folder.predictions / f"{case}.nii.gz").exists()
