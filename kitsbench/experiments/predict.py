"""Apply a trial's trained weights to any scan."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch

from kitsbench.architecture import System
from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.datasets.patients import patient, record_prediction, shows_patients
from kitsbench.data.preparation.volumes import How
from kitsbench.data.preparation.wanted import grid_spacings, prepared_how
from kitsbench.devices.use import use_device
from kitsbench.errors import DataError, KitsbenchError, UsageError
from kitsbench.experiments.records import (
    ExperimentRecord,
    TrialRecord,
    experiments_of,
    find_experiment,
    has_experiments,
)
from kitsbench.experiments.stored_task import read_task
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.systems import asking, named_files, open_system
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.experiments.trial.trained import (
    ScanChannels,
    load_trained,
    mirrored,
    other_packages,
)
from kitsbench.files import file_digest
from kitsbench.inference.case import Trained
from kitsbench.inference.files import output_name, segment_files
from kitsbench.inference.sliding import MeanPredictor
from kitsbench.inference.systems import segment_by_system
from kitsbench.scans.findings import Finding
from kitsbench.scans.label_names import LabelNames
from kitsbench.scans.names import match_names
from kitsbench.spec import Spec


@dataclass(frozen=True)
class Chosen:
    """The trials that a name on the command line stands for.

    Attributes
    ----------
    folders : tuple of Path
        One trial, or all finished ones of an architecture in an experiment.
    unfinished : int
        Trials of that architecture that were left out because they did not finish.
    experiment : str or None
        Id of the experiment whose plan said which trials an architecture stands for.
    """

    folders: tuple[Path, ...]
    unfinished: int = 0
    experiment: str | None = None


@dataclass(frozen=True)
class OpenTrial:
    """Trained trials of one architecture, ready to predict.

    Attributes
    ----------
    trained : Trained or (System, Spec)
    spacings : list of dict
        For each member {grid: spacing}, as of
        :func:`~kitsbench.data.preparation.wanted.grid_spacings`.
    trials : list of TrialRecord
        ``trial.json`` of each trial.
    device : torch.device
        Where the networks are.
    channels : ScanChannels
        What the networks are shown beside the CT.
    remarks : list of str
        What a user should know of them, such as that they were run with other packages.
    hows : list of How
        For each member how its scans are prepared.
    """

    trained: Trained | tuple[System, Spec]
    spacings: Sequence[dict[str, tuple[float, float, float]]]
    trials: Sequence[TrialRecord]
    device: torch.device
    channels: ScanChannels
    remarks: Sequence[str] = ()
    hows: Sequence[How] = ()

    @property
    def names(self) -> LabelNames:
        """Labels of the dataset that was trained on, as its files number them."""
        return self.trials[0].context.names


@dataclass(frozen=True)
class Acquainted:
    """That a network has seen a scan before.

    Attributes
    ----------
    sentence : str
        For the user.
    proven : bool
        False where only the name speaks for it.
    """

    sentence: str
    proven: bool


def find_trials(
    name: str, workdir: Path, folds: Sequence[int] | None = None, experiment: str | None = None
) -> Chosen:
    """Folders of the trials that a name stands for.

    Parameters
    ----------
    name : str
        A trial's path, its id or the id's first letters; or an architecture's display name as
        tables show it, which stands for its finished trials in an experiment. These share dataset,
        recipe, budget and configuration, so their mean is meaningful.
    workdir : Path
    folds : sequence of int, optional
        Only these folds' trials of an architecture; None for all.
    experiment : str, optional
        Id of the experiment, or its first letters; by default the last that was run in ``workdir``.

    Raises
    ------
    UsageError
        There is none, or a shortened id fits several.
    """
    known = experiment is not None or has_experiments(workdir)
    planned = find_experiment(workdir, experiment) if known else None
    chosen = None if planned is None else _of_architecture(name, workdir, folds, planned)
    if chosen is not None:
        return chosen
    for option, given in (("--folds", folds), ("--experiment", experiment)):
        if given is not None:
            where = "any experiment" if planned is None else f"experiment {planned.id}"
            raise UsageError(
                f"{option} chooses among the trials of an architecture, and '{name}' is none of "
                f"{where} in {workdir}; name an architecture as its tables do."
            )
    for path in (Path(name), Path(name).parent, Path(name).parent.parent):
        if (path / "trial.json").is_file():
            return Chosen((path,))
    # Not globbed by the name, which may hold a path or stars.
    files = (workdir / "trials").glob("*/trial.json")
    found = sorted(file.parent for file in files if file.parent.name.startswith(name))
    if len(found) == 1:
        return Chosen((found[0],))
    if not found:
        raise UsageError(
            f"There is no trial or architecture '{name}' in {workdir}. `kitsbench run --dry-run` "
            "with the options of the run lists both; --workdir says where to look."
        )
    raise UsageError(f"'{name}' fits {len(found)} trials; give more letters of the id.")


def _of_architecture(
    name: str, workdir: Path, folds: Sequence[int] | None, experiment: ExperimentRecord
) -> Chosen | None:
    """Trials of an architecture in an experiment; None where that has none such."""
    found = [
        TrialFolder(workdir, trial.id)
        for trial in experiment.trials
        if trial.name == name and (folds is None or trial.fold in folds)
    ]
    if not found:
        return None
    done = [folder.path for folder in found if folder.read_status().status == "finished"]
    if not done:
        raise UsageError(
            f"No trial of {name} in experiment {experiment.id} of {workdir} has finished yet; run "
            "it to the end first."
        )
    return Chosen(tuple(done), len(found) - len(done), experiment.id)


def open_trials(
    folders: Sequence[Path],
    device: torch.device,
    tta: str | None = None,
    plugins: Sequence[Path] = (),
    weights: Mapping[str, Path] | None = None,
) -> OpenTrial:
    """Read the networks and the recipe of an architecture's trials back.

    Parameters
    ----------
    folders : sequence of Path
        Of trials that differ in nothing but fold and seed; their probabilities are averaged.
    device : torch.device
    tta : {"none", "mirror"}, optional
        Test-time augmentation instead of the recipe's.
    plugins : sequence of Path
        Plugins' files, for trials of architectures that are not installed.
    weights : mapping of str to Path, optional
        Files that a system reads, by their keys: a trial keeps their hashes alone.

    Raises
    ------
    DataError
        A trial has no weights, or its plugin differs from the one that was trained. That is found
        before anything of the plugin is imported.
    ContractError
        A system cannot be loaded.
    UsageError
        The trials differ in more than fold and seed, their plugin is a file that was not given, or
        a file was given that they do not read.
    """
    use_device(device)
    files: dict[str, list[Path]] = {}
    for path in plugins:
        files.setdefault(path.stem, []).append(path)
    tasks = [read_task(folder, files) for folder in folders]
    task = tasks[0]
    _check_keys(task, weights or {})
    if task.elsewhere:
        return _open_system(tasks, device, tta, weights or {})
    for other in tasks[1:]:
        _same_but_for_fold_and_seed(task.trial, other.trial)
    networks = task.members or (task,)
    opened = [load_trained(one, device) for one in tasks]
    if tta is not None:
        axes = [n.recipe.mirror_axes() if tta == "mirror" else () for n in networks]
        opened = [mirrored(trained, axes) for trained in opened]
    trained = opened[0]
    if len(opened) > 1:
        slots = zip(*(one.predictors for one in opened), strict=True)
        trained = replace(trained, predictors=[MeanPredictor(slot) for slot in slots])
    spacings = [grid_spacings(n.spec.grids, n.recipe, n.trial.context.spacing) for n in networks]
    hows = [prepared_how(n.spec, n.recipe) for n in networks]
    channels = ScanChannels(networks, spacings)
    trials = [one.trial for one in tasks]
    return OpenTrial(trained, spacings, trials, device, channels, _changes(networks), hows)


def _check_keys(task: TrialTask, given: Iterable[str]) -> None:
    """Refuse a file that nobody would read: a misspelt key, or weights that a trial replaced."""
    wanted = list(named_files(task)) if task.elsewhere else []
    for key in given:
        if key in wanted:
            continue
        if not task.elsewhere:
            raise UsageError(
                f"--file gives '{key}', but {task.name} predicts by the weights that its trial "
                "trained and reads no other file; leave --file out."
            )
        reads = f"the files of {', '.join(wanted)}" if wanted else "no file"
        raise UsageError(
            f"--file gives '{key}', but {task.name} was run with {reads}; give those alone."
        )


def _changes(tasks: Sequence[TrialTask]) -> list[str]:
    """Remarks on packages that are others by now than when the trials were run."""
    remarks = dict.fromkeys(
        f"Since {task.name} was {'run' if task.elsewhere else 'trained'}, packages of its plugin "
        f"have changed ({', '.join(changed)}), so its label maps may differ from those of then."
        for task in tasks
        if (changed := other_packages(task))
    )
    return list(remarks)


def _open_system(
    tasks: Sequence[TrialTask],
    device: torch.device,
    tta: str | None,
    given: Mapping[str, Path],
) -> OpenTrial:
    """A system that was trained elsewhere: one and the same in all of its trials."""
    for other in tasks[1:]:
        _same_but_for_fold_and_seed(tasks[0].trial, other.trial)
    if tta is not None:
        raise UsageError(
            f"{tasks[0].name} was trained elsewhere and predicts as it does; leave --tta out."
        )
    system = open_system(tasks[0], device, given)
    channels = ScanChannels((), ())  # it reads the scan itself
    trials = [tasks[0].trial]
    return OpenTrial((system, tasks[0].spec), [], trials, device, channels, _changes(tasks))


@cache
def _images(path: str, layout: str) -> dict[str, Path]:
    """Scans of a dataset by their case."""
    cases = open_dataset(Path(path), layout).cases
    return {case.id: case.image for case in cases if case.image is not None}


def _same_but_for_fold_and_seed(a: TrialRecord, b: TrialRecord) -> None:
    for what, one, other in (
        ("architecture", a.name, b.name),
        ("dataset", a.identity.dataset, b.identity.dataset),
        ("labels", a.context.names, b.context.names),
        ("patch", a.context.patch, b.context.patch),
        ("voxel size", a.context.spacing, b.context.spacing),
        ("recipe", a.identity.recipe, b.identity.recipe),
        ("budget", a.identity.budget, b.identity.budget),
    ):
        if one != other:
            raise UsageError(
                f"Trials {a.id} and {b.id} differ in their {what}; only trials that differ in "
                "nothing but fold and seed are averaged."
            )


def training_case(trial: OpenTrial, image: Path, workdir: Path) -> Acquainted | None:
    """Whether a scan is one that a network was trained on, as far as that can be known.

    A KiTS patient is known by its number, in whichever year's dataset. Other scans are compared
    with the training case of the same name: file by file where the dataset is still there, else
    by its name alone.
    """
    if not os.path.exists(image):
        return None  # whoever reads it says so, and nothing more
    case = output_name(image).removesuffix(".nii.gz")
    if shows_patients(image.parent):
        known = sum(patient(case) in one.context.train_patients for one in trial.trials)
        if known:
            count = _share(known, len(trial.trials))
            return Acquainted(
                f"{image} shows a patient that {count} trained on: its label map says nothing "
                "about how well new patients are segmented, and `kitsbench evaluate` refuses to "
                "score it.",
                True,
            )
    meant = [_meant(case, one.context.train_cases) for one in trial.trials]
    trained = [name for name in meant if name is not None]
    if not trained:
        return None
    count = _share(len(trained), len(trial.trials))
    try:
        dataset = experiments_of(workdir, trial.trials[0].id)[-1].dataset
        original = _images(dataset.path, dataset.layout)[trained[0]]
        if file_digest(original) != file_digest(image):
            return None
        what, proven = "is a scan that", True
    except (OSError, ValueError, LookupError, KitsbenchError):
        what, proven = "has the name of a scan that", False
    return Acquainted(
        f"{image} {what} {count} trained on: its label map says nothing about how well new scans "
        "are segmented.",
        proven,
    )


def _meant(name: str, cases: Iterable[str]) -> str | None:
    """The case that a name means; None where it means none, or several."""
    try:
        return match_names([name], cases).get(name)
    except DataError:
        return None


def _share(count: int, total: int) -> str:
    return f"{count} of the {total} trials" if total > 1 else "the trial"


def record_training(trial: OpenTrial, output: Path, seen: Acquainted | None) -> None:
    """Write down beside a label map what its networks trained on, for whoever scores it.

    Parameters
    ----------
    trial : OpenTrial
    output : Path
        The label map.
    seen : Acquainted or None
        What :func:`training_case` said of its scan.
    """
    trials = {
        one.id: {
            "architecture": one.name,
            "train_patients": list(one.context.train_patients),
        }
        for one in trial.trials
    }
    case = output.name.removesuffix(".nii.gz")
    record_prediction(output.parent, case, trials, seen is not None and seen.proven)


def predict_scans(
    trial: OpenTrial,
    images: Sequence[Path],
    outputs: Sequence[Path],
    overlap: bool | None = None,
) -> Generator[list[Finding] | DataError]:
    """Segment scans one after the other, each as the trial's held-out cases were.

    The values of the label maps are those of the masks that were trained on, as ``dataset.json``
    beside them says.

    Parameters
    ----------
    trial : OpenTrial
    images, outputs : sequence of Path
        The scans, and the label map of each.
    overlap : bool, optional
        Whether a scan is read, and the label map of another written, while the device predicts
        one; by default wherever that is no CPU.

    Yields
    ------
    list of Finding, or DataError
        For each scan what is remarkable about it, or why it has no label map.
    """
    if overlap is None:
        overlap = trial.device.type != "cpu"
    files = list(zip(images, outputs, strict=True))
    if isinstance(trial.trained, tuple):
        system, spec = trial.trained

        def case_of(image: Path) -> str:
            return output_name(image).removesuffix(".nii.gz")

        ask = asking(system, spec, trial.device)
        return segment_by_system(ask, trial.names, files, case_of)
    return segment_files(
        trial.trained,
        trial.spacings,
        trial.names,
        files,
        overlap,
        trial.channels.complete,
        trial.hows,
    )
