"""The folder of one trial: its status, its lease, and the tables it leaves."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from kitsbench.files import read_json, write_atomic, write_json

STALE_AFTER = 60.0  # seconds without a heartbeat after which a lease is void


class LeaseTaken(Exception):
    """Another living process works on this trial."""


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

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write one of the trial's JSON files."""
        write_json(self.path / name, content)

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write one of the trial's Parquet files."""
        write_atomic(self.path / name, lambda path: table.to_parquet(path, index=False))

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Keep every other process off this trial while the block runs.

        Raises
        ------
        LeaseTaken
            A living process holds it.
        """
        file = self.path / "lease.json"
        self.path.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
                break
            except FileExistsError:
                if _is_alive(file):
                    raise LeaseTaken(self.path.name) from None
                file.unlink(missing_ok=True)
        content = f'{{"host": "{socket.gethostname()}", "pid": {os.getpid()}}}\n'
        os.write(handle, content.encode())
        os.close(handle)
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(STALE_AFTER / 6):
                try:
                    os.utime(file)
                except OSError:
                    return

        thread = threading.Thread(target=beat, name="kitsbench-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            file.unlink(missing_ok=True)


def _is_alive(file: Path) -> bool:
    """Whether the process that holds a lease still lives."""
    try:
        age = time.time() - file.stat().st_mtime
        holder = read_json(file)
    except FileNotFoundError:
        return False
    except ValueError:  # being written at this moment
        return age < STALE_AFTER
    if holder.get("host") == socket.gethostname() and not psutil.pid_exists(holder.get("pid", 0)):
        return False
    # A clock that jumped backwards makes the age negative: the lease then counts as fresh.
    return age < STALE_AFTER
