"""Everything that an experiment left in its working directory, read back as tables.

Nothing is computed here that a trial did not write, with one exception: a trial that failed has
no scores of its own, so its test cases enter the score table with the penalty and the status
``failed``. A crash must never improve an architecture's mean by leaving its cases out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from kitsbench.errors import DataError
from kitsbench.experiments.collected import collect_curves, collect_scores, stamp
from kitsbench.experiments.compared import compare_planned
from kitsbench.experiments.looks.counting import Counting
from kitsbench.experiments.records import (
    TRIAL_AGAIN,
    CasesRecord,
    ElsewhereRecord,
    ExperimentRecord,
    LedgerRecord,
    LooksRecord,
    ProfileRecord,
    TrialRecord,
    find_experiment,
    profile_key,
)
from kitsbench.experiments.stored_trial import StoredTrial
from kitsbench.experiments.tables import SCORES, read_table
from kitsbench.statistics import Comparison, validate_scores
from kitsbench.statistics.table.elsewhere import ELSEWHERE, word_of
from kitsbench.statistics.table.policy import truth_holds_region

LEDGER_COLUMNS = ["trial", "architecture", "fold", "seed", "status", "reason"]


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
    joined : tuple of ExperimentRecord
        The experiments that these results were put together from, where they were.
    looks : LooksRecord or None
        Those that were taken, of a run that stops by itself.
    cases : CasesRecord or None
        Sizes of what is sought, where they were measured.
    """

    workdir: Path
    experiment: ExperimentRecord
    trials: list[StoredTrial]
    scores: pd.DataFrame
    curves: pd.DataFrame
    profiles: dict[str, ProfileRecord]
    joined: tuple[ExperimentRecord, ...] = ()
    looks: LooksRecord | None = None
    cases: CasesRecord | None = None

    def compare(
        self,
        *,
        baseline: str | None = None,
        margin: float | None = None,
        secondary: bool = True,
    ) -> Comparison:
        """Compare the entrants on the experiment's endpoint, as its report does.

        Parameters
        ----------
        baseline, margin, secondary : optional
            As of :func:`~kitsbench.experiments.compared.compare_planned`.

        Raises
        ------
        UsageError, DataError
            As there.
        """
        return compare_planned(
            self.experiment,
            self.marked,
            [*self.apart],
            self.looks,
            baseline=baseline,
            margin=margin,
            secondary=secondary,
        )

    @property
    def versions(self) -> list[str]:
        """Versions of kitsbench that trained or scored the trials, in the order of the plan."""
        environments = [t.environment for t in self.trials if t.environment is not None]
        return list(dict.fromkeys(v for found in environments for v in found.kitsbench))

    @property
    def commits(self) -> list[str]:
        """Commits of the kitsbench that trained or scored the trials, where they are known."""
        environments = [t.environment for t in self.trials if t.environment is not None]
        return list(dict.fromkeys(found.commit for found in environments if found.commit))

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
    def trained_here(self) -> pd.DataFrame:
        """Scores of those that had the budget and the recipe: of all but :attr:`elsewhere`."""
        left_out = self.scores["architecture"].isin([*self.elsewhere])
        return self.scores[~left_out].reset_index(drop=True)

    @property
    def marked(self) -> pd.DataFrame:
        """Scores with a column that says who was trained elsewhere, where anybody was."""
        if not self.elsewhere:
            return self.scores
        words = {n: word_of(e.leak is not None, e.allowed) for n, e in self.elsewhere.items()}
        said = self.scores["architecture"].map(words).fillna("")
        return self.scores.assign(**{ELSEWHERE: said})

    @property
    def ledger(self) -> pd.DataFrame:
        """What the trials spent, a row each, with a column for each part of their accounts.

        An ensemble trains nothing: ``device_seconds`` of its row are its own, and
        ``members_device_seconds`` those of its ``members`` trials together, which stand in their
        rows, too, and may be shared with other ensembles.
        """
        spent = {trial.id: trial.ledger for trial in self.trials}
        rows = [
            {
                "trial": trial.id,
                "architecture": trial.name,
                "fold": trial.fold,
                "seed": trial.seed,
                "status": trial.state,
                "reason": trial.status.reason,
                **_flat(trial.ledger.plain() if trial.ledger else {}),
                **_of_members(trial, spent),
            }
            for trial in self.trials
        ]
        return pd.DataFrame(rows, columns=None if rows else LEDGER_COLUMNS)

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
            table = stamp(read_table(trial.folder.scores, SCORES), trial)
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


def _of_members(
    trial: StoredTrial, spent: Mapping[str, LedgerRecord | None]
) -> dict[str, float | None]:
    """How many trials an ensemble is made of, and what they spent together, where all is known."""
    members = trial.record.identity.members if trial.record is not None else ()
    own = [ledger for member in members if (ledger := spent.get(member)) is not None]
    known = bool(members) and len(own) == len(members)
    seconds = sum(ledger.device_seconds for ledger in own) if known else None
    return {"members": len(members), "members_device_seconds": seconds}


def _flat(ledger: dict[str, Any]) -> dict[str, Any]:
    """A ledger with a column for each part of its account."""
    account = ledger.pop("accounting", {})
    return ledger | {f"accounting_{key}": seconds for key, seconds in account.items()}


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
    looks = None
    if experiment.until is not None:
        looks = LooksRecord.find(workdir, experiment.id)
    return counted_results(workdir, experiment, looks)


def counted_results(
    workdir: Path, experiment: ExperimentRecord, looks: LooksRecord | None
) -> Results:
    """Read the same, as far as looks have counted it: those, None before there are any.

    Raises
    ------
    DataError
        A file of a trial cannot be read.
    """
    counting = Counting(experiment, looks)
    trials = [
        StoredTrial.read(workdir, planned, experiment).as_counted(counting)
        for planned in experiment.trials
    ]
    profiles = _read_profiles(workdir, trials, experiment)
    cases = CasesRecord.find(workdir, experiment.dataset.fingerprint)
    found = results_of(workdir, experiment, trials, profiles)
    return replace(found, looks=looks, cases=cases)


def results_of(
    workdir: Path,
    experiment: ExperimentRecord,
    trials: list[StoredTrial],
    profiles: dict[str, ProfileRecord],
    joined: tuple[ExperimentRecord, ...] = (),
) -> Results:
    """Collect the tables of trials that were read.

    Parameters
    ----------
    workdir, experiment, trials, profiles, joined
        As of :class:`Results`.

    Raises
    ------
    DataError
        A table of a trial cannot be read.
    """
    return Results(
        workdir=workdir,
        experiment=experiment,
        trials=trials,
        scores=collect_scores(trials, experiment),
        curves=collect_curves(trials),
        profiles=profiles,
        joined=joined,
    )


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
