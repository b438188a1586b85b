"""The report as one JSON document, and the schema that it keeps.

``report.schema.json`` beside this file is published with the package and lies beside every report;
it is JSON Schema 2020-12. The same file says in ``$defs/comparison`` what ``comparison.json`` is.
"""

from __future__ import annotations

import dataclasses
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from kitsbench.experiments.records import EntrantRecord
from kitsbench.files import as_json
from kitsbench.reporting import setup
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.first_screen.screen import FirstScreen

VERSION = 1
"""Of both documents; a change that a reader of the old one would not understand raises it."""
SCHEMA = "report.schema.json"


@cache
def schema_text() -> str:
    """The schema as it is published."""
    return (Path(__file__).parent / SCHEMA).read_text(encoding="utf-8")


def schema() -> dict[str, Any]:
    """The schema of ``report.json``."""
    found: dict[str, Any] = json.loads(schema_text())
    return found


def comparison_document(analysis: Analysis) -> dict[str, Any]:
    """What ``comparison.json`` holds: what ``kitsbench compare --json`` prints, or why nothing."""
    if not analysis.comparison:
        return {"schema_version": VERSION, "obstacle": analysis.obstacle}
    found: dict[str, Any] = as_json(analysis.comparison)
    return {"schema_version": VERSION, **found}


def report_document(analysis: Analysis, first: FirstScreen) -> dict[str, Any]:
    """What ``report.json`` holds: the whole report for a program.

    Parameters
    ----------
    analysis : Analysis
    first : FirstScreen
        Of the page, whose sentences the document repeats.
    """
    results = analysis.results
    experiment = results.experiment
    dataset, recipe = experiment.dataset, experiment.recipe
    narrowed = analysis.narrowed
    return {
        "$schema": SCHEMA,
        "schema_version": VERSION,
        "experiment": {
            "id": experiment.id,
            "created": experiment.created,
            "planned_by": experiment.version,
            "trained_by": results.versions,
            "commits": results.commits,
            "command": experiment.command,
            "rebuild": setup.rebuild_command(analysis),
            "joined": [one.id for one in results.joined],
        },
        "dataset": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "synthetic": dataset.synthetic,
            "cases": dataset.n_cases,
            "excluded": dataset.excluded,
            "labels": dataset.labels,
            "note": dataset.note,
        },
        "protocol": experiment.protocol,
        "protocols": list(experiment.protocols),
        "endpoint": experiment.endpoint,
        "margin": analysis.margin,
        "recipe": {
            "mode": experiment.recipe_mode,
            "name": experiment.recipe_name,
            "digest": None if recipe is None else recipe.digest(),
        },
        "budget": experiment.budget.model_dump(mode="json"),
        "folds": experiment.folds.model_dump(mode="json"),
        "seeds": experiment.seeds,
        "device": experiment.device.model_dump(mode="json"),
        "narrowed": None
        if narrowed is None
        else {
            "architectures": list(narrowed.asked.architectures),
            "endpoint": narrowed.asked.endpoint,
            "baseline": narrowed.asked.baseline,
            "margin": narrowed.asked.margin,
            "regions": list(narrowed.asked.regions),
            "pairs": narrowed.pairs,
            "planned_pairs": narrowed.planned,
            "exploratory": narrowed.exploratory,
            "told": narrowed.told,
        },
        "answer": {
            "headline": first.headline,
            "compared": first.compared,
            "remarks": first.remarks,
            "steps": [dataclasses.asdict(step) for step in first.steps],
        },
        "entrants": [_entrant(analysis, entrant) for entrant in experiment.entrants],
        "comparison": as_json(analysis.comparison) if analysis.comparison else None,
        "obstacle": analysis.obstacle,
        "summary": rows_of(analysis.summary),
        "trials": _trials(analysis),
    }


def _entrant(analysis: Analysis, entrant: EntrantRecord) -> dict[str, Any]:
    return {
        "name": entrant.name,
        "architecture": entrant.architecture,
        "title": entrant.title,
        "role": analysis.role(entrant.name),
        "paper": entrant.paper,
        "distribution": entrant.distribution,
        "version": entrant.version,
        "source_hash": entrant.source_hash,
        "status": entrant.status,
        "config": entrant.model_dump(mode="json")["config"],
        "members": list(entrant.members),
        "trained_elsewhere": entrant.elsewhere is not None,
        "set_apart": entrant.name in analysis.apart,
        "parameters": entrant.parameters,
        "flops": entrant.flops,
    }


def _trials(analysis: Analysis) -> list[dict[str, Any]]:
    means = setup.trial_means(analysis)
    found = []
    for trial in analysis.results.trials:
        mean = means.get((trial.name, trial.fold, trial.seed))
        found.append(
            {
                "id": trial.id,
                "architecture": trial.name,
                "fold": trial.fold,
                "seed": trial.seed,
                "state": trial.state,
                "reason": trial.status.reason,
                "mean": _plain(mean),
            }
        )
    return found


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain data; what is missing or infinite is None."""
    columns = [str(name) for name in table.columns]
    return [
        dict(zip(columns, map(_plain, row), strict=True))
        for row in table.itertuples(index=False, name=None)
    ]


def _plain(value: Any) -> Any:
    own = value.item() if hasattr(value, "item") else value
    if own is None or own is pd.NA or (isinstance(own, float) and not math.isfinite(own)):
        return None
    return own
