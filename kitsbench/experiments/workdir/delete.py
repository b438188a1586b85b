"""Trials go: what would be removed and who would miss it, and the removal."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from kitsbench.errors import DataError
from kitsbench.experiments.records import JobRecord
from kitsbench.experiments.trial.lease import Holder, LeaseTaken
from kitsbench.experiments.workdir.inventory import Inventory, KeptExperiment, KeptTrial
from kitsbench.experiments.workdir.places import alone, remove_trial


@dataclass(frozen=True)
class Deletion:
    """What would be removed.

    Attributes
    ----------
    inventory : Inventory
    trials : list of KeptTrial
        Those that would go.
    kept : list of (KeptTrial, str)
        Those that were chosen and stay, and why.
    """

    inventory: Inventory
    trials: list[KeptTrial]
    kept: list[tuple[KeptTrial, str]]

    @property
    def size(self) -> int:
        """Bytes that would be free."""
        return sum(trial.size for trial in self.trials)

    @property
    def losses(self) -> list[tuple[KeptExperiment, int]]:
        """Experiments that would lack trials, and how many."""
        gone = {trial.id for trial in self.trials}
        counts = [
            (one, sum(trial.id in gone for trial in one.record.trials) if one.record else 0)
            for one in self.inventory.experiments
        ]
        return [(one, count) for one, count in counts if count]

    @property
    def ensembles(self) -> list[str]:
        """Ids of the ensembles that would stay without a network that they combine."""
        gone = {trial.id for trial in self.trials}
        found = (name for trial in self.trials for name in trial.members_of if name not in gone)
        return list(dict.fromkeys(found))


def plan_deletion(
    inventory: Inventory, chosen: Sequence[KeptTrial], named: Container[str] = ()
) -> Deletion:
    """Say what would go; nothing is changed.

    Parameters
    ----------
    inventory : Inventory
    chosen : sequence of KeptTrial
    named : container of str, optional
        Ids of those that the user named one by one: they go although a job may wait for them.
    """
    stays = [
        (trial, in_use(inventory, trial) or (None if trial.id in named else _waiting(trial)))
        for trial in chosen
    ]
    return Deletion(
        inventory,
        [trial for trial, why in stays if why is None],
        [(trial, why) for trial, why in stays if why is not None],
    )


def in_use(inventory: Inventory, trial: KeptTrial) -> str | None:
    """Why a trial must stay as it is; None if nobody uses it at this moment."""
    if trial.holder is not None:
        return f"{_who(trial.holder)} on it"
    if inventory.strangers:
        return f"{_who(inventory.strangers[0])} here on nobody knows what"
    tuned = trial.record is not None and trial.record.context.tuning is not None
    for experiment in inventory.experiments:
        needs = experiment.id in trial.experiments
        # Which trials a search will want is not known before it has ended.
        needs = needs or (tuned and experiment.id in inventory.searching)
        if needs and experiment.holders:
            return f"{_who(experiment.holders[0])} on experiment {experiment.id}, which needs it"
    return None


def _waiting(trial: KeptTrial) -> str | None:
    """Which job may still begin a trial, or begin it once more; None if none is known."""
    file = trial.folder.path.parent.parent / "jobs" / f"{trial.id}.json"
    if not os.path.lexists(file):
        return None
    try:
        job = JobRecord.read(file)
    except DataError as error:
        return str(error).splitlines()[0].rstrip(".")
    ended = trial.status.finished if trial.status else None
    if ended is not None and ended > job.submitted:  # the job has done what it was to do
        return None
    return (
        f"job {job.job or job.name} of {job.cluster} may still work on it ({file}); cancel that, "
        "or name the trial itself to delete it all the same"
    )


def _who(holder: Holder) -> str:
    if holder.sure:
        return f"{holder} works"
    return f"{holder} may work (whether it lives takes a minute to see, which --yes waits for)"


def delete(
    deletion: Deletion, done: Callable[[KeptTrial], None] = lambda trial: None
) -> list[tuple[KeptTrial, str]]:
    """Remove what was planned; whatever somebody has begun to work on meanwhile stays.

    Parameters
    ----------
    deletion : Deletion
    done : callable
        Called with each trial that is gone.

    Returns
    -------
    list of (KeptTrial, str)
        Those that could not be removed, and why.

    Raises
    ------
    UsageError
        Another process removes or merges trials here.
    """
    faults = []
    with alone(deletion.inventory.workdir):
        for trial in deletion.trials:
            try:
                remove_trial(trial.folder.path)
                done(trial)
            except FileNotFoundError:
                done(trial)  # somebody else has removed it
            except LeaseTaken:
                faults.append((trial, "a process has begun to work on it"))
            except OSError as error:
                why = error.strerror or str(error)
                faults.append((trial, f"{error.filename or trial.folder.path}: {why}"))
    return faults
