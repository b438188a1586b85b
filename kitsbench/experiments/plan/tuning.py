"""Equal tuning: every architecture tries as many settings out of the same declared space.

For each fold an inner split sets a part of the training cases aside; settings are compared on it,
and the fold's test cases play no part. What was spent stands in a ledger of its own.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kitsbench.data.splits.split import Split, make_folds
from kitsbench.errors import DataError
from kitsbench.experiments.asked.search_space import Tuning
from kitsbench.experiments.plan.entrant import Entrant
from kitsbench.experiments.plan.planner import Planner
from kitsbench.experiments.records import (
    LedgerRecord,
    Range,
    Spent,
    StudyRecord,
    TriedSettings,
    TuningRecord,
    note,
)
from kitsbench.experiments.tables import SCORES, read_table
from kitsbench.experiments.trial.kept_scores import is_done
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.optional import require
from kitsbench.recipe import Recipe

INNER_FOLDS = 4  # a quarter of the training cases judges the settings
INNER_SEED = 54321
SAMPLER_SEED = 20240
RunTrials = Callable[[Sequence[TrialTask]], None]


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says of each parameter that can be tuned."""
    return {
        "lr_factor": 1.0,
        "weight_decay": recipe.optimiser.weight_decay,
        "warmup": recipe.schedule.warmup,
        "clip_gradient": recipe.clip_gradient,
        "foreground": recipe.sampling.fraction,
    }


def with_settings(recipe: Recipe, parameters: Mapping[str, float]) -> Recipe:
    """The recipe with tuned values in their places."""
    values = {**settings_of(recipe), **parameters}
    optimiser, lr = recipe.optimiser, recipe.optimiser.lr
    if "lr_factor" in parameters:
        # Rounded, so that a learning rate has a name that one can say.
        lr = float(f"{lr * parameters['lr_factor']:.6g}")
    schedule = recipe.schedule
    if "warmup" in parameters:  # instead of whatever the recipe says
        schedule = replace(schedule, warmup=values["warmup"], warmup_steps=0)
    return replace(
        recipe,
        optimiser=replace(optimiser, lr=lr, weight_decay=values["weight_decay"]),
        schedule=schedule,
        sampling=replace(recipe.sampling, fraction=values["foreground"]),
        clip_gradient=values["clip_gradient"],
    )


@dataclass
class Study:
    """The search of one architecture in one fold: optuna's, asked and told in a fixed order.

    Nothing of it needs saving: the same trials with the same scores lead to the same questions.
    """

    entrant: Entrant
    fold: int
    inner: Split
    tuning: Tuning

    def __post_init__(self) -> None:
        optuna = require("optuna", "tune")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        space = self.tuning.space.items()
        self._optuna = optuna
        self._distributions = {
            name: optuna.distributions.FloatDistribution(one.low, one.high, log=one.log)
            for name, one in space
        }
        # The same seed for all, so that all are asked the same until scores tell them apart.
        sampler = optuna.samplers.TPESampler(seed=SAMPLER_SEED + self.fold)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self.tasks: list[TrialTask] = []
        self.parameters: list[dict[str, float]] = []
        self.scores: list[float | None] = []
        self._asked: list[Any] = []

    def ask(self, planner: Planner) -> TrialTask:
        """The next trial; the first is the recipe as it is."""
        assert self.entrant.recipe is not None
        asked = self._study.ask(self._distributions)
        chosen = {name: float(f"{value:.6g}") for name, value in asked.params.items()}
        if not self.tasks:
            chosen = {}
        recipe = with_settings(self.entrant.recipe, chosen)
        entrant = replace(self.entrant, recipe=recipe)
        task = planner.tuning_task(entrant, self.fold, self.inner, len(self.tasks))
        self._asked.append(asked)
        self.parameters.append(chosen)
        self.tasks.append(task)
        return task

    def tell(self) -> None:
        """Read the score of the last trial and pass it on."""
        task, number = self.tasks[-1], len(self.tasks) - 1
        score = judge(task)
        self.scores.append(score)
        state = self._optuna.trial.TrialState
        if number == 0:
            self._study.tell(self._asked[-1], state=state.FAIL)  # its settings were not used
            self._add_recipe(score)
        elif score is None:
            self._study.tell(self._asked[-1], state=state.FAIL)
        else:
            self._study.tell(self._asked[-1], score)

    def _add_recipe(self, score: float | None) -> None:
        """Let the search learn from the recipe itself, where the space holds it."""
        assert self.entrant.recipe is not None
        own = {name: settings_of(self.entrant.recipe)[name] for name in self._distributions}
        inside = all(
            value is not None
            and self.tuning.space[name].low <= value <= self.tuning.space[name].high
            for name, value in own.items()
        )
        if inside and score is not None:
            self._study.add_trial(
                self._optuna.trial.create_trial(
                    params=own, distributions=self._distributions, value=score
                )
            )

    @property
    def best(self) -> int | None:
        """Number of the best trial, the first of equals; None where all failed."""
        scored = [(score, -n) for n, score in enumerate(self.scores) if score is not None]
        return -max(scored)[1] if scored else None

    def recipe(self) -> Recipe:
        """The recipe with the best settings, or as it is where every trial failed."""
        assert self.entrant.recipe is not None
        chosen = {} if self.best is None else self.parameters[self.best]
        return with_settings(self.entrant.recipe, chosen)

    def to_record(self) -> StudyRecord:
        """Part of the experiment's file: the trials, the choice, and the tuning's ledger."""
        rows, spent = [], dict.fromkeys(Spent.model_fields, 0.0)
        for number, task in enumerate(self.tasks):
            status, file = task.folder.read_status(), task.folder.ledger
            # A trial that failed early has none.
            ledger = LedgerRecord.read(file) if os.path.lexists(file) else None
            for key in spent if ledger else ():
                spent[key] += float(getattr(ledger, key))
            rows.append(
                TriedSettings(
                    number=number,
                    id=task.id,
                    parameters=self.parameters[number],
                    score=self.scores[number] if number < len(self.scores) else None,
                    status=status.status,
                    reason=status.reason,
                    device_seconds=ledger.device_seconds if ledger else None,
                )
            )
        return StudyRecord(
            name=self.entrant.name,
            fold=self.fold,
            trials=tuple(rows),
            best=self.best,
            parameters={} if self.best is None else self.parameters[self.best],
            ledger=Spent(**spent),
        )


