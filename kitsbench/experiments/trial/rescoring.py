"""Score a trial that has finished once more, without training: by protocols that it lacks."""

from __future__ import annotations

import os

import pandas as pd
import torch

from kitsbench.errors import DataError
from kitsbench.experiments.records import EnvironmentRecord
from kitsbench.experiments.tables import SCORES, read_table, write_table
from kitsbench.experiments.trial.kept_scores import forget_unscored, missing_protocols
from kitsbench.experiments.trial.scoring import CaseReader, Report, score_held_out, score_map
from kitsbench.experiments.trial.systems import Outside, outside_of
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.experiments.trial.trained import Beat, load_trained
from kitsbench.inference.case import Trained
from kitsbench.scans.findings import Refused
from kitsbench.scans.label_names import name_labels
from kitsbench.scans.writing import write_label
from kitsbench.training.failures import TrialFailure


def score_again(task: TrialTask, device: torch.device, report: Report, beat: Beat) -> None:
    """Add the scores that a finished trial lacks to its table; rows that are there stay.

    Label maps that are kept are scored as they are: they are what the network gave on the device
    that it was trained on. A case without one is predicted by the weights that are kept.

    Raises
    ------
    TrialFailure
        Neither is kept.
    """
    folder, cases = task.folder, CaseReader(task)
    forget_unscored(folder)  # of the attempt before
    missing = missing_protocols(folder, task.protocols)
    trained: Trained | Outside | None = None
    rows = []
    for index, case in enumerate(task.test_cases):
        report("score", index / len(task.test_cases))
        file = folder.predictions / f"{case}.nii.gz"
        try:
            kept = cases.label_map(file, case)
        except Refused as unusable:
            if trained is None:
                trained = _trained(task, device, cases, beat, str(unusable.finding))
            found, labels, native = score_held_out(task, trained, cases, case, *missing)
            rows += found
            if task.keep_predictions and labels is not None:
                write_label(file, task.names.write(labels), native)
                name_labels(folder.path, task.names)
        else:
            rows += score_map(task, cases, case, kept, missing)
        beat()
    table = pd.DataFrame(rows, columns=list(SCORES))
    if os.path.lexists(folder.scores):
        table = pd.concat([read_table(folder.scores, SCORES), table], ignore_index=True)
    # Who scores has a share in the numbers, as who trains has.
    environment = EnvironmentRecord.read(folder.environment)
    environment.scored_here().write(folder.environment)
    write_table(folder.scores, table, SCORES)


def _trained(
    task: TrialTask, device: torch.device, cases: CaseReader, beat: Beat, why: str
) -> Trained | Outside:
    if task.elsewhere:
        return outside_of(task, device, cases)
    try:
        return load_trained(task, device, beat)
    except DataError as error:
        raise TrialFailure(
            "scores are missing",
            f"A label map that was kept cannot be used ({why}), and there are no weights to make "
            f"it again: {str(error).splitlines()[0]}",
        ) from error
