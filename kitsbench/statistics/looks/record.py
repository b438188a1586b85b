"""The record of looks: a file that grows by one look at a time, and never changes otherwise."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from kitsbench.errors import UsageError
from kitsbench.files import digest
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
    cluster : str or None
        Property that cases share, as for :func:`~kitsbench.statistics.compare`.
    higher_is_better : bool or None
        Direction of the endpoint; None where nobody said it.
    seal : str or None
        Digest of all that was decided before the first look; None until then.
    """

    remedy: ClassVar[str] = (
        "What was looked at cannot be looked at for the first time again: restore the file, or "
        "begin a new one with all looks."
    )
    schema_version: Literal[2] = 2
    plan: LookPlan
    looks: tuple[Look, ...]
    cluster: str | None = None
    higher_is_better: bool | None = None
    seal: str | None = None

    @model_validator(mode="after")
    def _as_it_was_made(self) -> Self:
        if self.looks and self.seal != self._sealed():
            raise ValueError(
                "the plan is not the one that the looks were taken by: it was edited after the "
                "first look"
            )
        return self

    def _sealed(self) -> str:
        family = list(self.plan.architectures)
        return digest([self.plan.seal, family, self.cluster, self.higher_is_better])

    @model_validator(mode="after")
    def _rising(self) -> Self:
        for before, after in pairwise(self.looks):
            check_follows(before, after)
        return self

    def with_look(self, look: Look) -> LooksRecord:
        """The record with one look more, or this one where it has that look already."""
        if look in self.looks:
            return self
        return LooksRecord(
            plan=self.plan,
            looks=(*self.looks, look),
            cluster=self.cluster,
            higher_is_better=self.higher_is_better,
            seal=self._sealed(),
        )

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
            The file has come into being, or has changed, since it was read; there is no pair.
        """
        if not look.pairs:
            raise UsageError(
                f"The scores are of {', '.join(look.architectures) or 'nobody'} alone, and looks "
                "compare pairs, so nothing was recorded.\nAll who are compared must be there at "
                "the first look: they share alpha."
            )
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


def open_record(
    path: Path,
    plan: LookPlan,
    given: dict[str, Any],
    cluster: str | None = None,
    higher_is_better: bool | None = None,
) -> LooksRecord:
    """Read the record of looks, or begin one.

    Parameters
    ----------
    path : path
        Of the file; there may be none yet.
    plan : LookPlan
        Of a first look.
    given : dict
        Fields of the plan that were asked for, which must be those of the record.
    cluster, higher_is_better
        As of :class:`LooksRecord`; likewise.

    Raises
    ------
    UsageError
        The record has another plan.
    DataError
        The file is damaged.
    """
    if not path.exists():
        return LooksRecord(plan=plan, looks=(), cluster=cluster, higher_is_better=higher_is_better)
    record = LooksRecord.read(path)
    both = [
        (field.name, getattr(record.plan, field.name), given[field.name])
        for field in fields(LookPlan)
        if field.name in given
    ]
    if record.looks:
        both += [
            ("cluster", record.cluster, cluster),
            ("higher_is_better", record.higher_is_better, higher_is_better),
        ]
    for name, planned, asked in both:
        if planned != asked:
            raise UsageError(
                f"{path} has a plan with {_told(name, planned)}, and this look asks for "
                f"{_told(name, asked)}.\nA plan is made before the first look and holds for all: "
                "give the options of then, or begin a new record."
            )
    return record


def _told(name: str, value: object) -> str:
    """A field of a plan with its value, in words."""
    return f"{name.replace('_', ' ')} {'none' if value is None else value}"
