"""Situations measured one after the other, with results that outlive an interrupted run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kitsbench.errors import UsageError

FEWEST = 50
"""Experiments of a situation, at least."""

Plain = dict[str, Any]
Job = tuple[str, Callable[[], Plain]]
"""What is to be measured: a name that holds all that the result depends on, and how."""
Progress = Callable[[int, int], None]


class Saved:
    """A file with one JSON line for each situation that was measured.

    Parameters
    ----------
    path : str, path or None
        Made where there is none; without one, nothing is kept.

    Raises
    ------
    UsageError
        The file holds something else.
    """

    def __init__(self, path: str | Path | None) -> None:
        self._path = None if path is None else Path(path)
        self._known: dict[str, Plain] = {}
        if self._path is None or not self._path.exists():
            return
        for number, line in enumerate(self._path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                entry = json.loads(line)
                self._known[entry["situation"]] = dict(entry["found"])
            except (ValueError, KeyError, TypeError):
                raise UsageError(
                    f"Line {number} of {self._path} is no result of 'kitsbench calibrate'; name a "
                    "file that it saved, or one that is not there yet."
                ) from None

    def get(self, situation: str) -> Plain | None:
        """Return what was found in a situation, or None."""
        return self._known.get(situation)

    def put(self, situation: str, found: Plain) -> None:
        """Keep what was found."""
        self._known[situation] = found
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"situation": situation, "found": found}) + "\n")


def name_of(what: object, experiments: int, random_seed: int) -> str:
    """The name of a job."""
    return f"{what}, {experiments} experiments, seed {random_seed}"


def check_experiments(number: int) -> None:
    """Refuse so few experiments that they would tell nothing.

    Raises
    ------
    UsageError
        There are fewer than :data:`FEWEST`.
    """
    if number < FEWEST:
        raise UsageError(f"There are {number} replicates; error rates need at least {FEWEST}.")


def measure_each(
    jobs: Sequence[Job], store: Saved, only_saved: bool, progress: Progress | None
) -> tuple[list[Plain], int]:
    """Measure what was not saved before.

    Parameters
    ----------
    jobs : sequence of Job
    store : Saved
        Gets each result as soon as it is there.
    only_saved : bool
        Measure nothing.
    progress : callable or None
        Called with jobs done and their number.

    Returns
    -------
    found : list of dict
        In the order of the jobs. A result that was just measured is what was saved.
    missing : int
        Jobs of which nothing was saved.
    """
    found, missing = [], 0
    for index, (name, run) in enumerate(jobs):
        if progress is not None:
            progress(index, len(jobs))
        plain = store.get(name)
        if plain is None and only_saved:
            missing += 1
            continue
        if plain is None:
            plain = run()
            store.put(name, plain)
        found.append(plain)
    if progress is not None:
        progress(len(jobs), len(jobs))
    return found, missing
