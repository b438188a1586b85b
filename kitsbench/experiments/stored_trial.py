"""One trial as its folder holds it: what was planned, what became of it, what it spent."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from kitsbench.errors import DataError
from kitsbench.experiments.looks.counting import Counting
from kitsbench.experiments.records import (
    PENDING,
    TRIAL_AGAIN,
    EntrantRecord,
    EnvironmentRecord,
    ExperimentRecord,
    LedgerRecord,
    PlannedTrial,
    State,
    Status,
    TrialRecord,
)
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.kept_scores import unscored
from kitsbench.files.documents import Document

D = TypeVar("D", bound=Document)

Shown = State | Literal["spared", "held", "interrupted"]
"""How far a trial came, as its experiment shows it: ``interrupted`` where the user stopped it and
the next run goes on with it, ``spared`` where looks had decided before it
was run, ``held`` where it has finished and its scores wait for the next look."""


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
    spared : str
        Why its experiment never runs it; empty where it does.
    counts : bool
        Whether its scores are shown; False until a look has counted it.
    """

    planned: PlannedTrial
    folder: TrialFolder
    status: Status
    record: TrialRecord | None
    ledger: LedgerRecord | None
    environment: EnvironmentRecord | None
    spared: str = ""
    counts: bool = True

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

    def as_counted(self, counting: Counting) -> StoredTrial:
        """The trial as the looks of its experiment let it be seen."""
        if not counting.waits:
            return self
        if why := counting.spared(self.planned):
            # Another experiment may have run it; this one has neither spent nor seen anything.
            return replace(
                self, status=PENDING, ledger=None, environment=None, spared=why, counts=False
            )
        found = replace(self, counts=counting.counts(self.planned))
        if counting.missed(self.planned) and self.status.status != "failed":
            why = "It had failed when a look counted it, and a look is not taken back."
            update = {"status": "failed", "reason": "killed", "message": why}
            return replace(found, status=self.status.model_copy(update=update))
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
    def state(self) -> Shown:
        """How far it came, in one word."""
        if self.spared:
            return "spared"
        if self.status.status == "running" and self.status.message:
            return "interrupted"
        return "held" if self.ran and not self.counts else self.status.status

    @property
    def ran(self) -> bool:
        """Whether it has finished, be its scores shown or not."""
        return self.status.status == "finished"

    @property
    def trained(self) -> bool:
        """Whether it trained a network here, rather than combining others' or training none."""
        identity = None if self.record is None else self.record.identity
        return identity is None or not (identity.members or identity.budget[1] == "none")


def _read(kind: type[D], file: Path, needed: bool) -> D | None:
    """Read a file of a trial; one that is missing is an error only where it is needed."""
    # A link to nothing is a file that is damaged, not one that was never written.
    return kind.read(file) if needed or os.path.lexists(file) else None
