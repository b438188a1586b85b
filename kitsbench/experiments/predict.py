"""Apply a trial's trained weights to any scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from kitsbench.data.datasets import open_dataset
from kitsbench.data.store import PreparedCase
from kitsbench.data.volumes import prepare_image, write_label
from kitsbench.errors import DataError, KitsbenchError, UsageError
from kitsbench.experiments.entrants import task_of
from kitsbench.experiments.folder import TrialFolder
from kitsbench.experiments.trial import TrialTask, load_trained, mirrored
from kitsbench.files import file_digest, read_json
from kitsbench.inference.case import Trained, segment
from kitsbench.inference.sliding import MeanPredictor
from kitsbench.recipe import Recipe
from kitsbench.registry import load
from kitsbench.training.budget import Budget

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


@dataclass(frozen=True)
class Chosen:
    """The trials that a name on the command line stands for.

    Attributes
    ----------
    folders : tuple of Path
        One trial, or all finished ones of an architecture in the last run of a working directory.
    unfinished : int
        Trials of that architecture that were left out because they did not finish.
    """

    folders: tuple[Path, ...]
    unfinished: int = 0


@dataclass(frozen=True)
class OpenTrial:
    """Trained trials of one architecture, ready to predict.

    Attributes
    ----------
    trained : Trained
    spacings : list of dict
        For each member {grid: spacing in mm}.
    trials : list of dict
        ``trial.json`` of each trial.
    """

    trained: Trained
    spacings: Sequence[dict[str, tuple[float, float, float]]]
    trials: Sequence[dict[str, Any]]


def find_trials(name: str, workdir: Path, folds: Sequence[int] | None = None) -> Chosen:
    """Folders of the trials that a name stands for.

    Parameters
    ----------
    name : str
        A trial's path, its id or the id's first letters; or an architecture's label as tables
        show it, which stands for its finished trials in the last run of ``workdir``. These share
        dataset, recipe, budget and configuration, so their mean is meaningful.
    workdir : Path
    folds : sequence of int, optional
        Only these folds' trials of an architecture; None for all.

    Raises
    ------
    UsageError
        There is none, or a shortened id fits several.
    """
    chosen = _of_architecture(name, workdir, folds)
    if chosen is not None:
        return chosen
    if folds is not None:
        raise UsageError(
            f"--folds chooses among the trials of an architecture, and '{name}' is none of the "
            f"last run in {workdir}; name an architecture as its tables do."
        )
    for path in (Path(name), Path(name).parent, Path(name).parent.parent):
        if (path / "trial.json").is_file():
            return Chosen((path,))
    found = sorted(p.parent for p in (workdir / "trials").glob(f"{name}*/trial.json"))
    if len(found) == 1:
        return Chosen((found[0],))
    if not found:
        raise UsageError(
            f"There is no trial or architecture '{name}' in {workdir}. `kitsbench run --dry-run` "
            "with the options of the run lists both; --workdir says where to look."
        )
    raise UsageError(f"'{name}' fits {len(found)} trials; give more letters of the id.")


def _of_architecture(name: str, workdir: Path, folds: Sequence[int] | None) -> Chosen | None:
    """Trials of an architecture in the last run; None where the last run has none such."""
    file = workdir / "experiment.json"
    planned = read_json(file).get("trials", []) if file.is_file() else []
    found = []
    for trial in planned:
        folder = workdir / "trials" / str(trial)
        if (folder / "trial.json").is_file():
            described = read_json(folder / "trial.json")
            if described["label"] == name and (folds is None or described["fold"] in folds):
                found.append(folder)
    if not found:
        return None
    done = [f for f in found if TrialFolder(workdir, f.name).read_status()["status"] == "finished"]
    if not done:
        raise UsageError(
            f"No trial of {name} in {workdir} has finished yet; run it to the end first."
        )
    return Chosen(tuple(done), len(found) - len(done))


def output_name(image: Path) -> str:
    """File name of an image's label map: the image's, as NIfTI; a KiTS case gives its name."""
    stem = image.name
    for suffix in SUFFIXES:
        stem = stem.removesuffix(suffix)
    if stem == "imaging" and image.parent.name.startswith("case_"):
        stem = image.parent.name
    return f"{stem}.nii.gz"


def open_trials(folders: Sequence[Path], device: torch.device, tta: str | None = None) -> OpenTrial:
    """Read the networks and the recipe of an architecture's trials back.

    Parameters
    ----------
    folders : sequence of Path
        Of trials that differ in nothing but fold and seed; their probabilities are averaged.
    device : torch.device
    tta : {"none", "mirror"}, optional
        Test-time augmentation instead of the recipe's.

    Raises
    ------
    DataError
        A trial has no weights, or its plugin differs from the one that was trained.
    UsageError
        The trials differ in more than fold and seed.
    """
    tasks = [_task(folder) for folder in folders]
    task = tasks[0]
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
    spacings = []
    for network in networks:
        first = [float(s) for s in network.trial["spacing"]]
        spacings.append(
            {
                grid.name: tuple(round(s * r, 4) for s, r in zip(first, grid.ratio, strict=True))
                for grid in network.spec.grids
            }
        )
    return OpenTrial(trained, spacings, [one.trial for one in tasks])  # type: ignore[arg-type]


@cache
def _images(path: str, layout: str) -> dict[str, Path]:
    """Scans of a dataset by their case."""
    cases = open_dataset(Path(path), layout).cases
    return {case.id: case.image for case in cases if case.image is not None}


def _same_but_for_fold_and_seed(a: dict[str, Any], b: dict[str, Any]) -> None:
    words = {
        "label": "architecture",
        "dataset": "dataset",
        "labels": "labels",
        "patch": "patch",
        "spacing": "voxel size",
        "recipe_hash": "recipe",
        "budget": "budget",
    }
    for key, what in words.items():
        if a[key] != b[key]:
            raise UsageError(
                f"Trials {a['id']} and {b['id']} differ in their {what}; only trials that differ "
                "in nothing but fold and seed are averaged."
            )


def training_case(trial: OpenTrial, image: Path, workdir: Path) -> str | None:
    """A sentence if a scan is one that a network was trained on, as far as that can be known.

    A scan is compared with the training case of the same name: file by file where the dataset is
    still there, else by its name alone.
    """
    case = output_name(image).removesuffix(".nii.gz")
    trained = sum(case in one["train_cases"] for one in trial.trials)
    if not trained:
        return None
    count = f"{trained} of the {len(trial.trials)} trials" if len(trial.trials) > 1 else "the trial"
    try:
        dataset = read_json(workdir / "experiment.json")["dataset"]
        original = _images(dataset["path"], dataset["layout"])[case]
        if file_digest(original) != file_digest(image):
            return None
        what = "is a scan that"
    except (OSError, ValueError, KeyError, KitsbenchError):
        what = "has the name of a scan that"
    return (
        f"{image} {what} {count} trained on: its label map says nothing about how well new scans "
        "are segmented."
    )


def predict_scan(trial: OpenTrial, image: Path, output: Path) -> None:
    """Segment a scan and write the label map with the scan's shape, affine and orientation.

    Raises
    ------
    DataError
        The scan cannot be read or is no CT volume.
    """
    made: dict[tuple[float, float, float], PreparedCase] = {}
    volumes = []
    for grids in trial.spacings:
        for spacing in grids.values():
            if spacing not in made:
                made[spacing] = prepare_image(image, spacing)
        volumes.append({name: made[spacing] for name, spacing in grids.items()})
    labels = segment(trial.trained, volumes)
    write_label(output, labels, next(iter(made.values())).native)


def _task(folder: Path) -> TrialTask:
    """Rebuild what running the trial needed from its ``trial.json``."""
    trial: dict[str, Any] = read_json(folder / "trial.json")
    registered = load(trial["location"])
    if registered.source_hash != trial["source_hash"]:
        raise DataError(
            f"The plugin '{trial['architecture']}' has changed since trial {trial['id']} was "
            "trained, so its weights may not fit; install the version of then "
            f"({trial['distribution']} {trial['version']}), or train again."
        )
    labels = tuple((str(name), int(value)) for name, value in trial["labels"])
    recipe = TypeAdapter(Recipe).validate_python(trial["recipe"])
    config = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in trial["config"].items()
    }
    spec = registered.architecture.spec(config, task_of(recipe, labels))
    return TrialTask(
        workdir=folder.parent.parent,
        trial=trial,
        location=trial["location"],
        spec=spec,
        recipe=recipe,
        budget=Budget(trial["budget"]["amount"], trial["budget"]["unit"]),
        stores={},
        train_cases=(),
        test_cases=(),
        cases={},
        window=tuple(trial["window"]),
        protocols=(),
        members=tuple(_task(folder.parent / member) for member in trial["members"]),
    )
