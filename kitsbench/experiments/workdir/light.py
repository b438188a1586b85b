"""The little of a trial from which reports and boards are made again: no weights, no label maps.

Of its curve only the scores on the way are left, not the loss of every step. It is small enough to
be kept beside a project's source, and it is a trial: a working directory that takes it over has it
finished, and trains only what is open. What says where somebody keeps data, plugins and results
stays behind, since it repeats nothing on another machine.
"""

from __future__ import annotations

import os
from pathlib import Path

from kitsbench.experiments.records import ExperimentRecord, Status, TrialRecord, experiment_file
from kitsbench.experiments.tables import CURVE, read_table, write_table
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.workdir.inventory import Inventory
from kitsbench.text import without_folders

LIGHT = (
    "trial.json",
    "status.json",
    "ledger.json",
    "environment.json",
    "scores.parquet",
    "curve.parquet",
)
"""What is kept of a trial's folder."""


def heavy(folder: TrialFolder) -> list[str]:
    """Names at the top of a trial's folder that a light copy leaves out."""
    return sorted(set(os.listdir(folder.path)) - set(LIGHT))


def light_size(folder: TrialFolder) -> int:
    """Bytes of what is kept of a trial, as it lies in a folder; a copy's curve is shorter."""
    files = [folder.path / name for name in LIGHT]
    return sum(file.stat().st_size for file in files if file.is_file())


def waiting_for_ensembles(inventory: Inventory) -> dict[str, str]:
    """Trials whose weights an ensemble still needs: {id: name of the ensemble}.

    A light copy would be taken for finished elsewhere, where its ensemble could then not be made.
    The newest experiment that plans a trial decides, so that one that was given up holds nothing.

    Parameters
    ----------
    inventory : Inventory
    """
    states = {trial.id: trial.state for trial in inventory.trials}
    found: dict[str, str] = {}
    for record in [one.record for one in inventory.experiments if one.record is not None]:
        for planned in record.trials:
            found.pop(planned.id, None)
        for planned in record.trials:
            entrant = record.entrant(planned.name)
            # One that has failed is over; what it lacked is not what is missing here.
            if states.get(planned.id) in ("finished", "unscored", "failed"):
                continue
            for member in entrant.members if entrant is not None else ():
                of_fold = [t for t in record.trials if (t.name, t.fold) == (member, planned.fold)]
                # Where members differ by their seeds, any of the fold may be one of its own.
                same = [t for t in of_fold if t.seed == planned.seed] or of_fold
                found |= {trial.id: planned.name for trial in same}
    return found


def lighten(copy: Path, there: TrialFolder) -> None:
    """Take losses, the machine's name and folders out of a copy of a trial.

    Parameters
    ----------
    copy : Path
        Of its folder.
    there : TrialFolder
        Where it comes from.

    Raises
    ------
    DataError
        Its curve is damaged.
    """
    if there.curve.is_file():
        curve = read_table(there.curve, CURVE)
        scored = curve[curve["kind"] == "score"]
        write_table(copy / there.curve.name, scored, CURVE, there.path.name)
    file = copy / "status.json"
    Status.read(file).model_copy(update={"host": None}).write(file)
    file = copy / "trial.json"
    record = TrialRecord.read(file)
    place = {"location": Path(record.context.location).name}
    record.model_copy(update={"context": record.context.model_copy(update=place)}).write(file)


def write_experiment(other: Path, workdir: Path, name: str) -> None:
    """Write an experiment's file without the folders that it names.

    Parameters
    ----------
    other, workdir : Path
        Working directories, from which and to which.
    name : str
        The experiment's id, which does not depend on them.
    """
    record = ExperimentRecord.read(experiment_file(other, name))
    dataset = record.dataset.model_copy(update={"path": record.dataset.name})
    told = {"dataset": dataset, "command": without_folders(record.command)}
    record.model_copy(update=told).write(experiment_file(workdir, name))
