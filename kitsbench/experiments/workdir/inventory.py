"""Every trial and every experiment of a working directory, whole or damaged."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from kitsbench.errors import DataError
from kitsbench.experiments.looks.counting import Counting
from kitsbench.experiments.records import (
    TRIAL_AGAIN,
    EnvironmentRecord,
    ExperimentRecord,
    LatestRecord,
    LedgerRecord,
    LooksRecord,
    Status,
    TrialRecord,
    experiment_file,
    known_experiments,
    latest_file,
    try_experiment,
)
from kitsbench.experiments.records.kept import FOLDER
from kitsbench.experiments.records.parts import ID
from kitsbench.experiments.tables import SCORES, read_table
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.kept_scores import unscored
from kitsbench.experiments.trial.lease import Holder, holders
from kitsbench.experiments.workdir.places import LEASE

State = Literal["pending", "running", "interrupted", "finished", "unscored", "failed", "damaged"]
RUNNING = "running"  # folder of the leases of whole runs
NO_TRIAL = (
    "no trial has this name, so no run of kitsbench has made it.\nMove it elsewhere, or remove it "
    "with `kitsbench trials delete`."
)


@dataclass(frozen=True)
class KeptTrial:
    """A folder under ``trials/``.

    Attributes
    ----------
    folder : TrialFolder
    state : str
        As ``status.json`` says; ``interrupted`` where it says running and nobody works on it,
        ``unscored`` where it is trained and lacks scores that an experiment asks for, ``damaged``
        where it cannot be told.
    status : Status or None
        None where it is damaged.
    record : TrialRecord or None
        None where it was never written, or is damaged.
    reason, message : str
        Of a failed or unscored trial; of a damaged one what is wrong, and what to do.
    size : int
        Bytes of all its files.
    changed : float
        When it ended, or was changed last, in seconds since 1970.
    experiments : tuple of str
        Ids of those that plan it.
    members_of : tuple of str
        Ids of the ensembles that combine it.
    holder : Holder or None
        Who works on it.
    """

    folder: TrialFolder
    state: State
    status: Status | None
    record: TrialRecord | None
    reason: str
    message: str
    size: int
    changed: float
    experiments: tuple[str, ...]
    members_of: tuple[str, ...]
    holder: Holder | None

    @property
    def id(self) -> str:
        """Its folder's name."""
        return self.folder.path.name

    @property
    def name(self) -> str | None:
        """Display name of its entrant; None where nothing says it."""
        return None if self.record is None else self.record.name


@dataclass(frozen=True)
class KeptExperiment:
    """A file ``experiments/<id>.json`` and the folder beside it.

    Attributes
    ----------
    id : str
    record : ExperimentRecord or None
        None where the file is damaged.
    problem : str
        What is wrong with it.
    latest : bool
        Whether it was begun or reported last.
    states : dict of str to int
        How many of its trials are in which state.
    size : int
        Bytes of its own files, the report among them.
    holders : tuple of Holder
        Runs that work on it.
    """

    id: str
    record: ExperimentRecord | None
    problem: str
    latest: bool
    states: Mapping[str, int]
    size: int
    holders: tuple[Holder, ...]

    @property
    def question(self) -> str:
        """What was asked for, in a few words."""
        if self.record is None:
            return self.problem
        own = self.record
        names = ", ".join(entrant.name for entrant in own.entrants if entrant.asked)
        folds = f"{len(own.folds.used)} of {own.folds.count} folds"
        recipe = f", recipe {own.recipe_name}" * (own.recipe_mode != "matched")
        seeds = f"{own.seeds} seed{'s' * (own.seeds != 1)}"
        if own.until is not None:
            seeds = f"at most {seeds} until decided: {own.until.told()}"
        return (
            f"{names} on {own.dataset.name}; {own.budget.text} a trial{recipe}, {folds}, {seeds}; "
            f"{own.endpoint}"
        )


