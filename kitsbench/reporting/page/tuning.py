"""What the tuning tried, spent and chose."""

from __future__ import annotations

from kitsbench.experiments.records import TuningRecord
from kitsbench.reporting import words
from kitsbench.reporting.tables import Table


def tuning_table(tuning: TuningRecord) -> tuple[Table, str]:
    """A row for each architecture and fold, and a sentence on how settings were searched for.

    Parameters
    ----------
    tuning : TuningRecord
    """
    rows = []
    for study in tuning.studies:
        trials = study.trials
        scored = [trial.score for trial in trials if trial.score is not None]
        failed = sum(trial.status == "failed" for trial in trials)
        count = str(len(trials)) + (f" ({failed} failed)" if failed else "")
        chosen = ", ".join(f"{key} {value:g}" for key, value in study.parameters.items())
        best = None if study.best is None else trials[study.best].score
        rows.append(
            [
                study.name,
                str(study.fold),
                count,
                words.duration(study.ledger.device_seconds),
                words.number(trials[0].score if trials else None, 3),
                words.number(min(scored, default=None), 3),
                words.number(best, 3),
                chosen or "the recipe as it is",
            ]
        )
    head = [
        "Architecture",
        "Fold",
        "Trials",
        "Device time",
        "Dice of the recipe",
        "Lowest Dice",
        "Best Dice",
        "Chosen",
    ]
    caption = (
        "Dice is the mean over the inner cases and their regions, which were set aside from the "
        "training cases of the fold; no test case was seen. Device time is that of all trials of "
        "the row, and is charged here and not to the budget."
    )
    ranges = [
        f"{name} from {space.low:g} to {space.high:g}" for name, space in tuning.space.items()
    ]
    lead = (
        f"Every architecture tried {tuning.trials} settings in each fold before it was trained, "
        f"over the same space ({', '.join(ranges)}); the first was the shared recipe itself."
    )
    return Table(head, rows, caption), lead
