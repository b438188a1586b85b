"""Whether a trained trial has the scores that an experiment asks for, and what to do if not.

A trial's id says what was trained, not by which protocols it was scored. So scores may be missing
of a trial that has finished: by a protocol that nobody asked for before, or because its table was
lost. That is no finished trial to whoever asks for them, and no reason to train again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from kitsbench.experiments.records import TrialRecord, Unscored
from kitsbench.experiments.tables import SCORES, read_table
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.training.checkpoints.checkpoint import latest_checkpoint


def missing_protocols(folder: TrialFolder, protocols: Sequence[str]) -> tuple[str, ...]:
    """Protocols by which a trial has no scores.

    Raises
    ------
    DataError
        The table is damaged.
    """
    file = folder.scores
    if not os.path.lexists(file):
        return tuple(protocols)
    try:
        stat = file.stat()
    except OSError:  # a link to nothing: damaged, as whoever reads it says
        read_table(file, SCORES)
        raise
    known = _protocols(file, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if not known:  # no scoring leaves that: damaged, as whoever reads the rows says
        return ()
    return tuple(protocol for protocol in protocols if protocol not in known)


@lru_cache(maxsize=4096)
def _protocols(file: Path, inode: int, size: int, changed: int) -> frozenset[str]:
    """Protocols in a table as it is now; the numbers tell whether that is known.

    A run asks several times whether a trial is done, and to read a table takes longer.
    """
    return frozenset(read_table(file, SCORES)["protocol"])


def is_done(task: TrialTask) -> bool:
    """Whether nothing is left to do of a trial: it has finished and is scored as asked.

    Raises
    ------
    DataError
        Its folder holds another trial, or a file is damaged.
    """
    folder = task.folder
    if folder.read_status().status != "finished":
        return False
    folder.check_owner()
    return not missing_protocols(folder, task.protocols)


def unscored(folder: TrialFolder, trial: TrialRecord, protocols: Sequence[str]) -> Unscored | None:
    """Why a trial that has finished counts as failed: its scores are missing; None if it has all.

    Parameters
    ----------
    folder : TrialFolder
    trial : TrialRecord
    protocols : sequence of str
        By which scores are asked for.

    Raises
    ------
    DataError
        A table or a record is damaged.
    """
    missing = missing_protocols(folder, protocols)
    if not missing:
        return None
    what = f"There are no scores by {' and '.join(missing)}"
    if len(missing) == len(protocols) and not os.path.lexists(folder.scores):
        what = f"{folder.scores.name} is missing"
    if can_be_scored(folder, trial):
        remedy = (
            "Run the same command again: it is scored from what is kept, and nothing is trained."
        )
    else:
        remedy = (
            "Neither its label maps nor a whole checkpoint are kept: delete the folder "
            f"trials/{folder.path.name} and run the same command again, which trains it."
        )
    tried = ""
    if os.path.lexists(folder.unscored):
        last = Unscored.read(folder.unscored)
        tried = f" When that was tried last: {last.reason}: {last.message}"
    return Unscored(trial=trial.id, reason="scores are missing", message=f"{what}. {remedy}{tried}")


def can_be_scored(folder: TrialFolder, trial: TrialRecord) -> bool:
    """Whether its label maps are kept, or its weights (of an ensemble: its members').

    What was trained elsewhere has its weights, or its label maps, where it has.
    """
    if trial.identity.budget[1] == "none":
        return True
    maps = [folder.predictions / f"{case}.nii.gz" for case in trial.context.test_cases]
    return all(map_.is_file() for map_ in maps) or weights_kept(folder, trial)


def weights_kept(folder: TrialFolder, trial: TrialRecord) -> bool:
    """Whether a whole checkpoint is there, of an ensemble those of its members."""
    owners = [folder]
    if trial.identity.members:
        owners = [folder.beside(member) for member in trial.identity.members]
    return all(latest_checkpoint(owner.checkpoints) is not None for owner in owners)


def forget_unscored(folder: TrialFolder) -> None:
    """Remove what was written of an attempt to score that failed."""
    with contextlib.suppress(OSError):
        folder.unscored.unlink(missing_ok=True)
