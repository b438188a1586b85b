"""From a working directory to the entries of its architectures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from kitsbench.errors import DataError
from kitsbench.evaluation.protocols import STORED_METRICS
from kitsbench.experiments.records import EntrantRecord, ProfileRecord
from kitsbench.experiments.results import Results, StoredTrial, load_results
from kitsbench.files import as_json, digest
from kitsbench.leaderboard.schema import (
    Cost,
    Dataset,
    Entry,
    Provenance,
    Rank,
    RecipeNote,
    Score,
    Trials,
)
from kitsbench.statistics import Rule, compare, summarise


def make_entries(workdir: str | Path) -> list[Entry]:
    """Make one entry for each architecture of a completed experiment.

    Parameters
    ----------
    workdir : path
        Of ``kitsbench run``.

    Returns
    -------
    list of Entry
        In the order of the experiment. An architecture whose trials failed has an entry too.

    Raises
    ------
    DataError
        Trials are still to be run, or none finished, or an entry would break the schema.
    """
    results = load_results(workdir)
    open_trials = [t for t in results.trials if t.state not in ("finished", "failed")]
    if open_trials:
        raise DataError(
            f"{len(open_trials)} of {len(results.trials)} trials in {workdir} are not finished; "
            "call `kitsbench run` again to complete them before publishing."
        )
    if results.scores.empty:
        raise DataError(f"No trial in {workdir} finished; there is nothing to publish.")
    scores = _scores(results)
    ranks = _ranks(results)
    try:
        return [
            _entry(results, entrant, scores, ranks)
            for entrant in results.experiment.entrants
            if any(t.name == entrant.name for t in results.trials)
        ]
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise DataError(f"{workdir} cannot be published: {reason}.") from error


def _entry(
    results: Results,
    entrant: EntrantRecord,
    scores: dict[str, list[Score]],
    ranks: dict[str, Rank],
) -> Entry:
    experiment, dataset = results.experiment, results.experiment.dataset
    own = [trial for trial in results.trials if trial.name == entrant.name]
    environments = [trial.environment for trial in own if trial.environment is not None]
    shared = experiment.recipe
    recipe = {"name": "paper"} if shared is None else as_json(shared.to_dict())
    return Entry(
        name=entrant.name,
        title=entrant.title,
        paper=entrant.paper,
        dataset=Dataset(
            name=dataset.name,
            fingerprint=dataset.fingerprint or "",
            n_cases=dataset.n_cases,
            synthetic=dataset.synthetic,
            note=dataset.note,
        ),
        synthetic=dataset.synthetic,
        protocol=experiment.protocol,
        endpoint=experiment.endpoint,
        recipe=RecipeNote(name=experiment.recipe_name, digest=digest(recipe), full=recipe),
        budget=experiment.budget,
        folds=experiment.folds,
        seeds=experiment.seeds,
        experiment=digest(sorted(trial.id for trial in results.trials)),
        rank=ranks.get(entrant.name),
        scores=tuple(scores.get(entrant.name, ())),
        trials=_trials(own),
        cost=_cost(entrant, results.profiles.get(entrant.name), own, experiment.device.name),
        provenance=Provenance(
            # Who wrote the entry says nothing about its numbers; who trained does.
            kitsbench=", ".join(dict.fromkeys(v for e in environments for v in e.kitsbench)),
            distribution=entrant.distribution,
            version=entrant.version,
            source_hash=entrant.source_hash,
            config=entrant.config,
            command=experiment.command,
            created=experiment.created,
            environment=environments[0].model_dump(mode="json") if environments else {},
        ),
    )


def _scores(results: Results) -> dict[str, list[Score]]:
    found: dict[str, list[Score]] = {}
    scores = results.scores
    for row in summarise(scores[scores["metric"].isin(STORED_METRICS)]).to_dict("records"):
        found.setdefault(str(row["architecture"]), []).append(
            Score(
                protocol=row["protocol"],
                region=row["region"],
                metric=row["metric"],
                mean=_number(row["mean"]),
                sd_over_folds=_number(row["sd_over_folds"]),
                ci_low=_number(row["ci_low"]),
                ci_high=_number(row["ci_high"]),
                n_cases=int(row["n_cases"]),
                n_undefined=int(row["n_undefined"]),
                n_failed=int(row["n_failed"]),
            )
        )
    return found


def _ranks(results: Results) -> dict[str, Rank]:
    """Places and groups; empty where there is only one architecture."""
    experiment = results.experiment
    region, metric = experiment.endpoint.split(":")
    scores = results.scores
    if scores["architecture"].nunique() < 2:
        return {}
    comparison = compare(
        scores[scores["metric"] == metric],
        endpoint=(region, metric),
        rule=Rule(fold_count=experiment.folds.count),
        protocol=experiment.protocol,
        secondary=False,
    ).to_dict()
    return {
        str(row["architecture"]): Rank(
            rank=row["rank"],
            rank_low=_number(row.get("rank_low")),
            rank_high=_number(row.get("rank_high")),
            p_first=_number(row.get("p_first")),
            group=str(row.get("group") or ""),
            scope=comparison.get("scope") or "",
        )
        for row in comparison["ranking"]
    }


def _trials(own: list[StoredTrial]) -> Trials:
    failed = [trial for trial in own if trial.state == "failed"]
    return Trials(
        finished=len(own) - len(failed),
        failed=len(failed),
        reasons=dict(Counter(trial.status.reason for trial in failed if trial.status.reason)),
        ids=tuple(trial.id for trial in own),
    )


def _cost(
    entrant: EntrantRecord, profile: ProfileRecord | None, own: list[StoredTrial], device: str
) -> Cost:
    ledgers = [t.ledger for t in own if t.state == "finished" and t.ledger is not None]

    def mean(key: str) -> float | None:
        values = [float(getattr(ledger, key)) for ledger in ledgers]
        return sum(values) / len(values) if values else None

    peaks = [ledger.peak_memory_bytes for ledger in ledgers if ledger.peak_memory_bytes]
    return Cost(
        parameters=entrant.parameters,
        paper_parameters=entrant.paper_parameters,
        flops_step=_number(profile.flops_step) if profile else None,
        device_seconds=mean("device_seconds"),
        steps=mean("steps"),
        voxels=mean("voxels"),
        flops=mean("flops"),
        patches_per_s=mean("patches_per_s"),
        inference_ms=profile.inference_ms if profile else None,
        peak_memory_bytes=max(peaks, default=None),
        device=device,
    )


def _number(value: Any) -> float | None:
    """A finite float, or None: JSON knows no NaN."""
    if value is None or pd.isna(value) or value in (float("inf"), float("-inf")):
        return None
    return float(value)
