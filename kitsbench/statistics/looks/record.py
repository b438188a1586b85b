"""The record of looks: a file that grows by one look at a time, and never changes otherwise."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from kitsbench.errors import UsageError
from kitsbench.files.documents import Document
from kitsbench.look import Look, check_follows
from kitsbench.statistics.looks.plan import LookPlan


class LooksRecord(Document):
    """A plan and the looks that were taken by it.

    Attributes
    ----------
    plan : LookPlan
        With the family and the margin that the first look had.
    looks : tuple of Look
        In their order.
    """

    remedy: ClassVar[str] = (
        "What was looked at cannot be looked at for the first time again: restore the file, or "
        "begin a new one with all looks."
    )
    schema_version: Literal[1] = 1
    plan: LookPlan
    looks: tuple[Look, ...]

    @model_validator(mode="after")
    def _rising(self) -> Self:
        for before, after in pairwise(self.looks):
            check_follows(before, after)
        return self

    def with_look(self, look: Look) -> LooksRecord:
        """The record with one look more, or this one where it has that look already."""
        if look in self.looks:
            return self
        return LooksRecord(plan=self.plan, looks=(*self.looks, look))

    def extended(self, path: Path, look: Look) -> LooksRecord:
        """Write the record with one look more, if nobody else has added to it since it was read.

        Parameters
        ----------
        path : path
            Where it was read from, or where it begins.
        look : Look

        Raises
        ------
        UsageError
            The file has come into being, or has changed, since it was read.
        """
        stored = LooksRecord.read(path).looks if path.exists() else ()
        if stored != self.looks:
            raise UsageError(
                f"{path} holds {len(stored)} looks now, and held {len(self.looks)} when this look "
                "began: another call added to it meanwhile.\nLooks are taken one after the other: "
                "repeat the command, which takes this look after those."
            )
        found = self.with_look(look)
        found.write(path)
        return found


def open_record(path: Path, plan: LookPlan, given: dict[str, Any]) -> LooksRecord:
    """Read the record of looks, or begin one.

    Parameters
    ----------
    path : path
        Of the file; there may be none yet.
    plan : LookPlan
        Of a first look.
    given : dict
        Fields of the plan that were asked for, which must be those of the record.

    Raises
    ------
    UsageError
        The record has another plan.
    DataError
        The file is damaged.
    """
    if not path.exists():
        return LooksRecord(plan=plan, looks=())
    record = LooksRecord.read(path)
    for name in (field.name for field in fields(LookPlan) if field.name in given):
        planned, asked = getattr(record.plan, name), given[name]
        if planned != asked:
            raise UsageError(
                f"{path} has the plan '{name}: {planned}', and this look asks for '{asked}'.\nA "
                "plan is made before the first look and holds for all: leave the option out, or "
                "begin a new record."
            )
    return record
