"""The folder of one trial: its status, its lease, and the tables it leaves."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from kitsbench.experiments.trial.lease import Lease
from kitsbench.files import read_json, write_atomic, write_json


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
        self.partial_scores = self.path / "scores.partial.json"
        self.hang = self.path / "hang.txt"  # where every thread stood when nothing moved on

    def read_status(self) -> dict[str, Any]:
        """``status.json``; a trial that nobody began is pending."""
        try:
            return dict(read_json(self.path / "status.json"))
        except (OSError, ValueError):
            return {"status": "pending", "reason": None, "message": None}

    def set_status(
        self, status: str, reason: str | None = None, message: str | None = None
    ) -> None:
        """Write ``status.json``; times follow from what was there."""
        old = self.read_status()
        started = old.get("started") if status != "running" else now()
        write_json(
            self.path / "status.json",
            {
                "status": status,
                "reason": reason,
                "message": message,
                "started": started,
                "finished": now() if status in ("finished", "failed") else None,
                "host": socket.gethostname(),
            },
        )

    def try_status(self, status: str, reason: str, message: str) -> None:
        """Write ``status.json`` if the disk lets us; else say what would stand there."""
        try:
            self.set_status(status, reason, message)
        except OSError as error:
            text = f"{status}: {reason}: {message} (status.json could not be written: {error})"
            print(text, file=sys.stderr, flush=True)

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write one of the trial's JSON files."""
        write_json(self.path / name, content)

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write one of the trial's Parquet files."""
        write_atomic(self.path / name, lambda path: table.to_parquet(path, index=False))

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
