"""Scores of one endpoint as blocks: per architecture and fold an array cases x seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kitsbench.errors import DataError, UsageError
from kitsbench.metrics import FAILED
from kitsbench.statistics.table.endpoints import Endpoint
from kitsbench.statistics.table.grid import missing_notes, missing_runs, without_strays
from kitsbench.statistics.table.policy import analysis_set, penalised, truth_holds_region

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Blocks = tuple[Array, ...]
"""One array ``(cases of the fold, seeds)`` per fold; the number of seeds may differ."""

_PLAIN_PROTOCOL = "labels"
_NOTHING_PREDICTED = ("empty_prediction", "both_empty")


@dataclass(frozen=True)
class ScoreBlocks:
    """The scores of one endpoint, complete: by architecture and fold an array cases x seeds.

    What concerns all architectures at once (``folds``, ``values``, means, ranks) holds the folds
    that all share. A pair may share more: see :meth:`shared`.

    Attributes
    ----------
    endpoint : Endpoint
        Region and metric.
    architectures : tuple of str
        In alphabetical order, so that the order of the rows is of no account.
    folds : tuple of int
        Folds that all architectures share.
    cases : dict of tuple of str
        By fold its cases, in the order of the first axis of the arrays.
    every : dict of dict of ndarray, shape (cases, seeds)
        Scores by architecture and fold, all folds that it has.
    failed, empty : dict of dict of ndarray of bool
        Likewise: whether a prediction failed; whether there is none, or one without the region.
    background : dict of ndarray, shape (cases,)
        By fold what a prediction without any region scores; NaN where only the scan tells.
    seeds : dict of dict of tuple of int
        By architecture and fold its seeds, in the order of the second axis.
    clusters : dict of tuple of str or None
        By fold the cluster of each case, where cases depend on each other.
    notes : list of str
        What a reader must know: folds left out, runs that are missing, penalties assumed.
    left_out : tuple of str
        Architectures with scores that are left out since they share no fold with the others, see
        :func:`~kitsbench.statistics.table.grid.without_strays`; the notes say it too.
    """

    endpoint: Endpoint
    architectures: tuple[str, ...]
    folds: tuple[int, ...]
    cases: dict[int, tuple[str, ...]]
    every: dict[str, dict[int, Array]]
    failed: dict[str, dict[int, Flags]]
    empty: dict[str, dict[int, Flags]]
    background: dict[int, Array]
    seeds: dict[str, dict[int, tuple[int, ...]]]
    clusters: dict[int, tuple[str, ...]] | None = None
    notes: list[str] = field(default_factory=list)
    left_out: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, Blocks]:
        """By architecture its scores on the folds that all share, one array per fold."""
        return {name: self.of(name, self.folds) for name in self.architectures}

    def of(self, architecture: str, folds: Sequence[int]) -> Blocks:
        """Scores of an architecture on some folds."""
        mine = self.every[architecture]
        return tuple(mine[fold] for fold in folds)

    def shared(self, *architectures: str) -> tuple[int, ...]:
        """Folds that some architectures have in common."""
        found = set.intersection(*(set(self.every[name]) for name in architectures))
        return tuple(sorted(found))

    def cluster_numbers(self, folds: Sequence[int]) -> list[NDArray[np.int64]] | None:
        """By fold the cluster of each case as a number; None where every case is its own."""
        if self.clusters is None:
            return None
        names = sorted({name for fold in folds for name in self.clusters[fold]})
        number = {name: index for index, name in enumerate(names)}
        return [np.array([number[name] for name in self.clusters[fold]]) for fold in folds]

    @property
    def n_cases(self) -> int:
        """Cases of the folds that all share."""
        return sum(len(self.cases[fold]) for fold in self.folds)

    def failure_rate(self, architecture: str) -> float:
        """Fraction of an architecture's predictions that failed, on the folds that all share."""
        mine = self.failed[architecture]
        return float(np.concatenate([mine[fold].ravel() for fold in self.folds]).mean())

    @property
    def means(self) -> dict[str, float]:
        """By architecture the mean over cases of the seed-averaged scores."""
        return {
            name: float(np.concatenate([b.mean(axis=1) for b in blocks]).mean())
            for name, blocks in self.values.items()
        }

    def without_failures(self) -> ScoreBlocks | None:
        """Drop every case that failed for any architecture (listwise); None if none is left."""
        keep = {}
        for fold, names in self.cases.items():
            bad = np.zeros(len(names), dtype=bool)
            for flags in self.failed.values():
                bad |= flags[fold].any(axis=1) if fold in flags else False
            keep[fold] = ~bad
        return self.subset(keep)

    def without_runs(self, runs: Collection[tuple[str, int, int]]) -> ScoreBlocks | None:
        """Drop runs, each an architecture, a fold and a seed.

        A fold that an architecture has no run of any more leaves for it. None if no fold is left
        that all share.
        """
        keep = {
            name: {fold: [(name, fold, seed) not in runs for seed in seeds]
                   for fold, seeds in mine.items()}
            for name, mine in self.seeds.items()
        }  # fmt: skip

        def columns_of(table: dict[str, dict[int, NDArray[Any]]]) -> dict[str, dict[int, Any]]:
            return {
                name: {
                    f: block[:, keep[name][f]] for f, block in mine.items() if any(keep[name][f])
                }
                for name, mine in table.items()
            }

        every = columns_of(self.every)
        folds = tuple(fold for fold in self.folds if all(fold in mine for mine in every.values()))
        if not folds:
            return None
        return replace(
            self,
            folds=folds,
            every=every,
            failed=columns_of(self.failed),
            empty=columns_of(self.empty),
            seeds={
                name: {
                    fold: tuple(seed for seed, kept in zip(mine[fold], flags, strict=True) if kept)
                    for fold, flags in keep[name].items()
                    if any(flags)
                }
                for name, mine in self.seeds.items()
            },
        )

    def subset(self, keep: Mapping[int, Flags]) -> ScoreBlocks | None:
        """Keep the marked cases of each fold; None if no fold that all share has one."""
        kept = [fold for fold in self.cases if keep[fold].any()]
        folds = tuple(fold for fold in self.folds if fold in kept)
        if not folds:
            return None

        def names_of(table: dict[int, tuple[str, ...]]) -> dict[int, tuple[str, ...]]:
            return {f: tuple(np.asarray(table[f], dtype=object)[keep[f]]) for f in kept}

        def rows_of(table: dict[str, dict[int, NDArray[Any]]]) -> dict[str, dict[int, Any]]:
            return {
                name: {f: block[keep[f]] for f, block in blocks.items() if f in kept}
                for name, blocks in table.items()
            }

        return replace(
            self,
            folds=folds,
            cases=names_of(self.cases),
            every=rows_of(self.every),
            failed=rows_of(self.failed),
            empty=rows_of(self.empty),
            background={f: self.background[f][keep[f]] for f in kept},
            seeds={
                name: {f: mine[f] for f in mine if f in kept} for name, mine in self.seeds.items()
            },
            clusters=None if self.clusters is None else names_of(self.clusters),
            notes=[],
        )


