"""Scores of one endpoint as blocks: per architecture and fold an array cases x seeds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kitsbench.errors import DataError, UsageError
from kitsbench.metrics import FAILED
from kitsbench.statistics.table.endpoints import Endpoint
from kitsbench.statistics.table.grid import missing_notes, missing_runs
from kitsbench.statistics.table.policy import analysis_set, penalised, truth_holds_region

Array = NDArray[np.float64]
Blocks = tuple[Array, ...]
"""One array ``(cases of the fold, seeds)`` per fold; the number of seeds may differ."""

_PLAIN_PROTOCOL = "labels"


@dataclass(frozen=True)
class ScoreBlocks:
    """The scores of one endpoint, complete, on the folds that all architectures share.

    Attributes
    ----------
    endpoint : Endpoint
        Region and metric.
    architectures : tuple of str
        In alphabetical order, so that the order of the rows is of no account.
    folds : tuple of int
        Common folds.
    cases : tuple of tuple of str
        The cases of each fold, in the order of the first axis of the arrays.
    values, failed : dict
        By architecture: one array per fold, shape ``(cases, seeds)``.
    notes : list of str
        What a reader must know: folds left out, runs that are missing, penalties assumed.
    seeds : dict
        By architecture: for each fold the seeds, in the order of the second axis.
    """

    endpoint: Endpoint
    architectures: tuple[str, ...]
    folds: tuple[int, ...]
    cases: tuple[tuple[str, ...], ...]
    values: dict[str, Blocks]
    failed: dict[str, tuple[NDArray[np.bool_], ...]]
    notes: list[str] = field(default_factory=list)
    seeds: dict[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)

    @property
    def n_cases(self) -> int:
        """Cases over all folds."""
        return sum(len(names) for names in self.cases)

    def failure_rate(self, architecture: str) -> float:
        """Fraction of an architecture's predictions that failed."""
        flags = np.concatenate([block.ravel() for block in self.failed[architecture]])
        return float(flags.mean())

    @property
    def means(self) -> dict[str, float]:
        """By architecture the mean over cases of the seed-averaged scores."""
        return {
            name: float(np.concatenate([b.mean(axis=1) for b in self.values[name]]).mean())
            for name in self.architectures
        }

    def without_failures(self) -> ScoreBlocks | None:
        """Drop every case that failed for any architecture (listwise); None if none is left."""
        keep = []
        for index in range(len(self.folds)):
            bad = np.zeros(len(self.cases[index]), dtype=bool)
            for name in self.architectures:
                bad |= self.failed[name][index].any(axis=1)
            keep.append(~bad)
        return self.subset(keep)

    def subset(self, keep: Sequence[NDArray[np.bool_]]) -> ScoreBlocks | None:
        """Keep the marked cases of each fold; None if there is none."""
        names = self.architectures
        kept_folds = [index for index, flags in enumerate(keep) if flags.any()]
        if not kept_folds:
            return None
        return ScoreBlocks(
            endpoint=self.endpoint,
            architectures=names,
            folds=tuple(self.folds[f] for f in kept_folds),
            cases=tuple(
                tuple(np.asarray(self.cases[f], dtype=object)[keep[f]]) for f in kept_folds
            ),
            values={n: tuple(self.values[n][f][keep[f]] for f in kept_folds) for n in names},
            failed={n: tuple(self.failed[n][f][keep[f]] for f in kept_folds) for n in names},
            seeds={n: tuple(self.seeds[n][f] for f in kept_folds) for n in names},
        )

    def without_runs(self, runs: Collection[tuple[str, int, int]]) -> ScoreBlocks | None:
        """Drop runs, each an architecture, a fold and a seed.

        A fold that an architecture has no run of any more leaves for all. None if none is left.
        """
        keep = {
            n: [
                np.asarray([(n, f, s) not in runs for s in seeds], dtype=bool)
                for f, seeds in zip(self.folds, self.seeds[n], strict=True)
            ]
            for n in self.architectures
        }
        kept = [i for i in range(len(self.folds)) if all(flags[i].any() for flags in keep.values())]
        if not kept:
            return None
        return replace(
            self,
            folds=tuple(self.folds[i] for i in kept),
            cases=tuple(self.cases[i] for i in kept),
            values={n: tuple(self.values[n][i][:, keep[n][i]] for i in kept) for n in keep},
            failed={n: tuple(self.failed[n][i][:, keep[n][i]] for i in kept) for n in keep},
            seeds={
                n: tuple(
                    tuple(s for s, flag in zip(self.seeds[n][i], keep[n][i], strict=True) if flag)
                    for i in kept
                )
                for n in keep
            },
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
    scores: pd.DataFrame, endpoint: Endpoint, positive: pd.Series | None = None
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

    Returns
    -------
    ScoreBlocks

    Raises
    ------
    DataError
        A case has no row for a run that scored its fold, no fold is common to all
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
    missing = missing_runs(rows)
    rows = analysis_set(rows, endpoint)
    if rows.empty:
        raise DataError(
            f"No case of the table holds the region {endpoint.region} in its ground truth; "
            f"{endpoint.name} is defined on such cases only."
        )
    if endpoint.facts.better == "nearer":
        # Over- and under-segmentation must not cancel: the size of the error is compared.
        rows = rows.assign(value=rows["value"].abs())
    folds, fold_notes = _common_folds(rows, names)
    columns = {name: rows[name].to_numpy() for name in ("architecture", "fold", "case", "seed")}
    value = rows["value"].to_numpy(dtype=float)
    failed = rows["status"].isin(FAILED).to_numpy()
    cases: list[tuple[str, ...]] = []
    values: dict[str, list[Array]] = {name: [] for name in names}
    failures: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in names}
    runs: dict[str, list[tuple[int, ...]]] = {name: [] for name in names}
    for fold in folds:
        here = columns["fold"] == fold
        members = np.unique(columns["case"][here].astype(str))
        cases.append(tuple(str(case) for case in members))
        for name in names:
            mine = here & (columns["architecture"] == name)
            seeds = np.unique(columns["seed"][mine])
            at = (
                np.searchsorted(members, columns["case"][mine].astype(str)),
                np.searchsorted(seeds, columns["seed"][mine]),
            )
            grid = np.full((len(members), len(seeds)), np.nan)
            flags = np.zeros(grid.shape, dtype=bool)
            grid[at], flags[at] = value[mine], failed[mine]
            _check_complete(grid, name, fold, members, seeds, endpoint)
            values[name].append(grid)
            failures[name].append(flags)
            runs[name].append(tuple(int(seed) for seed in seeds))
    return ScoreBlocks(
        endpoint=endpoint,
        architectures=names,
        folds=folds,
        cases=tuple(cases),
        values={name: tuple(blocks) for name, blocks in values.items()},
        failed={name: tuple(blocks) for name, blocks in failures.items()},
        notes=[*notes, *fold_notes, *missing_notes(missing)],
        seeds={name: tuple(found) for name, found in runs.items()},
    )


def _common_folds(rows: pd.DataFrame, names: Sequence[str]) -> tuple[tuple[int, ...], list[str]]:
    by_name = {name: set(rows.loc[rows["architecture"] == name, "fold"]) for name in names}
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
        f"{', '.join(lacking)} lack{'s' * (len(lacking) == 1)} folds; everything is compared on "
        f"the common folds {', '.join(map(str, folds))} of "
        f"{', '.join(str(int(fold)) for fold in sorted(every))}."
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
