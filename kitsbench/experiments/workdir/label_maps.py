"""Kept label maps go alone: they take most of the room, and networks make them again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kitsbench.experiments.trial.kept_scores import weights_kept
from kitsbench.experiments.trial.lease import Lease, LeaseTaken
from kitsbench.experiments.workdir.delete import in_use
from kitsbench.experiments.workdir.inventory import Inventory, KeptTrial
from kitsbench.experiments.workdir.places import GOING, LEASE, alone, remove_tree


@dataclass(frozen=True)
class Pruning:
    """What would be removed.

    Attributes
    ----------
    workdir : Path
    trials : list of (KeptTrial, int, int)
        Trials whose label maps would go, how many there are, and their bytes.
    kept : list of (KeptTrial, str)
        Those whose label maps stay, and why.
    """

    workdir: Path
    trials: list[tuple[KeptTrial, int, int]]
    kept: list[tuple[KeptTrial, str]]

    @property
    def size(self) -> int:
        """Bytes that would be free."""
        return sum(size for _, _, size in self.trials)


def plan_pruning(inventory: Inventory) -> Pruning:
    """Say whose label maps would go; nothing is changed.

    Only those of finished trials do, whose scores stand in their tables. What cannot be made again
    stays: of a network without a checkpoint, and of whoever was trained elsewhere.

    Parameters
    ----------
    inventory : Inventory
    """
    going, kept = [], []
    for trial in inventory.trials:
        place = trial.folder.predictions
        if trial.state != "finished" or trial.record is None or not place.is_dir():
            continue
        if why := in_use(inventory, trial) or _only_one(trial):
            kept.append((trial, why))
            continue
        files = [] if place.is_symlink() else [f for f in place.rglob("*") if f.is_file()]
        going.append((trial, len(files), sum(file.lstat().st_size for file in files)))
    return Pruning(inventory.workdir, going, kept)


def _only_one(trial: KeptTrial) -> str | None:
    """Why its label maps could not be made again; None if they could."""
    assert trial.record is not None  # it has finished
    if trial.record.identity.budget[1] == "none":
        return "it was trained elsewhere, and its label maps are all that is here of it"
    if not weights_kept(trial.folder, trial.record):
        return "without a whole checkpoint its label maps could not be made again"
    return None


def prune(pruning: Pruning) -> list[tuple[KeptTrial, str]]:
    """Remove what was planned; whatever somebody has begun to work on meanwhile stays.

    Returns
    -------
    list of (KeptTrial, str)
        Those whose label maps could not be removed, and why.

    Raises
    ------
    UsageError
        Another process removes or merges trials here.
    """
    faults = []
    with alone(pruning.workdir):
        for trial, _, _ in pruning.trials:
            folder = trial.folder
            aside = folder.path.with_name(f"{GOING}{trial.id}-{uuid.uuid4().hex[:8]}")
            try:
                with Lease(folder.path / LEASE):
                    folder.predictions.rename(aside)
                remove_tree(aside)
            except FileNotFoundError:
                continue  # somebody else has removed them
            except LeaseTaken:
                faults.append((trial, "a process has begun to work on it"))
            except OSError as error:
                why = error.strerror or str(error)
                faults.append((trial, f"{error.filename or folder.predictions}: {why}"))
    return faults


def gone(pruning: Pruning, faults: Sequence[tuple[KeptTrial, str]]) -> Pruning:
    """What was removed, without what could not be."""
    stayed = {trial.id for trial, _ in faults}
    going = [one for one in pruning.trials if one[0].id not in stayed]
    return Pruning(pruning.workdir, going, [*pruning.kept, *faults])