def choose_table(
    scores: pd.DataFrame, endpoint: Endpoint, protocol: str | None, dataset: str | None
) -> pd.DataFrame:
    """Keep one dataset and one protocol.

    An official protocol is preferred to ``labels`` where both score the endpoint.

    Parameters
    ----------
    scores : DataFrame
        Validated table.
    endpoint : Endpoint
        The primary endpoint; it must be in the table.
    protocol, dataset : str or None
        Which to keep; needed only where the table does not decide.

    Returns
    -------
    DataFrame

    Raises
    ------
    UsageError
        The endpoint, the protocol or the dataset is not in the table, the choice is open, or
        nobody has said which of two values of the metric is better.
    """
    wanted = _is(scores, endpoint)
    if not wanted.any():
        pairs = scores[["region", "metric"]].drop_duplicates()
        names = sorted(f"{row.region}:{row.metric}" for row in pairs.itertuples())
        raise UsageError(
            f"The table has no scores of {endpoint.name}; choose an endpoint among "
            f"{', '.join(names)}."
        )
    endpoint.facts.check_direction()
    for column, choice in (("dataset", dataset), ("protocol", protocol)):
        found = sorted(scores.loc[wanted, column].unique())
        if choice is None and column == "protocol" and len(found) == 2:
            found = [name for name in found if name != _PLAIN_PROTOCOL]
        if choice is None and len(found) > 1:
            raise UsageError(
                f"The table holds {endpoint.name} of {len(found)} {column}s "
                f"({', '.join(found)}); choose one with --{column}."
            )
        choice = found[0] if choice is None else choice
        if choice not in found:
            raise UsageError(
                f"The table has no scores of {endpoint.name} for the {column} '{choice}'; it has "
                f"{', '.join(name or '(none)' for name in found)}."
            )
        scores = scores[scores[column] == choice]
        wanted = _is(scores, endpoint)
    return scores


