"""``experiments/<id>.json``: what one ``kitsbench run`` asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from kitsbench.configuration import Setting
from kitsbench.experiments.records.parts import (
    AGAIN,
    ID,
    BudgetNote,
    DatasetNote,
    DeviceNote,
    FoldsNote,
    Shape,
    State,
    StoredRecipe,
    without_unused,
)
from kitsbench.experiments.records.until import UntilNote
from kitsbench.files import digest
from kitsbench.files.documents import Document, Part
from kitsbench.training.failures import Reason


class ElsewhereRecord(Part):
    """What is known of an entrant that was trained elsewhere.

    Attributes
    ----------
    kind : {"system", "predictions"}
        Whether it predicts here, or its label maps were given.
    trained_on : tuple of str
        As was declared.
    leak : str or None
        Why it may know the scans that it is tested on; None where nothing says so.
    allowed : bool
        Whether it is compared all the same.
    hours : float or None
        Of its training, as whoever gave the label maps says.
    missing : int
        Test cases without a label map.
    """

    kind: Literal["system", "predictions"]
    trained_on: tuple[str, ...] = Field(min_length=1)
    leak: str | None
    allowed: bool
    hours: float | None = Field(gt=0)
    missing: int = Field(ge=0)

    @property
    def apart(self) -> bool:
        """Whether it is shown without a rank and without verdicts."""
        return self.leak is not None and not self.allowed

    def told(self) -> str:
        """What it is, in a few words."""
        known = "" if self.trained_on == ("unknown",) else f" on {' and '.join(self.trained_on)}"
        leak = "; it may know the test scans" if self.leak else ""
        maps = " (given label maps)" if self.kind == "predictions" else ""
        return f"trained elsewhere{known or ', nobody says on what'}{maps}{leak}"


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
    elsewhere : ElsewhereRecord or None
        Of one that is not trained here.
    planted : str
        Of a control whose outcome is known before: what it is. Not written where it is none.
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
    elsewhere: ElsewhereRecord | None = None
    planted: str = ""

    @model_serializer(mode="wrap")
    def _short(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unused(plain(self), "elsewhere", "planted")


class PlannedTrial(Part):
    """A trial of an experiment, known before it has a folder, whose name is the id."""

    id: str = Field(pattern=ID)
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


def plan_of(trials: Sequence[str]) -> str:
    """Hash of the ids of an experiment's trials, whatever their order."""
    return digest(sorted(trials))


def _planned(entrant: EntrantRecord) -> list[Any]:
    """What an experiment's id takes of an entrant: not what it costs, nor how it is described."""
    kept = {"name", "architecture", "version", "source_hash", "status", "config", "members"}
    kept |= {"combine", "asked", "tta", "elsewhere"}
    content = entrant.model_dump(mode="json", include=kept)
    return [content, None if entrant.recipe is None else entrant.recipe.digest()]


class ExperimentRecord(Document):
    """What one ``kitsbench run`` asked for, and what became of the request.

    Its id is the hash of its plan, and reading checks that: of whatever its results depend on,
    and nothing else. The same command has the same id wherever and whenever it is called.

    Attributes
    ----------
    plan : str
        Hash of the ids of the trials, as they are before a search for settings changes them.
    version : str
        Of the kitsbench that planned it; each trial's environment names the one that trained it.
    recipe : Recipe or None
        The shared one; None with ``recipe_mode`` paper, where each entrant has its own.
    max_memory : int or None
        Bytes.
    showcase : tuple of str
        Cases that the report shows.
    until : UntilNote or None
        When it stops by itself; None, and not written, where all of its trials are run. Its trials
        are those of the fixed design with as many seeds, and have the same ids.
    """

    remedy: ClassVar[str] = AGAIN

    schema_version: Literal[2] = 2
    id: str = Field(pattern=ID)
    plan: str
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
    until: UntilNote | None = None

    @model_serializer(mode="wrap")
    def _short(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unused(plain(self), "until")

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
        if self.tuning is None and self.plan != plan_of([trial.id for trial in self.trials]):
            raise ValueError("the key trials has others than those whose hash the key plan is")
        if self.until is not None:
            self._check_until(self.until, known)
        return self

    def _check_until(self, until: UntilNote, known: Sequence[str]) -> None:
        if until.looks[-1] != self.seeds:
            raise ValueError(
                f"the key until.looks ends at {until.looks[-1]}; the key seeds is {self.seeds}"
            )
        named = [name for pair in until.pairs for name in pair]
        named += [str(until.named)] if until.question == "baseline" else []
        if stranger := next((name for name in named if name not in known), None):
            raise ValueError(f"the key until asks of '{stranger}', which is no entrant")

    def hash_fault(self) -> str | None:
        """Whether the id is the hash of the plan; asked of numbers as they were written."""
        if self.id == self.digest():
            return None
        return f"the key id is {self.id}, which is not the hash of what was planned."

    @classmethod
    def of(cls, **content: Any) -> Self:
        """A record of trials that nothing was tuned for yet, with ``plan`` and ``id`` worked out.

        Parameters
        ----------
        **content
            All other keys.
        """
        plan = plan_of([trial.id for trial in content["trials"]])
        planned = cls.model_construct(id="", plan=plan, **content)
        return cls(id=planned.digest(), plan=plan, **content)

    def digest(self) -> str:
        """The experiment's id."""
        tuning, dataset = self.tuning, self.dataset
        # Who stops by itself asks for another experiment of the same trials.
        until = {} if self.until is None else {"until": self.until.model_dump(mode="json")}
        return digest(
            {
                **until,
                "plan": self.plan,
                "dataset": [dataset.name, dataset.fingerprint, sorted(dataset.excluded)],
                "protocols": list(self.protocols),
                "endpoint": self.endpoint,
                "recipe": self.recipe_mode if self.recipe is None else self.recipe.digest(),
                "budget": [self.budget.amount, self.budget.unit],
                "folds": self.folds.model_dump(mode="json"),
                "seeds": self.seeds,
                "entrants": sorted((_planned(entrant) for entrant in self.entrants), key=str),
                "tuning": None
                if tuning is None
                else tuning.model_dump(mode="json", include={"trials", "budget", "space"}),
            }
        )

    def entrant(self, name: str) -> EntrantRecord | None:
        """The entrant of a name."""
        return next((entrant for entrant in self.entrants if entrant.name == name), None)

    @property
    def recipe_name(self) -> str:
        """Name of the shared recipe, or ``paper`` where each entrant has its own."""
        return "paper" if self.recipe is None else self.recipe.name


class LatestRecord(Document):
    """``experiments/latest.json``: which experiment was begun, or reported, last."""

    remedy: ClassVar[str] = "Delete it and run the same command again, or name an --experiment."

    schema_version: Literal[1] = 1
    id: str = Field(pattern=ID)
