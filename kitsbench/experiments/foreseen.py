"""Two designs side by side before anything runs: all seeds, and seeds until all is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kitsbench.experiments.records import ExperimentRecord
from kitsbench.experiments.rounds import Rounds
from kitsbench.experiments.trial.task import TrialTask


@dataclass(frozen=True)
class Designs:
    """What the fixed design takes, and what at least until all is decided.

    Attributes
    ----------
    trials, least_trials : int
        Of the fixed design, and until the first look.
    hours, least_hours : float or None
        Device hours of training; None where nothing tells of a trial how long it takes.
    """

    trials: int
    least_trials: int
    hours: float | None
    least_hours: float | None

    def plain(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "fixed": {"trials": self.trials, "device_hours": self.hours},
            "until_decided": {
                "trials": [self.least_trials, self.trials],
                "device_hours": [self.least_hours, self.hours],
            },
        }

    def told(self) -> list[str]:
        """Both in sentences."""
        fixed = f"{self.trials} trials"
        until = f"{self.least_trials} to {self.trials} trials"
        if self.hours is not None and self.least_hours is not None:
            fixed += f", {_hours(self.hours)} of training"
            until += f", {_hours(self.least_hours)} to {_hours(self.hours)}"
        return [
            f"All seeds: {fixed}.",
            f"Until decided: {until}. The first look comes at the lower end; how near to it a run "
            "stops depends on what it finds, which `kitsbench plan --until decided --pilot` "
            "foresees from scores that are there.",
        ]


def foresee(
    record: ExperimentRecord,
    tasks: Sequence[TrialTask],
    known: Mapping[str, Mapping[str, Any]],
    world_size: int = 1,
) -> Designs | None:
    """What both designs take; None of a fixed one.

    Parameters
    ----------
    record : ExperimentRecord
    tasks : sequence of TrialTask
        All of the fixed design.
    known : mapping
        {id: {``device_seconds``}}, None in it where nothing tells.
    world_size : int
        Devices that train one trial together.
    """
    if record.until is None:
        return None
    rounds = Rounds(tasks[0].workdir, record, tasks) if tasks else None
    going = [entrant.name for entrant in record.entrants]
    first = range(record.until.looks[0])
    least = {} if rounds is None else {t.id: t for s in first for t in rounds.round(s, going)}

    def hours(trials: Sequence[TrialTask]) -> float | None:
        seconds = [known[task.id]["device_seconds"] for task in trials]
        return None if None in seconds else sum(seconds) * world_size / 3600

    return Designs(len(tasks), len(least), hours(tasks), hours([*least.values()]))


def _hours(hours: float) -> str:
    return f"{60 * hours:.2g} device minutes" if hours < 1 else f"{hours:.1f} device hours"
