"""An executor that draws the scores of a trial instead of training it, from what the trial is.

Planner, records, looks and report are the real ones, and a trial's scores depend on its name, fold
and seed alone, as those of a real one do. So a hundred trials take a second.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from reporting.workdirs import REGIONS, end_trial

from kitsbench.experiments.executors.events import Event, Notify
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.files import digest


@dataclass
class Drawn:
    """Parameters: how much better than 0.6 each entrant scores, and what goes wrong.

    Attributes
    ----------
    gaps : mapping of str to float
    run, case : float
        Standard deviations of a run, and of a case by a run.
    failing : collection of (str, int, int)
        Name, fold and seed of trials that fail.
    stops_after : int or None
        Trials after which somebody presses Ctrl-C.
    backwards : bool
        Whether the last trial of each call ends first.
    ran : list of (str, int, int)
        What has been run, in its order.
    """

    gaps: Mapping[str, float]
    run: float = 0.004
    case: float = 0.0005
    failing: Collection[tuple[str, int, int]] = ()
    stops_after: int | None = None
    backwards: bool = False
    ran: list[tuple[str, int, int]] = field(default_factory=list)

    def execute(self, tasks: Sequence[TrialTask], notify: Notify) -> None:
        """Draw the scores of all trials."""
        for task in reversed(tasks) if self.backwards else tasks:
            if self.stops_after is not None and len(self.ran) >= self.stops_after:
                raise KeyboardInterrupt
            own = (task.name, task.trial.fold, task.trial.seed)
            failed = own in self.failing
            self.ran.append(own)
            notify(Event(task, "started"))
            end_trial(task.folder, task.trial, None if failed else self.scores(task))
            notify(Event(task, "failed" if failed else "finished", message="out-of-memory: none"))

    def scores(self, task: TrialTask) -> pd.DataFrame:
        """Scores of a trial by both protocols."""
        seed = int(digest([task.name, task.trial.fold, task.trial.seed])[:8], 16)
        generator = np.random.default_rng(seed)
        quality = 0.6 + self.gaps.get(task.name, 0.0) + generator.normal(0, self.run)
        rows = []
        for case in task.test_cases:
            hard = np.random.default_rng(int(case[-5:])).normal(0, 0.05)
            value = float(np.clip(quality + hard + generator.normal(0, self.case), 0.05, 0.95))
            for protocol, regions in REGIONS["kits19"].items():
                for region in regions:
                    own = {"protocol": protocol, "case": case, "region": region, "status": "ok"}
                    metrics = ("dice", "precision", "recall")
                    rows += [{**own, "metric": metric, "value": value} for metric in metrics]
        return pd.DataFrame(rows)
