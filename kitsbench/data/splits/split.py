"""Splits of a dataset into folds: made once, by a fixed rule, and hashed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from kitsbench.errors import DataError, UsageError
from kitsbench.files import digest


@dataclass(frozen=True)
class Split:
    """Which cases are tested in which fold, and which are trained on; none is tested twice.

    Attributes
    ----------
    folds : tuple of tuple of str
        Test cases of every fold, sorted.
    training : tuple of tuple of str, optional
        Training cases of every fold, sorted. None for a cross-validation, where each fold trains
        on all cases that it does not test; given lists that say the same become None, so that
        equal splits have equal ids.
    inner : tuple of tuple of tuple of str, optional
        The training cases of every fold, dealt out once more to inner folds, for the members of an
        ensemble that are each trained without one of them; the cases that the fold tests are in
        none. They change nothing of who trains on the whole fold, and so nothing of the id.

    Raises
    ------
    DataError
        There is one fold and no list of training cases, a list is empty, a case is tested in two
        folds, or a case is trained on and tested in one fold; inner folds are not those of the
        training cases.
    """

    folds: tuple[tuple[str, ...], ...]
    training: tuple[tuple[str, ...], ...] | None = None
    inner: tuple[tuple[tuple[str, ...], ...], ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "folds", tuple(tuple(sorted(fold)) for fold in self.folds))
        least = 2 if self.training is None else 1
        if len(self.folds) < least:
            raise DataError(f"a split has {len(self.folds)} folds; it needs at least {least}.")
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
        if self.training is not None:
            object.__setattr__(self, "training", self._checked_training(self.training))
        if self.inner is not None:
            object.__setattr__(self, "inner", self._checked_inner(self.inner))

    def _checked_training(
        self, training: tuple[tuple[str, ...], ...]
    ) -> tuple[tuple[str, ...], ...] | None:
        if len(training) != len(self.folds):
            raise DataError(
                f"a split lists training cases for {len(training)} of its {len(self.folds)} folds; "
                "every fold has its own list."
            )
        lists = tuple(tuple(sorted(set(cases))) for cases in training)
        for number, (train, test) in enumerate(zip(lists, self.folds, strict=True)):
            if not train:
                raise DataError(f"fold {number} trains on no case. Every fold needs some.")
            both = sorted(set(train) & set(test))
            if both:
                raise DataError(
                    f"case {both[0]} is trained on and tested in fold {number}. "
                    "Remove it from one of the two lists."
                )
        tested = {case for fold in self.folds for case in fold}
        complement = len(lists) > 1 and all(
            set(train) == tested - set(test) for train, test in zip(lists, self.folds, strict=True)
        )
        return None if complement else lists

    def _checked_inner(
        self, inner: tuple[tuple[tuple[str, ...], ...], ...]
    ) -> tuple[tuple[tuple[str, ...], ...], ...]:
        if len(inner) != len(self.folds):
            raise DataError(
                f"a split lists inner folds for {len(inner)} of its {len(self.folds)} folds; every "
                "fold has its own."
            )
        for number, parts in enumerate(inner):
            dealt, train = sorted(case for part in parts for case in part), self.train(number)
            # A tested case in one of them would be trained on by the members without the others.
            if dealt != train:
                foreign, missing = set(dealt) - set(train), set(train) - set(dealt)
                odd = (
                    sorted(foreign) or sorted(missing) or [a for a, b in pairwise(dealt) if a == b]
                )
                raise DataError(
                    f"the inner folds of fold {number} are not its training cases, each once: see "
                    f"case {odd[0]}. Deal out what the fold trains on and nothing else."
                )
        return tuple(Split(parts).folds for parts in inner)

    @cached_property
    def id(self) -> str:
        """Hash of the folds and their cases."""
        folds = [list(fold) for fold in self.folds]
        if self.training is None:
            return digest(folds)
        return digest({"test": folds, "train": [list(cases) for cases in self.training]})

    @property
    def cases(self) -> list[str]:
        """Every case that is tested or trained on, sorted."""
        lists = (*self.folds, *(self.training or ()))
        return sorted({case for cases in lists for case in cases})

    def test(self, fold: int) -> list[str]:
        """Cases that are held out in a fold."""
        return list(self.folds[self._checked(fold)])

    def train(self, fold: int) -> list[str]:
        """Cases that are trained on in a fold."""
        number = self._checked(fold)
        if self.training is not None:
            return list(self.training[number])
        out = set(self.folds[number])
        return [case for case in self.cases if case not in out]

    def inner_split(self, fold: int) -> Split | None:
        """The training cases of a fold as a cross-validation; None without inner folds."""
        number = self._checked(fold)
        return None if self.inner is None else Split(self.inner[number])

    def with_inner(self, count: int, seed: int) -> Split:
        """The same split, with the training cases of every fold dealt out to ``count`` folds.

        Raises
        ------
        UsageError
            A fold has fewer training cases than that.
        """
        parts = [make_folds(self.train(fold), count, seed).folds for fold in range(len(self.folds))]
        return replace(self, inner=tuple(parts))

    def fold_of(self, case: str) -> int | None:
        """Fold in which a case is tested; None for a case that is tested in none."""
        return next((k for k, fold in enumerate(self.folds) if case in fold), None)

    def _checked(self, fold: int) -> int:
        if not 0 <= fold < len(self.folds):
            last = len(self.folds) - 1
            known = f"there are folds 0 to {last}" if last else "the split has fold 0 alone"
            raise UsageError(f"fold {fold} does not exist; {known}.")
        return fold

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that :meth:`from_dict` reads back."""
        found: dict[str, Any] = {"id": self.id, "folds": [list(fold) for fold in self.folds]}
        if self.training is not None:
            found["training"] = [list(cases) for cases in self.training]
        if self.inner is not None:
            found["inner"] = [[list(cases) for cases in parts] for parts in self.inner]
        return found

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Split:
        """Read a stored split.

        Raises
        ------
        DataError
            It is malformed, breaks a rule, or was changed after its id was written.
        """
        try:
            inner = data.get("inner")
            split = cls(
                _lists(data["folds"]),
                _lists(data.get("training")),
                None if inner is None else tuple(_lists(parts) for parts in inner),
            )
        except (KeyError, TypeError, AttributeError) as error:
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


def _lists(value: Any) -> Any:
    """Lists of case ids as tuples; None stays None."""
    if value is None:
        return None
    for cases in value:
        if isinstance(cases, str):
            raise TypeError(f"{cases!r} stands where a list of cases belongs")
    return tuple(tuple(str(case) for case in cases) for cases in value)


def sorted_cases(cases: Iterable[str]) -> list[str]:
    """Case ids in the order that every rule starts from.

    Raises
    ------
    DataError
        A case id occurs twice.
    """
    ordered = sorted(cases)
    twice = sorted({a for a, b in pairwise(ordered) if a == b})
    if twice:
        raise DataError(f"case {twice[0]} occurs twice. Case ids are unique in a dataset.")
    return ordered


def check_fold_count(folds: int, cases: int) -> None:
    """Refuse a number of folds that the cases cannot fill.

    Raises
    ------
    UsageError
        There are fewer than two folds, or more than cases.
    """
    if not 2 <= folds <= cases:
        raise UsageError(
            f"{folds} folds of {cases} cases cannot be made; use 2 to {cases} folds or more cases."
        )


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
    ordered = sorted_cases(cases)
    check_fold_count(folds, len(ordered))
    order = np.random.default_rng(seed).permutation(len(ordered))
    shuffled = [ordered[i] for i in order]
    return Split(tuple(tuple(shuffled[k::folds]) for k in range(folds)))
