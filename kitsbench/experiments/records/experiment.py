"""``experiment.json``: what one ``kitsbench run`` asked for."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from kitsbench.configuration import Setting
from kitsbench.documents import Document, Part
from kitsbench.experiments.records.parts import (
    AGAIN,
    BudgetNote,
    DatasetNote,
    DeviceNote,
    FoldsNote,
    Shape,
    State,
    StoredRecipe,
)
from kitsbench.training.failures import Reason


class EntrantRecord(Part):
    """What takes part: a configured architecture, or an ensemble of other entrants.

    Attributes
    ----------
    name : str
        As tables show it: the plugin's name and the settings that were asked for.
    architecture : str
        The plugin's name.
    error : str or None
        Why it could not take part.
    members : tuple of str
        Names of the entrants whose networks it combines.
    asked : bool
        False for a member that takes part only because an ensemble needs it.
    tta : tuple of tuple of int, or None
        Axes along which each member is mirrored at test time, where that is not its recipe's.
    recipe : Recipe or None
        None where the shared one is its own.
    patch, parameters, flops : tuple of int, int, int, or None
        Of the configured network, for one patch; None where they are not known.
    paper_parameters, paper_flops, paper_patch : int, int, tuple of int, or None
        The same at the paper's size.
    """

    name: str
    architecture: str
    title: str
    paper: str
    distribution: str
    version: str
    source_hash: str
    status: Literal["ok", "broken"]
    error: str | None
    config: dict[str, Setting]
    size: str | None
    notes: tuple[str, ...]
    members: tuple[str, ...]
    combine: Literal["mean", "vote"] | None
    asked: bool
    tta: tuple[tuple[int, ...], ...] | None
    recipe: StoredRecipe | None
    patch: Shape | None
    parameters: int | None
    flops: int | None
    paper_parameters: int | None
    paper_flops: int | None
    paper_patch: Shape | None


class PlannedTrial(Part):
    """A trial of an experiment, known before it has a folder, whose name is the id."""

    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    name: str
    fold: int = Field(ge=0)
    seed: int = Field(ge=0)


class TriedSettings(Part):
    """A trial of a search for settings."""

    number: int = Field(ge=0)
    id: str
    parameters: dict[str, float]
    score: float | None
    status: State
    reason: Reason | None
    device_seconds: float | None


class Spent(Part):
    """What the trials of a search spent together, as their ledgers say."""

    device_seconds: float = Field(ge=0)
    steps: float = Field(ge=0)
    patches: float = Field(ge=0)
    voxels: float = Field(ge=0)
    flops: float = Field(ge=0)
    wall_s: float = Field(ge=0)


class StudyRecord(Part):
    """The search of one entrant in one fold; ``best`` is None where every trial failed."""

    name: str
    fold: int = Field(ge=0)
    trials: tuple[TriedSettings, ...]
    best: int | None
    parameters: dict[str, float]
    ledger: Spent


class Range(Part):
    """A range that a setting was drawn from."""

    low: float
    high: float
    log: bool


class TuningRecord(Part):
    """How every entrant searched for its settings before it was trained."""

    trials: int = Field(ge=2)
    budget: BudgetNote | None
    space: dict[str, Range]
    objective: str
    inner_folds: int
    studies: tuple[StudyRecord, ...]


class ExperimentRecord(Document):
    """What one ``kitsbench run`` asked for, and what became of the request.

    Attributes
    ----------
    version : str
        Of the kitsbench that planned it; each trial's environment names the one that trained it.
    recipe : Recipe or None
        The shared one; None with ``recipe_mode`` paper, where each entrant has its own.
    max_memory : int or None
        Bytes.
    showcase : tuple of str
        Cases that the report shows.
    """

    remedy: ClassVar[str] = AGAIN

    schema_version: Literal[1] = 1
    version: str
    created: str
    command: str
    dataset: DatasetNote
    protocol: str
    protocols: tuple[str, ...]
    endpoint: str = Field(pattern=r"^[^:]+:[^:]+$")
    recipe: StoredRecipe | None
    recipe_mode: Literal["matched", "paper"]
    budget: BudgetNote
    max_memory: int | None
    folds: FoldsNote
    seeds: int = Field(ge=1)
    device: DeviceNote
    entrants: tuple[EntrantRecord, ...]
    trials: tuple[PlannedTrial, ...]
    showcase: tuple[str, ...]
    tuning: TuningRecord | None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = [entrant.name for entrant in self.entrants]
        places = [(trial.name, trial.fold, trial.seed) for trial in self.trials]
        for key, names in (
            ("entrants", known),
            ("trials", [trial.id for trial in self.trials]),
            ("trials", [f"{name}, fold {fold}, seed {seed}" for name, fold, seed in places]),
        ):
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"the key {key} names {twice} twice")
        if self.protocol not in self.protocols:
            raise ValueError(f"the key protocols lacks {self.protocol}, which is the key protocol")
        if stranger := next((t.name for t in self.trials if t.name not in known), None):
            raise ValueError(f"the key trials has one of '{stranger}', which is no entrant")
        if (self.recipe is None) != (self.recipe_mode == "paper"):
            raise ValueError("the key recipe must be null where recipe_mode is paper, only there")
        return self

    def entrant(self, name: str) -> EntrantRecord | None:
        """The entrant of a name."""
        return next((entrant for entrant in self.entrants if entrant.name == name), None)

    @property
    def recipe_name(self) -> str:
        """Name of the shared recipe, or ``paper`` where each entrant has its own."""
        return "paper" if self.recipe is None else self.recipe.name
