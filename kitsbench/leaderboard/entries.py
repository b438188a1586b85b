"""From a working directory to the entries of its architectures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from kitsbench.errors import DataError
from kitsbench.evaluation.protocols import STORED_METRICS
from kitsbench.experiments.results import Results, TrialRecord, load_results
from kitsbench.files import digest
from kitsbench.leaderboard.schema import (
    BudgetNote,
    Cost,
    Dataset,
    Entry,
    Folds,
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
            _entry(results, architecture, scores, ranks)
            for architecture in results.experiment.get("architectures", [])
            if any(t.architecture == architecture["label"] for t in results.trials)
        ]
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise DataError(f"{workdir} cannot be published: {reason}.") from error


def _entry(
    results: Results,
    architecture: dict[str, Any],
    scores: dict[str, list[Score]],
    ranks: dict[str, Rank],
) -> Entry:
    experiment = results.experiment
    label = str(architecture["label"])
    dataset = experiment["dataset"]
    own = [trial for trial in results.trials if trial.architecture == label]
    recipe = experiment["recipe"]
    return Entry(
        name=label,
        title=str(architecture.get("title") or ""),
        paper=str(architecture.get("paper") or ""),
        dataset=Dataset(
            name=dataset["name"],
            fingerprint=dataset["fingerprint"],
            n_cases=dataset["n_cases"],
            synthetic=dataset["synthetic"],
            note=str(dataset.get("note") or ""),
        ),
        synthetic=dataset["synthetic"],
        protocol=experiment["protocol"],
        endpoint=experiment["endpoint"],
        recipe=RecipeNote(name=str(recipe.get("name", "")), digest=digest(recipe), full=recipe),
        budget=BudgetNote(**{key: experiment["budget"][key] for key in ("text", "amount", "unit")}),
        folds=Folds(**{key: experiment["folds"][key] for key in ("count", "used", "split_id")}),
        seeds=int(experiment["seeds"]),
        experiment=digest(sorted(trial.id for trial in results.trials)),
        rank=ranks.get(label),
        scores=scores.get(label, []),
        trials=_trials(own),
        cost=_cost(architecture, results.profiles.get(label, {}), own, experiment),
        provenance=Provenance(
            kitsbench=str(experiment.get("version", "")),
            distribution=str(architecture.get("distribution") or ""),
            version=str(architecture.get("version") or ""),
            source_hash=str(architecture.get("source_hash") or ""),
            config=dict(architecture.get("config") or {}),
            command=str(experiment.get("command", "")),
            created=str(experiment.get("created", "")),
            environment=own[0].environment,
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
    region, metric = experiment["endpoint"].split(":")
    scores = results.scores
    if scores["architecture"].nunique() < 2:
        return {}
    comparison = compare(
        scores[scores["metric"] == metric],
        endpoint=(region, metric),
        rule=Rule(fold_count=experiment["folds"]["count"]),
        margins=experiment.get("margins") or None,
        protocol=experiment["protocol"],
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


def _trials(own: list[TrialRecord]) -> Trials:
    failed = [trial for trial in own if trial.state == "failed"]
    reasons = Counter(str(trial.status.get("reason") or "unknown") for trial in failed)
    return Trials(
        finished=len(own) - len(failed),
        failed=len(failed),
        reasons=dict(reasons),
        ids=[trial.id for trial in own],
    )


def _cost(
    architecture: dict[str, Any],
    profile: dict[str, Any],
    own: list[TrialRecord],
    experiment: dict[str, Any],
) -> Cost:
    ledgers = [trial.ledger for trial in own if trial.state == "finished" and trial.ledger]

    def mean(key: str) -> float | None:
        values = [float(led[key]) for led in ledgers if _number(led.get(key)) is not None]
        return sum(values) / len(values) if values else None

    peaks = [int(led["peak_memory_bytes"]) for led in ledgers if led.get("peak_memory_bytes")]
    return Cost(
        parameters=architecture.get("parameters"),
        paper_parameters=architecture.get("paper_parameters"),
        flops_step=_number(profile.get("flops_step")),
        device_seconds=mean("device_seconds"),
        steps=mean("steps"),
        voxels=mean("voxels"),
        flops=mean("flops"),
        patches_per_s=mean("patches_per_s"),
        inference_ms=_number(profile.get("inference_ms")),
        peak_memory_bytes=max(peaks, default=None),
        device=str(experiment.get("device", {}).get("name") or ""),
    )


def _number(value: Any) -> float | None:
    """A finite float, or None: JSON knows no NaN."""
    if value is None or pd.isna(value) or value in (float("inf"), float("-inf")):
        return None
    return float(value)
