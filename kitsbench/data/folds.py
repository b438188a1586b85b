"""Splits of a dataset into folds: made once, by a fixed rule, and hashed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from kitsbench.errors import DataError, UsageError
from kitsbench.files import digest


@dataclass(frozen=True)
class Split:
    """Which cases are tested in which fold; each case is tested in exactly one.

    Attributes
    ----------
    folds : tuple of tuple of str
        Test cases of every fold, sorted.

    Raises
    ------
    DataError
        There are fewer than two folds, one is empty, or a case is in two of them.
    """

    folds: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "folds", tuple(tuple(sorted(fold)) for fold in self.folds))
        if len(self.folds) < 2:
            raise DataError(f"a split has {len(self.folds)} folds; it needs at least 2.")
        seen: dict[str, int] = {}
        for number, fold in enumerate(self.folds):
            if not fold:
                raise DataError(f"fold {number} is empty. Every fold tests at least one case.")
            for case in fold:
                if case in seen:
                    raise DataError(
                        f"case {case} is in fold {seen[case]} and in fold {number}. "
                        "A case is tested once: remove it from one of them."
                    )
                seen[case] = number

    @cached_property
    def id(self) -> str:
        """Hash of the folds and their cases."""
        return digest([list(fold) for fold in self.folds])

    @property
    def cases(self) -> list[str]:
        """Every case, sorted."""
        return sorted(case for fold in self.folds for case in fold)

    def test(self, fold: int) -> list[str]:
        """Cases that are held out in a fold."""
        return list(self.folds[self._checked(fold)])

    def train(self, fold: int) -> list[str]:
        """Cases that are trained on in a fold: all others."""
        out = set(self.folds[self._checked(fold)])
        return [case for case in self.cases if case not in out]

    def _checked(self, fold: int) -> int:
        if not 0 <= fold < len(self.folds):
            raise UsageError(
                f"fold {fold} does not exist; there are folds 0 to {len(self.folds) - 1}."
            )
        return fold

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that :meth:`from_dict` reads back."""
        return {"id": self.id, "folds": [list(fold) for fold in self.folds]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Split:
        """Read a stored split.

        Raises
        ------
        DataError
            It is malformed, breaks a rule, or was changed after its id was written.
        """
        try:
            split = cls(tuple(tuple(str(case) for case in fold) for fold in data["folds"]))
        except (KeyError, TypeError) as error:
            raise DataError(
                f"a stored split is malformed ({error!r}). Expected "
                '{"id": ..., "folds": [[case, ...], ...]}.'
            ) from error
        if "id" in data and data["id"] != split.id:
            raise DataError(
                f"a stored split says id {data['id']}, its folds give {split.id}. "
                "It was changed by hand: remove the id to make it a new split."
            )
        return split


def make_folds(cases: Iterable[str], folds: int, seed: int = 0) -> Split:
    """Deal cases out to folds of equal size (to within one case).

    Parameters
    ----------
    cases : iterable of str
        Case ids in any order; the result does not depend on it.
    folds : int
        From 2 to the number of cases.
    seed : int
        Seed of the shuffle.

    Raises
    ------
    DataError
        A case id occurs twice.
    UsageError
        The number of folds does not fit the number of cases.
    """
    ordered = sorted(cases)
    twice = sorted({a for a, b in pairwise(ordered) if a == b})
    if twice:
        raise DataError(f"case {twice[0]} occurs twice. Case ids are unique in a dataset.")
    if not 2 <= folds <= len(ordered):
        raise UsageError(
            f"{folds} folds of {len(ordered)} cases cannot be made; "
            f"use 2 to {len(ordered)} folds or more cases."
        )
    order = np.random.default_rng(seed).permutation(len(ordered))
    shuffled = [ordered[i] for i in order]
    return Split(tuple(tuple(shuffled[k::folds]) for k in range(folds)))
