"""``experiments/ID/looks.json``: the looks that were taken while trials came in, for good.

Nothing in it is a time or a host: the same trials give the same file, byte for byte, wherever and
in whatever order they ran.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from kitsbench.errors import DataError
from kitsbench.experiments.records.parts import ID, without_unused
from kitsbench.files.documents import Document, Part
from kitsbench.look import Look, PairLook, check_follows


class TakenLook(Part):
    """One look.

    Attributes
    ----------
    seeds : int
        Seeds of each fold that who still went on had finished.
    trials : tuple of str
        Ids of all trials that it counted, those of earlier looks among them.
    missed : tuple of str
        Those of them that had failed; their cases count as missed, and they are not run again.
    families : tuple of Look
        What it found of each family of pairs: one, or of a claim one for each pair, since each
        step is tested by itself.
    going : tuple of str
        Entrants that go on after it, members of ensembles among them; empty where all is over.
    """

    seeds: int = Field(ge=1)
    trials: tuple[str, ...]
    missed: tuple[str, ...]
    families: tuple[Look, ...] = Field(min_length=1)
    going: tuple[str, ...]

    @property
    def pairs(self) -> tuple[PairLook, ...]:
        """Every pair of the question."""
        return tuple(pair for family in self.families for pair in family.pairs)


class Stopped(Part):
    """Why no further round began before all was decided.

    Attributes
    ----------
    seeds : int
        Seeds that had ended.
    hours : float
        Device hours that trials had spent by then.
    next_hours : float or None
        What the next round was expected to take; None where nobody knew.
    max_hours : float
        What was allowed.
    """

    seeds: int = Field(ge=0)
    hours: float = Field(ge=0)
    next_hours: float | None = Field(ge=0)
    max_hours: float = Field(gt=0)


class LooksRecord(Document):
    """``experiments/ID/looks.json``.

    Attributes
    ----------
    experiment : str
    known : int
        Trials of the plan that had finished before the first call of the run: whoever had looked
        at their scores has taken a look that nobody pays for.
    looks : tuple of TakenLook
    stopped : Stopped or None
        Where hours ended it; not written where they did not.
    """

    remedy: ClassVar[str] = (
        "Delete it and run the same command again: every look is taken again from the trials that "
        "it counts, and comes out the same."
    )

    schema_version: Literal[2] = 2
    experiment: str = Field(pattern=ID)
    known: int = Field(ge=0)
    looks: tuple[TakenLook, ...]
    stopped: Stopped | None = None

    @model_serializer(mode="wrap")
    def _short(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unused(plain(self), "stopped")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        before: TakenLook | None = None
        for number, look in enumerate(self.looks):
            place = f"looks.{number}"
            if any(family.number != look.seeds for family in look.families):
                raise ValueError(f"the key {place}.seeds is {look.seeds}; its families have others")
            if strangers := {*look.missed} - {*look.trials}:
                raise ValueError(f"the key {place}.missed names {min(strangers)}, no trial of it")
            if before is not None:
                _follows(before, look, place)
            before = look
        return self

    @staticmethod
    def file(workdir: Path, experiment: str) -> Path:
        """Where it lies."""
        return Path(workdir) / "experiments" / experiment / "looks.json"

    @classmethod
    def find(cls, workdir: Path, experiment: str) -> Self | None:
        """The looks of an experiment; None where none was begun.

        Raises
        ------
        DataError
            The file is damaged, or another experiment's.
        """
        file = cls.file(workdir, experiment)
        if not os.path.lexists(file):
            return None
        found = cls.read(file)
        if found.experiment != experiment:
            raise DataError(
                f"{file}: the key experiment is {found.experiment!r}, which is not its folder's "
                f"name.\n{cls.remedy}"
            )
        return found

    @property
    def last(self) -> TakenLook | None:
        """The newest look."""
        return self.looks[-1] if self.looks else None

    @property
    def counted(self) -> frozenset[str]:
        """Ids of the trials that looks have counted."""
        return frozenset(self.last.trials if self.last else ())

    @property
    def missed(self) -> frozenset[str]:
        """Ids of those that had failed when they were counted."""
        return frozenset(self.last.missed if self.last else ())

    @property
    def over(self) -> bool:
        """Whether nobody goes on."""
        return self.last is not None and not self.last.going


def _follows(before: TakenLook, look: TakenLook, place: str) -> None:
    """See that a look comes after another: what was counted and what was decided stays so."""
    if len(look.families) != len(before.families):
        raise ValueError(f"the key {place}.families has other pairs than the look before")
    for number, (was, now) in enumerate(zip(before.families, look.families, strict=True)):
        try:
            check_follows(was, now)
        except ValueError as error:
            raise ValueError(f"the key {place}.families.{number} is wrong: {error}") from error
    if not {*before.trials} <= {*look.trials} or not {*before.missed} <= {*look.missed}:
        raise ValueError(f"the key {place}.trials lacks some that an earlier look has counted")
    if strangers := {*look.going} - {*before.going}:
        raise ValueError(f"the key {place}.going has {min(strangers)}, who had ended before")
