"""What an entry of a leaderboard holds. One JSON file, one entry, one architecture."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kitsbench.metrics import find

SCHEMA_VERSION = 1


class _Strict(BaseModel):
    """Unknown keys are errors, and so are NaN and infinities."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Dataset(_Strict):
    """The scans, and whether they are real."""

    name: str = Field(min_length=1)
    fingerprint: str = Field(min_length=1)
    n_cases: int = Field(ge=1)
    synthetic: bool
    note: str = ""


class RecipeNote(_Strict):
    """The recipe's name, the hash of its full text, and the text."""

    name: str
    digest: str
    full: dict[str, Any]


class BudgetNote(_Strict):
    """What one training run could spend."""

    text: str
    amount: float = Field(gt=0)
    unit: str


class Folds(_Strict):
    """Which parts of the split were tested."""

    count: int = Field(ge=1)
    used: list[int] = Field(min_length=1)
    split_id: str


class Score(_Strict):
    """A mean with its interval; null where it is undefined.

    ``sd_over_folds`` is the standard deviation over the means of the folds; the interval is the
    95 % confidence interval over cases and training runs.
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


class Rank(_Strict):
    """Place within the experiment that made the entry; groups compare nowhere else."""

    rank: float
    rank_low: float | None = None
    rank_high: float | None = None
    p_first: float | None = None
    group: str = ""
    scope: Literal["L0", "L1", "L2", ""] = ""


class Trials(_Strict):
    """The training runs behind the scores, failed ones included."""

    finished: int = Field(ge=0)
    failed: int = Field(ge=0)
    reasons: dict[str, int] = Field(default_factory=dict)
    ids: list[str]

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


class Cost(_Strict):
    """What the architecture is and spent; means over the finished trials. Null: not known."""

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


class Provenance(_Strict):
    """Where the entry comes from."""

    kitsbench: str
    distribution: str
    version: str
    source_hash: str
    config: dict[str, Any]
    command: str
    created: str
    environment: dict[str, Any] = Field(default_factory=dict)


class Entry(_Strict):
    """One architecture's row in a leaderboard.

    Attributes
    ----------
    name : str
        Label of the configured architecture, such as ``unet3d:width=0.5``.
    experiment : str
        Hash of the trials of the experiment; ranks and groups hold within it.
    synthetic : bool
        The same as the dataset's, repeated where nobody can overlook it.
    """

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
    folds: Folds
    seeds: int = Field(ge=1)
    experiment: str
    rank: Rank | None = None
    scores: list[Score]
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
            "folds": self.folds.used,
            "seeds": self.seeds,
            "synthetic": self.synthetic,
        }


def file_name(name: str) -> str:
    """File name of an entry: lower case, with a hyphen for everything unusual.

    Parameters
    ----------
    name : str
        Label of the architecture.
    """
    slug = re.sub(r"[^a-z0-9._=]+", "-", name.lower()).strip("-.")
    return f"{slug or 'entry'}.json"
