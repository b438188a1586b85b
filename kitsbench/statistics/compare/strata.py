"""Differences within groups of cases that were declared before the results were seen.

A stratum is a column of a table of cases, cut at declared numbers or split by its values. What is
found within strata is exploratory: it is adjusted over all strata and pairs by Benjamini and
Hochberg, and gets no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kitsbench.errors import DataError, UsageError
from kitsbench.statistics.compare.pairs import PairTest, analyse_pairs, mean_rows, number
from kitsbench.statistics.table.blocks import ScoreBlocks
from kitsbench.statistics.table.files import MISSING, as_text, read_text_table
from kitsbench.statistics.tests.families import adjust
from kitsbench.statistics.tests.rule import Rule

UNKNOWN = "unknown"
_MOST_LEVELS = 8


@dataclass(frozen=True)
class Stratum:
    """A declared grouping of cases.

    Attributes
    ----------
    column : str
        Column of the table of cases.
    cuts : tuple of float
        Numbers at which it is cut; a value on a cut belongs above. Empty: one group a value.
    """

    column: str
    cuts: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        """As it is declared: ``column`` or ``column:cut,cut``."""
        return self.column + ":" * bool(self.cuts) + ",".join(f"{cut:g}" for cut in self.cuts)


def parse_stratum(text: str | Stratum) -> Stratum:
    """Read ``column`` or ``column:cut,cut``.

    Parameters
    ----------
    text : str or Stratum
        ``cyst_present`` or ``tumor_volume_ml:10,100``.

    Raises
    ------
    UsageError
        The text has another form, or the cuts do not rise.
    """
    if isinstance(text, Stratum):
        return text
    column, _, rest = text.partition(":")
    try:
        cuts = tuple(float(part) for part in rest.split(",")) if rest else ()
    except ValueError:
        cuts = (np.nan,)
    rising = all(a < b for a, b in pairwise(cuts))
    if not column.strip() or not all(np.isfinite(cuts)) or not rising:
        raise UsageError(
            f"The stratum is '{text}'; it must be a column, or a column and rising numbers to cut "
            "it at, such as tumor_volume_ml:10,100."
        )
    return Stratum(column.strip(), cuts)


def read_cases(path: str | Path) -> pd.DataFrame:
    """Read a table of cases.

    Parameters
    ----------
    path : path
        CSV (commas, semicolons or tabs) or Parquet with a column ``case`` (or ``case_id``) and
        one column for each property.

    Returns
    -------
    DataFrame
        Text columns indexed by case; an empty cell is empty text.

    Raises
    ------
    DataError
        The file is no such table, or names a case twice.
    """
    table = read_text_table(Path(path), "a table of cases")
    table = table.set_axis([str(column).strip() for column in table.columns], axis=1)
    key = next((name for name in ("case", "case_id") if name in table.columns), None)
    if key is None:
        raise DataError(
            f"{path} has no column 'case'; a table of cases has one, and a column for each "
            f"property (found: {', '.join(table.columns)})."
        )
    table = table.astype(object).where(table.notna(), "")
    table[key] = as_text(table[key])
    doubled = table[key][table[key].duplicated()]
    if len(doubled):
        raise DataError(f"{path} has the case {doubled.iloc[0]} twice; each may appear once.")
    return table.set_index(key)


def levels(
    cases: pd.DataFrame, names: Sequence[str], stratum: Stratum
) -> tuple[pd.Series, list[str]]:
    """Tell the group of every case.

    Parameters
    ----------
    cases : DataFrame
        Indexed by case.
    names : sequence of str
        Cases of the score table.
    stratum : Stratum
        What was declared.

    Returns
    -------
    groups : Series of str
        By case; ``unknown`` where the table of cases does not tell.
    order : list of str
        Groups that occur, in rising order, ``unknown`` last.

    Raises
    ------
    DataError
        There is no such column, a value to cut is no number, or a column of many different
        values has no cuts.
    """
    if stratum.column not in cases.columns:
        raise DataError(
            f"The table of cases has no column '{stratum.column}'; it has "
            f"{', '.join(map(str, cases.columns)) or 'none'}."
        )
    given = as_text(cases[stratum.column].reindex(list(names)))
    missing = given.str.lower().isin(MISSING)
    if not stratum.cuts:
        order = sorted(given[~missing].unique(), key=_natural)
        if len(order) > _MOST_LEVELS:
            raise DataError(
                f"The column '{stratum.column}' has {len(order)} different values; declare where "
                f"to cut it, such as {stratum.column}:10,100."
            )
        groups = given.mask(missing, UNKNOWN)
    else:
        numbers = pd.to_numeric(given.mask(missing), errors="coerce")
        wrong = given[numbers.isna() & ~missing]
        if len(wrong):
            raise DataError(
                f"Case {wrong.index[0]} has the {stratum.column} {wrong.iloc[0]!r}, which is no "
                "number and cannot be cut."
            )
        edges = [f"{cut:g}" for cut in stratum.cuts]
        order = [f"< {edges[0]}", *(f"{a} to {b}" for a, b in pairwise(edges))]
        order.append(f">= {edges[-1]}")
        place = np.searchsorted(stratum.cuts, numbers.fillna(0).to_numpy(dtype=float), side="right")
        groups = pd.Series(np.asarray(order, dtype=object)[place], index=given.index)
        groups = groups.mask(missing, UNKNOWN)
    present = set(groups)
    return groups, [level for level in [*order, UNKNOWN] if level in present]


def _natural(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def stratified(
    blocks: ScoreBlocks,
    pairs: list[tuple[str, str]],
    cases: pd.DataFrame,
    strata: Sequence[Stratum],
    rule: Rule,
) -> list[dict[str, Any]]:
    """Test all pairs within every group of every stratum.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.
    pairs : list of (str, str)
        Which.
    cases : DataFrame
        From :func:`read_cases`.
    strata : sequence of Stratum
        Declared.
    rule : Rule
        How pairs are tested.

    Returns
    -------
    list of dict
        One per group: ``stratum``, ``level``, ``n_cases``, ``means`` and ``pairs``, each with
        ``p_adjusted`` over all groups and pairs.
    """
    names = [case for fold in blocks.cases.values() for case in fold]
    rows: list[dict[str, Any]] = []
    tests: list[PairTest] = []
    for stratum in strata:
        groups, order = levels(cases, names, stratum)
        for level in order:
            part = blocks.subset(
                {f: groups[list(mine)].eq(level).to_numpy() for f, mine in blocks.cases.items()}
            )
            if part is None:  # it has cases in folds that not all share
                continue
            found = analyse_pairs(part, pairs, rule)
            rows.append(
                {
                    "stratum": stratum.text,
                    "level": level,
                    "n_cases": part.n_cases,
                    "means": mean_rows(part),
                    "pairs": [
                        {**test.brief(), "scope": test.result.scope, "test": test.result.test}
                        for test in found
                    ],
                }
            )
            tests += found
    adjusted = iter(adjust([test.result.p_value for test in tests], "fdr_bh"))
    for row in rows:
        for pair in row["pairs"]:
            pair["p_adjusted"] = number(float(next(adjusted)))
    return rows
