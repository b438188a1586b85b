"""A run that stops by itself: rounds of trials, a look after each, and nothing for what is decided.

A round is one seed over all folds, of every architecture that goes on. A look sees the trials that
it counts and the looks before it, and nothing else: no clock, no order in which trials ended, no
trial of a later round that another experiment may have finished here. So a run that was killed
anywhere takes the same looks again, on any executor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kitsbench.errors import DataError
from kitsbench.experiments.asked.request import Tell
from kitsbench.experiments.looks.design import plans, seen_by, taken, told_look
from kitsbench.experiments.looks.order import by_worth, worth
from kitsbench.experiments.plan.estimate import estimate
from kitsbench.experiments.records import (
    ExperimentRecord,
    LedgerRecord,
    LooksRecord,
    Stopped,
    TakenLook,
    UntilNote,
)
from kitsbench.experiments.results import counted_results
from kitsbench.experiments.trial.kept_scores import is_done
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.statistics.looks.take import take_look

Carry = Callable[[Sequence[TrialTask]], None]


@dataclass(frozen=True)
class Rounds:
    """An experiment that runs in rounds.

    Parameters
    ----------
    workdir : Path
    record : ExperimentRecord
        With its question and looks.
    tasks : sequence of TrialTask
        All of the fixed design.
    world_size : int
        Devices that train one trial together.
    max_hours : float or None
        Device hours after which no further round begins.
    tell : callable
        Gets a line after each look.
    """

    workdir: Path
    record: ExperimentRecord
    tasks: Sequence[TrialTask]
    world_size: int = 1
    max_hours: float | None = None
    tell: Tell = lambda text: None

    @property
    def until(self) -> UntilNote:
        """The question and its looks."""
        assert self.record.until is not None
        return self.record.until

    def run(self, carry: Carry) -> LooksRecord:
        """Run round after round until all is decided, given up, run, or too long.

        Parameters
        ----------
        carry : callable
            Runs trials, ensembles after their members, and returns when all have ended.

        Raises
        ------
        DataError
            ``looks.json`` or a file of a trial is damaged, or a trial has not ended.
        """
        kept = self.begin()
        # Scores that a look has seen and that somebody has deleted: the next look needs them, and
        # so does the report of those that were taken.
        seen = kept.counted - kept.missed
        if lost := [task for task in self.tasks if task.id in seen and not is_done(task)]:
            carry(lost)
        for seeds in range(1, self.until.looks[-1] + 1):
            if kept.last is not None and seeds <= kept.last.seeds:
                continue
            going = self.going(kept)
            if not going:
                break
            trials = self.round(seeds - 1, going)
            if (stopped := self._stopped(trials, kept, seeds - 1)) is not None:
                kept = self._keep(kept.model_copy(update={"stopped": stopped}))
                self.tell(_told_stopped(stopped))
                break
            # What a look has counted as failed stays so, or the look could not be taken again.
            carry([one for one in self.ordered(trials, kept) if one.id not in kept.missed])
            if seeds in self.until.looks:
                kept = self._look(kept, seeds, going)
        return kept

    def begin(self) -> LooksRecord:
        """The looks that were taken so far; the first call writes down that there are none."""
        found = LooksRecord.find(self.workdir, self.record.id)
        if found is not None:
            if found.stopped is None:
                return found
            # A call that is allowed more hours goes on where the last one stopped, and meanwhile
            # nobody shall take the trials that it runs for spared.
            return self._keep(found.model_copy(update={"stopped": None}))
        known = sum(task.folder.read_status().status == "finished" for task in self.tasks)
        return self._keep(LooksRecord(experiment=self.record.id, known=known, looks=()))

    def going(self, kept: LooksRecord) -> tuple[str, ...]:
        """Entrants that go on after the looks that were taken."""
        if kept.last is not None:
            return kept.last.going
        return self._with_members(e.name for e in self.record.entrants if e.asked)

    def round(self, seed: int, going: Iterable[str]) -> list[TrialTask]:
        """Trials of a round: a seed of who goes on, and what their ensembles need.

        Parameters
        ----------
        seed : int
        going : iterable of str
        """
        asked = {e.name for e in self.record.entrants if e.asked} & {*going}
        needed: set[str] = set()
        for task in self.tasks:
            if task.name in asked and task.trial.seed == seed:
                needed |= _with_own_members(task)
        return [task for task in self.tasks if task.id in needed]

    def ordered(self, trials: Sequence[TrialTask], kept: LooksRecord) -> list[TrialTask]:
        """Trials of a round in the order of :mod:`kitsbench.experiments.looks.order`."""
        pairs = self._chances(kept)
        seconds = estimate(trials) if trials else {}
        cases = {task.trial.fold: len(task.test_cases) for task in trials}
        users: dict[str, set[str]] = {task.id: {task.name} for task in trials}
        for task in trials:
            for member in task.members:
                users.setdefault(member.id, set()).add(task.name)

        def worth_of(task: TrialTask) -> float:
            here, whole = len(task.test_cases), sum(cases.values())
            return sum(worth(name, here, whole, pairs) for name in users[task.id])

        return by_worth(trials, worth_of, lambda task: seconds[task.id]["device_seconds"])

    def _chances(self, kept: LooksRecord) -> dict[tuple[str, str], float]:
        """Open pairs, each with its chance to be settled; before the first look all are alike."""
        if kept.last is None:
            pairs = [p for plan in plans(self.record) for p in plan.pairs(plan.architectures)]
            return dict.fromkeys(pairs, 1.0)
        return {
            pair.name: 1.0 if pair.chance is None else pair.chance
            for pair in kept.last.pairs
            if pair.state == "open"
        }

    def _stopped(
        self, trials: Sequence[TrialTask], kept: LooksRecord, seeds: int
    ) -> Stopped | None:
        """Why the next round does not begin; None where it does."""
        if self.max_hours is None:
            return None
        ran = [task for seed in range(seeds) for task in self.round(seed, self._ran(kept, seed))]
        spent = sum(_seconds(task) for task in {task.id: task for task in ran}.values())
        open_trials = [task for task in trials if not is_done(task)]
        known = [estimate([task])[task.id]["device_seconds"] for task in open_trials]
        hours = spent * self.world_size / 3600
        more = None if None in known else sum(known) * self.world_size / 3600
        if not open_trials or (hours + (more or 0.0) <= self.max_hours and hours < self.max_hours):
            return None
        return Stopped(seeds=seeds, hours=hours, next_hours=more, max_hours=self.max_hours)

    def _ran(self, kept: LooksRecord, seed: int) -> tuple[str, ...]:
        """Who took part in the round of a seed."""
        before = [look for look in kept.looks if look.seeds <= seed]
        return self.going(kept.model_copy(update={"looks": tuple(before)}))

    def _look(self, kept: LooksRecord, seeds: int, going: tuple[str, ...]) -> LooksRecord:
        """Take the look after a round, and write it down."""
        since = 0 if kept.last is None else kept.last.seeds
        own = [task for seed in range(since, seeds) for task in self.round(seed, going)]
        counted = kept.counted | {task.id for task in own}
        trials = tuple(task.id for task in self.tasks if task.id in counted)
        missed = {*kept.missed} | {task.id for task in own if _has_failed(task)}
        # Who is seen, before anything is found: it decides which scores the results hold.
        seen = TakenLook.model_construct(
            seeds=seeds,
            trials=trials,
            missed=tuple(trial for trial in trials if trial in missed),
            families=(),
            going=going,
        )
        before = kept.model_copy(update={"looks": (*kept.looks, seen)})
        results = counted_results(self.workdir, self.record, before)
        scores, protocol = results.marked, self.record.protocol
        families = tuple(
            take_look(seen_by(plan, scores, protocol), plan, taken(kept, family), number=seeds)
            for family, plan in enumerate(plans(self.record))
        )
        open_names = {name for family in families for name in family.open} & {*going}
        last = seeds == self.until.looks[-1]
        on = () if last else self._with_members(n for n in going if n in open_names)
        look = seen.model_copy(update={"families": families, "going": on})
        kept = self._keep(kept.model_copy(update={"looks": (*kept.looks, look)}))
        self.tell(told_look(kept, len(kept.looks) - 1, self.until.looks[-1]))
        return kept

    def _keep(self, kept: LooksRecord) -> LooksRecord:
        """Write the looks down, checked as they will be read."""
        # Another process may have come as far meanwhile, or further; it saw the same.
        there = LooksRecord.find(self.workdir, self.record.id)
        if there is not None and len(there.looks) > len(kept.looks):
            return there
        whole = LooksRecord.of_plain(kept.model_dump(mode="json"))
        whole.write(LooksRecord.file(self.workdir, self.record.id))
        return whole

    def _with_members(self, names: Iterable[str]) -> tuple[str, ...]:
        """Entrants and the members of those that are ensembles, in the order of the plan."""
        found, left = set(), [*names]
        while left:
            name = left.pop()
            entrant = self.record.entrant(name)
            if name not in found and entrant is not None and entrant.status == "ok":
                found.add(name)
                left += entrant.members
        return tuple(e.name for e in self.record.entrants if e.name in found)


def _told_stopped(stopped: Stopped) -> str:
    more = ""
    if stopped.next_hours is not None:
        more = f", and the next round would take about {stopped.next_hours:.3g}"
    return (
        f"No further round begins: {stopped.hours:.3g} device hours were spent{more}; "
        f"--max-hours allows {stopped.max_hours:g}. What the looks have decided holds; the same "
        "command with more hours goes on."
    )


def _with_own_members(task: TrialTask) -> set[str]:
    return {task.id}.union(*(_with_own_members(member) for member in task.members))


def _has_failed(task: TrialTask) -> bool:
    """Whether a trial ended without scores."""
    state = task.folder.read_status().status
    if state not in ("finished", "failed"):
        raise DataError(
            f"{task.folder.path}: the trial of {task.name}, fold {task.trial.fold}, seed "
            f"{task.trial.seed} is {state}, so the look after its round cannot be taken.\nRun the "
            "same command again: it goes on there."
        )
    return not is_done(task)


def _seconds(task: TrialTask) -> float:
    """Device seconds that a trial has spent."""
    if not task.folder.ledger.is_file():
        return 0.0
    return LedgerRecord.read(task.folder.ledger).device_seconds
