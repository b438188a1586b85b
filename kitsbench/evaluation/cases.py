"""Score one case from its files: read, check, score by every protocol asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kitsbench.errors import DataError
from kitsbench.evaluation.folder_scores import Problem
from kitsbench.evaluation.pairs import LabelPair, PredictedMap
from kitsbench.evaluation.protocols import SAMPLED_PROTOCOL, Protocol
from kitsbench.evaluation.scores import check_labels, score_pair
from kitsbench.metrics import UNDEFINED
from kitsbench.scans.grids import axes_onto
from kitsbench.scans.header import Header
from kitsbench.scans.label_names import IGNORED, LabelNames
from kitsbench.scans.nifti import read_label


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case, their headers read.

    Attributes
    ----------
    case : str
        Its name.
    prediction : Header or None
        None counts as background.
    truth : Header
        The reference of every protocol, except where there are samples.
    samples : tuple of Header
        Sampled annotations, against which ``kits21`` scores instead; may be empty.
    true_names, predicted_names : LabelNames or None
        What the values of the files mean; None where they are what the protocols say.
    """

    case: str
    prediction: Header | None
    truth: Header
    samples: tuple[Header, ...] = ()
    true_names: LabelNames | None = None
    predicted_names: LabelNames | None = None

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size of the truth in mm, ``(z, y, x)``."""
        z, y, x = (self.truth.spacing[k] for k in self.truth.axes.order)
        return z, y, x

    def read(self, file: Header) -> np.ndarray:
        """Read one of the files, turned to ``(z, y, x)`` as its truth is."""
        names = self.predicted_names if file is self.prediction else self.true_names
        return read_label(file, names, axes_onto(file, self.truth.affine))

    def ignored(self, truth: np.ndarray) -> np.ndarray | None:
        """Voxels that nobody labelled; they are background in both maps. None if there are none."""
        if self.true_names is None or not self.true_names.ignores:
            return None
        return truth == IGNORED

    def map_of(self, labels: np.ndarray) -> PredictedMap:
        """Make a label map on the grid of the truth one that can be scored."""
        return PredictedMap(labels, self.spacing, self.truth.affine)

    @property
    def paths(self) -> list[Path]:
        """Every file."""
        files = [self.truth, *self.samples] + ([self.prediction] if self.prediction else [])
        return [file.path for file in files]


@dataclass(frozen=True)
class Task:
    """What is to be computed of every case.

    Attributes
    ----------
    protocols : tuple of Protocol
        By which to score.
    metrics : tuple of str or None
        Metrics of all of them; None stands for each protocol's own.
    """

    protocols: tuple[Protocol, ...]
    metrics: tuple[str, ...] | None


@dataclass
class CaseScores:
    """What one case yields, as plain data that can be stored.

    Attributes
    ----------
    rows : dict
        By protocol: the rows of :func:`~kitsbench.evaluation.score_case`.
    lesions : dict
        By protocol: ``region``, ``n_lesions``, ``n_found``, ``n_false_positive``.
    absent : dict
        By protocol: regions that the truth lacks, where the prediction failed.
    problem : dict or None
        Fields of a :class:`~kitsbench.evaluation.Problem`.
    has_cyst : bool
        Whether label 3 occurs.
    """

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    lesions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    absent: dict[str, list[str]] = field(default_factory=dict)
    problem: dict[str, str] | None = None
    has_cyst: bool = False


def score_files(files: CaseFiles, task: Task) -> CaseScores:
    """Score a case by every protocol; what is wrong with its voxels becomes a problem.

    A prediction that cannot be used is scored as failed; a truth that cannot be used leaves the
    case without scores.
    """
    sampled = tuple(p for p in task.protocols if files.samples and p.name == SAMPLED_PROTOCOL)
    plain = tuple(p for p in task.protocols if p not in sampled)
    references = [(files.truth, plain)] if plain else []
    references += [(sample, sampled) for sample in files.samples if sampled]
    prediction: PredictedMap | None = None
    fault: DataError | None = None
    scores = CaseScores()
    parts: dict[str, list[_Part]] = {protocol.name: [] for protocol in task.protocols}
    for file, protocols in references:
        try:
            truth = files.read(file)
            ignored = files.ignored(truth)
            if prediction is None or ignored is not None:
                prediction, fault = _read_prediction(files, truth, ignored)
            if ignored is not None:
                truth[ignored] = 0
            names = (str(files.prediction.path if files.prediction else None), str(file.path))
            pair = LabelPair(prediction, truth, names)
            fault = fault or _unknown_label(pair, task)
            if fault is not None:
                prediction = files.map_of(np.zeros_like(truth))
                pair = LabelPair(prediction, truth, names)
            for protocol in protocols:
                parts[protocol.name].append(_part(pair, protocol, task, fault is not None))
            scores.has_cyst |= bool(pair.histogram[3].any() or pair.histogram[:, 3].any())
        except DataError as error:
            if isinstance(error.__cause__, MemoryError):
                raise error.__cause__ from error
            return CaseScores(problem=asdict(Problem(files.case, str(file.path), str(error))))
    for name, found in parts.items():
        scores.rows[name] = _mean_rows([part.rows for part in found])
        scores.lesions[name] = _mean_lesions([part.lesions for part in found])
        if fault is not None:
            scores.absent[name] = sorted(set.intersection(*(part.absent for part in found)))
    if fault is not None and files.prediction is not None:
        scores.problem = asdict(Problem(files.case, str(files.prediction.path), str(fault)))
    return scores


def _read_prediction(
    files: CaseFiles, truth: np.ndarray, ignored: np.ndarray | None
) -> tuple[PredictedMap, DataError | None]:
    """Return the prediction without what is ignored, or an empty map and what is wrong."""
    try:
        if files.prediction is not None:
            labels = files.read(files.prediction)
            if ignored is not None:
                labels[ignored] = 0
            return files.map_of(labels), None
        error = None
    except DataError as caught:
        if isinstance(caught.__cause__, MemoryError):
            raise caught.__cause__ from caught  # the prediction is not to blame
        error = caught
    return files.map_of(np.zeros_like(truth)), error


def _unknown_label(pair: LabelPair, task: Task) -> DataError | None:
    try:
        for protocol in task.protocols:
            check_labels(pair.histogram.sum(axis=0), protocol, pair.names[0])
    except DataError as error:
        return error
    return None


class _Part(NamedTuple):
    """Scores against one reference."""

    rows: list[dict[str, Any]]
    lesions: list[dict[str, Any]]
    absent: set[str]


def _part(pair: LabelPair, protocol: Protocol, task: Task, failed: bool) -> _Part:
    rows = score_pair(pair, protocol, task.metrics, failed)
    lesions = [
        {"region": region.name, **pair.lesions(region)._asdict()}
        for region in protocol.regions
        if region.lesion
    ]
    counts = {region.name: pair.counts(region) for region in protocol.regions}
    return _Part(rows, lesions, {name for name, c in counts.items() if c.tp + c.fn == 0})


_PRECEDENCE = (UNDEFINED, "failed", "ok", "empty_prediction", "false_positive", "both_empty")


def _mean_rows(parts: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Mean over references, as KiTS21's organisers take it; undefined values are left out.

    A region counts as present in the truth when one of the references has it.
    """
    if len(parts) == 1:
        return parts[0]
    rows = []
    for same in zip(*parts, strict=True):
        values = [row["value"] for row in same if row["value"] is not None]
        status = min((row["status"] for row in same), key=_PRECEDENCE.index)
        value = float(np.mean(values)) if values else None
        rows.append({**same[0], "value": value, "status": status})
    return rows


def _mean_lesions(parts: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    if len(parts) == 1:
        return parts[0]
    return [
        {
            key: value if key == "region" else float(np.mean([part[key] for part in same]))
            for key, value in same[0].items()
        }
        for same in zip(*parts, strict=True)
    ]
