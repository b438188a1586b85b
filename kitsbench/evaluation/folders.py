"""Score a folder of label maps against a folder of true ones, whoever made them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kitsbench.errors import DataError, UsageError
from kitsbench.evaluation.cases import CaseFiles, CaseScores, Task
from kitsbench.evaluation.folder_scores import Evaluation, Problem
from kitsbench.evaluation.label_files import (
    find_label_maps,
    find_samples,
    match_cases,
)
from kitsbench.evaluation.naming import name_values
from kitsbench.evaluation.partial import PartialScores
from kitsbench.evaluation.pool import score_cases
from kitsbench.evaluation.protocols import (
    SAMPLED_PROTOCOL,
    Protocol,
    check_metrics,
    get_protocol,
)
from kitsbench.evaluation.summary import unseen_regions
from kitsbench.scans.grids import AFFINE_TOLERANCE, place
from kitsbench.scans.header import Header
from kitsbench.scans.names import match_names
from kitsbench.scans.nifti import read_header

Progress = Callable[[int, int, str], None]
REFERENCES = ("majority", "samples")
"""What ``kits21`` may score against: the majority mask, or the sampled annotations."""


def evaluate(
    predictions: Path,
    truth: Path,
    protocol: str | Protocol,
    missing: str | None = None,
    jobs: int | None = 1,
    progress: Progress | None = None,
    metrics: Sequence[str] | None = None,
    cases: Iterable[str] | None = None,
    reference: str | None = None,
    partial: Path | None = None,
) -> Evaluation:
    """Score every case of the truth by one protocol.

    What can be seen from names and headers is checked for all cases before any voxel is read,
    and stops the evaluation. What shows only in the voxels (a damaged file, a value that is no
    label) makes that case a :class:`Problem`; the others keep their scores.

    Parameters
    ----------
    predictions, truth : Path
        Folders in any layout of :func:`~kitsbench.evaluation.label_files.find_label_maps`, or
        two files.
    protocol : str or Protocol
        ``kits19``, ``kits21``, ``kits23`` or ``labels``.
    missing : {None, "background"}
        What a case without a prediction is: an error, or all background.
    jobs : int, optional
        Processes; each holds one case at a time. None: as many as there are cores and memory
        for, up to eight.
    progress : callable, optional
        Called as ``progress(done, total, case)`` after every case.
    metrics : sequence of str, optional
        Names from :data:`~kitsbench.evaluation.METRICS`; by default the protocol's own.
    cases : iterable of str, optional
        The cases to score, for instance one fold; by default all of the truth.
    reference : {None, "majority", "samples"}
        For ``kits21``: score against the majority mask, or against sampled annotations and take
        the mean. None: the samples where all cases have them, otherwise the majority mask.
    partial : Path, optional
        File that keeps the cases done so far, so that the same call goes on after a kill.
        Remove it when the result is stored.

    Raises
    ------
    UsageError
        An argument is unknown.
    DataError
        Folders, names, shapes or affines do not fit; the message names every file.
    """
    return evaluate_protocols(
        predictions,
        truth,
        [get_protocol(protocol)],
        missing=missing,
        jobs=jobs,
        progress=progress,
        metrics=metrics,
        cases=cases,
        reference=reference,
        partial=partial,
    )[0]


def evaluate_protocols(
    predictions: Path,
    truth: Path,
    protocols: Sequence[Protocol],
    missing: str | None = None,
    jobs: int | None = 1,
    progress: Progress | None = None,
    metrics: Sequence[str] | None = None,
    cases: Iterable[str] | None = None,
    reference: str | None = None,
    partial: Path | None = None,
) -> list[Evaluation]:
    """Score every case of the truth by several protocols, reading every file once.

    Parameters
    ----------
    predictions, truth, missing, jobs, progress, metrics, cases, reference, partial
        As for :func:`evaluate`.
    protocols : sequence of Protocol
        By which to score.

    Returns
    -------
    list of Evaluation
        One for each protocol.

    Raises
    ------
    UsageError, DataError
        As for :func:`evaluate`.
    """
    for protocol in protocols:
        check_metrics(metrics, protocol)
    if missing not in (None, "background"):
        raise UsageError(f"missing is {missing!r}; it is None (an error) or 'background'.")
    if reference not in (None, *REFERENCES):
        raise UsageError(f"reference is {reference!r}; it is 'majority' or 'samples'.")
    if reference == "samples" and not _wants_samples(protocols):
        raise UsageError("Only the protocol kits21 scores against sampled annotations.")
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs is {jobs}; at least one process is needed.")
    pairs, extra = _pair_up(Path(predictions), Path(truth), missing, cases)
    naming = name_values(pairs, protocols)
    protocols = naming.protocols
    task = Task(protocols, None if metrics is None else tuple(dict.fromkeys(metrics)))
    samples = _samples(pairs, protocols, reference)
    files = [
        replace(file, true_names=naming.truth, predicted_names=naming.predictions)
        for file in _check_headers(pairs, samples)
    ]
    done: dict[str, CaseScores] = {}
    with PartialScores(partial, files, task) as kept:
        for case, scores in score_cases(files, task, jobs, kept.scores):
            kept.add(case, scores)
            done[case] = scores
            if progress is not None:
                progress(len(done), len(files), case)
    found = [_collect(files, done, protocol, extra) for protocol in protocols]
    for evaluation in found:
        evaluation.notes += [*naming.notes, *_nobody_has(evaluation)]
    return found


def _collect(
    files: Sequence[CaseFiles], done: dict[str, CaseScores], protocol: Protocol, extra: list[str]
) -> Evaluation:
    """Put the cases of one protocol together, in the order of the truth."""
    evaluation = Evaluation(protocol, [], extra=extra)
    evaluation.missing = [file.case for file in files if file.prediction is None]
    for file in files:
        case, scores = file.case, done[file.case]
        evaluation.rows += [{"case": case, **row} for row in scores.rows.get(protocol.name, [])]
        evaluation.lesions += [
            {"case": case, **row} for row in scores.lesions.get(protocol.name, [])
        ]
        evaluation.absent |= {(case, region) for region in scores.absent.get(protocol.name, [])}
        if scores.problem is not None:
            evaluation.problems.append(Problem(**scores.problem))
    evaluation.notes += _notes(files, done, protocol) + _remarks(files)
    return evaluation


def _nobody_has(evaluation: Evaluation) -> list[str]:
    """Say that a headline is missing, because no truth has one of its regions."""
    nowhere = unseen_regions(evaluation.rows, evaluation.absent)
    if not nowhere or (evaluation.protocol.name == "labels" and evaluation.headline == {}):
        return []
    return [
        f"No truth has {' or '.join(nowhere)}, so nothing can be found: {evaluation.protocol.name} "
        "gives no mean of it, and none over the regions."
    ]


def _notes(
    files: Sequence[CaseFiles], done: dict[str, CaseScores], protocol: Protocol
) -> list[str]:
    cysts = [case for case, scores in done.items() if scores.has_cyst]
    if cysts and protocol.name == "kits19":
        return [
            f"Label 3 occurs in {len(cysts)} of {len(files)} cases. The KiTS19 rule (label > 1) "
            "scores it as tumor; KiTS19 itself has no label for cysts."
        ]
    if protocol.name != SAMPLED_PROTOCOL:
        return []
    if files[0].samples:
        count = sum(len(file.samples) for file in files)
        return [
            f"kits21: mean over the sampled annotations ({count} in {len(files)} cases), as the "
            "organisers scored the test set."
        ]
    return [
        "kits21: scored against one mask a case, which the organisers offer for development; "
        "they scored the test set against sampled annotations (segmentation_samples)."
    ]


def _wants_samples(protocols: Sequence[Protocol]) -> bool:
    return any(protocol.name == SAMPLED_PROTOCOL for protocol in protocols)


def _samples(
    pairs: dict[str, tuple[Path | None, Path]], protocols: Sequence[Protocol], reference: str | None
) -> dict[str, tuple[Path, ...]]:
    """Sampled annotations of every case, or of none."""
    if reference == "majority" or not _wants_samples(protocols):
        return {}
    found = {case: find_samples(truth) for case, (_, truth) in pairs.items()}
    without = [case for case, samples in found.items() if not samples]
    if not without:
        return found
    if reference is None and len(without) == len(found):
        return {}
    raise DataError(
        f"{len(without)} of {len(found)} cases have no sampled annotations "
        f"(<case>/segmentation_samples/group_*/*.nii.gz): {_some(without)}. Make them with the "
        "organisers' script, or score all cases against the majority mask (--reference majority)."
    )


def _pair_up(
    predictions: Path, truth: Path, missing: str | None, cases: Iterable[str] | None
) -> tuple[dict[str, tuple[Path | None, Path]], list[str]]:
    true_maps = find_label_maps(truth, predictions=False)
    predicted = find_label_maps(predictions, predictions=True)
    if predictions.is_file() and truth.is_file():
        # Two files are one pair, whatever they are called.
        predicted = dict.fromkeys(true_maps, predictions)
    wanted = true_maps if cases is None else _only(true_maps, list(cases), truth)
    matched, extra = match_cases(predicted, true_maps)
    lacking = [case for case in wanted if case not in matched]
    if len(lacking) == len(wanted):
        raise DataError(
            f"No prediction in {predictions} belongs to a case in {truth}: found "
            f"{_some(predicted)}, expected {_some(wanted)}."
        )
    if lacking and missing is None:
        raise DataError(
            f"{len(lacking)} of {len(wanted)} cases have no prediction in {predictions}: "
            f"{', '.join(lacking)}. Add them, count them as background (--missing background), "
            "or name the cases to score (--cases)."
        )
    return {case: (matched.get(case), path) for case, path in wanted.items()}, extra


def _only(true_maps: dict[str, Path], cases: list[str], truth: Path) -> dict[str, Path]:
    meant = match_names(cases, true_maps)
    unknown = [case for case in cases if case not in meant]
    if unknown or not cases:
        named = ", ".join(unknown) or "none at all"
        raise DataError(f"Cases were asked for that {truth} does not hold: {named}.")
    return {case: path for case, path in true_maps.items() if case in set(meant.values())}


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _check_headers(
    pairs: dict[str, tuple[Path | None, Path]], samples: dict[str, tuple[Path, ...]]
) -> list[CaseFiles]:
    """Read and compare all headers; one error for everything that is wrong."""
    files: list[CaseFiles] = []
    wrong: list[str] = []
    for case, (prediction_path, truth_path) in pairs.items():
        try:
            truth = read_header(truth_path)
            prediction = None if prediction_path is None else read_header(prediction_path)
            sampled = tuple(read_header(path) for path in samples.get(case, ()))
            for other, role in ((prediction, "prediction"), *((s, "sample") for s in sampled)):
                if other is not None:
                    _check_same_grid(other, truth, role)
            files.append(CaseFiles(case, prediction, truth, sampled))
        except DataError as error:
            wrong.append(f"{case}: {error}")
    if wrong:
        count = f"{len(wrong)} of {len(pairs)} cases cannot be scored.\n" if len(wrong) > 1 else ""
        raise DataError(count + "\n".join(wrong))
    return files


def _check_same_grid(file: Header, truth: Header, role: str) -> None:
    placed = place(file, truth)
    pair = f"{role} {file.path} and truth {truth.path}"
    if placed.reshaped:
        raise DataError(
            f"{pair} differ in shape: {placed.shape} and {truth.shape}. "
            f"A {role} must have the voxels of its truth; resample it to the original scan."
        )
    if placed.moved:
        raise DataError(
            f"{pair} differ in affine by {placed.apart:.4g} (sum of absolute differences, at most "
            f"{AFFINE_TOLERANCE:g}): {_rows(placed.affine)} and {_rows(truth.affine)}. "
            f"Save the {role} with the header of the original scan."
        )


def _rows(affine: np.ndarray) -> str:
    """The three rows of an affine that matter, on one line."""
    rows = (", ".join(f"{value:.6g}" for value in row) for row in affine[:3])
    return "[" + "; ".join(rows) + "]"


def _remarks(files: Sequence[CaseFiles]) -> list[str]:
    """What is odd about the headers; a line for each kind of oddity, however many files have it."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for file in files:
        for header in (file.truth, file.prediction, *file.samples):
            for finding in header.findings if header else []:
                where = f"{finding.what} ({finding.file})"
                kinds.setdefault((finding.rule, finding.remedy), []).append(where)
    return [
        f"{found[0]}{f' and {len(found) - 1} more' if len(found) > 1 else ''}. {rule} {remedy}"
        for (rule, remedy), found in kinds.items()
    ]
