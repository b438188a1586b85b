"""``trial.json`` and ``status.json``: what a trial is, and how far it came."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from kitsbench.configuration import Setting
from kitsbench.devices.precision import Precision
from kitsbench.experiments.records.parts import (
    TRIAL_AGAIN,
    BudgetNote,
    Shape,
    State,
    StoredRecipe,
    Triple,
    without_unused,
)
from kitsbench.files import digest
from kitsbench.files.documents import Document, Part
from kitsbench.scans.label_names import LabelNames
from kitsbench.training.failures import Reason


class TrialIdentity(Part):
    """What a trial is: whatever changes its result, and nothing else.

    Host, order, number of workers and paths are not part of it. A time budget is bound to the
    class of device, since a second on one is not a second on another.

    Attributes
    ----------
    architecture, config, version, source_hash, spec : str, dict, str, str, str
        The configured plugin; ``spec`` is a hash. Of a file that a key names, ``config`` has the
        hash.
    dataset, preparation, split : str, dict of str to str, str
        Hashes of files, prepared stores by grid, and folds.
    recipe : str
        Hash of the recipe.
    budget : (float, str)
        Amount and currency.
    precision : {"float32", "bfloat16", "float16"}
        What convolutions and matrix products are computed in.
    device_class : str or None
        None unless the budget is in seconds.
    members : tuple of str
        Trials that an ensemble combines.
    numerics : int
        Stands for kitsbench's own share in the numbers, see :mod:`kitsbench.numerics`.
    compile : bool
        Whether the network is compiled, which changes speed and the last digits.
    tta : tuple of tuple of int, or None
        Mirror axes at test time where they are not the recipes'.
    packages : dict of str to str
        Versions of the distributions that the plugin imports or requires.
    pretrained_on : str
        What the initial weights were trained on; empty for none.
    inner : (str, int), optional
        Of a member that is trained without an inner fold: hash of the folds of the training cases,
        and which of them.
    """

    architecture: str
    config: dict[str, Setting]
    version: str
    source_hash: str
    spec: str
    dataset: str
    preparation: dict[str, str]
    split: str
    fold: int = Field(ge=0)
    seed: int = Field(ge=0)
    recipe: str
    budget: tuple[float, str]
    precision: Precision
    device_class: str | None
    members: tuple[str, ...]
    numerics: int = Field(ge=1)
    compile: bool
    tta: tuple[tuple[int, ...], ...] | None
    packages: dict[str, str] = Field(default_factory=dict)
    pretrained_on: str = ""
    inner: tuple[str, int] | None = None

    @model_serializer(mode="wrap")
    def _said(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is not there: who uses no new word has the file and the id of before."""
        return without_unused(whole(self), "packages", "pretrained_on", "inner")

    @property
    def code(self) -> str:
        """Hash of the code that runs: of the plugin's source, with its packages' versions."""
        if not self.packages:
            return self.source_hash
        return digest([self.source_hash, self.packages])

    def hashed(self) -> dict[str, Any]:
        """What the trial's id is the hash of, as plain data."""
        content = self.model_dump(mode="json")
        # What is not asked for is not hashed, so that a new option leaves the ids of those who do
        # not use it as they were.
        if not self.compile:
            del content["compile"]
        if self.tta is None:
            del content["tta"]
        return content

    def digest(self) -> str:
        """The trial's id."""
        return digest(self.hashed())


class TuningPlace(Part):
    """Where a trial stands in a search for settings: the fold, and its number there."""

    fold: int
    number: int


class TrialContext(Part):
    """What one wants to know about a trial beside its identity.

    Attributes
    ----------
    name : str
        Display name of the entrant.
    location : str
        What the registry finds the plugin by: its name, or the path of a file.
    labels : tuple of (str, int)
        Of the dataset.
    on_disk : tuple of (int, int)
        What each value in its masks is here, where that differs; label maps are written so, too.
    patch : tuple of int or None
        Voxels of the first grid; None for an ensemble.
    window : (float, float, float, float)
        Resolved intensity rule.
    spacing : tuple of float
        mm (z, y, x) of the first grid.
    train_cases, test_cases, curve_cases : tuple of str
        Cases that are trained on, held out, and scored along the budget.
    train_patients : tuple of str
        KiTS patients among the training cases, known across the years' datasets.
    tuning : TuningPlace or None
    """

    name: str
    distribution: str
    dataset_name: str
    recipe: StoredRecipe
    budget: BudgetNote
    location: str
    labels: tuple[tuple[str, int], ...]
    patch: Shape | None
    window: tuple[float, float, float, float]
    spacing: Triple
    train_cases: tuple[str, ...]
    train_patients: tuple[str, ...]
    test_cases: tuple[str, ...]
    curve_cases: tuple[str, ...]
    tuning: TuningPlace | None
    on_disk: tuple[tuple[int, int], ...] = ()

    @property
    def names(self) -> LabelNames:
        """The dataset's labels, for whoever reads or writes its label maps."""
        return LabelNames.stored(self.labels, self.on_disk)


