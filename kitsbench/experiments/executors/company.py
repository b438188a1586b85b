"""Other runs on the same working directory: each is told of the others.

They may share trials, of which each is trained once, and nothing else: plan, tables and report
are each run's own. Who starts two by mistake should still know.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from kitsbench.experiments.trial.lease import Lease, living_holder, remove_dead

LOOK_EVERY = 1.0  # seconds between two looks for others
FOLDER = "running"


class Company:
    """Says that this run is here, and tells of others as they come; use as a context manager.

    Parameters
    ----------
    workdir : Path
    experiment : str
        Id of what this process runs.
    tell : callable
        Gets one line for each other run, once, also from a thread.
    """

    def __init__(self, workdir: Path, experiment: str, tell: Callable[[str], None]):
        self.workdir, self.tell = workdir, tell
        folder = workdir / FOLDER
        self._lease = Lease(folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.json", experiment)
        self._seen: dict[Path, bytes | None] = {}
        self._told: set[Path] = {self._lease.file}
        self._held, self._stop = contextlib.ExitStack(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="kitsbench-company", daemon=True)

    def __enter__(self) -> Self:
        self._lease.file.parent.mkdir(parents=True, exist_ok=True)
        self._held.enter_context(self._lease)
        self.look()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._held.close()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_EVERY):
            # A file system that is away for a moment; another look may get through.
            with contextlib.suppress(OSError):
                self.look()

    def look(self) -> None:
        """Tell of every run that lives and was not told of yet."""
        for file in sorted((self.workdir / FOLDER).glob("*.json")):
            if file in self._told:
                continue
            seen, other = living_holder(file, self._seen.get(file))
            self._seen[file] = seen
            if other is None:
                remove_dead(file)  # of a run that was killed
            else:
                self._told.add(file)
                self.tell(
                    f"Another run works in {self.workdir}: process {other.pid} on {other.host}, "
                    f"experiment {other.experiment}. Each trial is trained once, by one of them; "
                    "plans and reports are each one's own."
                )
