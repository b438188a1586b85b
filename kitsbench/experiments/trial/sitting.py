"""Where the wall time of this process's work on a trial goes."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path

from kitsbench.errors import DataError
from kitsbench.experiments.records import LedgerRecord
from kitsbench.experiments.records.accounts import PARTS, Sitting
from kitsbench.training.ledger import Ledger

# Of a ledger, beside the device seconds: what the budget does not count while a network trains.
_BESIDE = ("evaluation_s", "checkpoint_s", "loader_wait_s")


class Stopwatch:
    """Adds up what is done for a trial from now on.

    Parameters
    ----------
    ledger : Path
        The trial's file, which holds what earlier sittings spent.
    """

    def __init__(self, ledger: Path):
        self._began = time.perf_counter()
        self._utc = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._trains: tuple[float, dict[str, float] | None] | None = None
        self._before: tuple[Sitting, ...] = ()
        with contextlib.suppress(DataError):
            self._before = LedgerRecord.read(ledger).sittings

    def starts_training(self) -> None:
        """What came before was the start."""
        self._seconds["start_s"] += time.perf_counter() - self._began
        self._trains = time.perf_counter(), None

    def steps(self, ledger: Ledger) -> None:
        """Hear of a step. What a trial that goes on has spent before is not this sitting's."""
        if self._trains is not None and self._trains[1] is None:
            self._trains = self._trains[0], _amounts(ledger if ledger.resumed else Ledger())

    def trained(self, ledger: Ledger, devices: int = 1) -> None:
        """Training on so many devices has ended, or was cut short, with such a ledger."""
        if self._trains is None:
            return
        self.steps(ledger)
        began, base = self._trains
        self._trains = None
        assert base is not None
        left = time.perf_counter() - began
        spent = {key: amount - base[key] for key, amount in _amounts(ledger).items()}
        # Those of all devices, which worked side by side.
        spent["training_s"] = spent.pop("device_seconds") / devices
        # On a GPU the host waits for batches while the device works: no more has gone by than the
        # wall says.
        for key in (*_BESIDE[:2], "training_s", _BESIDE[2]):
            part = min(max(spent[key], 0.0), left)
            self._seconds[key] += part
            left -= part
        self._seconds["start_s"] += left

    def predicts(self) -> float:
        """Prediction begins; what was not training before was the start. Returns the time."""
        now = time.perf_counter()
        if not any(self._seconds.values()):
            self._seconds["start_s"] = now - self._began
        return now

    def predicted(self, since: float, scoring: float, predicting: float, beside: bool) -> None:
        """Held-out cases were predicted and scored.

        Parameters
        ----------
        since : float
            When that began.
        scoring, predicting : float
            Seconds that were spent inside of both.
        beside : bool
            Whether one ran beside the other.
        """
        took = time.perf_counter() - since
        scoring = min(scoring, max(took - predicting, 0.0) if beside else took)
        self._seconds["scoring_s"] += scoring
        self._seconds["prediction_s"] += took - scoring

    def sittings(self) -> tuple[Sitting, ...]:
        """All sittings of the trial, with this one until now."""
        wall = time.perf_counter() - self._began
        parts = {**self._seconds}
        parts["rest_s"] = max(wall - sum(parts.values()), 0.0)
        wall = sum(parts.values())
        return (*self._before, Sitting(began=self._utc, wall_s=wall, **parts))


def _amounts(ledger: Ledger) -> dict[str, float]:
    return {key: getattr(ledger, key) for key in ("device_seconds", *_BESIDE)}
