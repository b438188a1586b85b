"""Which trials the looks of an experiment have counted, which wait, and which are spared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kitsbench.experiments.records import ExperimentRecord, LooksRecord, PlannedTrial, TakenLook

HOURS = "the device hours of --max-hours were spent"


@dataclass(frozen=True)
class Counting:
    """What the looks of an experiment say of its trials.

    Parameters
    ----------
    experiment : ExperimentRecord
    looks : LooksRecord or None
        None for a fixed design, and before the first call of the run.
    """

    experiment: ExperimentRecord
    looks: LooksRecord | None

    @property
    def waits(self) -> bool:
        """Whether trials wait for a look before anybody sees their scores."""
        return self.experiment.until is not None

    def counts(self, trial: PlannedTrial) -> bool:
        """Whether the scores of a trial are shown and compared."""
        return not self.waits or (self.looks is not None and trial.id in self.looks.counted)

    def missed(self, trial: PlannedTrial) -> bool:
        """Whether it had failed when a look counted it, and so stays a failure."""
        return self.looks is not None and trial.id in self.looks.missed

    def spared(self, trial: PlannedTrial) -> str:
        """Why a trial is never run; empty where it was, or may still be."""
        looks = self.looks
        if not self.waits or looks is None or self.counts(trial):
            return ""
        last = looks.last
        if last is not None and trial.name not in last.going:
            return _why(trial.name, looks.looks)
        # What had run by then, and no look has counted, waits for one like any other.
        stopped = looks.stopped
        return HOURS if stopped is not None and trial.seed >= stopped.seeds else ""


def not_needed(experiment: ExperimentRecord, workdir: Path) -> set[str]:
    """Ids of the trials that looks have spared for good; none of a fixed design.

    Parameters
    ----------
    experiment : ExperimentRecord
    workdir : Path
    """
    if experiment.until is None:
        return set()
    counting = Counting(experiment, LooksRecord.find(workdir, experiment.id))
    # A call that is allowed more hours runs those that hours alone have spared.
    return {trial.id for trial in experiment.trials if counting.spared(trial) not in ("", HOURS)}


def _why(name: str, looks: tuple[TakenLook, ...]) -> str:
    """Since which look an entrant goes no further."""
    ended = next(look for look in looks if name not in look.going)
    own = [pair for pair in ended.pairs if name in pair.name and pair.state != "not asked"]
    futile = sum(pair.state == "futile" for pair in own)
    what = "the question does not need it any more"
    if own and futile:
        what = f"its pairs are decided, or given up ({futile} of {len(own)})"
    elif own:
        what = "all its pairs are decided"
    return f"{what} since the look after {ended.seeds} seeds"
