"""Where wall time went: of each process that worked on a trial, and of each call of a run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from kitsbench.errors import DataError
from kitsbench.files.documents import Document, Part


class Sitting(Part):
    """Where the wall time of a process that worked on a trial went, in seconds.

    A trial has one, or several where it was stopped and went on. The parts add up to ``wall_s``.

    Attributes
    ----------
    began : str
        UTC.
    start_s : float
        Until the network trains or predicts, and what training did beside its steps: the device,
        the plugin, prepared volumes that are checked, networks that are built or read back.
    training_s : float
        Steps on the device, as the budget counts them.
    loader_wait_s, evaluation_s, checkpoint_s : float
        Waiting for batches, scores along the budget, and writing checkpoints, while it trained.
    prediction_s, scoring_s : float
        The held-out cases. Where scoring runs beside the device, what the device did not hide.
    rest_s : float
        Tables, maps for the report, and all that is not named.
    """

    began: str
    wall_s: float = Field(ge=0)
    start_s: float = Field(ge=0)
    training_s: float = Field(ge=0)
    loader_wait_s: float = Field(ge=0)
    evaluation_s: float = Field(ge=0)
    checkpoint_s: float = Field(ge=0)
    prediction_s: float = Field(ge=0)
    scoring_s: float = Field(ge=0)
    rest_s: float = Field(ge=0)


PARTS = tuple(name for name in Sitting.model_fields if name not in ("began", "wall_s"))
"""Keys of the parts of a sitting, in the order of a trial."""


def in_all(sittings: Iterable[Sitting]) -> dict[str, float]:
    """Sums over sittings: ``wall_s`` and each of :data:`PARTS`."""
    found = list(sittings)
    return {key: sum(getattr(one, key) for one in found) for key in ("wall_s", *PARTS)}


class Call(Part):
    """Where the wall time of one call of ``kitsbench run`` went, in seconds.

    Attributes
    ----------
    began : str
        UTC.
    wall_s : float
        From the beginning of the process.
    starting_s, planning_s, data_s, preparation_s, device_s, trials_s, profile_s, report_s : float
        Imports; plugins and planning; the dataset; prepared volumes; the speed of the device;
        from the first trial to the last; profiles; the report until it is written. What is left
        over of ``wall_s`` nobody has named.
    slots : int
        Trials that ran at the same time, at most.
    trials : int
        Trials that ended, whatever came of them.
    idle_s, process_s, lost_s : float
        Of the time of all slots while trials ran: no trial was there; processes began and ended;
        a trial ran that left no account, since it failed or was stopped.
    sittings : dict of str to float
        Of the same time what trials spent, by :data:`PARTS`, summed over slots.
    foreseen_s : float or None
        What was estimated for this call before its trials began, to its end.
    foreseen_took_s : float or None
        What that took.
    """

    began: str
    wall_s: float = Field(ge=0)
    starting_s: float = Field(ge=0)
    planning_s: float = Field(ge=0)
    data_s: float = Field(ge=0)
    preparation_s: float = Field(ge=0)
    device_s: float = Field(ge=0)
    trials_s: float = Field(ge=0)
    profile_s: float = Field(ge=0)
    report_s: float = Field(ge=0)
    slots: int = Field(ge=0)
    trials: int = Field(ge=0)
    idle_s: float = Field(ge=0)
    process_s: float = Field(ge=0)
    lost_s: float = Field(ge=0)
    sittings: dict[str, Annotated[float, Field(ge=0)]]
    foreseen_s: float | None = Field(ge=0)
    foreseen_took_s: float | None = Field(ge=0)

    @property
    def left_over_s(self) -> float:
        """Wall time that nobody has named; below 0 it was counted twice."""
        return self.wall_s - sum(getattr(self, f"{part}_s") for part in CALL_PARTS)

    def slot_seconds(self) -> dict[str, float]:
        """Time of all slots while trials ran, by part; it adds up to slots times ``trials_s``."""
        return {
            **self.sittings,
            "process_s": self.process_s,
            "lost_s": self.lost_s,
            "idle_s": self.idle_s,
        }


CALL_PARTS = (
    "starting",
    "planning",
    "data",
    "preparation",
    "device",
    "trials",
    "profile",
    "report",
)
"""Parts of the wall time of a call, in its order."""


class AccountsRecord(Document):
    """``experiments/ID/accounts.json``: the calls that ran trials of an experiment."""

    remedy: ClassVar[str] = "Delete it: only the accounts of past calls are lost."

    schema_version: Literal[1] = 1
    experiment: str
    calls: tuple[Call, ...]

    @staticmethod
    def file(workdir: Path, experiment: str) -> Path:
        """Where it lies."""
        return Path(workdir) / "experiments" / experiment / "accounts.json"

    @classmethod
    def find(cls, workdir: Path, experiment: str) -> Self | None:
        """What is kept of an experiment; None where nothing is, or where it is damaged."""
        file = cls.file(workdir, experiment)
        if not os.path.lexists(file):
            return None
        try:
            found = cls.read(file)
        except DataError:  # nothing but the account of past calls depends on it
            return None
        return found if found.experiment == experiment else None
