"""Whether two trainings of one trial came to the same scores: one rule for merges and reports."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from kitsbench.experiments.tables import SCORES, read_table

_KEYS = ["protocol", "case", "region", "metric"]


@dataclass(frozen=True)
class Disagreement:
    """How two tables of scores differ.

    Attributes
    ----------
    count, every : int
        Scores that differ, or that one of them lacks; and all that either has.
    most : float or None
        The largest difference of two values; None where only statuses differ or rows are missing.
    """

    count: int
    every: int
    most: float | None

    def __str__(self) -> str:
        """In a few words."""
        size = "" if self.most is None else f", by up to {self.most:.3g}"
        return f"{self.count} of {self.every} scores differ{size}"


def disagreement(
    there: Path, here: Path, protocols: Collection[str] | None = None
) -> Disagreement | None:
    """Compare the scores of a trial in two working directories.

    Parameters
    ----------
    there, here : Path
        Tables of scores.
    protocols : collection of str, optional
        Those that are compared; all by default.

    Returns
    -------
    Disagreement or None
        None where all scores are equal.

    Raises
    ------
    DataError
        A table is damaged.
    """
    tables = [read_table(file, SCORES) for file in (there, here)]
    if protocols is not None:
        tables = [table[table["protocol"].isin([*protocols])] for table in tables]
    both = tables[0].merge(
        tables[1], on=_KEYS, how="outer", suffixes=("_there", "_here"), indicator=True
    )
    first, second = both["value_there"], both["value_here"]
    # A score that there is none of is NaN, which no number is equal to, nor itself.
    same = (first == second) | (first.isna() & second.isna())
    alone = both["_merge"] != "both"
    count = int((~same | alone | (both["status_there"] != both["status_here"])).sum())
    if not count:
        return None
    differ = (first - second)[~same].abs().dropna()
    return Disagreement(count, len(both), float(differ.max()) if len(differ) else None)
