"""What to run for a stronger statement, and how long that takes, by what this run took."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from itertools import pairwise

from kitsbench.experiments.records import request_file
from kitsbench.experiments.stored_trial import StoredTrial
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.first_screen.curves import still_rising
from kitsbench.reporting.first_screen.leading import leaders
from kitsbench.statistics import DEFAULT_ENDPOINT
from kitsbench.statistics.design.scope import allows_verdict, seeds_for_a_verdict
from kitsbench.training.budget import Budget

LONGER = 2  # times the budget, where scores were still rising
_LONGEST = 120  # characters of a command that a first screen has room for
_LETTERS = 8  # of an experiment's id, which is found by its first ones

# What suits made-up scans, and would make a plan for real ones that nobody wants.
OF_A_PHANTOM = ("--spacing", "--patch", "--batch", "--split", "--folds", "--budget")


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes
    ----------
    purpose : str
        What it is good for.
    command : str
    time : str
        How long it takes; empty where nothing tells.
    """

    purpose: str
    command: str
    time: str = ""

    def __str__(self) -> str:
        """In one line, for text."""
        return f"{self.purpose}: {self.command}" + (f" ({self.time})" if self.time else "")


def next_steps(analysis: Analysis) -> list[Step]:
    """Steps to a stronger statement, the most pressing first.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    list of Step
    """
    experiment = analysis.results.experiment
    trials = analysis.results.trials
    steps = []
    looks = analysis.results.looks
    # What a look has counted as failed stays so: no call tries it again.
    over = frozenset() if looks is None else looks.missed
    if any(t.state not in ("finished", "spared") and t.planned.id not in over for t in trials):
        steps.append(Step("Finish what is missing or failed", _command(analysis)))
    folds = len(experiment.folds.used)
    if analysis.scope == "L0" and not allows_verdict(folds, experiment.seeds):
        seeds = seeds_for_a_verdict(folds)
        steps.append(
            Step(
                "Speak of architectures, not of single networks; what has run is kept",
                _command(analysis, "--seeds", str(seeds)),
                _time(analysis, folds * (seeds - experiment.seeds)),
            )
        )
    # A planted control that learns nothing is as it was meant.
    lost = [name for name in analysis.not_learned if name not in analysis.planted]
    if still_rising(analysis) or lost:
        budget = Budget(LONGER * experiment.budget.amount, experiment.budget.unit)
        steps.append(
            Step(
                "Train longer, since not all have learned to find something"
                if lost
                else "Train longer, since some may still rise (a hint, no finding)",
                _command(analysis, "--budget", str(budget)),
                _time(analysis, folds * experiment.seeds, LONGER),
            )
        )
    if analysis.scope == "L1" and len(leaders(analysis)) > 1:
        scores = shlex.quote(str(analysis.results.workdir / "report" / "scores.csv"))
        command = f"{plan_command(analysis, experiment.seeds)} --pilot {scores}"
        steps.append(Step("See how many seeds a smaller gap takes", command))
    if experiment.dataset.synthetic:
        command = _command(analysis, "--dataset", "DIR", "--dry-run", without=OF_A_PHANTOM)
        steps.append(Step("Real scans: see what they would take", command))
    return steps


def plan_command(analysis: Analysis, seeds: int) -> str:
    """What tells which gap this design would see with so many seeds."""
    experiment = analysis.results.experiment
    # Without it the scatter of another region would be taken from the pilot.
    usual = experiment.endpoint == ":".join(DEFAULT_ENDPOINT)
    return (
        f"kitsbench plan --cases {_cases(analysis)} --folds {len(experiment.folds.used)} --seeds "
        f"{seeds} --architectures {max(len(analysis.ranking), 2)}"
        + ("" if usual else f" --endpoint {experiment.endpoint}")
    )


def _cases(analysis: Analysis) -> int:
    scores = analysis.results.scores
    return int(scores.loc[scores["protocol"] == analysis.protocol, "case"].nunique())


def _command(analysis: Analysis, *more: str, without: tuple[str, ...] = ()) -> str:
    """The command of this experiment with options put in place of its own.

    Where what was asked for is kept, it is named by the experiment's id: ``--all`` would train what
    has been installed since as well.
    """
    results = analysis.results
    try:
        given = shlex.split(results.experiment.command)
    except ValueError:  # a quote that nobody closed
        given = []
    if not without and request_file(results.workdir, results.experiment.id).is_file():
        added = ["--add"] if more else []
        own = ["--experiment", results.experiment.id[:_LETTERS], *_workdir(given)]
        return shlex.join(["kitsbench", "run", *added, *own, *more])
    if given[:2] != ["kitsbench", "run"]:
        given = ["kitsbench", "run", "--all"]
    if "--add" in given and "--seeds" in more:
        return shlex.join(["kitsbench", "run", "--add", *more])
    options = [*(word for word in more if word.startswith("--")), *without]
    kept: list[str] = []
    skip = False
    for word in given:
        # An option and its value are one word or two; those that are replaced here have one.
        if not skip and word.partition("=")[0] not in options:
            kept.append(word)
        skip = not skip and word in options
    command = shlex.join([*kept, *more])
    return command if len(command) <= _LONGEST else f"(the same command) {shlex.join(more)}".strip()


def _workdir(given: list[str]) -> list[str]:
    """How a command names the working directory, if it does."""
    for word, following in pairwise([*given, ""]):
        if word == "--workdir":
            return [word, following]
        if word.startswith("--workdir="):
            return [word]
    return []


def _time(analysis: Analysis, runs: int, factor: float = 1) -> str:
    """How long more runs of every entrant take, each with ``factor`` times the budget."""
    known: dict[str, list[float]] = {}
    for trial in analysis.results.trials:
        seconds = _seconds(trial, factor)
        if seconds is not None:
            known.setdefault(trial.name, []).append(seconds)
    if not known:
        return ""
    means = [sum(found) / len(found) for found in known.values()]
    names = {trial.name for trial in analysis.results.trials}
    # Of an entrant without a finished trial the mean of the others is as good a guess as any.
    total = runs * sum(means) * len(names) / len(means)
    device = analysis.results.experiment.device
    if device.jobs is None:
        return f"about {words.about(total)} of computing, shared by the nodes"
    at_once = f", {device.jobs} trials at a time" if device.jobs > 1 else ""
    return f"about {words.about(total / device.jobs)} here{at_once}"


def _seconds(trial: StoredTrial, factor: float) -> float | None:
    """Seconds from a trial's first step to its last score; None where it did not get there."""
    ledger = trial.ledger
    if trial.state != "finished" or ledger is None:
        return None
    return ledger.wall_s + (factor - 1) * ledger.device_seconds + ledger.prediction_s
