"""From entrants, folds and seeds to the tasks that an executor runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from kitsbench.data.datasets.dataset import Dataset
from kitsbench.data.datasets.patients import patients
from kitsbench.data.splits.split import Split
from kitsbench.errors import UsageError
from kitsbench.evaluation import get_protocol
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.machines.machine import Machine
from kitsbench.experiments.plan.entrant import Entrant
from kitsbench.experiments.plan.identity import describe_trial
from kitsbench.experiments.plan.materials import Stores
from kitsbench.experiments.trial.run import CURVE_CASES
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.recipe import Recipe
from kitsbench.statistics.table.endpoints import parse_endpoint
from kitsbench.training.budget import Budget


def choose_protocols(request: Request, dataset: Dataset) -> tuple[str, ...]:
    """Protocols that scores are stored for; the first is the experiment's."""
    own = "kits23" if "cyst" in dataset.labels else "kits19"
    first = request.protocol or own
    return tuple(dict.fromkeys((first, "labels")))


def check_endpoint(request: Request, dataset: Dataset) -> None:
    """See that the experiment will have scores of its endpoint.

    Raises
    ------
    UsageError
        The text is no ``region:metric``, or the protocol has no such region or metric.
    """
    endpoint = parse_endpoint(request.endpoint)
    protocol = get_protocol(choose_protocols(request, dataset)[0])
    for what, name, known in (
        ("region", endpoint.region, [region.name for region in protocol.regions]),
        ("metric", endpoint.metric, list(protocol.metrics)),
    ):
        if name not in known:
            raise UsageError(
                f"The endpoint is {request.endpoint!r}, but protocol {protocol.name} has no {what} "
                f"'{name}'; it has {', '.join(known)}."
            )


@dataclass
class Planner:
    """Makes the tasks of an experiment."""

    request: Request
    dataset: Dataset
    stores: Stores
    split: Split
    budget: Budget
    machine: Machine
    _known: dict[tuple[str, str, int], dict[str, float]] = field(default_factory=dict)

    def tasks(
        self,
        entrants: Sequence[Entrant],
        folds: Sequence[int],
        seeds: int,
        tuned: Mapping[tuple[str, int], Recipe] | None = None,
    ) -> list[TrialTask]:
        """All trials: seeds and folds outside, so that an early stop leaves complete pairs.

        Parameters
        ----------
        entrants : sequence of Entrant
        folds : sequence of int
        seeds : int
        tuned : mapping, optional
            {(label, fold): recipe} where tuning has found another than the entrant's own.
        """
        usable = [e for e in entrants if e.error is None and e.spec is not None]
        singles = [e for e in usable if not e.members]
        ensembles = [e for e in usable if e.members]
        planned: dict[tuple[str, int, int], TrialTask] = {}
        for group in (singles, ensembles):
            for seed in range(seeds):
                for fold in folds:
                    for entrant in group:
                        members = [planned.get((name, fold, seed)) for name in entrant.members]
                        if None in members:
                            continue  # a broken member has no trials; the ensemble has none either
                        recipe = (tuned or {}).get((entrant.label, fold), entrant.recipe)
                        task = self._task(
                            replace(entrant, recipe=recipe),
                            fold,
                            seed,
                            members,  # type: ignore[arg-type]
                        )
                        planned[entrant.label, fold, seed] = task
        return list(planned.values())

    def tuning_task(
        self, entrant: Entrant, fold: int, inner: Split, number: int, budget: Budget | None
    ) -> TrialTask:
        """A trial that judges an entrant's recipe on cases of the fold's training set.

        Parameters
        ----------
        entrant : Entrant
            With the recipe to be judged.
        fold : int
            Of the experiment's split.
        inner : Split
            Of the fold's training cases; its first fold is predicted.
        number : int
            Of the trial within its study.
        budget : Budget or None
            None for the experiment's.
        """
        planner = replace(self, split=inner, budget=budget or self.budget)
        task = planner._task(entrant, fold, 0, [], inner=0)
        trial = {**task.trial, "curve_cases": [], "tuning": {"fold": fold, "number": number}}
        return replace(task, trial=trial, keep_predictions=False)

    def _task(
        self,
        entrant: Entrant,
        fold: int,
        seed: int,
        members: list[TrialTask],
        inner: int | None = None,
    ) -> TrialTask:
        """A trial; ``inner`` is the fold that is held out where that is not ``fold``."""
        held_out = fold if inner is None else inner
        assert entrant.spec is not None
        assert entrant.recipe is not None
        stores = self.stores.get(entrant.label, {})
        any_store = next(iter((stores or next(iter(self.stores.values()))).values()))
        precision = "bfloat16" if self.machine.kind == "cuda" else "float32"
        trial = describe_trial(
            entrant,
            {"name": self.dataset.name, "fingerprint": any_store.dataset_fingerprint},
            {grid: store.id for grid, store in stores.items()},
            self.split.id,
            fold,
            seed,
            self.budget,
            precision,
            self.machine.device_class,
            [member.id for member in members],
            self.request.compile and not members,
        )
        train, test = self.split.train(held_out), self.split.test(held_out)
        window = (0.0, 1.0, 0.0, 1.0)
        if stores:
            window = entrant.recipe.intensity.resolve(self._foreground(entrant, held_out))
        first = entrant.spec.grids[0] if entrant.spec.grids else None
        trial |= {
            "location": entrant.registered.location,
            "labels": [list(pair) for pair in entrant.spec.labels],
            "patch": list(first.shape) if first else None,
            "window": list(window),
            "spacing": list(any_store.spacing),
            "train_cases": list(train),
            "train_patients": patients(self.dataset, train),
            "test_cases": list(test),
            # The phantom's run shall end soon.
            "curve_cases": list(test[: 1 if self.request.phantom else CURVE_CASES]),
        }
        return TrialTask(
            workdir=self.request.workdir,
            trial=trial,
            location=entrant.registered.location,
            spec=entrant.spec,
            recipe=entrant.recipe,
            budget=self.budget,
            stores={grid: store.folder for grid, store in stores.items()},
            train_cases=tuple(train),
            test_cases=tuple(test),
            cases={case.id: case for case in self.dataset.cases if case.id in set(test)},
            window=window,
            protocols=choose_protocols(self.request, self.dataset),
            device=self.machine.kind,
            threads=self.machine.threads,
            max_memory=self.request.max_memory,
            stall=self.request.stall,
            members=tuple(members),
        )

    def _foreground(self, entrant: Entrant, fold: int) -> dict[str, float]:
        """HU statistics of the foreground of the training cases; test cases stay unseen."""
        assert entrant.spec is not None
        store = self.stores[entrant.label][entrant.spec.grids[0].name]
        key = (store.id, self.split.id, fold)
        if key not in self._known:
            self._known[key] = store.intensity(self.split.train(fold))["foreground"]
        return self._known[key]
