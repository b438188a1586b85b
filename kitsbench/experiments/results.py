"""Everything that an experiment left in its working directory, read back as tables.

Nothing is computed here that a trial did not write, with one exception: a trial that failed has
no scores of its own, so its test cases enter the score table with the penalty and the status
``failed``. A crash must never improve an architecture's mean by leaving its cases out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from kitsbench.errors import DataError
from kitsbench.experiments.records import (
    TRIAL_AGAIN,
    ElsewhereRecord,
    EntrantRecord,
    EnvironmentRecord,
    ExperimentRecord,
    LedgerRecord,
    PlannedTrial,
    ProfileRecord,
    State,
    Status,
    TrialRecord,
    find_experiment,
    profile_key,
)
from kitsbench.experiments.tables import CURVE, SCORES, read_table
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.kept_scores import unscored
from kitsbench.files.documents import Document
from kitsbench.metrics import TRUTH_EMPTY, UNDEFINED, Value, find
from kitsbench.statistics import validate_scores
from kitsbench.statistics.table.policy import truth_holds_region

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
class StoredTrial:
    """One training run as its folder describes it.

    Attributes
    ----------
    planned : PlannedTrial
        What the experiment says of it.
    folder : TrialFolder
        ``WORKDIR/trials/<id>``.
    status : Status
    record : TrialRecord or None
        None where the trial was planned but never begun.
    ledger : LedgerRecord or None
        None where it spent nothing.
    environment : EnvironmentRecord or None
        None where it never ran.
    """

    planned: PlannedTrial
    folder: TrialFolder
    status: Status
    record: TrialRecord | None
    ledger: LedgerRecord | None
    environment: EnvironmentRecord | None

    @classmethod
    def read(
        cls, workdir: Path, planned: PlannedTrial, experiment: ExperimentRecord
    ) -> StoredTrial:
        """Read the JSON files of a trial, and see whether it is scored.

        Parameters
        ----------
        workdir : Path
        planned : PlannedTrial
        experiment : ExperimentRecord
            Which plans it. To it a trial without the scores that it asks for has failed.

        Raises
        ------
        DataError
            A file is damaged, or one is missing without which a finished trial cannot be told of.
        """
        folder = TrialFolder(workdir, planned.id)
        status = folder.read_status()
        # A process may be killed before it has written anything; a finished trial has all.
        needed = status.status == "finished"
        found = cls(
            planned,
            folder,
            status,
            _read(TrialRecord, folder.trial, needed),
            _read(LedgerRecord, folder.ledger, needed),
            _read(EnvironmentRecord, folder.environment, needed),
        )
        if found.record is not None:
            found._check_plan(found.record, experiment.entrant(planned.name))
        found._check_owner()
        if found.record is not None:
            lost = unscored(folder, found.record, experiment.protocols) if needed else None
            if lost is not None:
                update = {"status": "failed", "reason": lost.reason, "message": lost.message}
                return replace(found, status=status.model_copy(update=update))
        return found

    def _check_owner(self) -> None:
        """See that what was measured is this trial's."""
        files = ((self.folder.ledger, self.ledger), (self.folder.environment, self.environment))
        for file, own in files:
            if own is not None and own.trial != self.id:
                raise DataError(
                    f"{file}: the key trial is {own.trial!r}, which is not its folder's name."
                    f"\n{TRIAL_AGAIN}"
                )

    def _check_plan(self, record: TrialRecord, entrant: EntrantRecord | None) -> None:
        """See that the folder holds what the experiment planned there.

        Names are left out: another experiment may have trained the same under another one, such
        as a setting that is the default written out.
        """
        assert entrant is not None  # an experiment names none that is not among them
        identity = record.identity
        for key, planned, own in (
            ("id", self.planned.id, record.id),
            ("identity.architecture", entrant.architecture, identity.architecture),
            ("identity.config", entrant.config, identity.config),
            ("identity.fold", self.planned.fold, record.fold),
            ("identity.seed", self.planned.seed, record.seed),
        ):
            if planned != own:
                raise DataError(
                    f"{self.folder.trial}: the key {key} is {own!r}; the experiment plans "
                    f"{planned!r} there.\n{TRIAL_AGAIN}"
                )

    @property
    def id(self) -> str:
        """Hash of what the trial is."""
        return self.planned.id

    @property
    def name(self) -> str:
        """Display name of the entrant, such as ``unet3d:width=0.5``."""
        return self.planned.name

    @property
    def fold(self) -> int:
        """Index of the test fold."""
        return self.planned.fold

    @property
    def seed(self) -> int:
        """Seed of the training run."""
        return self.planned.seed

    @property
    def state(self) -> State:
        """One of ``pending``, ``running``, ``finished``, ``failed``."""
        return self.status.status

    @property
    def trained(self) -> bool:
        """Whether it trained a network here, rather than combining others' or training none."""
        identity = None if self.record is None else self.record.identity
        return identity is None or not (identity.members or identity.budget[1] == "none")


