"""From entrants, folds and seeds to the tasks that an executor runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from kitsbench.data.datasets.dataset import Dataset
from kitsbench.data.datasets.leaks import trained_patients
from kitsbench.data.datasets.patients import patients
from kitsbench.data.splits.split import Split
from kitsbench.errors import DataError
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.asked.resolve import Resolved
from kitsbench.experiments.machines.machine import Machine
from kitsbench.experiments.plan.entrant import Entrant
from kitsbench.experiments.plan.identity import identify
from kitsbench.experiments.plan.materials import Stores
from kitsbench.experiments.plan.members import check_leaks
from kitsbench.experiments.records import TrialContext, TrialRecord, TuningPlace, note
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.recipe import Recipe
from kitsbench.training.budget import NO_BUDGET


@dataclass
class Planner:
    """Makes the tasks of an experiment."""

    request: Request
    resolved: Resolved
    machine: Machine
    dataset: Dataset
    stores: Stores
    split: Split
    _known: dict[tuple[str, tuple[str, ...]], dict[str, float]] = field(default_factory=dict)

    def tasks(
        self,
        entrants: Sequence[Entrant],
        folds: Sequence[int],
        tuned: Mapping[tuple[str, int], Recipe] | None = None,
    ) -> list[TrialTask]:
        """All trials, in the order in which they are run.

        Parameters
        ----------
        entrants : sequence of Entrant
        folds : sequence of int
        tuned : mapping, optional
            {(name, fold): recipe} where tuning has found another than the entrant's own.
        """
        usable = [e for e in entrants if e.error is None and e.spec is not None]
        singles = [e for e in usable if not e.members and not e.alone]
        others = [e for e in usable if not e.members and e.alone]
        ensembles = [e for e in usable if e.members]
        planned: dict[tuple[str, int, int], TrialTask] = {}
        tasks: list[TrialTask] = []
        own: dict[str, TrialTask] = {}
        recipes = _recipes_found(usable, tuned or {})
        # Ensembles come after everything that trains: their trials are named by the ids of their
        # members' trials, and run when those have finished.
        for group in (singles, others, ensembles):
            # Entrants inside: whenever a run is stopped, all but the last of what has finished are
            # pairs on the same cases, which can be compared. Seeds outside of folds: every case
            # has been tested once before any is tested by a second run.
            for seed in range(self.resolved.seeds):
                for fold in folds:
                    for entrant in group:
                        if seed and entrant.spec is not None and entrant.spec.trained_on:
                            continue  # it would predict the same once more, which is no other run
                        members = [planned.get((name, fold, seed)) for name in entrant.members]
                        if None in members:
                            continue  # a broken member has no trials; the ensemble has none either
                        # Tuning judges in each fold by itself, so an entrant may train by another
                        # recipe in each; its ensembles know it by the ids of their members.
                        recipe = recipes.get((entrant.alone or entrant.name, fold), entrant.recipe)
                        task = self._task(
                            replace(entrant, recipe=recipe),
                            fold,
                            entrant.seed(seed),
                            members,  # type: ignore[arg-type]
                        )
                        # A run of a member may be one of the entrant's own: it is one trial.
                        if not (entrant.alone and task.id in own):
                            own[task.id] = task
                            tasks.append(task)
                        planned[entrant.name, fold, seed] = own[task.id]
        # What members predict is used once more, unless their ensemble mirrors otherwise.
        used = {
            member.id
            for task in tasks
            if task.trial.identity.tta is None
            for member in task.members
        }
        return [replace(t, keep_probabilities=t.id in used) for t in tasks]

    def tuning_task(self, entrant: Entrant, fold: int, inner: Split, number: int) -> TrialTask:
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
        """
        resolved = replace(self.resolved, budget=self.resolved.tuning_budget)
        planner = replace(self, resolved=resolved, split=inner)
        # The inner split is made of the fold's training cases alone, and its own first fold judges.
        # So the fold's test cases choose no setting, while the trial is still named by the fold.
        task = planner._task(entrant, fold, 0, [], inner=0)
        # Nobody looks at these trials' curves and label maps: the mean of their scores is all.
        place = TuningPlace(fold=fold, number=number)
        context = task.trial.context.model_copy(update={"curve_cases": (), "tuning": place})
        trial = task.trial.model_copy(update={"context": context})
        return replace(task, trial=trial, keep_predictions=False, map_cases=())

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
        # An ensemble has no volumes of its own; those of anybody tell the dataset's fingerprint.
        elsewhere = bool(entrant.spec.trained_on)
        stores = {} if elsewhere else self.stores.get(entrant.name, {})
        # Nothing of the call changes what was trained elsewhere, so its trial is one for all.
        budget = NO_BUDGET if elsewhere else self.resolved.budget
        any_store = next(iter((stores or next(iter(self.stores.values()))).values()))
        train, test = self.split.train(held_out), self.split.test(held_out)
        left_out = None
        if entrant.left_out is not None:
            parts = self.split.inner_split(held_out)
            assert parts is not None  # who needs inner folds does not get this far without
            train = parts.train(entrant.left_out)
            left_out = parts.id, entrant.left_out
        check_leaks(entrant.name, test, {m.name: m.train_cases for m in members})
        given, registered = entrant.given, entrant.registered
        if given is not None:  # a label map of another fold changes nothing of this one
            registered = replace(registered, source_hash=given.digest(test))
        identity = identify(
            replace(entrant, registered=registered),
            any_store.dataset_fingerprint,
            {grid: store.id for grid, store in stores.items()},
            self.split.id,
            fold,
            seed,
            budget,
            "float32" if elsewhere else self.machine.precision,
            self.machine.device_class,
            [member.id for member in members],
            self.request.compile and not members and not elsewhere,
            [member.trial.identity.pretrained_on for member in members],
            left_out,
        )
        window = (0.0, 1.0, 0.0, 1.0)
        if stores:
            # Of the training cases only: a window that was fitted to all of them would tell the
            # network what the scans look like that it is tested on.
            window = entrant.recipe.intensity.resolve(self._foreground(entrant, train))
        shows = bool(entrant.spec.maps) and not members
        first = entrant.spec.grids[0] if entrant.spec.grids else None
        context = TrialContext(
            name=entrant.name,
            distribution=entrant.registered.distribution,
            dataset_name=self.dataset.name,
            recipe=entrant.recipe,
            budget=note(budget),
            location=entrant.registered.location,
            labels=entrant.spec.labels,
            patch=first.shape if first else None,
            window=window,
            spacing=any_store.spacing,
            train_cases=() if elsewhere else tuple(train),
            train_patients=tuple(
                trained_patients(entrant.spec.trained_on)
                if elsewhere
                else patients(self.dataset, train)
            ),
            test_cases=tuple(test),
            curve_cases=() if elsewhere else tuple(test[: self.resolved.curve_cases]),
            tuning=None,
            on_disk=self.dataset.names.pairs(),
        )
        known = [case for case in test if given is not None and case in given.files]
        return TrialTask(
            workdir=self.request.workdir,
            trial=TrialRecord.of(identity, context),
            location=entrant.registered.location,
            spec=entrant.spec,
            recipe=entrant.recipe,
            budget=budget,
            stores={grid: store.folder for grid, store in stores.items()},
            train_cases=context.train_cases,
            test_cases=tuple(test),
            cases={case.id: case for case in self.dataset.cases if case.id in set(test)},
            window=window,
            protocols=self.resolved.protocols,
            device=self.machine.kind,
            threads=self.machine.threads,
            max_memory=self.request.max_memory,
            stall=self.request.stall,
            checkpoint_every=self.request.checkpoint_every,
            members=tuple(members),
            files=entrant.files,
            map_cases=tuple(test[: self.resolved.showcases]) if shows else (),
            given=None if given is None else {c: (given.files[c], given.marks[c]) for c in known},
        ).absolute()

    def _foreground(self, entrant: Entrant, train: Sequence[str]) -> dict[str, float]:
        """HU statistics of the foreground of the training cases; test cases stay unseen."""
        assert entrant.spec is not None
        store = self.stores[entrant.name][entrant.spec.grids[0].name]
        key = store.id, tuple(train)
        if key not in self._known:
            found = store.intensity(train)
            if "foreground" not in found:
                raise DataError(
                    f"The {len(train)} training cases of a fold have no labelled voxel, so nothing "
                    f"is known of their intensities. Look at the masks of {store.folder}."
                )
            self._known[key] = found["foreground"]
        return self._known[key]


def _recipes_found(
    entrants: Sequence[Entrant], tuned: Mapping[tuple[str, int], Recipe]
) -> dict[tuple[str, int], Recipe]:
    """What tuning has found; members that differ by fold or seed share a recipe."""
    alone = {entrant.name: entrant.alone or entrant.name for entrant in entrants}
    return {(alone[name], fold): recipe for (name, fold), recipe in tuned.items()}
