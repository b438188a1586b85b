"""How long a run will still take, by what its trials have taken so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kitsbench.experiments.executors.events import Event

EARLY = 0.05  # share of a trial below which its pace says little
TRAINING = 0.8  # share of a trial's time that is training, as long as none has been seen to end
HOLD = 2.0  # seconds that an estimate stands before it is made anew


@dataclass
class _Trial:
    began: float
    alone: bool  # it trains; an ensemble only predicts
    share: float = 0.0
    trained: float | None = None  # when its training was over


@dataclass
class TimeLeft:
    """Seconds that a run will still take, whatever the budget of its trials is counted in.

    A trial that runs is expected to go on at its pace, and one that waits to take as long as those
    that have ended or run. As many are expected to run at a time as have been seen to.

    Parameters
    ----------
    total : int
        Trials to run.
    now : callable
        A clock in seconds.
    after : float
        Seconds that come when all trials have ended.
    """

    total: int
    now: Callable[[], float] = time.monotonic
    after: float = 0.0
    ended: int = 0
    _running: dict[str, _Trial] = field(default_factory=dict)
    _took: list[float] = field(default_factory=list)
    _training: list[float] = field(default_factory=list)
    _width: int = 1
    _known: tuple[float, float] | None = None  # an estimate, and when it was made

    def hear(self, event: Event) -> None:
        """Take note of what happened to a trial."""
        key = event.task.id
        if event.kind in ("started", "retried"):
            self._running[key] = _Trial(
                self.now(), alone=not (event.task.members or event.task.elsewhere)
            )
            self._width = max(self._width, len(self._running))
        elif event.kind == "progress" and key in self._running:
            self._progress(self._running[key], event.stage, event.fraction)
        elif event.kind in ("finished", "failed", "taken"):
            self.ended += 1
            trial = self._running.pop(key, None)
            # One that failed at once, or was done elsewhere, says nothing about the others.
            if trial is not None and event.kind == "finished":
                self._end(trial)

    def _progress(self, trial: _Trial, stage: str, fraction: float) -> None:
        if not trial.alone:
            trial.share = fraction
        elif stage == "train":
            trial.share = self._part * fraction
        else:
            trial.trained = self.now() if trial.trained is None else trial.trained
            trial.share = self._part + (1 - self._part) * fraction

    def _end(self, trial: _Trial) -> None:
        took = self.now() - trial.began
        if trial.alone:
            self._took.append(took)
            if trial.trained is not None and took > 0:
                self._training.append((trial.trained - trial.began) / took)

    @property
    def _part(self) -> float:
        """Share of a trial's time that is training."""
        return sum(self._training) / len(self._training) if self._training else TRAINING

    @property
    def done(self) -> float:
        """Trials that have ended, with the shares of those that run."""
        return self.ended + sum(trial.share for trial in self._running.values())

    def seconds(self) -> float | None:
        """Seconds left; None while nothing is known. Between two estimates time goes by."""
        now = self.now()
        if self._known is None or now - self._known[1] >= HOLD:
            estimate = self._estimate(now)
            if estimate is None:
                return None
            self._known = (estimate, now)
        estimate, made = self._known
        return max(estimate - (now - made), 0.0)

    def _estimate(self, now: float) -> float | None:
        paces = {
            key: (now - trial.began) / trial.share
            for key, trial in self._running.items()
            if trial.share >= EARLY
        }
        seen = [*self._took, *(paces[key] for key in paces if self._running[key].alone)]
        if not seen and len(paces) < max(len(self._running), 1):
            return None
        usual = sum(seen) / len(seen) if seen else max(paces.values())
        own = [
            max(paces.get(key, usual) - (now - trial.began), 0.0)
            for key, trial in self._running.items()
        ]
        waiting = max(self.total - self.ended - len(own), 0)
        # None ends before the longest of those that run.
        return max([(sum(own) + waiting * usual) / self._width, *own]) + self.after


def in_words(seconds: float) -> str:
    """A duration as a person would say it, in at most nine characters."""
    if not seconds < 99_999 * 3600:  # foreign code writes what it likes
        return "> 99999 h"
    if seconds >= 5400:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes:02d} min" if hours < 10 else f"{hours} h"
    if seconds >= 90:
        return f"{round(seconds / 60)} min"
    return f"{max(10 * round(seconds / 10), 10)} s"