@dataclass(frozen=True)
class Results:
    """An experiment's outcome.

    Attributes
    ----------
    workdir : Path
        The working directory.
    experiment : ExperimentRecord
        What was asked for.
    trials : list of StoredTrial
        In the order of the plan; failed and unfinished ones included.
    scores : DataFrame
        Columns ``SCORE_COLUMNS``, one row a trial, protocol, case, region and metric. Cases of
        failed trials are present with the penalty and the status ``failed``.
    curves : DataFrame
        Columns ``CURVE_COLUMNS``: losses, learning rates and scores along the budget.
    profiles : dict of str to ProfileRecord
        Of an entrant, by its name.
    """

    workdir: Path
    experiment: ExperimentRecord
    trials: list[StoredTrial]
    scores: pd.DataFrame
    curves: pd.DataFrame
    profiles: dict[str, ProfileRecord]

    @property
    def versions(self) -> list[str]:
        """Versions of kitsbench that trained or scored the trials, in the order of the plan."""
        environments = [t.environment for t in self.trials if t.environment is not None]
        return list(dict.fromkeys(v for found in environments for v in found.kitsbench))

    @property
    def records(self) -> list[TrialRecord]:
        """What is known of the trials, but for those that ended before they wrote it."""
        return [trial.record for trial in self.trials if trial.record is not None]

    @property
    def elsewhere(self) -> dict[str, ElsewhereRecord]:
        """Entrants that were trained elsewhere, by their names."""
        return {e.name: e.elsewhere for e in self.experiment.entrants if e.elsewhere is not None}

    @property
    def apart(self) -> dict[str, ElsewhereRecord]:
        """Those of them that get no rank and no verdict, since they may know the test scans."""
        return {name: known for name, known in self.elsewhere.items() if known.apart}

    @property
    def comparable(self) -> pd.DataFrame:
        """Scores of those that may be compared: of all but :attr:`apart`."""
        return self._without(self.apart)

    @property
    def trained_here(self) -> pd.DataFrame:
        """Scores of those that had the budget and the recipe: of all but :attr:`elsewhere`."""
        return self._without(self.elsewhere)

    def _without(self, names: Iterable[str]) -> pd.DataFrame:
        left_out = self.scores["architecture"].isin([*names])
        return self.scores[~left_out].reset_index(drop=True)

    def check_values(self) -> None:
        """See that every score can be one: for what rests on the values, not only shows them.

        Raises
        ------
        DataError
            A value or status breaks a rule of the statistics; two lines name file and row.
        """
        for trial in self.trials:
            if trial.state != "finished":
                continue
            table = _stamp(read_table(trial.folder.scores, SCORES), trial)
            try:
                validate_scores(table)
            except DataError as error:
                raise DataError(
                    f"{trial.folder.scores}, {str(error).splitlines()[0]}\n{TRIAL_AGAIN}"
                ) from error
        try:
            for _, rows in self.scores.groupby(["protocol", "region"]):
                truth_holds_region(rows)
        except DataError as error:  # two trials contradict each other, and either may be wrong
            raise DataError(
                f"{self.workdir / 'trials'}: {str(error).splitlines()[0]}\n{TRIAL_AGAIN}"
            ) from error


def load_results(workdir: str | Path, experiment: str | None = None) -> Results:
    """Read what an experiment left in a working directory that ``kitsbench run`` wrote.

    Parameters
    ----------
    workdir : path
        Folder that holds ``experiments/`` and ``trials/``.
    experiment : str, optional
        The experiment's id, or its first letters; the latest by default.

    Returns
    -------
    Results

    Raises
    ------
    UsageError
        There is no such experiment.
    DataError
        The folder holds no experiment, or one of its files cannot be read.
    """
    return read_results(workdir, find_experiment(Path(workdir), experiment))


