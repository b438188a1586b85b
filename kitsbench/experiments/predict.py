"""Apply a trial's trained weights to any scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from kitsbench.data.store import PreparedCase
from kitsbench.data.volumes import prepare_image, write_label
from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.entrants import task_of
from kitsbench.experiments.trial import TrialTask, load_trained
from kitsbench.files import read_json
from kitsbench.inference.case import Trained, segment
from kitsbench.recipe import Recipe
from kitsbench.registry import load
from kitsbench.training.budget import Budget

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


@dataclass(frozen=True)
class OpenTrial:
    """A trained trial, ready to predict.

    Attributes
    ----------
    trained : Trained
    spacings : list of dict
        For each network {grid: spacing in mm}.
    """

    trained: Trained
    spacings: Sequence[dict[str, tuple[float, float, float]]]


def find_trial(name: str, workdir: Path) -> Path:
    """Folder of a trial, from its path, its id or the id's first letters.

    Raises
    ------
    UsageError
        There is none, or there are several.
    """
    for path in (Path(name), Path(name).parent, Path(name).parent.parent):
        if (path / "trial.json").is_file():
            return path
    found = sorted(p.parent for p in (workdir / "trials").glob(f"{name}*/trial.json"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"There is no trial '{name}' in {workdir}. `kitsbench run --dry-run` with the options "
            "of the run lists the ids; --workdir says where to look."
        )
    raise UsageError(f"'{name}' fits {len(found)} trials; give more letters of the id.")


def output_name(image: Path) -> str:
    """File name of an image's label map: the image's, as NIfTI; a KiTS case gives its name."""
    stem = image.name
    for suffix in SUFFIXES:
        stem = stem.removesuffix(suffix)
    if stem == "imaging" and image.parent.name.startswith("case_"):
        stem = image.parent.name
    return f"{stem}.nii.gz"


def open_trial(folder: Path, device: torch.device) -> OpenTrial:
    """Read a trial's network and recipe back.

    Raises
    ------
    DataError
        The trial has no weights, or its plugin differs from the one that was trained.
    """
    task = _task(folder)
    trained = load_trained(task, device)
    networks = task.members or (task,)
    spacings = []
    for network in networks:
        first = [float(s) for s in network.trial["spacing"]]
        spacings.append(
            {
                grid.name: tuple(round(s * r, 4) for s, r in zip(first, grid.ratio, strict=True))
                for grid in network.spec.grids
            }
        )
    return OpenTrial(trained, spacings)  # type: ignore[arg-type]


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
