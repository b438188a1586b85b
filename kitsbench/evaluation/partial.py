"""Scores of the cases done so far, on disk, so that a killed evaluation goes on from there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import kitsbench
from kitsbench.errors import DataError, UsageError
from kitsbench.evaluation.cases import CaseFiles, CaseScores, Task
from kitsbench.evaluation.pool import is_lost
from kitsbench.files import digest
from kitsbench.files.documents import Part
from kitsbench.files.foreign import read_bytes

_HEADER = "kitsbench evaluate: cases done so far"


class _Line(Part):
    """A case that is done, and the hash of everything that its scores depend on."""

    case: str
    key: str
    scores: CaseScores


class PartialScores:
    """One line of JSON for every case that is done; use as a context manager.

    A line counts only for the same files (path, size, time of change), protocols, metrics and
    version of kitsbench. Whoever has stored the result removes the file.

    Parameters
    ----------
    path : Path or None
        Where; with None nothing is kept.
    files : sequence of CaseFiles
        All cases.
    task : Task
        What is computed of them.

    Raises
    ------
    UsageError
        The path belongs to something else.
    DataError
        The file cannot be written.
    """

    def __init__(self, path: Path | None, files: Sequence[CaseFiles], task: Task):
        self.path = path
        self.scores: dict[str, CaseScores] = {}
        self._keys = {} if path is None else {file.case: _key(file, task) for file in files}
        self._handle: IO[str] | None = None
        if path is not None and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            content = read_bytes(path, most=1 << 32)
        except OSError as error:
            raise UsageError(
                f"{path} is where unfinished scores are kept, but it cannot be read "
                f"({error.strerror}). Move it, or write the scores elsewhere (-o)."
            ) from error
        # The line that was being written at a kill may end in the middle of a letter.
        lines = content.decode("utf-8", errors="replace").splitlines()
        if lines and lines[0] != _HEADER:
            raise UsageError(
                f"{path} is where unfinished scores are kept, but it holds something else. "
                "Move it, or write the scores elsewhere (-o)."
            )
        for line in lines[1:]:
            try:
                entry = _Line.model_validate_json(line)
            except ValueError:  # the line that was being written at the kill, or none of ours
                continue
            if self._keys.get(entry.case) == entry.key:
                self.scores[entry.case] = entry.scores

    def __enter__(self) -> PartialScores:
        return self

    def add(self, case: str, scores: CaseScores) -> None:
        """Keep a case, unless it is kept already."""
        if scores.problem is not None and is_lost(str(scores.problem["reason"])):
            return  # another attempt may succeed
        if self.path is None or case in self.scores:
            return
        entry = _Line(case=case, key=self._keys[case], scores=scores)
        try:
            self._open(self.path).write(entry.model_dump_json() + "\n")
            self._open(self.path).flush()
        except OSError as error:
            raise DataError(
                f"{self.path} cannot be written ({error.strerror}); it keeps the cases done so "
                "far. Write the scores elsewhere (-o)."
            ) from error

    def _open(self, path: Path) -> IO[str]:
        if self._handle is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = open(path, "a", encoding="utf-8")  # noqa: SIM115
            if path.stat().st_size == 0:
                self._handle.write(_HEADER + "\n")
            else:
                # A line that a kill cut off must not swallow the next one.
                self._handle.write("\n")
        return self._handle

    def __exit__(self, *error: object) -> None:
        if self._handle is not None:
            self._handle.close()


def _key(file: CaseFiles, task: Task) -> str:
    """Hash of everything that the scores of a case depend on."""
    stats = [(str(path.resolve()), os.stat(path)) for path in file.paths]
    described: list[Any] = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    rules = [[p.name, [asdict(region) for region in p.regions], p.metrics] for p in task.protocols]
    found = [kitsbench.__version__, described, file.prediction is None, rules, task.metrics]
    names = [names.pairs() for names in (file.true_names, file.predicted_names) if names]
    return digest([*found, names])
