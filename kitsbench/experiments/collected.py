"""Scores and curves of all trials of an experiment, each put together into one table.

A crash must never improve an architecture's mean by leaving its cases out, so a trial that failed
has rows with the penalty.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from kitsbench.errors import DataError
from kitsbench.experiments.records import TRIAL_AGAIN, ExperimentRecord
from kitsbench.experiments.stored_trial import StoredTrial
from kitsbench.experiments.tables import CURVE, SCORES, read_table
from kitsbench.metrics import TRUTH_EMPTY, UNDEFINED, Value, find

SCORE_COLUMNS = [
    "dataset",
    "architecture",
    "fold",
    "seed",
    "protocol",
    "case",
    "region",
    "metric",
    "value",
    "status",
]
CURVE_COLUMNS = [
    "trial",
    "architecture",
    "fold",
    "seed",
    "step",
    "fraction",
    "device_seconds",
    "kind",
    "name",
    "value",
]
_KEYS = ["protocol", "case", "region", "metric"]
_MEASURED = ["protocol", "region", "metric"]


def collect_scores(trials: list[StoredTrial], experiment: ExperimentRecord) -> pd.DataFrame:
    """Scores of all finished trials, and penalties of those that failed.

    Raises
    ------
    DataError
        A table of a trial cannot be read.
    """
    done = [trial for trial in trials if trial.state == "finished"]
    parts = [_read_scores(trial, experiment.protocols) for trial in done]
    if not parts:
        return pd.DataFrame(columns=SCORE_COLUMNS)
    _check_alike(done, parts, experiment)
    scored = pd.concat(parts, ignore_index=True)
    penalties = [_failed_scores(t, scored) for t in trials if t.state == "failed" and t.counts]
    scores = pd.concat([scored, *penalties], ignore_index=True)
    scores.insert(0, "dataset", experiment.dataset.name)
    return scores[SCORE_COLUMNS]


def _read_scores(trial: StoredTrial, protocols: tuple[str, ...]) -> pd.DataFrame:
    """Scores of a finished trial: of every case that it tests and by every protocol.

    A mean over fewer cases would be another mean, so a table that lacks some is damaged. What the
    values may be is left to the statistics: a report says it and shows the rest.
    """
    file, record = trial.folder.scores, trial.record
    table = stamp(read_table(file, SCORES), trial)
    # Other experiments that share the trial may have asked for other protocols.
    table = table[table["protocol"].isin(protocols)].reset_index(drop=True)
    tested = set(record.context.test_cases) if record else set()
    for protocol in protocols:
        rows = table[table["protocol"] == protocol]
        if found := sorted(set(rows["case"]) ^ tested):
            what = "has" if found[0] not in tested else "lacks"
            raise DataError(
                f"{file}: the column case {what} {found[0]} for {protocol}; trial.json tests "
                f"{len(tested)} cases.\n{TRIAL_AGAIN}"
            )
    counts = table.groupby(_MEASURED)["case"].nunique().reset_index()
    for by, region, metric, count in counts.itertuples(index=False, name=None):
        if count >= len(tested):
            continue
        raise DataError(
            f"{file} has the {region}:{metric} by {by} of {count} cases, and trial.json tests "
            f"{len(tested)}.\n{TRIAL_AGAIN}"
        )
    if (again := table.duplicated(_KEYS)).any():
        protocol, case, region, metric = table.loc[again, _KEYS].iloc[0]
        raise DataError(
            f"{file}: the {region}:{metric} of {case} by {protocol} stands there twice."
            f"\n{TRIAL_AGAIN}"
        )
    return table


def _check_alike(
    trials: list[StoredTrial], tables: list[pd.DataFrame], experiment: ExperimentRecord
) -> None:
    """See that all trials have the endpoint, if one has: a mean over fewer would be another."""
    wanted = [experiment.protocol, *experiment.endpoint.split(":")]
    have = [(table[_MEASURED] == wanted).all(axis=1).any() for table in tables]
    for trial, has in zip(trials, have, strict=True):
        if any(have) and not has:
            raise DataError(
                f"{trial.folder.scores} lacks the {experiment.endpoint} by {experiment.protocol}, "
                f"which other trials have.\n{TRIAL_AGAIN}"
            )


def stamp(table: pd.DataFrame, trial: StoredTrial) -> pd.DataFrame:
    """Add the columns that say which trial the rows are of."""
    return table.assign(architecture=trial.name, fold=trial.fold, seed=trial.seed)


def _failed_scores(trial: StoredTrial, scored: pd.DataFrame) -> pd.DataFrame:
    """Rows of a failed trial for the cases that its fold would have tested.

    What is scored is read off the trials of the same fold that finished; where none did, the
    trial's own list of test cases is crossed with what the other folds are scored on. Where the
    penalty depends on the scan, it is taken from a row of that scan which carries it, since the
    scan itself is not read here; without such a row it is unknown (NaN). What no prediction of a
    case can have is undefined for a failed one, too.
    """
    fold = scored[scored["fold"] == trial.fold]
    rows = fold[_KEYS].drop_duplicates().reset_index(drop=True)
    if rows.empty:
        tested = trial.record.context.test_cases if trial.record else ()
        cases = pd.DataFrame({"case": list(tested)}, dtype=object)
        measured = scored[["protocol", "region", "metric"]].drop_duplicates()
        rows = cases.merge(measured, how="cross")[_KEYS]
    empty = fold[fold["status"].isin(TRUTH_EMPTY)][_KEYS[:3]].drop_duplicates()
    empty_truth = set(empty.itertuples(index=False, name=None))
    diagonal = _carried(fold, "diagonal").groupby("case")["value"].first()
    volume = _carried(fold, "true volume").groupby(_KEYS)["value"].first()
    lacking = fold[fold["status"] == UNDEFINED][_KEYS]
    undefined = set(lacking.itertuples(index=False, name=None))
    values, statuses = [], []
    for key in rows.itertuples(index=False, name=None):
        statuses.append(UNDEFINED if key in undefined else "failed")
        value = find(key[3]).at(statuses[-1], holds=key[:3] not in empty_truth)
        if value == "diagonal":
            value = float(diagonal.get(key[1], np.nan))
        elif value == "true volume":
            value = float(volume.get(key, np.nan))
        values.append(np.nan if value is None else float(value))
    return stamp(rows.assign(value=values, status=statuses), trial)


def _carried(fold: pd.DataFrame, value: Value) -> pd.DataFrame:
    """Rows whose value is, by the rules for empty masks, the diagonal or the true volume."""
    pairs = fold[["metric", "status"]].drop_duplicates().itertuples(index=False, name=None)
    carrying = [(m, s) for m, s in pairs if find(m).at(s) == value]
    here = pd.MultiIndex.from_frame(fold[["metric", "status"]]).isin(carrying)
    return fold[here]


def collect_curves(trials: list[StoredTrial]) -> pd.DataFrame:
    """Losses, learning rates and scores along the budget of all trials that count.

    Raises
    ------
    DataError
        A table of a trial cannot be read.
    """
    parts = []
    for trial in trials:
        # A failed trial's curve is kept: it shows where the loss left the rails.
        # One that waits for a look shows no scores, and one that is spared has none here.
        if trial.counts and trial.folder.curve.is_file():
            table = read_table(trial.folder.curve, CURVE)
            parts.append(stamp(table, trial).assign(trial=trial.id))
    if not parts:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    return pd.concat(parts, ignore_index=True)[CURVE_COLUMNS]
