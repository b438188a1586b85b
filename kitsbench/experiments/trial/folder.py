"""The folder of one trial: its status, its lease, and the tables it leaves."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from kitsbench.errors import DataError
from kitsbench.experiments.records import PENDING, State, Status
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
        self.log = self.path / "log.txt"
        self.trial = self.path / "trial.json"
        self.ledger = self.path / "ledger.json"
        self.environment = self.path / "environment.json"
        self.scores = self.path / "scores.parquet"
        self.curve = self.path / "curve.parquet"
        self.partial_scores = self.path / "scores.partial.json"
        self.hang = self.path / "hang.txt"  # where every thread stood when nothing moved on

    def read_status(self) -> Status:
        """``status.json``; a trial that nobody began is pending.

        Raises
        ------
        DataError
            The file is damaged or of another version.
        """
        file = self.path / "status.json"
        return Status.read(file) if file.exists() else PENDING

    def set_status(
        self, status: State, reason: Reason | None = None, message: str | None = None
    ) -> None:
        """Write ``status.json``; times follow from what was there."""
        started = now() if status == "running" else self._started()
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
