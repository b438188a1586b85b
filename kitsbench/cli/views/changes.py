"""What ``kitsbench trials delete`` and ``merge`` say: what would be, and what was done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kitsbench.cli.output import print_json, print_rich, say
from kitsbench.cli.views.kept_trials import LETTERS, much, show_trials, trial_content
from kitsbench.text.screen import Column, make_table

if TYPE_CHECKING:
    from kitsbench.experiments.workdir.delete import Deletion
    from kitsbench.experiments.workdir.inventory import KeptTrial
    from kitsbench.experiments.workdir.label_maps import Pruning
    from kitsbench.experiments.workdir.merge import Coming, Merge


def show_deletion(
    plan: Deletion, faults: Sequence[tuple[KeptTrial, str]], done: bool, as_json: bool
) -> None:
    """Print what goes or went, who misses it, and what stays.

    Parameters
    ----------
    plan : Deletion
    faults : sequence of (KeptTrial, str)
        What could not be removed, and why.
    done : bool
        Whether it was carried out.
    as_json : bool
    """
    stayed = {trial.id for trial, _ in faults}
    gone = [trial for trial in plan.trials if trial.id not in stayed]
    size = sum(trial.size for trial in gone)
    kept = [*plan.kept, *faults]
    if as_json:
        document: dict[str, Any] = {
            "workdir": str(plan.inventory.workdir),
            "deleted": done,
            "bytes": size,
            "trials": [trial_content(trial) for trial in gone],
            "kept": [{"id": trial.id, "why": why} for trial, why in kept],
            "experiments": [
                {"id": one.id, "loses": count, "of": len(one.record.trials) if one.record else 0}
                for one, count in plan.losses
            ],
            "ensembles": plan.ensembles,
        }
        print_json(document)
        return
    if gone and not done:
        show_trials(gone)
    will = "are deleted" if done else "would be deleted"
    say(f"{_trials(len(gone))} {will}: {size:,} bytes ({much(size)}).")
    for one, count in plan.losses:
        if one.record is not None:
            which = f"Experiment {one.id} of {one.record.created[:10]}"
            say(f"{which} {'lost' if done else 'would lose'} {count} of its {_of(one.record)}.")
    for name in plan.ensembles:
        say(f"Ensemble {name} {'stays' if done else 'would stay'} without networks of its own.")
    for trial, why in kept:
        say(f"{why}.", f"{trial.id} stays")
    if gone and not done:
        say("Nothing was deleted. Say --yes to do it; the next run trains what it needs again.")


def show_pruning(plan: Pruning, done: bool, as_json: bool) -> None:
    """Print whose label maps go or went, and whose stay.

    Parameters
    ----------
    plan : Pruning
    done : bool
        Whether it was carried out.
    as_json : bool
    """
    count = sum(number for _, number, _ in plan.trials)
    if as_json:
        document: dict[str, Any] = {
            "workdir": str(plan.workdir),
            "deleted": done,
            "bytes": plan.size,
            "trials": [
                {"id": trial.id, "architecture": trial.name, "files": number, "bytes": size}
                for trial, number, size in plan.trials
            ],
            "kept": [{"id": trial.id, "why": why} for trial, why in plan.kept],
        }
        print_json(document)
        return
    if plan.trials and not done:
        columns = [
            Column("trial", whole=True), Column("architecture"),
            Column("label maps", "right", whole=True), Column("size", "right", whole=True),
        ]  # fmt: skip
        rows = [
            (trial.id[:LETTERS], trial.name or "", number, much(size))
            for trial, number, size in plan.trials
        ]
        print_rich(make_table(columns, rows, frame=False))
    will = "are deleted" if done else "would be deleted"
    maps = f"{count} label map{'s' * (count != 1)} of {_trials(len(plan.trials))}"
    say(f"{maps} {will}: {plan.size:,} bytes ({much(plan.size)}).")
    for trial, why in plan.kept:
        say(f"{why}.", f"{trial.id} keeps its label maps")
    if plan.trials and not done:
        say(
            "Nothing was deleted. Say --yes to do it: scores stay, reports show no slices of these "
            "trials, and a score by another protocol predicts again."
        )


def show_merge(
    plan: Merge, faults: Sequence[tuple[Coming, str]], done: bool, as_json: bool
) -> None:
    """Print what comes or came, and what stays as it is or is left out.

    Parameters
    ----------
    plan : Merge
    faults : sequence of (Coming, str)
        What could not be taken over, and why.
    done : bool
        Whether it was carried out.
    as_json : bool
    """
    failed = {coming.id: why for coming, why in faults}
    came = [one for one in plan.trials if one.taken and one.id not in failed]
    size = sum(map(plan.came_to if done else plan.size_of, came))
    if as_json:
        document: dict[str, Any] = {
            "workdir": str(plan.workdir),
            "other": str(plan.other),
            "merged": done,
            "bytes": size,
            "trials": [_content(one, failed.get(one.id)) for one in plan.trials],
            "experiments": [_content(one, None) for one in plan.experiments],
            "files": [str(path) for path in plan.beside],
        }
        print_json(document)
        return
    columns = [Column("trial", whole=True), Column("architecture"), Column("what", whole=True)]
    rows = [
        (
            one.id[:LETTERS],
            (one.trial.name or "") if one.trial else "",
            "failed" if one.id in failed else one.what,
            failed.get(one.id, one.why),
        )
        for one in plan.trials
    ]
    if rows:
        print_rich(make_table([*columns, Column("why")], rows, frame=False))
    for one in plan.experiments:
        say(f"{one.what}{': ' if one.why else ''}{one.why}", f"Experiment {one.id}")
    counts = Counter(one.what for one in plan.trials)
    told = ", ".join(f"{count} {what}" for what, count in counts.items())
    will = "have come" if done else "would come"
    most = "at most " * (plan.light and not done)  # curves become shorter
    took = f"{most}{size:,} bytes ({much(size)})"
    say(f"{_trials(len(came))} {will}: {took}. There: {told or 'none'}.")
    if done and plan.light:
        say("Weights do not come along: reports and boards are made of this, predictions are not.")
    elif done:
        say("Prepared data do not come along: the next run prepares what it lacks.")
    else:
        say("Nothing was copied. Say --yes to do it.")


def _content(one: Coming, fault: str | None) -> dict[str, Any]:
    name = one.trial.name if one.trial else None
    content = {"id": one.id, "what": "failed" if fault else one.what, "why": fault or one.why}
    return content if one.trial is None else {**content, "architecture": name}


def _trials(count: int) -> str:
    return f"{count} trial{'s' * (count != 1)}"


def _of(record: Any) -> str:
    return _trials(len(record.trials))
