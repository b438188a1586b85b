"""The folder of one trial: its status, its lease, and the tables it leaves."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from kitsbench.errors import DataError
from kitsbench.experiments.records import (
    PENDING,
    TRIAL_AGAIN,
    State,
    Status,
    TrialProgress,
    TrialRecord,
    Unscored,
)
from kitsbench.experiments.trial.lease import Lease
from kitsbench.training.failures import Reason


def now() -> str:
    """Time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class TrialFolder:
    """``WORKDIR/trials/<id>``.

    Parameters
    ----------
    workdir : Path
    trial : str
        The trial's id.
    """

    def __init__(self, workdir: Path, trial: str):
        self.path = Path(workdir) / "trials" / trial
        self.checkpoints = self.path / "checkpoint"
        self.predictions = self.path / "predictions"
        self.maps = self.path / "maps"  # of the networks' insides, for some cases
        self.probabilities = self.path / "probabilities"  # until its ensembles are scored
        self.log = self.path / "log.txt"
        self.trial = self.path / "trial.json"
        self.ledger = self.path / "ledger.json"
        self.environment = self.path / "environment.json"
        self.scores = self.path / "scores.parquet"
        self.curve = self.path / "curve.parquet"
        self.partial_scores = self.path / "scores.partial.json"
        self.unscored = self.path / "unscored.json"
        self.progress = self.path / "progress.json"  # while a process works on it
        self.hang = self.path / "hang.txt"  # where every thread stood when nothing moved on

    def beside(self, trial: str) -> TrialFolder:
        """The folder of another trial of the same working directory."""
        return TrialFolder(self.path.parent.parent, trial)

    def check_owner(self) -> None:
        """Refuse a folder that holds another trial than the one that it is named by.

        Raises
        ------
        DataError
            ``trial.json`` is missing, damaged, or that of another trial.
        """
        found = TrialRecord.read(self.trial)
        if found.id != self.path.name:
            raise DataError(
                f"{self.trial}: the key id is {found.id!r}, which is not its folder's name."
                f"\n{TRIAL_AGAIN}"
            )

    def read_status(self) -> Status:
        """``status.json``; a trial that nobody began is pending.

        Raises
        ------
        DataError
            The file is damaged or of another version.
        """
        file = self.path / "status.json"
        # A link to nothing is a damaged file, and no trial that nobody began.
        return Status.read(file) if os.path.lexists(file) else PENDING

    def read_progress(self) -> TrialProgress | None:
        """How far the process is that works on it; None where none does, or none has said it yet.

        A file system may be slow to tell, and foreign code may write anything: what cannot be read,
        or is another trial's, says nothing.
        """
        with contextlib.suppress(DataError):
            found = TrialProgress.read(self.progress)
            return found if found.trial == self.path.name else None
        return None

    def set_status(
        self, status: State, reason: Reason | None = None, message: str | None = None
    ) -> None:
        """Write ``status.json``; times follow from what was there.

        Of a trial that runs, a message says why nobody works on it any more.
        """
        begins = status == "running" and message is None
        started = now() if begins else self._started()
        Status(
            status=status,
            reason=reason,
            message=message,
            started=started,
            finished=now() if status in ("finished", "failed") else None,
            host=socket.gethostname(),
        ).write(self.path / "status.json")

    def _started(self) -> str | None:
        try:
            return self.read_status().started
        except DataError:  # what is written now takes the damaged file's place
            return None

    def try_status(self, status: State, reason: Reason, message: str) -> None:
        """Write ``status.json`` if the disk lets us; else say what would stand there."""
        try:
            self.set_status(status, reason, message)
        except OSError as error:
            text = f"{status}: {reason}: {message} (status.json could not be written: {error})"
            print(text, file=sys.stderr, flush=True)

    def failing(self) -> Callable[[Reason, str], None]:
        """What writes down why the trial failed: what has been trained by now stays so.

        Asked for before foreign code runs, which might write that it has finished.
        """
        with contextlib.suppress(DataError):
            if self.read_status().status == "finished":
                return self.note_unscored
        return partial(self.try_status, "failed")

    def note_unscored(self, reason: Reason, message: str) -> None:
        """Write down why a trial that has finished could not be scored; its status stays."""
        try:
            Unscored(trial=self.path.name, reason=reason, message=message).write(self.unscored)
        except OSError as error:
            print(f"{reason}: {message} (could not be written: {error})", file=sys.stderr)

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """Keep every other process off this trial while the block runs.

        Raises
        ------
        LeaseTaken
            A living process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with Lease(self.path / "lease.json") as lease:
            yield lease