@dataclass(frozen=True)
class Inventory:
    """What lies in a working directory.

    Attributes
    ----------
    workdir : Path
    trials : list of KeptTrial
        By name, fold and seed; damaged ones last.
    experiments : list of KeptExperiment
        The oldest first.
    searching : tuple of str
        Ids of experiments whose search for settings is not complete, so that it is not known yet
        which trials they need.
    strangers : tuple of Holder
        Runs that work here on nobody knows what.
    """

    workdir: Path
    trials: list[KeptTrial]
    experiments: list[KeptExperiment]
    searching: tuple[str, ...]
    strangers: tuple[Holder, ...]

    @property
    def damaged_experiments(self) -> list[KeptExperiment]:
        """Those of which nobody knows what they plan."""
        return [one for one in self.experiments if one.record is None]


def take_inventory(workdir: Path, patience: float = 0.0) -> Inventory:
    """Look at everything in a working directory; nothing is changed.

    Parameters
    ----------
    workdir : Path
    patience : float
        Seconds in which holders on other machines may show that they live, see
        :func:`kitsbench.experiments.trial.lease.holders`.

    Raises
    ------
    DataError
        There is no such folder, or it is none of kitsbench's.
    """
    workdir = Path(workdir)
    folder, known = workdir / "trials", known_experiments(workdir)
    if not known and not folder.is_dir():
        raise DataError(
            f"{workdir} holds neither trials nor experiments, so it is not a working directory of "
            "kitsbench. Name the folder that `kitsbench run` wrote (by default kitsbench-work)."
        )
    records = {name: try_experiment(workdir, name) for name in known}
    places = sorted(places_of(folder))
    runs = sorted((workdir / RUNNING).glob("*.json"))
    held = holders([*(place / LEASE for place in places), *runs], patience)
    plans = {name: record for name, (record, _) in records.items() if record is not None}
    found = [_looked_at(place, plans, held.get(place / LEASE)) for place in places]
    combined: dict[str, list[str]] = {}
    for trial in found:
        for member in trial.record.identity.members if trial.record else ():
            combined.setdefault(member, []).append(trial.id)
    trials = [replace(trial, members_of=tuple(combined.get(trial.id, ()))) for trial in found]
    working = [held[run] for run in runs if run in held]
    experiments = [
        _experiment(workdir, name, *records[name], trials=trials, working=working) for name in known
    ]
    return Inventory(
        workdir,
        sorted(trials, key=_order),
        sorted(experiments, key=lambda one: one.record.created if one.record else ""),
        tuple(name for name, plan in plans.items() if searches(plan)),
        tuple(one for one in working if one.record is None or not one.record.experiment),
    )


def places_of(folder: Path) -> Iterator[Path]:
    """Everything in a folder of trials, but for what is being removed or taken over there."""
    if folder.is_dir():
        with os.scandir(folder) as entries:
            yield from (Path(entry.path) for entry in entries if not entry.name.startswith("."))


def planned_by(experiment: ExperimentRecord) -> set[str]:
    """Ids of all trials that an experiment needs, those of its search for settings among them."""
    ids = {trial.id for trial in experiment.trials}
    for study in experiment.tuning.studies if experiment.tuning else ():
        ids |= {trial.id for trial in study.trials}
    return ids


def searches(experiment: ExperimentRecord) -> bool:
    """Whether a search for settings has to go on, whose trials nobody lists yet."""
    tuning = experiment.tuning
    return tuning is not None and (
        not tuning.studies or any(len(study.trials) < tuning.trials for study in tuning.studies)
    )


def _looked_at(
    place: Path, plans: Mapping[str, ExperimentRecord], holder: Holder | None
) -> KeptTrial:
    """A trial as its files describe it, whatever is wrong with them."""
    folder = TrialFolder(place.parent.parent, place.name)
    users = {name: plan for name, plan in plans.items() if place.name in planned_by(plan)}
    status: Status | None = None
    record: TrialRecord | None = None
    state, reason, message = "damaged", "", ""
    try:
        if not re.fullmatch(ID, place.name) or not place.is_dir():
            raise DataError(f"{place}: {NO_TRIAL}")
        record = read_trial(folder)
        status = folder.read_status()
        check_measured(folder, status)
        state, reason, message = status.status, status.reason or "", status.message or ""
        if state == "finished" and record is not None:
            asked = dict.fromkeys(p for plan in users.values() for p in plan.protocols)
            if lost := unscored(folder, record, tuple(asked)):
                state, reason, message = "unscored", lost.reason, lost.message
        elif state == "running" and holder is None:
            state, message = "interrupted", "Nobody works on it. The next run goes on with it."
        elif holder is not None and holder.sure:
            state = "running"
    except (DataError, OSError) as error:
        message = str(error)
    size, changed = weigh(place)
    return KeptTrial(
        folder=folder,
        state=state,  # type: ignore[arg-type]
        status=status,
        record=record,
        reason=reason,
        message=message,
        size=size,
        changed=_ended(status) or changed,
        experiments=tuple(users),
        members_of=(),
        holder=holder,
    )


