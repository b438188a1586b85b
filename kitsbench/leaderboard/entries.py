"""From a working directory to the entries of its architectures.

What an entry says of recipe, budget, folds and versions is what its trials say: they were trained,
the experiment only asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from kitsbench.errors import DataError
from kitsbench.evaluation.protocols import STORED_METRICS
from kitsbench.experiments.plan.entrant import NO_RECIPE
from kitsbench.experiments.records import (
    BudgetNote,
    ElsewhereRecord,
    EntrantRecord,
    FoldsNote,
    TrialIdentity,
    TrialRecord,
    note,
)
from kitsbench.experiments.results import Results, load_results
from kitsbench.experiments.stored_trial import StoredTrial
from kitsbench.files import digest
from kitsbench.leaderboard.along import curve_of
from kitsbench.leaderboard.looked import looks_of
from kitsbench.leaderboard.numbers import counts_of, ranks_of, scores_of, spent_by, versions_of
from kitsbench.leaderboard.parts import (
    Cost,
    Dataset,
    Provenance,
    Rank,
    RecipeNote,
    Run,
    Score,
    Spent,
    Trials,
    TuningNote,
)
from kitsbench.leaderboard.schema import Entry
from kitsbench.leaderboard.table import ScoreTable
from kitsbench.recipe import Recipe
from kitsbench.text import without_folders
from kitsbench.training.budget import NO_BUDGET, Budget


class Published(NamedTuple):
    """An entry and the table that lies beside it."""

    entry: Entry
    table: ScoreTable


def make_entries(workdir: str | Path, experiment: str | None = None) -> list[Published]:
    """Make one entry for each architecture of a completed experiment.

    Parameters
    ----------
    workdir : path
        Of ``kitsbench run``.
    experiment : str, optional
        The experiment's id, or its first letters; the latest by default.

    Returns
    -------
    list of Published
        In the order of the experiment. An architecture whose trials failed has an entry too. What
        was trained elsewhere has one without budget and rank, which belongs to no experiment.

    Raises
    ------
    DataError
        Trials are still to be run, or none finished, or an entry would break the schema.
    """
    results = load_results(workdir, experiment)
    ended = ("finished", "failed", "spared")
    open_trials = [t for t in results.trials if t.state not in ended]
    if open_trials:
        raise DataError(
            f"{len(open_trials)} of {len(results.trials)} trials in {workdir} are not finished; "
            "call `kitsbench run` again to complete them before publishing."
        )
    if results.scores.empty:
        raise DataError(f"No trial in {workdir} finished; there is nothing to publish.")
    results.check_values()
    table = results.scores[results.scores["metric"].isin(STORED_METRICS)]
    record = results.experiment
    outside = table["architecture"].isin([*results.elsewhere])
    ranked = table[~outside].reset_index(drop=True)
    scores = {} if ranked.empty else scores_of(ranked)
    looks = looks_of(results)
    ranks = ranks_of(ranked, record.endpoint, record.protocol, record.folds.count, looks)
    for name in results.elsewhere:
        # By its own rows alone: whoever stands beside it on a board may change.
        own = table[table["architecture"] == name].reset_index(drop=True)
        scores |= {} if own.empty else scores_of(own)
    try:
        return [
            _publish(
                results,
                entrant,
                ScoreTable.of(table[table["architecture"] == entrant.name]),
                scores.get(entrant.name, ()),
                ranks.get(entrant.name),
            )
            for entrant in record.entrants
            if any(trial.name == entrant.name for trial in results.trials)
        ]
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise DataError(f"{workdir} cannot be published: {reason}.") from error


def _publish(
    results: Results,
    entrant: EntrantRecord,
    table: ScoreTable,
    scores: tuple[Score, ...],
    rank: Rank | None,
) -> Published:
    experiment = results.experiment
    own = [t for t in results.trials if t.name == entrant.name and t.state != "spared"]
    elsewhere = entrant.elsewhere
    together = own if elsewhere is not None else _trained(results)
    first = next((trial.record for trial in own if trial.record is not None), None)
    identity = None if first is None else first.identity
    runs = tuple(_run(trial, identity, elsewhere) for trial in own)
    entry = Entry(
        name=entrant.name,
        title=entrant.title,
        paper=entrant.paper,
        dataset=_dataset(results, identity),
        synthetic=experiment.dataset.synthetic,
        protocol=experiment.protocol,
        endpoint=experiment.endpoint,
        identity=identity,
        recipe=_recipe(results, entrant, [t.record for t in own if t.record is not None]),
        budget=note(NO_BUDGET) if elsewhere else _budget(identity) or experiment.budget,
        folds=FoldsNote(
            count=experiment.folds.count,
            used=tuple(sorted({run.fold for run in runs})),
            split_id=identity.split if identity else experiment.folds.split_id,
        ),
        seeds=len({run.seed for run in runs}),
        experiment=digest(sorted(trial.id for trial in together)),
        rank=rank,
        scores=scores,
        table=table.note,
        trials=Trials(runs=runs, **counts_of(runs)),
        cost=_cost(results, entrant, own, runs),
        provenance=_provenance(results, entrant, own, identity, runs),
        seals={},
        elsewhere=elsewhere,
        curve=None if elsewhere else curve_of(results, own),
        looks=None if elsewhere is not None else looks_of(results),
        planted=entrant.planted or None,
    )
    return Published(entry.model_copy(update={"seals": entry.sealed()}), table)


def _budget(identity: TrialIdentity | None) -> BudgetNote | None:
    return None if identity is None else note(Budget(*identity.budget))


def _dataset(results: Results, identity: TrialIdentity | None) -> Dataset:
    known, dataset = results.records, results.experiment.dataset
    used = {case for one in known for case in (*one.context.train_cases, *one.context.test_cases)}
    return Dataset(
        name=dataset.name,
        fingerprint=identity.dataset if identity else dataset.fingerprint or "",
        n_cases=len(used) or dataset.n_cases,
        n_excluded=len(dataset.excluded),
        synthetic=dataset.synthetic,
        note=dataset.note,
    )


def _trained(results: Results) -> list[StoredTrial]:
    """Trials of whoever was trained here, among whom ranks hold."""
    trained = [trial for trial in results.trials if trial.name not in results.elsewhere]
    return [trial for trial in trained if trial.state != "spared"]


def _run(
    trial: StoredTrial, identity: TrialIdentity | None, elsewhere: ElsewhereRecord | None
) -> Run:
    record, ledger, environment = trial.record, trial.ledger, trial.environment
    own = identity if record is None else record.identity
    reason = trial.status.reason
    given = elsewhere is not None and elsewhere.kind == "predictions"
    return Run(
        id=trial.id,
        fold=trial.fold,
        seed=trial.seed,
        state="finished" if reason is None else "failed",
        reason=reason,
        recipe=own.recipe if own else "",
        members=own.members if own else (),
        kitsbench=environment.kitsbench if environment else (),
        spent=None
        if ledger is None
        else Spent(
            device_seconds=ledger.device_seconds,
            steps=ledger.steps,
            voxels=ledger.voxels,
            flops=ledger.flops,
            patches_per_s=ledger.patches_per_s,
            # An ensemble trains nothing: what it takes to predict is all there is. Of label maps
            # that were given nobody has measured it.
            peak_memory_bytes=0
            if given
            else ledger.peak_memory_bytes or ledger.inference_peak_memory_bytes or 0,
            inference_s=None if given else ledger.inference_s,
            inference_cases=None if given else ledger.inference_cases,
        ),
        source_hash=own.source_hash if given and own else None,
    )


def _recipe(results: Results, entrant: EntrantRecord, records: Sequence[TrialRecord]) -> RecipeNote:
    """What the trials were trained by; where that was tuned, what the tuning began with."""
    experiment = results.experiment
    if entrant.elsewhere is not None:
        return RecipeNote(
            mode=experiment.recipe_mode,
            name=NO_RECIPE.name,
            digest=NO_RECIPE.digest(),
            full=NO_RECIPE,
            tuning=None,
            tuned=(),
        )
    asked = experiment.recipe or entrant.recipe
    trained = {record.identity.recipe: record.context.recipe for record in records}
    searched = experiment.tuning is not None and not entrant.members
    if searched and asked is not None:
        full = asked
    elif trained:
        full = _shared(next(iter(trained.values())), entrant, experiment.recipe)
    elif asked is not None:
        full = asked
    else:
        raise DataError(
            f"No trial of '{entrant.name}' in {results.workdir} says by what recipe it was to be "
            "trained; run the same command again."
        )
    tuning = experiment.tuning
    return RecipeNote(
        mode=experiment.recipe_mode,
        name=full.name,
        digest=full.digest(),
        full=full,
        tuning=None
        if tuning is None
        else TuningNote(trials=tuning.trials, budget=tuning.budget, space=tuning.space),
        tuned=tuple(trained[key] for key in sorted(trained)) if searched else (),
    )


def _shared(recipe: Recipe, entrant: EntrantRecord, asked: Recipe | None) -> Recipe:
    """The recipe that was shared, without what an entrant changes about prediction alone."""
    if entrant.tta is None or asked is None:
        return recipe
    mirror = asked.inference.mirror
    return replace(recipe, inference=replace(recipe.inference, mirror=mirror))


def _cost(
    results: Results, entrant: EntrantRecord, own: Sequence[StoredTrial], runs: Sequence[Run]
) -> Cost:
    profile = results.profiles.get(entrant.name)
    flops_step = profile.flops_step if profile else None
    devices = dict.fromkeys(t.environment.device_name for t in own if t.environment is not None)
    return Cost.model_validate(
        {
            "parameters": entrant.parameters,
            "paper_parameters": entrant.paper_parameters,
            "flops_step": None if flops_step is None else float(flops_step),
            "inference_ms": profile.inference_ms if profile else None,
            "device": ", ".join(devices),
            **spent_by(runs),
        }
    )


def _provenance(
    results: Results,
    entrant: EntrantRecord,
    own: Sequence[StoredTrial],
    identity: TrialIdentity | None,
    runs: Sequence[Run],
) -> Provenance:
    of = entrant if identity is None else identity
    return Provenance(
        # Who wrote the entry says nothing about its numbers; who trained does.
        kitsbench=versions_of(runs),
        distribution=entrant.distribution,
        version=of.version,
        source_hash=of.source_hash,
        config=of.config,
        command=without_folders(results.experiment.command),
        created=results.experiment.created,
        environment=next((t.environment for t in own if t.environment is not None), None),
    )
