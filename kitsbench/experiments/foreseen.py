"""Two designs side by side before anything runs: all seeds, and seeds until all is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kitsbench.errors import KitsbenchError
from kitsbench.experiments.asked.until import PLAIN
from kitsbench.experiments.looks.design import plans
from kitsbench.experiments.records import ExperimentRecord
from kitsbench.experiments.results import counted_results
from kitsbench.experiments.rounds import Rounds
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.statistics import DEFAULT_ENDPOINT
from kitsbench.statistics.design.power import pilot_components
from kitsbench.statistics.looks.foresight import expected_hours

EXPERIMENTS = 100
"""Simulated in each true state: enough for a share of hours to a few percent."""
GAP = 0.02  # of a metric without a margin


@dataclass(frozen=True)
class Designs:
    """What the fixed design takes, and what at least until all is decided.

    Attributes
    ----------
    trials, least_trials : int
        Of the fixed design, and until the first look.
    hours, least_hours : float or None
        Device hours of training; None where nothing tells of a trial how long it takes.
    expected : tuple of dict
        What simulations let one expect in several true states, as of
        :func:`~kitsbench.statistics.looks.foresight.expected_hours`; empty without a pilot.
    command : str
        What simulates this design by scores from elsewhere.
    """

    trials: int
    least_trials: int
    hours: float | None
    least_hours: float | None
    expected: tuple[dict[str, Any], ...] = ()
    command: str = "kitsbench plan --until decided --pilot SCORES"

    def plain(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "fixed": {"trials": self.trials, "device_hours": self.hours},
            "until_decided": {
                "trials": [self.least_trials, self.trials],
                "device_hours": [self.least_hours, self.hours],
                "expected": [*self.expected],
            },
        }

    def told(self) -> list[str]:
        """Both in sentences."""
        fixed = f"{self.trials} trials"
        until = f"{self.least_trials} to {self.trials} trials"
        if self.hours is not None and self.least_hours is not None:
            fixed += f", {_hours(self.hours)} of training"
            until += f", {_hours(self.least_hours)} to {_hours(self.hours)}"
        lines = [
            f"All seeds: {fixed}.",
            f"Until decided: {until}. The first look comes at the lower end."
            if self.least_trials < self.trials
            else "Until decided: the same, since the first look comes after all of them.",
        ]
        for one in self.expected:
            share = self.hours * one["part"] if self.hours is not None else None
            much = "" if share is None else f", {_hours(share)}"
            lines.append(
                f"Expected where the truth is {one['state']}: {100 * one['part']:.0f} % of all "
                f"trials{much} ({one['runs_low']:.0f} to {one['runs_high']:.0f} of "
                f"{one['fixed_runs']} in nine runs of ten)."
            )
        if self.expected:
            lines.append("Simulated, by the scatter of the trials that have finished here.")
        else:
            lines.append(
                "What to expect between the two is known once two seeds have finished here, or "
                f"from other scores: `{self.command}`."
            )
        return lines


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

    expected = _expected(record, tasks) if tasks else ()
    cases = {case for task in tasks for case in task.test_cases}
    usual = record.endpoint == ":".join(DEFAULT_ENDPOINT)
    endpoint = "" if usual else f" --endpoint {record.endpoint}"
    command = (
        f"kitsbench plan --until decided --cases {len(cases)} --folds {len(record.folds.used)} "
        f"--seeds {record.until.looks[-1]} --architectures {len(record.entrants)}{endpoint} "
        "--pilot SCORES"
    )
    return Designs(
        len(tasks), len(least), hours(tasks), hours([*least.values()]), expected, command
    )


def _expected(record: ExperimentRecord, tasks: Sequence[TrialTask]) -> tuple[dict[str, Any], ...]:
    """What runs of this design take, by the scatter of those trials of it that have finished.

    How much scores scatter is no look: nobody sees who is ahead.
    """
    until = record.until
    if until is None or until.question not in PLAIN:
        return ()
    fixed = record.model_copy(update={"until": None})
    try:
        scores = counted_results(tasks[0].workdir, fixed, None).scores
        found = pilot_components(scores, record.endpoint, record.protocol)
        (plan,) = plans(record)
        folds, cases = len(record.folds.used), {c for task in tasks for c in task.test_cases}
        gap = plan.margin or GAP
        names = len(plan.architectures)
        return tuple(
            expected_hours(plan, found, len(cases), folds, names, gap, experiments=EXPERIMENTS)
        )
    except KitsbenchError:  # too few have finished to tell, or their files are damaged
        return ()


def _hours(hours: float) -> str:
    return f"{60 * hours:.2g} device minutes" if hours < 1 else f"{hours:.1f} device hours"
