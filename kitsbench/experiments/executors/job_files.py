"""``WORKDIR/jobs``: which job works on which trial, for whoever comes after this process."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from kitsbench.errors import DataError
from kitsbench.experiments.records import JobRecord
from kitsbench.experiments.trial.folder import now
from kitsbench.files.alone import alone


class JobFiles:
    """One file for each trial that a job works on.

    It is written before the job is submitted, and once more when its number is known: whoever is
    killed in between has left the name, by which the job is found in the queue.

    Parameters
    ----------
    folder : Path
    cluster : {"slurm", "local"}
    prefix : str
        What names of jobs begin with.
    """

    def __init__(self, folder: Path, cluster: str, prefix: str = "kitsbench"):
        self.folder, self.cluster, self.prefix = folder, cluster, prefix

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from submitting meanwhile, where the file system can do that."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with alone(self.folder):
            yield

    def read(self, trial: str) -> JobRecord | None:
        """What is known of a trial's job; None where there is none, or on another cluster.

        Raises
        ------
        DataError
            The file is damaged.
        """
        file = self._file(trial)
        if not os.path.lexists(file):
            return None
        found = JobRecord.read(file)
        if found.trial != trial:
            raise DataError(f"{file}: the key trial is {found.trial!r}.\n{JobRecord.remedy}")
        return found if found.cluster == self.cluster else None

    def intend(self, trials: Sequence[str]) -> list[JobRecord]:
        """Write down that jobs are about to be submitted, several as one array."""
        name = f"{self.prefix}-{secrets.token_hex(4)}"
        records = [
            JobRecord.of_plain(
                {
                    "trial": trial,
                    "cluster": self.cluster,
                    "name": name,
                    "index": index if len(trials) > 1 else None,
                    "job": None,
                    "submitted": now(),
                }
            )
            for index, trial in enumerate(trials)
        ]
        for record in records:
            record.write(self._file(record.trial))
        return records

    def name(self, record: JobRecord, job: str) -> JobRecord:
        """Write down the number of a job."""
        named = record.model_copy(update={"job": job})
        named.write(self._file(record.trial))
        return named

    def forget(self, record: JobRecord) -> None:
        """Remove what is known of a job, unless another one has taken its place."""
        with contextlib.suppress(DataError):
            if (found := self.read(record.trial)) is not None and found.name == record.name:
                self._file(record.trial).unlink(missing_ok=True)

    def _file(self, trial: str) -> Path:
        return self.folder / f"{trial}.json"