def read_trial(folder: TrialFolder) -> TrialRecord | None:
    """What a trial is, its id worked out again; None where nobody has written it.

    Raises
    ------
    DataError
        The file is damaged, or of another trial than the folder.
    """
    if not os.path.lexists(folder.trial):
        return None
    folder.check_owner()
    return TrialRecord.read(folder.trial)


def check_measured(folder: TrialFolder, status: Status) -> None:
    """See that what a trial has measured can be read, and is its own.

    Raises
    ------
    DataError
        A file is damaged or another trial's, or a finished trial lacks one.
    """
    done = status.status == "finished"
    if done and not os.path.lexists(folder.trial):
        folder.check_owner()  # says that it is missing
    for kind, file in ((LedgerRecord, folder.ledger), (EnvironmentRecord, folder.environment)):
        if not done and not os.path.lexists(file):
            continue
        owner = kind.read(file).trial
        if owner != folder.path.name:
            raise DataError(
                f"{file}: the key trial is {owner!r}, which is not its folder's name."
                f"\n{TRIAL_AGAIN}"
            )
    if done and os.path.lexists(folder.scores):
        read_table(folder.scores, SCORES)


def _experiment(
    workdir: Path,
    name: str,
    record: ExperimentRecord | None,
    fault: str,
    trials: list[KeptTrial],
    working: list[Holder],
) -> KeptExperiment:
    known: dict[str, str] = {trial.id: trial.state for trial in trials}
    planned = [] if record is None else [trial.id for trial in record.trials]
    if record is not None and record.until is not None:
        with contextlib.suppress(DataError):  # whoever reports the experiment is told
            counting = Counting(record, LooksRecord.find(workdir, name))
            known |= {t.id: "spared" for t in record.trials if counting.spared(t)}
    size = weigh(experiment_file(workdir, name))[0] + weigh(workdir / FOLDER / name)[0]
    return KeptExperiment(
        id=name,
        record=record,
        problem=f"{fault}\n{ExperimentRecord.remedy}" if record is None else "",
        latest=name == _latest(workdir),
        states=Counter(known.get(trial, "pending") for trial in planned),
        size=size,
        holders=tuple(one for one in working if one.record and one.record.experiment == name),
    )


def _latest(workdir: Path) -> str | None:
    try:
        return LatestRecord.read(latest_file(workdir)).id
    except DataError:
        return None


def weigh(place: Path) -> tuple[int, float]:
    """Bytes of all files in a place, and when the newest was written; links are not followed."""
    size, changed = 0, 0.0
    waiting = [place]
    while waiting:
        one = waiting.pop()
        try:
            about = one.lstat()
            if stat.S_ISDIR(about.st_mode):
                waiting += [one / name for name in os.listdir(one)]
            else:
                size += about.st_size
            changed = max(changed, about.st_mtime)
        except OSError:  # gone meanwhile, or not ours to look into
            continue
    return size, changed


def _ended(status: Status | None) -> float | None:
    """When it ended, by what it wrote: copying changes the times of files."""
    try:
        return datetime.fromisoformat(status.finished).timestamp()  # type: ignore
    except (AttributeError, TypeError, ValueError):
        return None


def _order(trial: KeptTrial) -> tuple[bool, str, int, int, str]:
    own = trial.record
    if own is None:
        return True, "", 0, 0, trial.id
    return trial.state == "damaged", own.name, own.fold, own.seed, trial.id
