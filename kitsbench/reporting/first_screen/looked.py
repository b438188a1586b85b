"""What looks cost and spared: device hours beside those of the fixed design."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kitsbench.experiments.looks.design import told_early, told_known, told_look
from kitsbench.experiments.records import LooksRecord
from kitsbench.experiments.results import Results
from kitsbench.experiments.stored_trial import StoredTrial
from kitsbench.reporting import words


@dataclass(frozen=True)
class Hours:
    """Device hours of training of a run that stops by itself.

    Attributes
    ----------
    spent : float
        Of the trials that ran, as their ledgers say; those of every device of a trial counted.
    spared : float or None
        Of those that were never run, each as long as the trials of its architecture that ran took;
        None where nothing tells of one.
    trials, spared_trials : int
        How many the fixed design has, and how many of them were never run.
    """

    spent: float
    spared: float | None
    trials: int
    spared_trials: int

    @property
    def fixed(self) -> float | None:
        """Of the fixed design, as far as it has run here or was spared."""
        return None if self.spared is None else self.spent + self.spared

    @property
    def share(self) -> float | None:
        """Part of the fixed design's hours that was spared."""
        return self.spared / self.fixed if self.fixed and self.spared is not None else None


def hours_of(results: Results, name: str | None = None) -> Hours:
    """Hours spent and spared.

    Parameters
    ----------
    results : Results
        Of a run that stops by itself.
    name : str, optional
        Of this entrant alone.
    """
    trials = [t for t in results.trials if name is None or t.name == name]
    width = results.experiment.device.world_size
    spared = [trial for trial in trials if trial.state == "spared"]
    each = {one: _usual(results.trials, one) for one in {trial.name for trial in spared}}
    known = [each[trial.name] for trial in spared]
    lost = None if None in known else sum(seconds for seconds in known if seconds) * width / 3600
    spent = sum(t.ledger.device_seconds for t in trials if t.ledger is not None) * width / 3600
    return Hours(spent, lost, len(trials), len(spared))


def _usual(trials: list[StoredTrial], name: str) -> float | None:
    """Device seconds that the trials of an entrant took in the mean; None where none ran."""
    took = [
        t.ledger.device_seconds
        for t in trials
        if t.name == name and t.state in ("finished", "held") and t.ledger is not None
    ]
    return sum(took) / len(took) if took else None


def last_look(results: Results) -> int:
    """Seeds of the last look planned; 0 of a fixed design."""
    until = results.experiment.until
    return 0 if until is None else until.looks[-1]


def is_at_end(results: Results) -> bool:
    """Whether the last look planned was taken."""
    last = None if results.looks is None else results.looks.last
    return last is not None and last.seeds >= last_look(results)


def summary(results: Results) -> list[str]:
    """What a reader must know of the looks, in sentences; empty of a fixed design.

    Parameters
    ----------
    results : Results
    """
    until, looks = results.experiment.until, results.looks
    if until is None:
        return []
    taken = 0 if looks is None else len(looks.looks)
    found = [
        f"The question was {until.told()}, looked at after {_listed(until.looks)} seeds at most; "
        f"{words.plural(taken, 'look')} of {len(until.looks)} "
        f"{'was' if taken == 1 else 'were'} taken."
    ]
    early = told_early(until, len(results.experiment.folds.used))
    found += [early] if early else []
    if looks is None or not taken:
        return found
    found.append(told_look(looks, taken - 1, until.looks[-1]))
    hours = hours_of(results)
    if hours.fixed is not None and hours.spared_trials:
        found.append(
            f"{hours.spared_trials} of {words.plural(hours.trials, 'trial')} were never run: "
            f"{_hours(hours.spent)} were spent, and about {_hours(hours.spared)} of the fixed "
            f"design's {_hours(hours.fixed)} were spared ({words.percent(hours.share)})."
        )
    elif hours.spared_trials:
        found.append(
            f"{hours.spared_trials} of {words.plural(hours.trials, 'trial')} were never run; "
            f"{_hours(hours.spent)} were spent, and nothing tells how long those would have taken."
        )
    elif looks.over:
        found.append(f"All of the fixed design was run: {_hours(hours.spent)}. Nothing was spared.")
    known = told_known(looks.known)
    found += [*_stopped(looks), *([known] if known else []), *_held(results)]
    return found


def _stopped(looks: LooksRecord) -> list[str]:
    stopped = looks.stopped
    if stopped is None:
        return []
    return [
        f"It stopped after {words.plural(stopped.seeds, 'seed')} because of --max-hours "
        f"{stopped.max_hours:g}, with {_hours(stopped.hours)} spent; what is open stays open."
    ]


def _held(results: Results) -> list[str]:
    held = sum(trial.state == "held" for trial in results.trials)
    if not held:
        return []
    return [
        f"Interim: {words.plural(held, 'trial')} more {'has' if held == 1 else 'have'} finished "
        "and wait for the next look; they are in no table, so to read this costs nothing."
    ]


def plain(results: Results) -> dict[str, Any] | None:
    """The looks for JSON; None of a fixed design.

    Parameters
    ----------
    results : Results
    """
    until, looks, hours = results.experiment.until, results.looks, hours_of(results)
    if until is None:
        return None
    kept = {} if looks is None else looks.model_dump(mode="json")
    return {
        **until.model_dump(mode="json", exclude={"looks"}),
        "planned": list(until.looks),
        "taken": kept.get("looks", []),
        "known_before": kept.get("known", 0),
        "stopped": kept.get("stopped"),
        "over": looks is not None and looks.over,
        "device_hours": hours.spent,
        "spared_device_hours": hours.spared,
        "spared_trials": hours.spared_trials,
    }


def _hours(hours: float | None) -> str:
    return words.DASH if hours is None else words.duration(3600 * hours)


def _listed(numbers: tuple[int, ...]) -> str:
    return words.listing([str(number) for number in numbers], most=len(numbers))