def _is(scores: pd.DataFrame, endpoint: Endpoint) -> pd.Series:
    return (scores["region"] == endpoint.region) & (scores["metric"] == endpoint.metric)


def score_blocks(
    scores: pd.DataFrame,
    endpoint: Endpoint,
    positive: pd.Series | None = None,
    clusters: Mapping[str, str] | None = None,
    once: Collection[str] = (),
    kept: Collection[str] = (),
) -> ScoreBlocks:
    """Arrange the scores of one endpoint for analysis, by the policy for missing and failed cases.

    Parameters
    ----------
    scores : DataFrame
        Validated rows of one dataset and protocol.
    endpoint : Endpoint
        Region and metric.
    positive : Series of bool, optional
        By case, whether the truth holds the region; by default from all rows of the region.
    clusters : mapping of str to str, optional
        The cluster (patient, hospital, scanner) of every case.
    once : collection of str
        Architectures that were planned with one run in a fold, see
        :func:`~kitsbench.statistics.table.grid.missing_runs`.
    kept : collection of str
        Architectures that are not left out where no fold is common to all, such as the baseline;
        see :func:`~kitsbench.statistics.table.grid.without_strays`.

    Returns
    -------
    ScoreBlocks

    Raises
    ------
    DataError
        A case has no row for a run that scored its fold, no fold is common to two
        architectures, no case holds the region or can have the metric, or nobody has said
        which of two values of the metric is better.
    """
    if endpoint.facts.better == "undeclared":
        # Of a primary endpoint, choose_table has said more.
        raise DataError(
            f"{endpoint.name}: kitsbench does not know this metric, and nobody declared which of "
            "two values is better."
        )
    if positive is None:
        # Rows of every metric tell it: one that is undefined on a case may leave the case out.
        positive = truth_holds_region(scores[scores["region"] == endpoint.region])
    rows, notes = penalised(scores[_is(scores, endpoint)], endpoint, positive)
    if rows.empty:
        raise DataError(
            f"No case of the table can have {endpoint.name}: its status is undefined throughout, "
            "as it is for distances on sheared grids. Choose an endpoint that counts voxels."
        )
    names = tuple(sorted(rows["architecture"].unique()))
    missing = missing_runs(rows, once)
    rows = analysis_set(rows, endpoint)
    if rows.empty:
        raise DataError(
            f"No case of the table holds the region {endpoint.region} in its ground truth; "
            f"{endpoint.name} is defined on such cases only."
        )
    if endpoint.facts.better == "nearer":
        # Over- and under-segmentation must not cancel: the size of the error is compared.
        rows = rows.assign(value=rows["value"].abs())
    strays, stray_notes = without_strays(rows, kept)
    if strays:
        rows = rows[~rows["architecture"].isin(strays)]
        names = tuple(name for name in names if name not in strays)
        missing = [one for one in missing if one.architecture not in strays]
    folds, fold_notes = _common_folds(rows, names)
    columns = {name: rows[name].to_numpy() for name in ("architecture", "fold", "case", "seed")}
    value = rows["value"].to_numpy(dtype=float)
    failed = rows["status"].isin(FAILED).to_numpy()
    empty = failed | rows["status"].isin(_NOTHING_PREDICTED).to_numpy()
    cases: dict[int, tuple[str, ...]] = {}
    values: dict[str, dict[int, Array]] = {name: {} for name in names}
    failures: dict[str, dict[int, Flags]] = {name: {} for name in names}
    empties: dict[str, dict[int, Flags]] = {name: {} for name in names}
    runs: dict[str, dict[int, tuple[int, ...]]] = {name: {} for name in names}
    # Sorted once, so that a table of hundreds of architectures is not searched for each of them.
    order = np.lexsort((columns["architecture"].astype(str), columns["fold"]))
    keys = list(zip(columns["fold"][order], columns["architecture"][order], strict=True))
    starts = [i for i in range(len(keys)) if i == 0 or keys[i] != keys[i - 1]]
    members = {
        int(fold): np.unique(columns["case"][columns["fold"] == fold].astype(str))
        for fold in np.unique(columns["fold"])
    }
    for start, end in zip(starts, [*starts[1:], len(keys)], strict=True):
        fold, name = int(keys[start][0]), str(keys[start][1])
        mine = order[start:end]
        cases[fold] = tuple(str(case) for case in members[fold])
        seeds = np.unique(columns["seed"][mine])
        at = (
            np.searchsorted(members[fold], columns["case"][mine].astype(str)),
            np.searchsorted(seeds, columns["seed"][mine]),
        )
        grid = np.full((len(members[fold]), len(seeds)), np.nan)
        flags, nothing = (np.zeros(grid.shape, dtype=bool) for _ in range(2))
        grid[at], flags[at], nothing[at] = value[mine], failed[mine], empty[mine]
        _check_complete(grid, name, fold, members[fold], seeds, endpoint)
        values[name][fold], failures[name][fold], empties[name][fold] = grid, flags, nothing
        runs[name][fold] = tuple(int(seed) for seed in seeds)
    return ScoreBlocks(
        endpoint=endpoint,
        architectures=names,
        folds=folds,
        cases=cases,
        every=values,
        failed=failures,
        empty=empties,
        background={fold: _background(endpoint, positive, mine) for fold, mine in cases.items()},
        clusters=None
        if clusters is None
        else {fold: tuple(clusters[case] for case in mine) for fold, mine in cases.items()},
        seeds=runs,
        notes=[*stray_notes, *notes, *fold_notes, *missing_notes(missing)],
        left_out=tuple(strays),
    )


