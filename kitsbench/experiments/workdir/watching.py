"""How far the trials of an experiment are, for whoever looks at a working directory from anywhere.

Nothing is written, and nobody is asked but the files. Clocks of two machines differ, so no time in
a file is compared with this machine's: a process of another machine lives as long as its files
change, by the steady clock of whoever watches. One of this machine is looked up.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import pandas as pd

from kitsbench.errors import DataError
from kitsbench.experiments.looks.counting import Counting
from kitsbench.experiments.records import (
    ExperimentRecord,
    LooksRecord,
    PlannedTrial,
    Status,
    TrialProgress,
    TrialRecord,
    experiment_file,
    try_experiment,
)
from kitsbench.experiments.tables import SCORES, read_table
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.kept_scores import unscored
from kitsbench.experiments.trial.lease import BEAT, STALE_AFTER, Holder, holders
from kitsbench.experiments.trial.telling import TRAINING
from kitsbench.experiments.workdir.inventory import RUNNING, places_of, searches
from kitsbench.experiments.workdir.places import LEASE

State = Literal[
    "waiting", "queued", "starting", "training", "scoring", "silent", "dead", "finished", "failed",
    "damaged", "spared",
]  # fmt: skip
STAGES: dict[str, State] = {"start": "starting", "train": "training", "score": "scoring"}
LIVE = ("starting", "training", "scoring", "silent")
QUIET = 2.5 * BEAT  # seconds after which a process of another machine is silent
SETTLE = 1.2 * BEAT  # seconds in which each that lives has shown it


@dataclass(frozen=True)
class SeenTrial:
    """A trial as it stands.

    Attributes
    ----------
    id, name : str
    fold, seed : int
    setting : int or None
        Its number in a search for settings.
    state : str
        ``silent`` where the process that works on it has not been seen to live for a while,
        ``dead`` where it is gone and nobody goes on with it; ``spared`` where looks had decided
        before it was run.
    progress : TrialProgress or None
        Of the process that works on it, or of the dead one.
    score : float or None
        Mean of the endpoint over the cases that were scored, or that are watched along the budget.
    host : str or None
        Where it runs, or ran last.
    reason, message : str
        Of one that failed, is damaged or dead.
    took : float or None
        Seconds from its beginning to its end, by the clock of its machine.
    """

    id: str
    name: str
    fold: int
    seed: int
    setting: int | None
    state: State
    progress: TrialProgress | None = None
    score: float | None = None
    host: str | None = None
    reason: str = ""
    message: str = ""
    took: float | None = None

    @property
    def share(self) -> float | None:
        """How much of its stage is done; None where none is under way."""
        return None if self.progress is None else self.progress.fraction

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it by itself."""
        return self.state in ("finished", "failed", "damaged", "spared")


@dataclass(frozen=True)
class Look:
    """What one look at a working directory has seen.

    Attributes
    ----------
    trials : tuple of SeenTrial
        In the order of the plan.
    runs : tuple of Holder
        Processes of ``kitsbench run`` that work on the experiment.
    left_s : float or None
        Seconds that the rest will take, as what has ended and what runs let one expect; None where
        nothing says.
    searching : bool
        Whether a search for settings goes on, after which more trials come.
    """

    trials: tuple[SeenTrial, ...]
    runs: tuple[Holder, ...]
    left_s: float | None
    searching: bool

    @property
    def counts(self) -> Counter[str]:
        """Trials by state."""
        return Counter(trial.state for trial in self.trials)

    @property
    def over(self) -> bool:
        """Whether all trials have ended and no more come."""
        return not self.searching and all(trial.ended for trial in self.trials)

    @property
    def share(self) -> float:
        """How much of all trials is done."""
        shares = [_share(trial) for trial in self.trials]
        return sum(shares) / len(shares) if shares else 0.0


