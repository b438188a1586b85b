"""What an entry of a leaderboard holds. One JSON file, one entry, one architecture."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from kitsbench.configuration import Setting
from kitsbench.documents import Document, Part
from kitsbench.experiments.records import BudgetNote, FoldsNote
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
        Cases that were used.
    synthetic : bool
        Whether the scans are made up, as the phantom's are.
    note : str
        What a reader should know about them.
    """

    name: str = Field(min_length=1)
    fingerprint: str = Field(min_length=1)
    n_cases: int = Field(ge=1)
    synthetic: bool
    note: str = ""


class RecipeNote(Part):
    """How was trained.

    Attributes
    ----------
    name : str
        ``matched``, or what a plugin calls its paper's recipe.
    digest : str
        Hash of ``full``.
    full : dict
        The whole recipe as plain data.
    """

    name: str
    digest: str
    full: dict[str, Any]


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
        95 % confidence interval over cases and training runs.
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
        95 % of the bootstrap's ranks lie between them.
    p_first : float or None
        Share of the bootstrap's samples in which it came first.
    group : str
        Letters; architectures that share one could not be told apart.
    scope : {"L0", "L1", "L2", ""}
        What the comparison speaks about: these trained networks, the architectures, or other
        training sets too.
    """

    rank: float
    rank_low: float | None = None
    rank_high: float | None = None
    p_first: float | None = None
    group: str = ""
    scope: Literal["L0", "L1", "L2", ""] = ""


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
    """

    finished: int = Field(ge=0)
    failed: int = Field(ge=0)
    reasons: dict[Reason, int] = Field(default_factory=dict)
    ids: tuple[str, ...]

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
    """

    parameters: int | None = None
    paper_parameters: int | None = None
    flops_step: float | None = None
    device_seconds: float | None = None
    steps: float | None = None
    voxels: float | None = None
    flops: float | None = None
    patches_per_s: float | None = None
    inference_ms: float | None = None
    peak_memory_bytes: int | None = None
    device: str = ""


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
    environment : dict
        Machine, driver and versions of libraries.
    """

    kitsbench: str
    distribution: str
    version: str
    source_hash: str
    config: dict[str, Setting]
    command: str
    created: str
    environment: dict[str, Any] = Field(default_factory=dict)


class Entry(Document):
    """One architecture's row in a leaderboard.

    Attributes
    ----------
    schema_version : int
    name : str
        Name of the configured architecture, such as ``unet3d:width=0.5``.
    title, paper : str
        For people; empty where the plugin has none.
    dataset : Dataset
    synthetic : bool
        The same as the dataset's, repeated where nobody can overlook it.
    protocol : str
        By which was scored.
    endpoint : str
        ``region:metric`` that the table is sorted by.
    recipe, budget, folds : RecipeNote, BudgetNote, Folds
    seeds : int
        Training runs for each fold.
    experiment : str
        Hash of the trials of the experiment; ranks and groups hold within it.
    rank : Rank or None
        None where nothing was compared.
    scores : tuple of Score
        Of the regions of every protocol that was scored.
    trials, cost, provenance : Trials, Cost, Provenance
    """

    remedy: ClassVar[str] = "Restore it, or add the entry again: `kitsbench leaderboard add`."

    schema_version: Literal[1] = 1
    name: str = Field(min_length=1)
    title: str = ""
    paper: str = ""
    dataset: Dataset
    synthetic: bool
    protocol: str
    endpoint: str = Field(pattern=r"^[^:]+:[^:]+$")
    recipe: RecipeNote
    budget: BudgetNote
    folds: FoldsNote
    seeds: int = Field(ge=1)
    experiment: str
    rank: Rank | None = None
    scores: tuple[Score, ...]
    trials: Trials
    cost: Cost
    provenance: Provenance

    @model_validator(mode="after")
    def _consistent(self) -> Entry:
        if self.synthetic != self.dataset.synthetic:
            raise ValueError(
                "the entry and its dataset disagree on whether the scans are synthetic"
            )
        expected = len(self.folds.used) * self.seeds
        if len(self.trials.ids) != expected:
            raise ValueError(
                f"{len(self.folds.used)} folds and {self.seeds} seeds need {expected} trials, "
                f"{len(self.trials.ids)} are listed"
            )
        if self.trials.finished and self.score(self.endpoint) is None:
            raise ValueError(f"there is no score for the endpoint {self.endpoint}")
        return self

    def score(self, endpoint: str, protocol: str | None = None) -> Score | None:
        """The score of ``region:metric`` under the entry's own protocol, or another."""
        region, metric = endpoint.split(":")
        wanted = (protocol or self.protocol, region, metric)
        return next((s for s in self.scores if (s.protocol, s.region, s.metric) == wanted), None)

    @property
    def conditions(self) -> dict[str, Any]:
        """What all entries of one table must have in common to be comparable."""
        return {
            "dataset": self.dataset.fingerprint,
            "protocol": self.protocol,
            "endpoint": self.endpoint,
            "recipe": self.recipe.digest,
            "budget": self.budget.text,
            "split": self.folds.split_id,
            "folds": list(self.folds.used),
            "seeds": self.seeds,
            "synthetic": self.synthetic,
        }


def file_name(name: str) -> str:
    """File name of an entry: lower case, with a hyphen for everything unusual.

    Parameters
    ----------
    name : str
        Display name of the entrant.
    """
    slug = re.sub(r"[^a-z0-9._=]+", "-", name.lower()).strip("-.")
    return f"{slug or 'entry'}.json"
