"""Which cases an evaluation may score, and in which fold each of them was tested."""

from __future__ import annotations

from pathlib import Path

from kitsbench.errors import DataError
from kitsbench.scans.names import match_names


class TestedFolds:
    """In which fold each case was tested: one for all, by a split, or by nnU-Net's folders."""

    def __init__(self, predictions: Path, cases: list[str], fold: int | None, split: str | None):
        self.fold, self.split, self.name = fold, None, split
        self.folders: dict[str, int] = {}
        if split is not None:
            from kitsbench.data.splits.rules import choose_rule

            self.split = choose_rule(split, cases)
        elif fold is None:
            from kitsbench.evaluation.label_files import folds_of, match_cases

            # Names are matched as the evaluation does it, whatever prefix the files have.
            found = folds_of(predictions)
            paths = {name: Path(str(number)) for name, number in found.items()}
            matched, _ = match_cases(paths, dict.fromkeys(cases, predictions))
            self.folders = {case: int(path.name) for case, path in matched.items()}

    @property
    def tested(self) -> list[str] | None:
        """The cases that the split tests; None for all."""
        if self.split is None:
            return None
        one = self.fold
        chosen = range(len(self.split.folds)) if one is None else [one]
        return sorted(case for number in chosen for case in self.split.test(number))

    def column(self, cases: list[str]) -> list[int] | int | None:
        """Fold of each row, or None where nothing is known."""
        if self.fold is not None:
            return self.fold
        if self.split is None and not self.folders:
            return None
        own = {
            case: self.split.fold_of(case) if self.split else self.folders.get(case)
            for case in set(cases)
        }
        lost = sorted(case for case, number in own.items() if number is None)
        if lost:
            raise DataError(
                f"It is not known in which fold {', '.join(lost[:5])} was tested. Give the split "
                "(--split splits_final.json), or leave these cases out (--cases)."
            )
        return [int(own[case] or 0) for case in cases]


def meant(names: list[str], cases: list[str]) -> list[str]:
    """Cases that a user's names stand for; a name that means none is kept, to be complained of."""
    found = match_names(names, cases)
    return [found.get(name, name) for name in names]


def find_leaks(
    predictions: Path, truth: Path, cases: list[str], trained_on: str | None, allow: bool
) -> list[str]:
    """Cases that the model behind the predictions was trained on, as far as that is known.

    Raises
    ------
    DataError
        There are some, and they were not allowed.
    """
    from kitsbench.data.datasets.patients import (
        known_patients,
        leaked_cases,
        recorded_leaks,
        refuse_leak,
    )

    leaked = recorded_leaks(predictions, truth, cases)
    if trained_on is not None:
        leaked = sorted({*leaked, *leaked_cases(cases, known_patients(trained_on))})
    if leaked and not allow:
        raise refuse_leak(leaked, len(cases))
    return leaked
