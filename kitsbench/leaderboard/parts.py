"""Parts of an entry: what each says, and what can be seen to be wrong with it alone."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from kitsbench.configuration import Setting
from kitsbench.experiments.records import BudgetNote, EnvironmentRecord, Range
from kitsbench.experiments.records.parts import StoredRecipe, without_unused
from kitsbench.files.documents import Part
from kitsbench.metrics import find
from kitsbench.training.failures import Reason


class Dataset(Part):
    """The scans, and whether they are real.

    Attributes
    ----------
    name : str
        As tables call it.
    fingerprint : str
        Hash of the files; entries of one table have the same.
    n_cases : int
        Cases that were used: trained on or tested.
    n_excluded : int
        Cases of the dataset that were set aside.
    synthetic : bool
        Whether the scans are made up, as the phantom's are.
    note : str
        What a reader should know about them.
    """

    name: str = Field(min_length=1)
    fingerprint: str = Field(min_length=1)
    n_cases: int = Field(ge=1)
    n_excluded: int = Field(ge=0)
    synthetic: bool
    note: str


class TuningNote(Part):
    """How every architecture searched for its settings, in each fold by itself.

    Attributes
    ----------
    trials : int
        Settings that each tried.
    budget : BudgetNote or None
        Of such a trial; None for that of the others.
    space : dict of str to Range
        What was searched.
    """

    trials: int = Field(ge=2)
    budget: BudgetNote | None
    space: dict[str, Range]


class RecipeNote(Part):
    """How was trained.

    Attributes
    ----------
    mode : {"matched", "paper"}
        Whether all architectures of the experiment shared the recipe, or each had its own.
    name : str
        ``matched``, or what a plugin calls its paper's recipe.
    digest : str
        Hash of ``full``.
    full : Recipe
        The whole recipe.
    tuning : TuningNote or None
        None where nothing was tuned.
    tuned : tuple of Recipe
        What the tuning made of it, where the trials were trained by others than ``full``.
    """

    mode: Literal["matched", "paper"]
    name: str
    digest: str
    full: StoredRecipe
    tuning: TuningNote | None
    tuned: tuple[StoredRecipe, ...]


class Score(Part):
    """A mean with its interval; null where it is undefined.

    Attributes
    ----------
    protocol, region, metric : str
        What was measured, in the words of ``kitsbench evaluate``.
    mean : float or None
        Over the cases of all folds, in the unit of the metric.
    sd_over_folds : float or None
        Standard deviation over the means of the folds.
    ci_low, ci_high : float or None
        95 % confidence interval over cases and training runs, cut where the metric ends.
    n_cases : int
        Cases that are in the mean.
    n_undefined, n_failed : int
        Scores (of a case by a training run) without a value, and those whose prediction failed.
    """

    protocol: str
    region: str
    metric: str
    mean: float | None
    sd_over_folds: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    n_cases: int = Field(ge=0)
    n_undefined: int = Field(default=0, ge=0)
    n_failed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _plausible(self) -> Score:
        name = f"{self.protocol} {self.region}:{self.metric}"
        facts = find(self.metric)
        if self.mean is not None and not facts.holds(self.mean):
            raise ValueError(f"{name} has the mean {self.mean}; it must lie {facts.limits}")
        if None not in (self.mean, self.ci_low, self.ci_high) and not (
            self.ci_low <= self.mean <= self.ci_high  # type: ignore[operator]
        ):
            raise ValueError(f"{name}: the mean {self.mean} lies outside its own interval")
        return self


class Rank(Part):
    """Place within the experiment that made the entry; groups compare nowhere else.

    Attributes
    ----------
    rank : float
        1 for the best; ties all get the smallest of their ranks.
    rank_low, rank_high : float or None
        The tests of all pairs leave the ranks between them open; None where the design does not
        tell.
    p_first : float or None
        Share of the bootstrap's samples in which it came first; None where the design does not
        tell.
    group : str
        Letters; architectures that share one could not be told apart.
    scope : {"L0", "L1", "L2", ""}
        What the comparison speaks about: these trained networks, the architectures, or other
        training sets too.
    """

    rank: float = Field(ge=1)
    rank_low: float | None = Field(default=None, ge=1)
    rank_high: float | None = Field(default=None, ge=1)
    p_first: float | None = Field(default=None, ge=0, le=1)
    group: str = ""
    scope: Literal["L0", "L1", "L2", ""] = ""


class Curve(Part):
    """Dice of the endpoint's region along the budget, on the cases that are watched.

    A mean over the finished runs, each over the watched cases of its fold. The last point is that
    of the scores, where the budget is spent.

    Attributes
    ----------
    cases : tuple of str
        Those that are watched, of all folds.
    at : tuple of float
        Shares of the budget, rising to 1.
    dice : tuple of float
        At each of them.
    """

    cases: tuple[str, ...] = Field(min_length=1)
    at: tuple[float, ...] = Field(min_length=2)
    dice: tuple[Annotated[float, Field(ge=0, le=1)], ...]

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if len(self.at) != len(self.dice):
            raise ValueError(f"{len(self.at)} shares of the budget have {len(self.dice)} scores")
        if self.at[0] <= 0 or self.at[-1] != 1 or list(self.at) != sorted({*self.at}):
            raise ValueError("the shares of the budget must rise from above 0 to 1")
        return self


class Former(Part):
    """An entry of the same name that this one has replaced.

    Attributes
    ----------
    sha256 : str
        Of its file.
    created, kitsbench, distribution, version, source_hash : str
        Its provenance.
    experiment : str
    conditions : str
        Hash of the conditions that it was made under.
    mean : float or None
        Of its endpoint.
    """

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: str
    kitsbench: str
    distribution: str
    version: str
    source_hash: str
    experiment: str
    conditions: str
    mean: float | None


class Spent(Part):
    """What a run spent, from its ledger, see :class:`Cost`; a system's predictions, too."""

    device_seconds: float = Field(ge=0)
    steps: int = Field(ge=0)
    voxels: float = Field(ge=0)
    flops: float = Field(ge=0)
    patches_per_s: float = Field(ge=0)
    peak_memory_bytes: int = Field(ge=0)
    inference_s: float | None = Field(default=None, ge=0)
    inference_cases: int | None = Field(default=None, ge=0)

    @model_serializer(mode="wrap")
    def _said(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unused(whole(self), "inference_s", "inference_cases")


class Run(Part):
    """A training run, one line of the entry's trials.

    Attributes
    ----------
    id : str
        Of the trial: the hash of the entry's identity with this fold, seed, recipe and members.
    fold, seed : int
    state : {"finished", "failed"}
    reason : str or None
        Why it failed.
    recipe : str
        Hash of the recipe that it was trained by.
    members : tuple of str
        Trials that an ensemble combines.
    kitsbench : tuple of str
        Versions that trained or scored it.
    spent : Spent or None
        None where it left no ledger.
    source_hash : str or None
        Of label maps that were given: those of this fold.
    """

    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    fold: int = Field(ge=0)
    seed: int = Field(ge=0)
    state: Literal["finished", "failed"]
    reason: Reason | None
    recipe: str
    members: tuple[str, ...]
    kitsbench: tuple[str, ...]
    spent: Spent | None
    source_hash: str | None = None

    @model_serializer(mode="wrap")
    def _said(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unused(whole(self), "source_hash")

    @model_validator(mode="after")
    def _ended_so(self) -> Self:
        if (self.reason is not None) != (self.state == "failed"):
            raise ValueError(
                f"the state is {self.state} and the reason {self.reason!r}; failed trials have a "
                "reason, no others do"
            )
        if self.state == "finished" and self.spent is None:
            raise ValueError("the state is finished, but nothing is said of what it spent")
        return self


class Trials(Part):
    """The training runs behind the scores, failed ones included.

    Attributes
    ----------
    finished, failed : int
        How many ended so.
    reasons : dict of str to int
        Why those that failed did, and how often.
    ids : tuple of str
        Of all of them.
    runs : tuple of Run
        Each by itself, in the same order.
    """

    finished: int = Field(ge=0)
    failed: int = Field(ge=0)
    reasons: dict[Reason, int]
    ids: tuple[str, ...]
    runs: tuple[Run, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _counts(self) -> Trials:
        if self.finished + self.failed != len(self.ids):
            raise ValueError(
                f"{self.finished} finished and {self.failed} failed trials do not make the "
                f"{len(self.ids)} ids that are listed"
            )
        if sum(self.reasons.values()) != self.failed:
            raise ValueError(f"the reasons do not account for {self.failed} failed trials")
        return self


class Cost(Part):
    """What the architecture is and spent; means over the finished trials. Null: not known.

    Attributes
    ----------
    parameters, paper_parameters : int or None
        Trainable numbers of the network, and what its paper states.
    flops_step : float or None
        Floating-point operations of one patch in a training step.
    device_seconds, steps, voxels, flops : float or None
        Spent by one training run, in every currency.
    patches_per_s : float or None
        Of training, on the device's clock.
    inference_ms : float or None
        One patch forward.
    peak_memory_bytes : int or None
        The largest of all trials.
    device : str
        Name of the device.
    predict_s : float or None
        Of a system: seconds inside its ``predict`` for a scan.
    """

    parameters: int | None = Field(gt=0)
    paper_parameters: int | None = Field(gt=0)
    flops_step: float | None = Field(ge=0)
    device_seconds: float | None = Field(ge=0)
    steps: float | None = Field(ge=0)
    voxels: float | None = Field(ge=0)
    flops: float | None = Field(ge=0)
    patches_per_s: float | None = Field(ge=0)
    inference_ms: float | None = Field(ge=0)
    peak_memory_bytes: int | None = Field(ge=0)
    device: str
    predict_s: float | None = Field(default=None, ge=0)

    @model_serializer(mode="wrap")
    def _said(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unused(whole(self), "predict_s")


class Provenance(Part):
    """Where the entry comes from.

    Attributes
    ----------
    kitsbench : str
        Version of this package that trained, not the one that wrote the entry; several, with
        commas, where trials were trained by several.
    distribution, version : str
        Package of the plugin; empty for a single file.
    source_hash : str
        Hash of the plugin's code.
    config : dict
        Settings of the architecture.
    command : str
        What was called.
    created : str
        When, ISO 8601.
    environment : EnvironmentRecord or None
        Machine, driver and versions of libraries of the first trial that ran; None where none did.
    """

    kitsbench: str
    distribution: str
    version: str
    source_hash: str
    config: dict[str, Setting]
    command: str
    created: str
    environment: EnvironmentRecord | None
