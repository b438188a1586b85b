"""What ``kitsbench trials`` shows of a working directory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kitsbench.cli.output import print_rich, say
from kitsbench.text.screen import Column, make_table, words

if TYPE_CHECKING:
    from kitsbench.experiments.workdir.inventory import Inventory, KeptExperiment, KeptTrial

LETTERS = 8  # of a trial's id, which are enough wherever a trial is named
FEW = 6  # of an experiment's


def much(size: float) -> str:
    """Bytes as people say them, in powers of 1000 as disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB" if size < 999.5 else f"{size:,.0f} TB"


def ago(moment: float) -> str:
    """How long something is over, in one unit."""
    passed = max(time.time() - moment, 0.0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if passed >= size:
            return f"{passed / size:.0f} {unit}"
    return f"{passed:.0f} s"


def show_trials(trials: Sequence[KeptTrial]) -> None:
    """Print a row for each trial, and what is wrong with those that are damaged."""
    columns = [
        Column("trial", whole=True), Column("architecture"), Column("fold", "right"),
        Column("seed", "right"), Column("state", whole=True), Column("age", "right", whole=True),
        Column("size", "right", whole=True), Column("used by"),
    ]  # fmt: skip
    rows = []
    for trial in trials:
        own = trial.record
        place = ("", "", "") if own is None else (own.name, own.fold, own.seed)
        rows.append(
            (
                trial.id[:LETTERS],
                *place,
                words(" ".join(part for part in (trial.state, trial.reason) if part)),
                ago(trial.changed),
                much(trial.size),
                _users(trial),
            )
        )
    print_rich(make_table(columns, rows, frame=False))
    for trial in trials:
        if trial.state == "damaged":
            for line in trial.message.splitlines():
                say(line, trial.id)


def _users(trial: KeptTrial) -> str:
    if len(trial.experiments) > 1:
        return f"{len(trial.experiments)} exp."
    return trial.experiments[0][:FEW] if trial.experiments else "none"


def show_experiments(experiments: Sequence[KeptExperiment]) -> None:
    """Print a row for each experiment: when it was planned, what it asks, how far it is."""
    columns = [
        Column("experiment", whole=True), Column("date", whole=True), Column("question"),
        Column("state"), Column("size", "right", whole=True),
    ]  # fmt: skip
    rows = [
        (
            f"{one.id[:LETTERS]}{'*' * one.latest}",
            one.record.created[:10] if one.record else "",
            one.question,
            state_of(one),
            much(one.size),
        )
        for one in experiments
    ]
    print_rich(make_table(columns, rows, frame=False))
    if any(one.latest for one in experiments):
        say("* the latest, which verbs take where no --experiment is named")


def state_of(experiment: KeptExperiment) -> str:
    """How many trials of an experiment are in which state."""
    if experiment.record is None:
        return "damaged"
    total = len(experiment.record.trials)
    rest = [f"{n} {state}" for state, n in experiment.states.items() if state != "finished"]
    told = f"{experiment.states.get('finished', 0)} of {total} finished"
    running = ["being run"] if experiment.holders else []
    return ", ".join([told, *sorted(rest), *running])


def show_log(trial: KeptTrial, log: str | None, hang: str | None) -> None:
    """Print what a trial is, why it failed, and what it printed; foreign text as text."""
    own = trial.record
    where = "" if own is None else f", {own.name}, fold {own.fold}, seed {own.seed}"
    say(f"{trial.id}{where}: {trial.state}", "Trial")
    if trial.reason:
        say(trial.reason, "Reason")
    for line in trial.message.splitlines():
        say(line, "Message")
    if hang is not None:
        say("Where every thread stood when nothing moved on:")
        _print_text(hang)
    if log is None:
        say("It has printed nothing.")
    else:
        say(f"{trial.folder.log}:")
        _print_text(log)


def _print_text(text: str) -> None:
    for line in text.splitlines():
        say(line)


def summary(trials: Sequence[KeptTrial]) -> str:
    """How many trials are in which state, and how much they take."""
    counts = Counter(trial.state for trial in trials)
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    size = much(sum(trial.size for trial in trials))
    return f"{len(trials)} trials ({told}), {size}." if trials else "No trials."


def trial_content(trial: KeptTrial) -> dict[str, Any]:
    """A trial as ``--json`` tells it."""
    own, status = trial.record, trial.status
    return {
        "id": trial.id,
        "architecture": None if own is None else own.name,
        "fold": None if own is None else own.fold,
        "seed": None if own is None else own.seed,
        "state": trial.state,
        "reason": trial.reason or None,
        "message": trial.message or None,
        "started": None if status is None else status.started,
        "finished": None if status is None else status.finished,
        "host": None if status is None else status.host,
        "holder": None if trial.holder is None else str(trial.holder),
        "age_s": max(time.time() - trial.changed, 0.0),
        "bytes": trial.size,
        "experiments": list(trial.experiments),
        "ensembles": list(trial.members_of),
        "tuning": own is not None and own.context.tuning is not None,
    }


def experiment_content(experiment: KeptExperiment) -> dict[str, Any]:
    """An experiment as ``--json`` tells it."""
    own = experiment.record
    return {
        "id": experiment.id,
        "created": None if own is None else own.created,
        "command": None if own is None else own.command,
        "question": None if own is None else experiment.question,
        "latest": experiment.latest,
        "trials": [] if own is None else [trial.id for trial in own.trials],
        "states": dict(experiment.states),
        "problem": experiment.problem or None,
        "running": bool(experiment.holders),
        "bytes": experiment.size,
    }


def inventory_content(inventory: Inventory, trials: Sequence[KeptTrial]) -> dict[str, Any]:
    """What ``kitsbench trials --json`` prints."""
    return {
        "workdir": str(inventory.workdir),
        "bytes": sum(trial.size for trial in trials),
        "trials": [trial_content(trial) for trial in trials],
        "experiments": [experiment_content(one) for one in inventory.experiments],
    }