def judge(task: TrialTask) -> float | None:
    """Mean Dice over the cases and regions of the first protocol; None if the trial failed."""
    if not is_done(task):
        return None
    table = read_table(task.folder.scores, SCORES)
    chosen = table[(table["protocol"] == task.protocols[0]) & (table["metric"] == "dice")]
    mean = float(chosen["value"].mean())
    return mean if math.isfinite(mean) else None


def inner_split(train: Sequence[str]) -> Split:
    """Split a fold's training cases; its first fold judges the settings.

    Raises
    ------
    DataError
        There are too few training cases.
    """
    if len(train) < 2:
        raise DataError(
            f"A fold with {len(train)} training case cannot be tuned in: some must be set aside to "
            "judge the settings. Use fewer folds (--split) or more cases."
        )
    return make_folds(train, min(INNER_FOLDS, len(train)), INNER_SEED)


def make_studies(
    tuning: Tuning | None, entrants: Sequence[Entrant], folds: Sequence[int], planner: Planner
) -> list[Study]:
    """A study for each architecture that trains, in each fold; none where nothing is tuned."""
    if tuning is None:
        return []
    usable: dict[str, Entrant] = {}
    for entrant in entrants:
        if entrant.error is None and entrant.trains:
            # Members of one architecture that differ by fold or seed are tuned once.
            usable.setdefault(entrant.alone or entrant.name, replace(entrant, left_out=None))
    return [
        Study(entrant, fold, inner_split(planner.split.train(fold)), tuning)
        for fold in folds
        for entrant in usable.values()
    ]


def tune(studies: Sequence[Study], planner: Planner, run: RunTrials | None) -> bool:
    """Run every study, one trial of each at a time; finished trials are kept.

    Parameters
    ----------
    studies : sequence of Study
    planner : Planner
    run : callable or None
        Runs trials to their end; None to stop where the first would have to run.

    Returns
    -------
    bool
        Whether all studies are complete.
    """
    for _ in range(studies[0].tuning.trials if studies else 0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # optuna's notes on its experimental parts
            tasks = {task.id: task for task in (study.ask(planner) for study in studies)}
        open_tasks = [task for task in tasks.values() if not is_done(task)]
        if open_tasks:
            if run is None:
                return False
            run(open_tasks)
        for study in studies:
            study.tell()
    return True


def describe_tuning(tuning: Tuning, studies: Sequence[Study]) -> TuningRecord:
    """What the experiment's file says of the tuning."""
    return TuningRecord(
        trials=tuning.trials,
        budget=None if tuning.budget is None else note(tuning.budget),
        space={name: Range(**asdict(one)) for name, one in tuning.space.items()},
        objective="mean Dice over cases and regions",
        inner_folds=INNER_FOLDS,
        studies=tuple(study.to_record() for study in studies),
    )