def _background(endpoint: Endpoint, positive: pd.Series, cases: Sequence[str]) -> Array:
    """What a prediction without any region scores on each case."""
    facts = endpoint.facts
    worth = [facts.at("empty_prediction" if positive[case] else "both_empty") for case in cases]
    return np.array([w if isinstance(w, (int, float)) else np.nan for w in worth], dtype=float)


def _common_folds(rows: pd.DataFrame, names: Sequence[str]) -> tuple[tuple[int, ...], list[str]]:
    there = rows[["architecture", "fold"]].drop_duplicates()
    by_name: dict[str, set[int]] = {name: set() for name in names}
    for name, fold in there.itertuples(index=False, name=None):
        by_name[str(name)].add(int(fold))
    common = set.intersection(*by_name.values())
    every = set.union(*by_name.values())
    if not common:
        listing = "; ".join(f"{n}: {sorted(map(int, by_name[n])) or 'none'}" for n in names)
        raise DataError(
            f"No fold was scored by all architectures ({listing}); run the missing folds, or "
            "leave out the architecture that lacks them."
        )
    folds = tuple(sorted(int(fold) for fold in common))
    if common == every:
        return folds, []
    lacking = [n for n in names if by_name[n] != every]
    return folds, [
        f"{', '.join(lacking)} lack{'s' * (len(lacking) == 1)} folds: the ranking is on the "
        f"fold{'s' * (len(folds) != 1)} {', '.join(map(str, folds))} that all share, of "
        f"{', '.join(str(int(fold)) for fold in sorted(every))}; each pair is compared on all that "
        "it shares."
    ]


def _check_complete(
    grid: Array,
    name: str,
    fold: int,
    members: NDArray[np.str_],
    seeds: NDArray[np.int64],
    endpoint: Endpoint,
) -> None:
    gaps = np.argwhere(np.isnan(grid))
    if not len(gaps):
        return
    case, seed = gaps[0]
    raise DataError(
        f"{endpoint.name}: architecture {name}, fold {fold}, seed {seeds[seed]} has no row for "
        f"case {members[case]}, which others scored ({len(gaps)} such "
        f"gap{'s' * (len(gaps) > 1)} in this fold); a prediction that is missing must be a row "
        "with the status failed, so that it counts."
    )
