"""Cases that belong together: two scans of a patient, the patients of a hospital, of a scanner.

Cases of one cluster are no independent draws. Whoever tests or resamples cases must take clusters
whole; this room only says which case lies in which.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from kitsbench.errors import DataError
from kitsbench.statistics.table.files import MISSING, as_text
from kitsbench.statistics.table.grid import listing
from kitsbench.statistics.table.scoretable import PATIENT


@dataclass(frozen=True)
class Clusters:
    """Which case lies in which cluster.

    Attributes
    ----------
    column : str
        What the clusters are, as the column is called: ``patient``, ``hospital``.
    of : mapping of (str, str) to str
        By dataset and case, the name of the cluster.
    notes : list of str
        What a reader must know.
    """

    column: str
    of: Mapping[tuple[str, str], str]
    notes: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Clusters over all datasets; those of two datasets are never the same."""
        return len({(dataset, name) for (dataset, _), name in self.of.items()})

    def of_cases(self, dataset: str) -> dict[str, str]:
        """By case of one dataset, the name of the cluster."""
        return {case: name for (where, case), name in self.of.items() if where == dataset}


def column_of_scores(cluster: str | None, cases: pd.DataFrame | None) -> str | None:
    """Tell which column the score table must keep.

    Parameters
    ----------
    cluster : str or None
        The column that was asked for.
    cases : DataFrame or None
        Table of cases, indexed by case; where it has the column, that is the one.

    Returns
    -------
    str or None
        What ``read_scores`` and ``validate_scores`` take as ``cluster``.

    Raises
    ------
    DataError
        The table of cases has a column that is almost called so.
    """
    if cluster is None or cases is None:
        return cluster
    if cluster in cases.columns:
        return None
    names = [str(column) for column in cases.columns]
    close = difflib.get_close_matches(cluster, names, n=1)
    if close:
        raise DataError(
            f"The table of cases has no column '{cluster}' of clusters (did you mean {close[0]}?); "
            f"it has {', '.join(names)}."
        )
    return cluster


def clusters_of(
    scores: pd.DataFrame, cases: pd.DataFrame | None = None, cluster: str | None = None
) -> Clusters | None:
    """Say which cases of a score table belong together.

    Parameters
    ----------
    scores : DataFrame
        From :func:`~kitsbench.statistics.validate_scores` with the same ``cluster`` (see
        :func:`column_of_scores`), all rows or those of one dataset.
    cases : DataFrame, optional
        Table of cases, indexed by case; where it has the column, the score table is not asked.
    cluster : str, optional
        Name of the column. Without one, a column ``patient`` of the score table is used: two
        scans of a patient are never independent.

    Returns
    -------
    Clusters or None
        None where nothing tells clusters, or every case is one by itself.

    Raises
    ------
    DataError
        There is no such column; a case has two clusters, or none.
    """
    column = PATIENT if cluster is None else cluster
    in_cases = cluster is not None and cases is not None and cluster in cases.columns
    if not in_cases and column not in scores.columns:
        if cluster is None:
            return None
        raise DataError(
            f"Neither the score table nor a table of cases has a column '{cluster}' of clusters; "
            "name one that is there."
        )
    rows = scores[["dataset", "case", "fold"]].drop_duplicates()
    if in_cases:
        assert cases is not None
        given = as_text(cases[column]).reindex(rows["case"]).fillna("").to_numpy()
        told = rows.assign(cluster=given)
    else:
        told = scores[["dataset", "case", "fold"]].assign(cluster=as_text(scores[column]))
        told = told.drop_duplicates()
    told = told[~told["cluster"].str.lower().isin(MISSING)]
    if told.empty and cluster is None:
        return None  # a column that nobody filled
    _check_one_each(rows, told, column, "the table of cases" if in_cases else "the score table")
    of = {
        (str(dataset), str(case)): str(name)
        for dataset, case, name in told[["dataset", "case", "cluster"]].itertuples(index=False)
    }
    found = Clusters(column, of, _notes(told, column))
    if found.count == len(of):
        return None
    together = (
        f"Cases of one {column} are taken together: {len(of)} cases in {found.count} clusters."
    )
    return replace(found, notes=[together, *found.notes])


def _check_one_each(rows: pd.DataFrame, told: pd.DataFrame, column: str, where: str) -> None:
    doubled = told[told.duplicated(["dataset", "case"], keep=False)]
    if len(doubled):
        case = doubled.iloc[0]["case"]
        names = sorted({*doubled.loc[doubled["case"] == case, "cluster"]})
        raise DataError(
            f"Case {case} has {len(names)} entries in the column '{column}' of {where} "
            f"({listing(names)}); a case belongs to one cluster. Correct the column."
        )
    known = set(zip(told["dataset"], told["case"], strict=True))
    lacking = [
        case
        for dataset, case in zip(rows["dataset"], rows["case"], strict=True)
        if (dataset, case) not in known
    ]
    if lacking:
        more = f", as {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise DataError(
            f"Case {lacking[0]} has no entry in the column '{column}' of {where}{more}; which "
            "cases belong together must be said of each. Fill it, with a name of its own for a "
            "case that stands alone."
        )


def _notes(told: pd.DataFrame, column: str) -> list[str]:
    """Say which patients were tested by networks that may have been trained on them."""
    if column != PATIENT:
        return []  # hospitals and scanners lie in several folds by design
    folds = told.groupby(["dataset", "cluster"])["fold"].nunique()
    split = sorted(str(name) for _, name in folds.index[folds > 1])
    if not split:
        return []
    return [
        f"Scans of {len(split)} patient{'s' * (len(split) > 1)} lie in several folds "
        f"({listing(split)}): networks were tested on patients that they were trained on."
    ]
