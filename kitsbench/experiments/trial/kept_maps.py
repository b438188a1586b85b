"""What a trial's network shows of its inside, kept for a few held-out cases."""

from __future__ import annotations

from pathlib import Path

from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.scoring import CaseReader
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.inference.case import Trained
from kitsbench.inference.maps import inner_maps
from kitsbench.inference.sliding import Predictor
from kitsbench.scans.writing import write_label
from kitsbench.text import file_stem
from kitsbench.training.failures import plugin_code


def keep_maps(task: TrialTask, trained: Trained, cases: CaseReader) -> None:
    """Write the maps of some cases into the trial's folder; those that are there stay.

    Raises
    ------
    TrialFailure
        The network gives no such map.
    """
    for case in task.map_cases:
        files = {own.name: map_file(task.folder, case, own.name) for own in task.spec.maps}
        predictor = trained.predictors[0]
        if not isinstance(predictor, Predictor) or all(file.is_file() for file in files.values()):
            continue
        volumes = cases.volumes(case, task)
        with plugin_code("forward"):
            found = inner_maps(predictor, volumes)
        native = dict(next(iter(volumes.values())).native)
        for name, levels in found.items():
            write_label(files[name], levels, native)


def map_file(folder: TrialFolder, case: str, name: str) -> Path:
    """Where a map of a case is kept."""
    return folder.maps / case / f"{file_stem(name)}.nii.gz"
