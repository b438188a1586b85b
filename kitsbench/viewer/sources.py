"""What the words of ``kitsbench view`` stand for: cases of an experiment, a trial, files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from kitsbench.data.datasets.dataset import Dataset, open_dataset
from kitsbench.errors import DataError, UsageError
from kitsbench.evaluation.label_files import find_label_maps, match_cases
from kitsbench.experiments.asked.predictions import read_predictions
from kitsbench.experiments.records import experiments_of, find_experiment, has_experiments
from kitsbench.experiments.results import Results, load_results, read_results
from kitsbench.scans.formats import stem_of
from kitsbench.scans.label_names import KITS, LabelNames, near
from kitsbench.scans.names import (
    SCANS,
    TRUTHS,
    case_of_scan,
    folded,
    is_hidden,
    match_names,
    nifti_stem,
)
from kitsbench.scans.nifti import read_header, read_label
from kitsbench.viewer.cases import ViewedCase
from kitsbench.viewer.choice import (
    better_high,
    chosen_cases,
    endpoint_scores,
    leader,
    viewed_cases,
)
from kitsbench.viewer.page import Shown

EndpointName = Callable[[str, str], str]
RegionName = Callable[[str], str]


@dataclass(frozen=True)
class View:
    """What shall be looked at.

    Attributes
    ----------
    shown : Shown
    cases : list of ViewedCase
        At least one.
    problems : list of str
        A sentence for each case that was named and cannot be shown.
    """

    shown: Shown
    cases: list[ViewedCase]
    problems: list[str] = field(default_factory=list)


def find_view(
    words: Sequence[str],
    workdir: Path,
    experiment: str | None,
    predictions: Sequence[str],
    endpoint_name: EndpointName,
    region_name: RegionName,
) -> View:
    """Find the cases that words on the command line stand for.

    Parameters
    ----------
    words : sequence of str
        Cases or a trial of a working directory, one folder, or files of which the first is a scan.
    workdir : Path
    experiment : str or None
        Its id or the first letters of it; the latest where it is None.
    predictions : sequence of str
        ``NAME=FOLDER``: label maps over the scans of a folder.
    endpoint_name, region_name : callable
        Names for people.

    Raises
    ------
    UsageError, DataError
        They stand for nothing, or nothing of it can be shown.
    """
    titles = {name: region_name(name).lower() for name in KITS}
    first = Path(words[0])
    view: View
    if len(words) == 1 and first.is_dir() and has_experiments(first):
        results = load_results(first, experiment)
        view = _of_experiment(results, chosen_cases(results, "all"), endpoint_name)
    elif len(words) == 1 and (first / "trial.json").is_file():
        view = _of_trial(first.resolve(), endpoint_name)
    elif len(words) == 1 and first.is_dir():
        view = _of_folder(first, predictions)
        predictions = ()
    elif first.exists():
        view = _of_files([*map(Path, words)])
    else:
        view = _of_names(words, workdir, experiment, endpoint_name)
    if predictions:
        raise UsageError(
            "--predictions lays label maps over the scans of a dataset's folder; name that folder."
        )
    if not view.cases:
        raise DataError("\n".join(view.problems) or "There is nothing to show.")
    return replace(view, shown=replace(view.shown, titles=titles))


# -- of an experiment --------------------------------------------------------------------------


def shown_of(results: Results, makers: list[str], endpoint_name: EndpointName) -> Shown:
    """What the page says of an experiment's cases."""
    experiment = results.experiment
    region, metric = experiment.endpoint.split(":")
    return Shown(
        title=f"Cases of {experiment.dataset.name}",
        makers=makers,
        first=leader(results),
        score=endpoint_name(region, metric),
        high=better_high(results),
        synthetic=experiment.dataset.synthetic,
        notes=[
            "Label maps and numbers are those of the first training run (seed) on the fold in "
            "which a case was held out."
        ],
    )


def _of_experiment(results: Results, cases: Iterable[str], endpoint_name: EndpointName) -> View:
    makers = [entrant.name for entrant in results.experiment.entrants]
    found, problems = viewed_cases(results, cases, makers)
    if not found and not problems:
        problems = [
            f"There is nothing to show: no trial of the experiment {results.experiment.id} in "
            f"{results.workdir} has scored a case."
        ]
    return View(shown_of(results, makers, endpoint_name), found, problems)


def _of_trial(folder: Path, endpoint_name: EndpointName) -> View:
    workdir, trial = folder.parent.parent, folder.name
    plans = experiments_of(workdir, trial)
    if not plans:
        raise DataError(
            f"No experiment in {workdir} plans the trial {trial}, so nobody knows where its scans "
            "are. Name the scan and the label maps in its folder predictions instead."
        )
    results = read_results(workdir, plans[-1])
    own = [stored for stored in results.trials if stored.id == trial]
    record = own[0].record
    if record is None:
        raise DataError(f"The trial {trial} has not begun, so there is nothing to show.")
    scores = results.scores[
        (results.scores["architecture"] == own[0].name)
        & (results.scores["seed"] == own[0].seed)
        & (results.scores["fold"] == own[0].fold)
    ]
    alone = replace(results, trials=own, scores=scores)
    view_cases, problems = viewed_cases(alone, record.context.test_cases, [own[0].name])
    shown = replace(
        shown_of(alone, [own[0].name], endpoint_name),
        title=f"Held-out cases of trial {trial[:8]}",
        notes=[f"Trial {trial}: {own[0].name}, fold {own[0].fold}, seed {own[0].seed}."],
    )
    return View(shown, view_cases, problems)