@dataclass
class Watch:
    """Looks at the trials of an experiment, again and again.

    Parameters
    ----------
    workdir : Path
    experiment : ExperimentRecord
    clock : callable
        A steady clock in seconds.
    """

    workdir: Path
    experiment: ExperimentRecord
    clock: Callable[[], float] = time.monotonic
    _signs: dict[str, tuple[bytes, float, bool]] = field(default_factory=dict)
    _known: dict[str, tuple[object, SeenTrial]] = field(default_factory=dict)
    _stamp: tuple[int, int, int] | None = None

    def look(self) -> Look:
        """See how far everything is now.

        Raises
        ------
        DataError
            The experiment is not there any more.
        """
        self._read_plan()
        plan, searching = self._plan(), searches(self.experiment)
        folders = {one.id: TrialFolder(self.workdir, one.id) for one, _ in plan}
        held = holders([folder.path / LEASE for folder in folders.values()])
        counting = Counting(self.experiment, self._looks())
        trials = tuple(
            replace_state(plain_of(one, setting), "spared", message=why)
            if setting is None and (why := counting.spared(one))
            else self._unless_it_waits(
                self._see(one, setting, folders[one.id], held.get(folders[one.id].path / LEASE)),
                counting.counts(one),
            )
            for one, setting in plan
        )
        runs = tuple(
            holder
            for holder in holders(sorted((self.workdir / RUNNING).glob("*.json"))).values()
            if holder.record is not None and holder.record.experiment == self.experiment.id
        )
        return Look(trials, runs, _left(trials), searching)

    @staticmethod
    def _unless_it_waits(trial: SeenTrial, counts: bool) -> SeenTrial:
        """A trial without its score where that waits for a look, which this is not."""
        return trial if counts else replace(trial, score=None)

    def settle(self, sleep: Callable[[float], None] = time.sleep) -> Look:
        """Look until every process of another machine has shown that it lives, or had the time."""
        began, found = self.clock(), self.look()
        while self._unsure() and self.clock() - began < SETTLE:
            sleep(1.0)
            found = self.look()
        if not (unsure := self._unsure()):
            return found
        trials = [
            replace_state(trial, "silent") if trial.id in unsure else trial
            for trial in found.trials
        ]
        return Look(tuple(trials), found.runs, found.left_s, found.searching)

    def _unsure(self) -> set[str]:
        """Trials of other machines that have not been seen to change."""
        return {name for name, (_, _, changed) in self._signs.items() if not changed}

    def _read_plan(self) -> None:
        """Take note of what the experiment has become: a search that ends plans its trials."""
        file = experiment_file(self.workdir, self.experiment.id)
        stamp = _stamp(file)
        if stamp is None and not file.exists():
            # Else every trial would wait for ever.
            raise DataError(
                f"{file} is gone: the working directory was moved or removed, its disk is away, or "
                "the experiment was deleted. Watch it where it is now."
            )
        if stamp != self._stamp:
            self._stamp = stamp
            found, _ = try_experiment(self.workdir, self.experiment.id)
            self.experiment = found or self.experiment

    def _looks(self) -> LooksRecord | None:
        """The looks that were taken; of a damaged record whoever runs the experiment tells."""
        if self.experiment.until is None:
            return None
        with contextlib.suppress(DataError):
            return LooksRecord.find(self.workdir, self.experiment.id)
        return None

    def _plan(self) -> list[tuple[PlannedTrial, int | None]]:
        """Trials of the experiment; while it searches for settings, those that it tries, too."""
        known = [*((one, None) for one in self.experiment.trials)]
        if not searches(self.experiment):
            return [*known]
        return [*known, *self._tried()]

    def _tried(self) -> Iterator[tuple[PlannedTrial, int | None]]:
        """Trials of a search, which stand in no file of the experiment until it is over."""
        names = {entrant.name for entrant in self.experiment.entrants}
        for place in sorted(places_of(self.workdir / "trials")):
            try:
                record = TrialRecord.read(place / "trial.json")
            except DataError:
                continue
            setting, name = record.context.tuning, record.name
            if setting is not None and name in names:
                made = PlannedTrial(id=place.name, name=name, fold=record.fold, seed=record.seed)
                yield made, setting.number

    def _see(
        self, one: PlannedTrial, setting: int | None, folder: TrialFolder, holder: Holder | None
    ) -> SeenTrial:
        plain = plain_of(one, setting)
        try:
            status = folder.read_status()
            if status.status == "running" or holder is not None:
                found = self._at_work(plain, folder, status, holder)
                if found.state != "dead" or not status.ended:
                    return found
            self._signs.pop(one.id, None)
            if not status.ended:
                queued = (self.workdir / "jobs" / f"{one.id}.json").is_file()
                return replace_state(plain, "queued") if queued else plain
            return self._ended(plain, folder, status)
        except (DataError, OSError) as error:
            return replace_state(plain, "damaged", message=str(error))

    def _ended(self, plain: SeenTrial, folder: TrialFolder, status: Status) -> SeenTrial:
        stamp = (_stamp(folder.path / "status.json"), _stamp(folder.scores))
        if (known := self._known.get(plain.id)) is not None and known[0] == stamp:
            return known[1]
        state: State = "failed" if status.status == "failed" else "finished"
        reason, message, score = status.reason or "", status.message or "", None
        if state == "finished":
            protocols = self.experiment.protocols
            lost = unscored(folder, TrialRecord.read(folder.trial), protocols)
            if lost is not None:
                state, reason, message = "failed", lost.reason, lost.message
            else:
                score = mean_score(folder, self.experiment.protocol, self.experiment.endpoint)
        found = replace_state(
            plain,
            state,
            reason=reason,
            message=message,
            score=score,
            host=status.host,
            took=_seconds(status),
        )
        self._known[plain.id] = stamp, found
        return found

    def _at_work(
        self, plain: SeenTrial, folder: TrialFolder, status: Status, holder: Holder | None
    ) -> SeenTrial:
        progress = folder.read_progress()
        state: State = STAGES[progress.stage] if progress else "starting"
        record = None if holder is None else holder.record
        host = status.host if record is None else record.host
        message = ""
        if holder is None:
            self._signs.pop(plain.id, None)
            state = "dead"
            gone = "the process that worked on it is gone; the next run goes on with it"
            message = status.message or gone  # of who was stopped it says so
        elif not holder.sure:
            quiet = self._quiet(plain.id, folder, progress)
            if quiet >= STALE_AFTER:
                state = "dead"
                message = f"no sign of life from {host} for a minute; the next run goes on with it"
            elif quiet >= QUIET:
                state, message = "silent", f"no sign of life from {host} for {quiet:.0f} s"
        else:
            self._signs.pop(plain.id, None)
        score = None if progress is None else progress.scores.get(self.experiment.endpoint)
        return replace_state(
            plain, state, progress=progress, score=score, host=host, message=message
        )

    def _quiet(self, name: str, folder: TrialFolder, progress: TrialProgress | None) -> float:
        """Seconds for which nothing of a trial of another machine has changed."""
        said = "" if progress is None else f"{progress.sitting} {progress.count}"
        try:
            sign = (folder.path / LEASE).read_bytes() + said.encode()
        except OSError:
            sign = said.encode()
        now, before = self.clock(), self._signs.get(name)
        if before is None or before[0] != sign:
            self._signs[name] = sign, now, before is not None
            return 0.0
        return now - before[1]


