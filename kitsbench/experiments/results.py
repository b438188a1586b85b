"""Everything that an experiment left in its working directory, read back as tables.

Nothing is computed here that a trial did not write, with one exception: a trial that failed has
no scores of its own, so its test cases enter the score table with the penalty and the status
``failed``. A crash must never improve an architecture's mean by leaving its cases out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kitsbench.errors import DataError
from kitsbench.files import read_json
from kitsbench.metrics import TRUTH_EMPTY, Value, find

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


@dataclass(frozen=True)
class TrialRecord:
    """One training run as its folder describes it.

    Attributes
    ----------
    id : str
        Hash of what the trial is.
    folder : Path
        ``WORKDIR/trials/<id>``.
    trial, status, ledger, environment : dict
        The files of those names; empty where the trial never wrote one.
    """

    id: str
    folder: Path
    trial: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    ledger: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """Label of the configured architecture, such as ``unet3d:width=0.5``."""
        return str(self.trial.get("label") or self.trial.get("architecture") or "(unknown)")

    @property
    def fold(self) -> int:
        """Index of the test fold; -1 where the trial was planned but never written."""
        return int(self.trial.get("fold", -1))

    @property
    def seed(self) -> int:
        """Seed of the training run; -1 where the trial was planned but never written."""
        return int(self.trial.get("seed", -1))

    @property
    def state(self) -> str:
        """One of ``pending``, ``running``, ``finished``, ``failed``."""
        return str(self.status.get("status", "pending"))


@dataclass(frozen=True)
class Results:
    """An experiment's outcome.

    Attributes
    ----------
    workdir : Path
        The working directory.
    experiment : dict
        ``experiment.json``.
    trials : list of TrialRecord
        In the order of the plan; failed and unfinished ones included.
    scores : DataFrame
        Columns ``SCORE_COLUMNS``, one row a trial, protocol, case, region and metric. Cases of
        failed trials are present with the penalty and the status ``failed``.
    curves : DataFrame
        Columns ``CURVE_COLUMNS``: losses, learning rates and scores along the budget.
    profiles : dict
        Label of an architecture to its profile.
    """

    workdir: Path
    experiment: dict[str, Any]
    trials: list[TrialRecord]
    scores: pd.DataFrame
    curves: pd.DataFrame
    profiles: dict[str, dict[str, Any]]


def load_results(workdir: str | Path) -> Results:
    """Read a working directory that ``kitsbench run`` wrote.

    Parameters
    ----------
    workdir : path
        Folder that holds ``experiment.json`` and ``trials/``.

    Returns
    -------
    Results

    Raises
    ------
    DataError
        The folder holds no experiment, or one of its files cannot be read.
    """
    workdir = Path(workdir)
    file = workdir / "experiment.json"
    if not file.is_file():
        raise DataError(
            f"{workdir} holds no experiment.json, so it is not a working directory of kitsbench. "
            "Name the folder that `kitsbench run` wrote (by default kitsbench-work)."
        )
    experiment = _read(file)
    trials = [_read_trial(workdir / "trials" / str(name)) for name in experiment.get("trials", [])]
    dataset = str(experiment.get("dataset", {}).get("name", ""))
    return Results(
        workdir=workdir,
        experiment=experiment,
        trials=trials,
        scores=_collect_scores(trials, dataset),
        curves=_collect_curves(trials),
        profiles=_read_profiles(workdir / "profiles"),
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        content = read_json(file)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(
            f"{file} cannot be read as JSON ({error}). Delete it, or its trial's folder, and call "
            "`kitsbench run` again: finished trials are kept."
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{file} holds a {type(content).__name__}; an object was expected.")
    return content


def _read_trial(folder: Path) -> TrialRecord:
    parts = {}
    for name in ("trial", "status", "ledger", "environment"):
        file = folder / f"{name}.json"
        parts[name] = _read(file) if file.is_file() else {}
    return TrialRecord(id=folder.name, folder=folder, **parts)


def _read_profiles(folder: Path) -> dict[str, dict[str, Any]]:
    profiles = {}
    for file in sorted(folder.glob("*.json")):
        profile = _read(file)
        profiles[str(profile.get("architecture", file.stem))] = profile
    return profiles


def _read_table(file: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except Exception as error:  # pyarrow raises several unrelated classes for a damaged file
        raise DataError(
            f"{file} cannot be read as a Parquet table ({error}). Delete its trial's folder and "
            "call `kitsbench run` again: finished trials are kept."
        ) from error


def _collect_scores(trials: list[TrialRecord], dataset: str) -> pd.DataFrame:
    parts = []
    for trial in trials:
        file = trial.folder / "scores.parquet"
        if trial.state == "finished" and file.is_file():
            parts.append(_stamp(_read_table(file), trial))
    if not parts:
        return pd.DataFrame(columns=SCORE_COLUMNS)
    scored = pd.concat(parts, ignore_index=True)
    penalties = [_failed_scores(t, scored) for t in trials if t.state == "failed"]
    scores = pd.concat([scored, *penalties], ignore_index=True)
    scores.insert(0, "dataset", dataset)
    return scores[SCORE_COLUMNS]


def _stamp(table: pd.DataFrame, trial: TrialRecord) -> pd.DataFrame:
    return table.assign(architecture=trial.architecture, fold=trial.fold, seed=trial.seed)


def _failed_scores(trial: TrialRecord, scored: pd.DataFrame) -> pd.DataFrame:
    """Rows of a failed trial for the cases that its fold would have tested.

    What is scored is read off the trials of the same fold that finished; where none did, the
    trial's own list of test cases is crossed with what the other folds are scored on. Where the
    penalty depends on the scan, it is taken from a row of that scan which carries it, since the
    scan itself is not read here; without such a row it is unknown (NaN).
    """
    fold = scored[scored["fold"] == trial.fold]
    rows = fold[_KEYS].drop_duplicates().reset_index(drop=True)
    if rows.empty:
        cases = pd.DataFrame({"case": list(trial.trial.get("test_cases", []))}, dtype=object)
        measured = scored[["protocol", "region", "metric"]].drop_duplicates()
        rows = cases.merge(measured, how="cross")[_KEYS]
    empty = fold[fold["status"].isin(TRUTH_EMPTY)][_KEYS[:3]].drop_duplicates()
    empty_truth = set(empty.itertuples(index=False, name=None))
    diagonal = _carried(fold, "diagonal").groupby("case")["value"].first()
    volume = _carried(fold, "true volume").groupby(_KEYS)["value"].first()
    values = []
    for key in rows.itertuples(index=False, name=None):
        value = find(key[3]).at("failed", holds=key[:3] not in empty_truth)
        if value == "diagonal":
            value = float(diagonal.get(key[1], np.nan))
        elif value == "true volume":
            value = float(volume.get(key, np.nan))
        values.append(np.nan if value is None else float(value))
    return _stamp(rows.assign(value=values, status="failed"), trial)


def _carried(fold: pd.DataFrame, value: Value) -> pd.DataFrame:
    """Rows whose value is, by the rules for empty masks, the diagonal or the true volume."""
    pairs = fold[["metric", "status"]].drop_duplicates().itertuples(index=False, name=None)
    carrying = [(m, s) for m, s in pairs if find(m).at(s) == value]
    here = pd.MultiIndex.from_frame(fold[["metric", "status"]]).isin(carrying)
    return fold[here]


def _collect_curves(trials: list[TrialRecord]) -> pd.DataFrame:
    parts = []
    for trial in trials:
        file = trial.folder / "curve.parquet"
        if file.is_file():
            # A failed trial's curve is kept: it shows where the loss left the rails.
            parts.append(_stamp(_read_table(file), trial).assign(trial=trial.id))
    if not parts:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    return pd.concat(parts, ignore_index=True)[CURVE_COLUMNS]