class TrialRecord(Document):
    """A trial: its id is the hash of its identity, and reading checks that."""

    remedy: ClassVar[str] = TRIAL_AGAIN

    schema_version: Literal[1] = 1
    id: str
    identity: TrialIdentity
    context: TrialContext

    def hash_fault(self) -> str | None:
        """Whether the recipe has the hash that the identity names."""
        if self.context.recipe.digest() == self.identity.recipe:
            return None
        return "the key context.recipe is not the recipe whose hash is identity.recipe."

    @model_validator(mode="after")
    def _id_fits(self) -> Self:
        if self.id != self.identity.digest():
            raise ValueError(f"the key id is {self.id}, which is not the hash of identity")
        if self.identity.budget != (self.context.budget.amount, self.context.budget.unit):
            raise ValueError("the key context.budget is not the budget of identity.budget")
        return self

    @classmethod
    def of(cls, identity: TrialIdentity, context: TrialContext) -> TrialRecord:
        """A record with its id worked out."""
        return cls(id=identity.digest(), identity=identity, context=context)

    @property
    def name(self) -> str:
        """Display name of the entrant."""
        return self.context.name

    @property
    def fold(self) -> int:
        """Index of the test fold."""
        return self.identity.fold

    @property
    def seed(self) -> int:
        """Seed of the training run."""
        return self.identity.seed


class Status(Document):
    """How far a trial came.

    Attributes
    ----------
    reason : str or None
        Of a failed trial.
    message : str or None
        Of a failed trial, and of one that runs and was interrupted.
    started, finished : str or None
        UTC; ``finished`` also for one that failed.
    host : str or None
        Where it ran last.
    """

    remedy: ClassVar[str] = TRIAL_AGAIN

    schema_version: Literal[1] = 1
    status: State
    reason: Reason | None
    message: str | None
    started: str | None
    finished: str | None
    host: str | None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.reason is not None) != (self.status == "failed"):
            raise ValueError(
                f"the key status is {self.status} and the key reason {self.reason!r}; failed "
                "trials have a reason, no others do"
            )
        return self

    @property
    def ended(self) -> bool:
        """Whether it finished or failed."""
        return self.status in ("finished", "failed")


class Unscored(Document):
    """``unscored.json``: why a trained trial could not be scored when that was tried last."""

    remedy: ClassVar[str] = "Delete it and run the same command again."

    schema_version: Literal[1] = 1
    trial: str
    reason: Reason
    message: str


class ScoreRow(Part):
    """A row of scores; the value is None where it is undefined."""

    protocol: str
    case: str
    region: str
    metric: str
    value: float | None
    status: str


class PartialScoresRecord(Document):
    """``scores.partial.json``: rows of the cases that were scored before a kill.

    Attributes
    ----------
    weights : tuple of str
        Hashes of the weights that they were scored with.
    protocols : tuple of str
        By which.
    scored : dict of str to tuple of ScoreRow
        By case.
    """

    remedy: ClassVar[str] = "Delete it: the next run scores its cases again."

    schema_version: Literal[1] = 1
    trial: str
    weights: tuple[str, ...]
    protocols: tuple[str, ...]
    scored: dict[str, tuple[ScoreRow, ...]]


class LeaseRecord(Document):
    """``lease.json``, and ``WORKDIR/running/*.json``: who works on a trial, or runs an experiment.

    Attributes
    ----------
    machine : str
        What tells apart machines whose processes cannot be looked up from each other.
    born : int or None
        When the process began, in ticks of its machine.
    token : str
        Of the one who wrote it.
    experiment : str or None
    beat : str
        Counts heartbeats.
    """

    remedy: ClassVar[str] = "Delete it if no other run works there."

    schema_version: Literal[1] = 1
    machine: str
    host: str
    pid: int = Field(ge=1)
    born: int | None
    token: str
    experiment: str | None
    beat: str


class DeviceUse(Part):
    """How much of a device a trial takes.

    Attributes
    ----------
    name : str
        Such as ``cpu`` or ``cuda:0``.
    load : float or None
        Share of the moments before in which a GPU computed, whoever asked for it; on a CPU the
        share of the trial's threads that ran, above 1 where there were more.
    memory_bytes : int or None
        What the allocator holds of a GPU; on a CPU the resident memory of the process.
    """

    name: str
    load: float | None = Field(ge=0)
    memory_bytes: int | None = Field(ge=0)


class TrialProgress(Document):
    """``progress.json``: how far a trial is that a process works on.

    Attributes
    ----------
    sitting : str
        Of the process that works on it; another one has another.
    count : int
        How often it has written this; it says that it lives where clocks differ.
    trial : str
        Its id.
    stage : {"start", "train", "score"}
        What it does.
    fraction : float
        Progress of the stage.
    step : int
        Optimiser steps so far.
    losses : dict of str to float
        Of the last step: ``loss``, its parts, and the norm of the gradient.
    lr, patches_per_s : float or None
        Of the last step; over the device seconds since this was written before.
    scores : dict of str to float
        {"region:metric": mean}, of the cases that are watched along the budget, or that have been
        scored.
    scored : int
        Held-out cases that have been scored.
    elapsed_s, left_s : float or None
        Seconds since the process took it up, and that it will still take at its pace.
    device : DeviceUse
        What it takes of its device.
    """

    remedy: ClassVar[str] = "Delete it: whoever works on the trial writes it again."

    schema_version: Literal[2] = 2
    trial: str
    sitting: str
    count: int = Field(ge=1)
    stage: Literal["start", "train", "score"]
    fraction: float = Field(ge=0, le=1)
    step: int = Field(ge=0)
    losses: dict[str, float]
    lr: float | None
    patches_per_s: float | None
    scores: dict[str, float]
    scored: int = Field(ge=0)
    elapsed_s: float = Field(ge=0)
    left_s: float | None = Field(ge=0)
    device: DeviceUse


PENDING = Status(
    status="pending", reason=None, message=None, started=None, finished=None, host=None
)
"""Of a trial that nobody began."""
