"""Results of several working directories put together into those of one experiment.

Only what was made under the same conditions may be; who calls this has seen to that. A trial that
several have trained counts once, if all came to the same scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.records import (
    DatasetNote,
    DeviceNote,
    EntrantRecord,
    ExperimentRecord,
    PlannedTrial,
    TuningRecord,
)
from kitsbench.experiments.results import Results, results_of
from kitsbench.experiments.stored_trial import StoredTrial
from kitsbench.experiments.workdir.agreement import disagreement

_BEST = ("finished", "failed", "running", "pending")


def join_results(found: Sequence[Results]) -> Results:
    """Put results together.

    Parameters
    ----------
    found : sequence of Results
        Of experiments under the same conditions, in which no two trials have the same entrant,
        fold and seed and another id.

    Returns
    -------
    Results
        Of an experiment that has the trials of all. Its working directory is the first.

    Raises
    ------
    DataError
        A trial has other scores in one of them than in another.
    UsageError
        One of them stopped by itself.
    """
    if len(found) == 1:
        return found[0]
    early = [one.experiment for one in found if one.experiment.until is not None]
    if early:
        raise UsageError(
            f"Experiment {early[0].id} stopped because of what its looks saw, and they know "
            "nothing of the others' trials: its scores join no other's. Run its fixed design "
            f"(`kitsbench run --add --seeds {early[0].seeds}`), or report it by itself."
        )
    first = found[0].experiment
    entrants = _entrants(found)
    order = {entrant.name: place for place, entrant in enumerate(entrants)}
    planned = {trial.id: trial for one in found for trial in one.experiment.trials}
    trials = sorted(planned.values(), key=lambda t: (t.seed, t.fold, order[t.name]))
    stored = {trial.id: trial for trial in kept_trials(found)}
    record = ExperimentRecord.of(
        version=first.version,
        created=min(one.experiment.created for one in found),
        command=first.command,
        dataset=_dataset(found),
        protocol=first.protocol,
        protocols=first.protocols,
        endpoint=first.endpoint,
        recipe=first.recipe,
        recipe_mode=first.recipe_mode,
        budget=first.budget,
        max_memory=first.max_memory,
        folds=first.folds.model_copy(
            update={"used": tuple(sorted({f for r in found for f in r.experiment.folds.used}))}
        ),
        seeds=max(_seeds(trials), *(one.experiment.seeds for one in found)),
        device=_device(found),
        entrants=entrants,
        trials=tuple(trials),
        showcase=first.showcase,
        tuning=_tuning(found),
    )
    profiles = {name: own for one in reversed(found) for name, own in one.profiles.items()}
    results = results_of(
        found[0].workdir,
        record,
        [stored[trial.id] for trial in trials],
        profiles,
        tuple(one.experiment for one in found),
    )
    # One dataset, so the one that knows most of it will do.
    sizes = [one.cases for one in found if one.cases is not None]
    return replace(results, cases=max(sizes, key=lambda one: len(one.cases), default=None))


def kept_trials(found: Sequence[Results]) -> list[StoredTrial]:
    """Every trial once: where several have it, the one that came furthest, the first of equals.

    Raises
    ------
    DataError
        Two have finished it with different scores.
    """
    kept: dict[str, tuple[StoredTrial, Results]] = {}
    for one in found:
        for trial in one.trials:
            if trial.id not in kept:
                kept[trial.id] = trial, one
                continue
            known, of = kept[trial.id]
            if known.state == trial.state == "finished":
                _agree(known, trial, {*of.experiment.protocols} & {*one.experiment.protocols})
            elif _BEST.index(trial.state) < _BEST.index(known.state):
                kept[trial.id] = trial, one
    return [trial for trial, _ in kept.values()]


def _agree(one: StoredTrial, other: StoredTrial, protocols: set[str]) -> None:
    found = disagreement(one.folder.scores, other.folder.scores, protocols)
    if found is not None:
        raise DataError(
            f"The trial {one.id} ({one.name}, fold {one.fold}, seed {one.seed}) is in two working "
            f"directories, and {found}: {one.folder.path} and {other.folder.path}.\n"
            "One trial has one outcome: leave one of the two directories out, or delete the trial "
            "in one of them with `kitsbench trials delete`."
        )


def _entrants(found: Sequence[Results]) -> tuple[EntrantRecord, ...]:
    """Every entrant once; one that took part comes before the same one that could not."""
    known: dict[str, EntrantRecord] = {}
    for one in found:
        for entrant in one.experiment.entrants:
            before = known.setdefault(entrant.name, entrant)
            if before.status == "broken" and entrant.status == "ok":
                known[entrant.name] = entrant
            elif entrant.asked and not before.asked:
                known[entrant.name] = before.model_copy(update={"asked": True})
    return tuple(known.values())


def _dataset(found: Sequence[Results]) -> DatasetNote:
    """The one whose scans are at hand, as far as one has them here."""
    notes = [one.experiment.dataset for one in found]
    return next((note for note in notes if Path(note.path).is_dir()), notes[0])


def _seeds(trials: Sequence[PlannedTrial]) -> int:
    seeds: dict[tuple[str, int], set[int]] = {}
    for trial in trials:
        seeds.setdefault((trial.name, trial.fold), set()).add(trial.seed)
    return max((len(own) for own in seeds.values()), default=1)


def _device(found: Sequence[Results]) -> DeviceNote:
    notes = [one.experiment.device for one in found]
    names = list(dict.fromkeys(note.name for note in notes))
    return notes[0].model_copy(update={"name": " and ".join(names)})


def _tuning(found: Sequence[Results]) -> TuningRecord | None:
    searches = [one.experiment.tuning for one in found]
    known = [search for search in searches if search is not None]
    if not known:
        return None
    studies = {(study.name, study.fold): study for one in known for study in one.studies}
    return known[0].model_copy(update={"studies": tuple(studies.values())})