def read_results(workdir: str | Path, experiment: ExperimentRecord) -> Results:
    """Read what the trials of a plan left, whatever other runs wrote beside them.

    Parameters
    ----------
    workdir : path
    experiment : ExperimentRecord
        A run's own plan, in memory.

    Raises
    ------
    DataError
        A file of a trial cannot be read.
    """
    workdir = Path(workdir)
    trials = [StoredTrial.read(workdir, planned, experiment) for planned in experiment.trials]
    return Results(
        workdir=workdir,
        experiment=experiment,
        trials=trials,
        scores=_collect_scores(trials, experiment),
        curves=_collect_curves(trials),
        profiles=_read_profiles(workdir, trials, experiment),
    )


D = TypeVar("D", bound=Document)


def _read(kind: type[D], file: Path, needed: bool) -> D | None:
    """Read a file of a trial; one that is missing is an error only where it is needed."""
    # A link to nothing is a file that is damaged, not one that was never written.
    return kind.read(file) if needed or os.path.lexists(file) else None


def _read_profiles(
    workdir: Path, trials: list[StoredTrial], experiment: ExperimentRecord
) -> dict[str, ProfileRecord]:
    """Profiles of the very networks and recipes that were trained, as they were trained."""
    found: dict[str, ProfileRecord] = {}
    for trial in trials:
        if trial.record is None or trial.environment is None or trial.name in found:
            continue
        device, ran = experiment.device, trial.environment
        key = profile_key(
            trial.record.identity, device.name, device.threads, ran.packages["torch"], ran.cudnn
        )
        profile = ProfileRecord.find(workdir, trial.name, key)
        if profile is not None:
            found[trial.name] = profile
    return found


def _collect_scores(trials: list[StoredTrial], experiment: ExperimentRecord) -> pd.DataFrame:
    done = [trial for trial in trials if trial.state == "finished"]
    parts = [_read_scores(trial, experiment.protocols) for trial in done]
    if not parts:
        return pd.DataFrame(columns=SCORE_COLUMNS)
    scored = pd.concat(parts, ignore_index=True)
    penalties = [_failed_scores(t, scored) for t in trials if t.state == "failed"]
    scores = pd.concat([scored, *penalties], ignore_index=True)
    scores.insert(0, "dataset", experiment.dataset.name)
    return scores[SCORE_COLUMNS]


def _read_scores(trial: StoredTrial, protocols: tuple[str, ...]) -> pd.DataFrame:
    """Scores of a finished trial: of every case that it tests and by every protocol.

    A mean over fewer cases would be another mean, so a table that lacks some is damaged. What the
    values may be is left to the statistics: a report says it and shows the rest.
    """
    file, record = trial.folder.scores, trial.record
    table = _stamp(read_table(file, SCORES), trial)
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
    if (again := table.duplicated(_KEYS)).any():
        protocol, case, region, metric = table.loc[again, _KEYS].iloc[0]
        raise DataError(
            f"{file}: the {region}:{metric} of {case} by {protocol} stands there twice."
            f"\n{TRIAL_AGAIN}"
        )
    return table


def _stamp(table: pd.DataFrame, trial: StoredTrial) -> pd.DataFrame:
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
    return _stamp(rows.assign(value=values, status=statuses), trial)


def _carried(fold: pd.DataFrame, value: Value) -> pd.DataFrame:
    """Rows whose value is, by the rules for empty masks, the diagonal or the true volume."""
    pairs = fold[["metric", "status"]].drop_duplicates().itertuples(index=False, name=None)
    carrying = [(m, s) for m, s in pairs if find(m).at(s) == value]
    here = pd.MultiIndex.from_frame(fold[["metric", "status"]]).isin(carrying)
    return fold[here]


def _collect_curves(trials: list[StoredTrial]) -> pd.DataFrame:
    parts = []
    for trial in trials:
        # A failed trial's curve is kept: it shows where the loss left the rails.
        if trial.folder.curve.is_file():
            table = read_table(trial.folder.curve, CURVE)
            parts.append(_stamp(table, trial).assign(trial=trial.id))
    if not parts:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    return pd.concat(parts, ignore_index=True)[CURVE_COLUMNS]