def _share(trial: SeenTrial) -> float:
    if trial.ended or trial.progress is None:
        return float(trial.ended)
    if trial.progress.stage == "score":
        return TRAINING + (1 - TRAINING) * trial.progress.fraction
    return TRAINING * trial.progress.fraction


def plain_of(one: PlannedTrial, setting: int | None) -> SeenTrial:
    """A trial of which nothing is known but that it was planned."""
    return SeenTrial(one.id, one.name, one.fold, one.seed, setting, "waiting")


def replace_state(trial: SeenTrial, state: State, **more: object) -> SeenTrial:
    """The same trial in another state."""
    return replace(trial, state=state, **more)  # type: ignore[arg-type]


def mean_score(folder: TrialFolder, protocol: str, endpoint: str) -> float | None:
    """Mean of an endpoint over the held-out cases of a trial; None where there is none.

    Raises
    ------
    DataError
        The table is damaged.
    """
    table = read_table(folder.scores, SCORES)
    region, metric = endpoint.split(":")
    rows = (table["protocol"] == protocol) & (table["region"] == region)
    values = table.loc[rows & (table["metric"] == metric), "value"].dropna()
    return None if values.empty else float(pd.Series(values).mean())


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _seconds(status: Status) -> float | None:
    """How long a trial took; both times are of the machine that it ended on, or of equals."""
    try:
        took = datetime.fromisoformat(status.finished or "") - datetime.fromisoformat(
            status.started or ""
        )
    except (TypeError, ValueError):
        return None
    return took.total_seconds() if took.total_seconds() > 0 else None


def _left(trials: tuple[SeenTrial, ...]) -> float | None:
    """Seconds that the rest will take: as those that have finished took, as many at a time."""
    took = [t.took for t in trials if t.state == "finished" and t.took is not None]
    running = [t.progress for t in trials if t.state in LIVE and t.progress is not None]
    own = [one.left_s for one in running if one.left_s is not None]
    at_pace = [one.elapsed_s + one.left_s for one in running if one.left_s is not None]
    if not running or not (seen := took or at_pace) or (not took and len(own) < len(running)):
        return None
    usual = sum(seen) / len(seen)
    rest = [one.left_s if one.left_s is not None else usual for one in running]
    waiting = sum(t.state in ("waiting", "queued", "dead") for t in trials)
    found = max((sum(rest) + waiting * usual) / len(running), *rest)
    return found if math.isfinite(found) else None
