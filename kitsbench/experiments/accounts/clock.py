"""The wall time of a call, by what it is spent on: one part at a time, so that it adds up."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kitsbench.errors import DataError
from kitsbench.experiments.executors.events import Event, Executor, Notify
from kitsbench.experiments.records import AccountsRecord, Call, LedgerRecord, Sitting, in_all
from kitsbench.experiments.records.accounts import CALL_PARTS, PARTS
from kitsbench.experiments.trial.task import TrialTask

OVER = ("finished", "failed", "taken", "lost", "retried", "cut")  # a process of a trial has ended


class Clock:
    """Wall time of a call by part; see :data:`~kitsbench.experiments.records.accounts.CALL_PARTS`.

    Parameters
    ----------
    already : float
        Seconds since the process began; they count as starting.
    """

    def __init__(self, already: float = 0.0):
        self._began = self._since = time.perf_counter() - already
        self._utc = datetime.now(UTC) - timedelta(seconds=already)
        self._part = "starting"
        self._seconds = dict.fromkeys(CALL_PARTS, 0.0)
        self._foreseen: tuple[float, float] | None = None
        self.slots = _Slots()

    def enter(self, part: str) -> str:
        """From now on the time is spent on a part; empty for none. Returns what it was before."""
        now, before = time.perf_counter(), self._part
        if before:
            self._seconds[before] += now - self._since
        self._since, self._part = now, part
        return before

    @contextlib.contextmanager
    def spend(self, part: str) -> Iterator[None]:
        """Spend the time of a block on a part, and what comes after on what was before."""
        before = self.enter(part)
        try:
            yield
        finally:
            self.enter(before)

    def foresee(self, seconds: float | None) -> None:
        """Note what the rest of the call is estimated to take; None where nobody knows."""
        self._foreseen = None if seconds is None else (seconds, time.perf_counter())

    def watch(self, executor: Executor) -> Executor:
        """The same executor, whose trials are accounted for."""
        return _Watched(executor, self)

    def call(self) -> Call:
        """The account until now."""
        self.enter(self._part)
        now, slots = time.perf_counter(), self.slots
        foreseen, at = self._foreseen or (None, now)
        whole = slots.most * self._seconds["trials"]
        # The part of a trial that ran beside others is theirs and its own; of all slots together
        # no more time has gone by than this.
        named = slots.lost + slots.process + sum(slots.sittings.values())
        return Call(
            began=self._utc.isoformat(timespec="milliseconds"),
            wall_s=now - self._began,
            **{f"{part}_s": seconds for part, seconds in self._seconds.items()},
            slots=slots.most,
            trials=slots.ended,
            idle_s=max(whole - named, 0.0),
            process_s=slots.process,
            lost_s=slots.lost,
            sittings=slots.sittings,
            foreseen_s=foreseen,
            foreseen_took_s=None if foreseen is None else now - at,
        )

    def keep(self, workdir: Path, experiment: str) -> Call | None:
        """Write the account down with those of the calls before; None where no trial was run.

        Called again, it takes the place of what it wrote.
        """
        call = self.call()
        if not call.trials:
            return None
        found = AccountsRecord.find(workdir, experiment)
        others = () if found is None else tuple(c for c in found.calls if c.began != call.began)
        record = AccountsRecord(experiment=experiment, calls=(*others, call))
        with contextlib.suppress(OSError):  # a full disk; nothing depends on it
            record.write(AccountsRecord.file(workdir, experiment))
        return call


@dataclass
class _Slots:
    """What trials did in the slots of an executor."""

    most: int = 0
    ended: int = 0
    process: float = 0.0
    lost: float = 0.0
    sittings: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    _running: dict[str, tuple[float, int]] = field(default_factory=dict)

    def hear(self, event: Event) -> None:
        """Take note of what happened to a trial."""
        if event.kind in OVER and event.task.id in self._running:
            self._end(event)
        if event.kind in ("started", "retried"):
            now = time.perf_counter()
            self._running[event.task.id] = now, len(sittings_of(event.task))
            self.most = max(self.most, len(self._running))

    def _end(self, event: Event) -> None:
        began, known = self._running.pop(event.task.id)
        took = time.perf_counter() - began
        found = sittings_of(event.task)[known:]
        sums = in_all(found)
        self.ended += event.kind in ("finished", "failed")
        left = max(took - sums["wall_s"], 0.0)
        # Of a trial that failed or was stopped nobody has written down what it did last.
        if event.kind == "finished" and not found:
            # It was trained before, and scored once more: its ledger stays as it is.
            self.sittings["scoring_s"] += left
        elif event.kind == "finished":
            self.process += left
        else:
            self.lost += left
        for part in PARTS:
            self.sittings[part] += sums[part]


@dataclass
class _Watched:
    """An executor whose events are heard."""

    executor: Executor
    clock: Clock

    def execute(self, tasks: Sequence[TrialTask], notify: Notify) -> None:
        """Run all trials; the time until the first begins is the device's."""
        if not tasks:
            return

        def hear(event: Event) -> None:
            if event.kind == "started":
                self.clock.enter("trials")
            self.clock.slots.hear(event)
            notify(event)

        with self.clock.spend("device"):
            self.executor.execute(tasks, hear)


def sittings_of(task: TrialTask) -> tuple[Sitting, ...]:
    """Sittings of a trial that are written down."""
    with contextlib.suppress(DataError, OSError):
        return LedgerRecord.read(task.folder.ledger).sittings
    return ()
