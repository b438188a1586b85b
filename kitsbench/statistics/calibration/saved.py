"""Results that outlive an interrupted run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kitsbench.errors import UsageError


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
        self._known: dict[str, dict[str, Any]] = {}
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

    def get(self, situation: str) -> dict[str, Any] | None:
        """Return what was found in a situation, or None."""
        return self._known.get(situation)

    def put(self, situation: str, found: dict[str, Any]) -> None:
        """Keep what was found."""
        self._known[situation] = found
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"situation": situation, "found": found}) + "\n")