def _of_names(
    words: Sequence[str], workdir: Path, experiment: str | None, endpoint_name: EndpointName
) -> View:
    if experiment is None and not has_experiments(workdir):
        raise UsageError(
            f"There is no file or folder '{words[0]}', and no experiment in {workdir} whose case "
            "or trial it might be; --workdir says where to look."
        )
    results = read_results(workdir, find_experiment(workdir, experiment))
    known = [str(case) for case in endpoint_scores(results).index]
    if (meant := match_names(words, known)).keys() >= set(words):
        return _of_experiment(results, dict.fromkeys(meant.values()), endpoint_name)
    if len(words) == 1:
        folders = (file.parent for file in (workdir / "trials").glob("*/trial.json"))
        fitting = sorted(folder for folder in folders if folder.name.startswith(words[0]))
        if len(fitting) == 1:
            return _of_trial(fitting[0].resolve(), endpoint_name)
        if fitting:
            raise UsageError(
                f"'{words[0]}' fits {len(fitting)} trials; give more letters of the id."
            )
    lost = next(word for word in words if word not in meant)
    some = ", ".join(known[:3]) + " and more" * (len(known) > 3) or "none"
    raise UsageError(
        f"There is no file, folder, case or trial '{lost}'. Cases of the experiment "
        f"{results.experiment.id} in {workdir} with scores: {some}."
    )


# -- of files ----------------------------------------------------------------------------------


def _of_folder(folder: Path, predictions: Sequence[str]) -> View:
    """The folder of one case, a dataset, or a DICOM series."""
    inside = sorted(folder.iterdir())
    own = {folded(stem): file for file in inside if (stem := nifti_stem(file.name))}
    scan = next((own[name] for name in map(folded, SCANS) if name in own), None)
    if scan is not None and not predictions:
        truths = [own[name] for name in map(folded, TRUTHS) if name in own]
        return _of_files([scan, *truths[:1]])
    files = [file for file in inside if not is_hidden(file.name)]
    if files and all(file.is_file() and nifti_stem(file.name) is None for file in files):
        return _of_files([folder])  # slices, by whatever names
    dataset = open_dataset(folder)
    scans = {case.id: folder for case in dataset.cases}
    maps = {
        one.name: match_cases(find_label_maps(one.folder, predictions=True), scans)[0]
        for one in read_predictions(predictions, {})
    }
    return _of_dataset(dataset, maps)


def _of_dataset(dataset: Dataset, maps: dict[str, dict[str, Path]]) -> View:
    cases = [
        ViewedCase(
            name=case.id,
            image=case.image,
            names=dataset.names,
            truth=case.label,
            predictions={name: own[case.id] for name, own in maps.items() if case.id in own},
        )
        for case in dataset.cases
        if case.image is not None
    ]
    shown = Shown(f"Scans of {dataset.name}", list(maps), synthetic=dataset.synthetic)
    lacking = [f"{case.id} has no scan." for case in dataset.cases if case.image is None]
    return View(shown, cases, lacking)


def _of_files(paths: list[Path]) -> View:
    """A scan, and label maps on its grid."""
    for path in paths:
        if not path.exists():
            raise UsageError(f"There is no file {path}; of several files the first is the scan.")
    image, *laid = paths
    # A folder of a case gives its name to the files in it.
    name = case_of_scan(stem_of(image), image.resolve().parent, own=bool(laid))
    truth = next((file for file in laid if folded(stem_of(file)) in map(folded, TRUTHS)), None)
    predictions: dict[str, Path] = {}
    for file in laid:
        if file is not truth:
            own = stem_of(file)
            predictions[own if own not in predictions else str(file)] = file
    case = ViewedCase(name, image, _names(laid), truth, predictions)
    # What is wrong is said here, where it can be read, and not in the browser.
    case.grid()
    for file in laid:
        case.check(file, "mask" if file is truth else "prediction")
    return View(Shown(name, list(predictions)), [case])


def _names(files: list[Path]) -> LabelNames:
    """What the values in label maps mean: as a ``dataset.json`` near one says, or as in KiTS."""
    for file in files:
        if (names := near(file)) is not None:
            return names
    values: set[int] = set()
    for file in files:
        values |= set(np.unique(read_label(read_header(file))).tolist()) - {0}
    if values <= set(KITS.values()):
        return LabelNames(dict(KITS))
    return LabelNames({f"label {value}": value for value in sorted(values)})
