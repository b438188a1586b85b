"""Score a folder of label maps against a folder of true ones, whoever made them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from kitsbench.errors import DataError, UsageError
from kitsbench.evaluation.evaluation import Evaluation, Problem
from kitsbench.evaluation.label_files import (
    LabelFile,
    check_same_grid,
    find_label_maps,
    match_cases,
    read_header,
    read_labels,
)
from kitsbench.evaluation.protocols import Protocol, check_metrics, get_protocol
from kitsbench.evaluation.scores import ON_SURFACES, score_case, score_failed_case

Progress = Callable[[int, int, str], None]


def evaluate(
    predictions: Path,
    truth: Path,
    protocol: str | Protocol,
    missing: str | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
    metrics: Sequence[str] | None = None,
    cases: Iterable[str] | None = None,
) -> Evaluation:
    """Score every case of the truth.

    What can be seen from names and headers is checked for all cases before any voxel is read,
    and stops the evaluation. What shows only in the voxels (a damaged file, a value that is no
    label) makes that case a :class:`Problem`; the others keep their scores.

    Parameters
    ----------
    predictions, truth : Path
        Folders in any layout of :func:`~kitsbench.evaluation.label_files.find_label_maps`, or
        two files.
    protocol : str or Protocol
        ``kits19``, ``kits21`` (against the majority mask), ``kits23`` or ``labels``.
    missing : {None, "background"}
        What a case without a prediction is: an error, or all background.
    jobs : int
        Processes; each holds one case at a time.
    progress : callable, optional
        Called as ``progress(done, total, case)`` after every case.
    metrics : sequence of str, optional
        Names from :data:`~kitsbench.evaluation.METRICS`; by default the protocol's own.
    cases : iterable of str, optional
        The cases to score, for instance one fold; by default all of the truth.

    Raises
    ------
    UsageError
        An argument is unknown.
    DataError
        Folders, names, shapes or affines do not fit; the message names every file.
    """
    protocol = get_protocol(protocol)
    metrics = check_metrics(metrics, protocol)
    if missing not in (None, "background"):
        raise UsageError(f"missing is {missing!r}; it is None (an error) or 'background'.")
    if jobs < 1:
        raise UsageError(f"jobs is {jobs}; at least one process is needed.")
    pairs, extra = _pair_up(Path(predictions), Path(truth), missing, cases)
    files = _check_headers(pairs, need_boxes=bool(ON_SURFACES & set(metrics)))
    evaluation = Evaluation(protocol, [], extra=extra)
    evaluation.missing = [case for case, (prediction, _) in files.items() if prediction is None]
    outcomes: dict[str, _Outcome] = {}
    for case, outcome in _score_all(files, protocol, metrics, jobs):
        outcomes[case] = outcome
        if progress is not None:
            progress(len(outcomes), len(files), case)
    for case in files:
        outcome = outcomes[case]
        evaluation.rows += [{"case": case, **row} for row in outcome.rows]
        evaluation.absent |= {(case, region) for region in outcome.absent}
        if outcome.problem is not None:
            evaluation.problems.append(outcome.problem)
    cysts = [case for case in files if outcomes[case].has_cyst]
    if cysts and protocol.name == "kits19":
        evaluation.notes.append(
            f"Label 3 occurs in {len(cysts)} of {len(files)} cases. The KiTS19 rule (label > 1) "
            "scores it as tumor; KiTS19 itself has no label for cysts."
        )
    return evaluation


@dataclass
class _Outcome:
    rows: list[dict[str, Any]]
    absent: list[str] = field(default_factory=list)
    problem: Problem | None = None
    has_cyst: bool = False


_Pair = tuple[LabelFile | None, LabelFile]


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
    unknown = [case for case in cases if case not in true_maps]
    if unknown or not cases:
        named = ", ".join(unknown) or "none at all"
        raise DataError(f"Cases were asked for that {truth} does not hold: {named}.")
    return {case: path for case, path in true_maps.items() if case in set(cases)}


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _check_headers(
    pairs: dict[str, tuple[Path | None, Path]], need_boxes: bool
) -> dict[str, _Pair]:
    """Read and compare all headers; one error for everything that is wrong."""
    files: dict[str, _Pair] = {}
    wrong: list[str] = []
    for case, (prediction_path, truth_path) in pairs.items():
        try:
            truth = read_header(truth_path)
            prediction = None if prediction_path is None else read_header(prediction_path)
            if prediction is not None:
                check_same_grid(prediction, truth)
            if need_boxes and truth.sheared:
                raise DataError(
                    f"truth {truth.path} has a sheared affine; distances need perpendicular axes. "
                    "Resample it, or ask for volumetric metrics only (--metrics dice)."
                )
            files[case] = (prediction, truth)
        except DataError as error:
            wrong.append(f"{case}: {error}")
    if wrong:
        count = f"{len(wrong)} of {len(pairs)} cases cannot be scored.\n" if len(wrong) > 1 else ""
        raise DataError(count + "\n".join(wrong))
    return files


def _score_all(
    files: dict[str, _Pair], protocol: Protocol, metrics: Sequence[str], jobs: int
) -> Iterator[tuple[str, _Outcome]]:
    # A process takes about as long to start as a case to score.
    jobs = min(jobs, len(files) // 2)
    if jobs < 2:
        for case, (prediction, truth) in files.items():
            yield case, _score_files(case, prediction, truth, protocol, metrics)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures: dict[Future, str] = {
            pool.submit(_score_files, case, *pair, protocol, metrics): case
            for case, pair in files.items()
        }
        try:
            for future in as_completed(futures):
                case = futures[future]
                try:
                    yield case, future.result()
                except BrokenProcessPool:
                    reason = "a process was killed, probably for lack of memory; try --jobs 1"
                    problem = Problem(case, str(files[case][1].path), reason)
                    yield case, _Outcome([], problem=problem)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _score_files(
    case: str,
    prediction: LabelFile | None,
    truth: LabelFile,
    protocol: Protocol,
    metrics: Sequence[str],
) -> _Outcome:
    """Score one case from its files; what is wrong with the voxels becomes a problem."""
    try:
        true_labels = read_labels(truth)
    except DataError as error:
        return _Outcome([], problem=Problem(case, str(truth.path), str(error)))
    try:
        labels = np.zeros_like(true_labels) if prediction is None else read_labels(prediction)
        names = ("background" if prediction is None else str(prediction.path), str(truth.path))
        rows = score_case(labels, true_labels, truth.spacing, protocol, metrics, names)
    except DataError as error:
        return _failed(case, prediction, truth, true_labels, protocol, metrics, error)
    # Only KiTS19's rule gives label 3 a meaning that its users may not expect.
    has_cyst = protocol.name == "kits19" and bool((labels == 3).any() or (true_labels == 3).any())
    return _Outcome(rows, has_cyst=has_cyst)


def _failed(case, prediction, truth, true_labels, protocol, metrics, error) -> _Outcome:
    """Penalise a case, unless its truth is to blame."""
    try:
        rows = score_failed_case(true_labels, truth.spacing, protocol, metrics)
    except DataError:
        return _Outcome([], problem=Problem(case, str(truth.path), str(error)))
    present = set(np.unique(true_labels).tolist())
    absent = [region.name for region in protocol.regions if not present & set(region.labels)]
    return _Outcome(rows, absent, Problem(case, str(prediction.path), str(error)))


def default_jobs() -> int:
    """Processes to use where nobody says: the cores this process may use, eight at most."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    return max(1, min(8, cores))
