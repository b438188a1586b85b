"""What an entry of a leaderboard holds. One JSON file, one entry, one architecture.

Beside it lies its table of per-case scores (:mod:`kitsbench.leaderboard.table`). Most of what an
entry says follows from that table and from the trials' identities, and is there for readers:
:mod:`kitsbench.leaderboard.proof` works it out again and compares. What follows from nothing is
sealed: a hash stands beside it, which finds whoever changes a word, not whoever writes it all anew.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from kitsbench.configuration import CONTENT
from kitsbench.experiments.records import BudgetNote, ElsewhereRecord, FoldsNote, TrialIdentity
from kitsbench.experiments.records.parts import without_unused
from kitsbench.files import digest
from kitsbench.files.documents import Document, Part
from kitsbench.leaderboard.looked import EntryLooks
from kitsbench.leaderboard.parts import (
    Cost,
    Curve,
    Dataset,
    Former,
    Provenance,
    Rank,
    RecipeNote,
    Score,
    Trials,
)

SEALED = (
    "title",
    "paper",
    "dataset.name",
    "dataset.n_cases",
    "dataset.n_excluded",
    "dataset.synthetic",
    "dataset.note",
    "recipe.mode",
    "recipe.full",
    "recipe.tuning",
    "folds.count",
    "trials.runs",
    "cost.parameters",
    "cost.paper_parameters",
    "cost.flops_step",
    "cost.inference_ms",
    "cost.device",
    "provenance.distribution",
    "provenance.command",
    "provenance.created",
    "provenance.environment",
)
"""Keys that follow from no other; with :data:`OPTIONAL`, where they are there."""

OPTIONAL = ("elsewhere", "curve", "history", "looks", "planted", "design")
"""Keys that some entries have. They are sealed, too."""

TRAINED = ("recipe", "tuning", "budget", "seeds")
"""Conditions of training, which who was trained elsewhere had none of."""


class TableNote(Part):
    """The table of per-case scores beside the entry.

    Attributes
    ----------
    rows : int
    sha256 : str
        Of the table's text, before it is compressed.
    """

    rows: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


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
    identity : TrialIdentity or None
        Of the first trial; the others differ in fold, seed, recipe and members, which stand in
        ``trials.runs``, and their ids are hashes of it. None where no trial came so far.
    recipe, budget, folds : RecipeNote, BudgetNote, FoldsNote
    seeds : int
        Training runs for each fold.
    experiment : str
        Hash of the trials of the experiment; ranks and groups hold within it.
    rank : Rank or None
        None where nothing was compared.
    scores : tuple of Score
        Of the regions of every protocol that was scored.
    table : TableNote
    trials, cost, provenance : Trials, Cost, Provenance
    elsewhere : ElsewhereRecord or None
        Of a system or of label maps that were given: what they were trained on. Such an entry has
        neither budget nor rank, and belongs to no experiment but its own.
    curve : Curve or None
        None where nothing was scored on the way.
    history : tuple of Former or None
        Entries of the same name that it has replaced, the oldest first; None where there were none.
    looks : EntryLooks or None
        Of a run that stopped by itself.
    planted : str or None
        Of a control whose outcome is known before: what it is.
    design : str or None
        SHA-256 of the board's ``design.md``, which said what is asked and concluded before the
        first trial; None where the board has none.
    seals : dict of str to str
        Hash of each of the keys :data:`SEALED`.
    """

    remedy: ClassVar[str] = "Restore it, or add the entry again: `kitsbench leaderboard add`."

    schema_version: Literal[2] = 2
    name: str = Field(min_length=1)
    title: str
    paper: str
    dataset: Dataset
    synthetic: bool
    protocol: str
    endpoint: str = Field(pattern=r"^[^:]+:[^:]+$")
    identity: TrialIdentity | None
    recipe: RecipeNote
    budget: BudgetNote
    folds: FoldsNote
    seeds: int = Field(ge=1)
    experiment: str
    rank: Rank | None
    scores: tuple[Score, ...]
    table: TableNote
    trials: Trials
    cost: Cost
    provenance: Provenance
    seals: dict[str, str]
    elsewhere: ElsewhereRecord | None = None
    curve: Curve | None = None
    history: tuple[Former, ...] | None = Field(default=None, min_length=1)
    looks: EntryLooks | None = None
    planted: str | None = Field(default=None, min_length=1)
    design: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @model_serializer(mode="wrap")
    def _said(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unused(whole(self), *OPTIONAL)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
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
        if (self.elsewhere is not None) != (self.budget.unit == "none"):
            raise ValueError(
                "the key elsewhere is there where the budget is none, and only there: who was "
                "trained here had a budget"
            )
        for key in ("rank", "curve") if self.elsewhere is not None else ():
            if getattr(self, key) is not None:
                raise ValueError(
                    f"the key {key} is set, but what was trained elsewhere has no {key}"
                )
        if self.trials.finished and self.score(self.endpoint) is None:
            raise ValueError(f"there is no score for the endpoint {self.endpoint}")
        return self

    @property
    def most_seeds(self) -> int:
        """Seeds of the design: of a run that stopped by itself, those that it could have had."""
        return self.seeds if self.looks is None else self.looks.until.looks[-1]

    def score(self, endpoint: str, protocol: str | None = None) -> Score | None:
        """The score of ``region:metric`` under the entry's own protocol, or another."""
        region, metric = endpoint.split(":")
        wanted = (protocol or self.protocol, region, metric)
        return next((s for s in self.scores if (s.protocol, s.region, s.metric) == wanted), None)

    @property
    def conditions(self) -> dict[str, Any]:
        """What all entries of one board must have in common to be comparable.

        What was trained elsewhere shares the scans and how they were scored, and nothing else.
        """
        tuning = self.recipe.tuning
        shared = {
            "dataset": self.dataset.fingerprint,
            "protocol": self.protocol,
            "endpoint": self.endpoint,
            # By their papers' recipes, architectures differ in just that.
            "recipe": self.recipe.digest if self.recipe.mode == "matched" else self.recipe.mode,
            "tuning": None if tuning is None else tuning.model_dump(mode="json"),
            "budget": self.budget.text,
            "split": self.folds.split_id,
            "folds": list(self.folds.used),
            "seeds": self.most_seeds,
            "synthetic": self.synthetic,
        }
        if self.elsewhere is not None:
            return {key: value for key, value in shared.items() if key not in TRAINED}
        return shared

    @property
    def beginning(self) -> str:
        """What its training began with, if not with random weights; empty otherwise."""
        identity = self.identity
        if identity is None or self.elsewhere is not None:
            return ""
        if identity.pretrained_on:
            return " ".join(("pretrained on", identity.pretrained_on))  # a page escapes it
        files = [v for v in identity.config.values() if isinstance(v, str) and CONTENT.fullmatch(v)]
        return "begins with the weights of a file" if files else ""

    @property
    def ended_by_looks(self) -> str:
        """With how few seeds looks ended its run, for a page; empty where it had all of them."""
        if self.looks is None or self.seeds == self.most_seeds:
            return ""
        return f"ended by looks after {self.seeds} of {self.most_seeds} seeds"

    @property
    def device_class(self) -> str:
        """What the budget is bound to: a second on one device is none on another; else empty."""
        return (self.identity.device_class if self.identity else None) or ""

    def sealed(self) -> dict[str, str]:
        """The seals that the entry should have."""
        content = self.model_dump(mode="json")
        found = {}
        for key in (*SEALED, *(key for key in OPTIONAL if getattr(self, key) is not None)):
            value: Any = content
            for part in key.split("."):
                value = value[part]
            # With what they belong to, so that no seal can be taken from another entry.
            found[key] = digest([key, value, self.name, self.experiment, self.table.sha256])
        return found


def file_name(name: str) -> str:
    """File name of an entry: lower case, with a hyphen for everything unusual.

    Parameters
    ----------
    name : str
        Display name of the entrant.
    """
    slug = re.sub(r"[^a-z0-9._=]+", "-", name.lower()).strip("-.")
    return f"{slug or 'entry'}.json"
