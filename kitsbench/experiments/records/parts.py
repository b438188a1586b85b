"""Parts that several files, and the entries of leaderboards, share."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainSerializer, model_validator

from kitsbench.files.documents import Part
from kitsbench.recipe import Recipe
from kitsbench.training.budget import Budget

State = Literal["pending", "running", "finished", "failed"]
"""How far a trial came: a closed set."""

ID = r"^[0-9a-f]{16}$"
"""Of trials and experiments, which are names of files too."""

Shape = tuple[int, int, int]
Triple = tuple[float, float, float]

# In its own words: pydantic would write 1 as 1.0 where a field is a float, and change the hash.
StoredRecipe = Annotated[Recipe, PlainSerializer(Recipe.to_dict, return_type=dict[str, Any])]

AGAIN = "Delete it and run the same command again: finished trials are kept."
TRIAL_AGAIN = (
    "Delete the folder of this trial and run the same command again: the other trials are kept."
)


def without_unused(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Leave out keys that say nothing: files of whoever does not use a word do not know it."""
    return {k: v for k, v in content.items() if k not in keys or v not in (None, "", {})}


class BudgetNote(Part):
    """What one training run could spend: as it was written, and as an amount of a currency.

    What was trained elsewhere has the budget ``none``, of which there is nothing.
    """

    text: str
    amount: float = Field(ge=0)
    unit: Literal["seconds", "steps", "voxels", "flops", "none"]

    @model_validator(mode="after")
    def _something(self) -> Self:
        if (self.amount == 0) != (self.unit == "none"):
            raise ValueError(f"the amount is {self.amount:g} {self.unit}; only none is nothing")
        return self


def note(budget: Budget) -> BudgetNote:
    """Write a budget down."""
    return BudgetNote.model_validate(budget.to_dict())


class FoldsNote(Part):
    """How many folds the split has, which were run, and the hash of the split."""

    count: int = Field(ge=1)
    used: tuple[int, ...]
    split_id: str


class DatasetNote(Part):
    """The scans.

    Attributes
    ----------
    path : str
        Absolute folder of the cases on the machine that planned the run.
    fingerprint : str or None
        Hash of labels and files; None where nothing was prepared.
    n_cases : int
        Those that are trained on or tested; without any that was set aside.
    excluded : dict of str to str
        Why each case that was set aside was set aside.
    note : str
        What a report must say about the data.
    """

    name: str
    path: str
    layout: str
    labels: dict[str, int]
    fingerprint: str | None
    n_cases: int = Field(ge=0)
    excluded: dict[str, str]
    synthetic: bool
    note: str

    def set_aside(self) -> str | None:
        """How many cases were set aside, and why; None where none was."""
        if not self.excluded:
            return None
        reasons: dict[str, list[str]] = {}
        for case, why in self.excluded.items():
            reasons.setdefault(why, []).append(case)
        told = [
            f"{why} ({', '.join(cases[:3])}{f' and {len(cases) - 3} more' * (len(cases) > 3)})"
            for why, cases in reasons.items()
        ]
        more = f"; {len(told) - 5} further reasons" * (len(told) > 5)
        total = self.n_cases + len(self.excluded)
        return f"{len(self.excluded)} of {total} cases set aside: {'; '.join(told[:5])}{more}."


class DeviceNote(Part):
    """What the trials ran on, and how many at a time (None: the cluster decided)."""

    kind: str
    name: str
    threads: int = Field(ge=1)
    jobs: int | None
    world_size: int = Field(ge=1)
    executor: str
