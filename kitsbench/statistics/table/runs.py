"""Training runs that are not what the tests take them for: copied or collapsed.

A test takes the runs of an architecture for independent draws of one distribution. A copy of a run
pretends a draw that never was, and a run that never took off comes from another distribution.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kitsbench.errors import DataError
from kitsbench.metrics import Metric, find
from kitsbench.statistics.table.blocks import ScoreBlocks
from kitsbench.statistics.table.endpoints import Endpoint
from kitsbench.statistics.table.grid import listing, plural

COLLAPSED = 0.3
"""A run at or below this share of the median of its siblings has collapsed."""
_LEARNED = 0.02  # of the range, where the metric does not say itself what has learned nothing

# Equal scores are a copy only where chance cannot make them equal. Two trained networks agree on
# a Dice of four digits about once in a hundred cases; on two digits, or on a distance of one
# voxel, about once in five.
_FINE, _COARSE = 5, 10


@dataclass(frozen=True, order=True)
class Run:
    """A training run: one architecture, fold and seed.

    Attributes
    ----------
    architecture : str
        Display name.
    fold, seed : int
        As in the score table.
    """

    architecture: str
    fold: int
    seed: int


@dataclass(frozen=True)
class CollapsedRun:
    """A run that scores a small part of what its siblings score.

    Attributes
    ----------
    run : Run
        Which.
    mean : float
        Its mean over the cases of the fold that did not fail.
    siblings : float
        Median of such means over the other runs of the architecture.
    """

    run: Run
    mean: float
    siblings: float


# -- copies ---------------------------------------------------------------------------------


def check_copies(table: pd.DataFrame, endpoint: Endpoint) -> list[str]:
    """Refuse a run that is a copy of another of its architecture.

    Two runs of a fold are copies where every score of the endpoint, or of the whole table, is equal
    and chance cannot make them so: at least five different values between the ends of the range
    and finer than two decimals, or ten of any kind. Networks that learned nothing are equal
    without being copies: those are cases with an empty mask, scores at an end of the range, and
    runs whose Dice or recall is the same on every case (nothing was marked, or everything).
    Counts of lesions and shares of them are equal too often to tell anything. So nothing can be
    told of a table with few cases and one region, or with metrics of lesions alone.

    Parameters
    ----------
    table : DataFrame
        Validated rows of one dataset and protocol, all metrics.
    endpoint : Endpoint
        What is compared.

    Returns
    -------
    list of str
        Notes on architectures whose runs are equal: one network under several names.

    Raises
    ------
    DataError
        Two seeds, or two folds, of an architecture are one run.
    """
    _check_folds_again(table, endpoint)
    groups = _equal_at_endpoint(table, endpoint)
    if not _of(table, endpoint).all():
        groups += _equal_throughout(table)
    seeds: dict[tuple[str, int, int], list[tuple[int, NDArray[np.float64]]]] = {}
    names: dict[tuple[str, str], list[tuple[int, NDArray[np.float64]]]] = {}
    for fold, runs, values in groups:
        first: dict[str, int] = {}
        for name, seed in runs:
            if name in first:
                seeds.setdefault((name, first[name], seed), []).append((fold, values))
            else:
                first[name] = seed
        leader = runs[0][0]
        for name in first:
            if name != leader:
                names.setdefault((leader, name), []).append((fold, values))
    tested = table.loc[_of(table, endpoint)]
    for (name, one, other), found in sorted(seeds.items(), key=lambda item: item[0]):
        if not _beyond_chance([values for _, values in found]):
            continue
        mine = tested[tested["architecture"] == name]
        folds = sorted({*mine.loc[mine["seed"] == one, "fold"]})
        where = _where([fold for fold, _ in found], [int(fold) for fold in folds])
        raise DataError(
            f"Seeds {one} and {other} of {name} have the same {endpoint.name} on every case"
            f"{where}: one run, entered twice, which the tests would take for two.\n"
            f"Leave out seed {other}, or train it again with a seed of its own."
        )
    return _one_network(names, endpoint)


def _check_folds_again(table: pd.DataFrame, endpoint: Endpoint) -> None:
    """Refuse a run whose scores stand in another fold too, under other names of the cases."""
    if endpoint.facts.lesions:
        return
    rows = table.loc[_of(table, endpoint) & table["status"].eq("ok")]
    rows = rows.assign(value=np.round(rows["value"].to_numpy(dtype=float), 6) + 0.0)
    rows = rows.sort_values("value")
    first: dict[tuple[str, bytes], tuple[int, int]] = {}
    runs = rows.groupby(["architecture", "fold", "seed"])["value"]
    for key, mine in runs:
        name, fold, seed = cast("tuple[str, int, int]", key)
        values = mine.to_numpy(dtype=float)
        found = int(fold), int(seed)
        at, run = first.setdefault((str(name), values.tobytes()), found)
        if at != fold and _beyond_chance([_inside(values, endpoint.facts)]):
            raise DataError(
                f"Fold {at}, seed {run} and fold {fold}, seed {seed} of {name} have the same "
                f"{endpoint.name} on all their cases: one run, entered twice, which the tests "
                f"would take for two.\nLeave out fold {fold}, or score the cases that it tests."
            )


def _one_network(
    names: dict[tuple[str, str], list[tuple[int, NDArray[np.float64]]]], endpoint: Endpoint
) -> list[str]:
    alike: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for (leader, name), found in sorted(names.items(), key=lambda item: item[0]):
        if _beyond_chance([values for _, values in found]):
            folds = tuple(sorted({fold for fold, _ in found}))
            alike.setdefault((leader, folds), []).append(name)
    return [
        f"{listing([leader, *others])} have runs with the same {endpoint.name} on every case of "
        f"fold{plural(folds)} {listing(folds)}, as one network under {1 + len(others)} names has."
        for (leader, folds), others in alike.items()
    ]


Group = tuple[int, list[tuple[str, int]], NDArray[np.float64]]
"""Runs of a fold with equal scores: fold, (architecture, seed), and the values that tell."""


def equal_runs(table: pd.DataFrame) -> list[list[Run]]:
    """Runs of a fold whose scores are all equal, where chance cannot make them so.

    Parameters
    ----------
    table : DataFrame
        Validated rows of one dataset, all protocols and metrics.

    Returns
    -------
    list of list of Run
        Each of two runs or more, of one architecture or several.
    """
    return [
        [Run(name, fold, seed) for name, seed in runs]
        for fold, runs, values in _equal_throughout(table)
        if _beyond_chance([values])
    ]


def _equal_at_endpoint(table: pd.DataFrame, endpoint: Endpoint) -> list[Group]:
    if endpoint.facts.lesions:
        return []
    rows = table[_of(table, endpoint)]
    return [
        (fold, runs, _inside(_ok(part), endpoint.facts))
        for fold, runs, part in _equal(rows, ["case"])
        if len(_ok(part)) and not _trivial(table, endpoint.region, fold, runs[0])
    ]


def _equal_throughout(table: pd.DataFrame) -> list[Group]:
    """As :func:`_equal_at_endpoint` by all that was measured: few cases have many scores."""
    groups = []
    for fold, runs, part in _equal(table, ["protocol", "region", "metric", "case"]):
        telling = [np.empty(0)]
        for (_, region, metric), rows in part.groupby(["protocol", "region", "metric"]):
            facts = find(str(metric))
            if facts.lesions or not facts.known:  # which may belong to the case, not the run
                continue
            # One case may be marked wholly by chance, but that proves no copy either.
            if not _trivial(part, str(region), fold, runs[0], least=1):
                telling.append(_inside(_ok(rows), facts))
        groups.append((fold, runs, np.unique(np.concatenate(telling))))
    return groups


def _ok(rows: pd.DataFrame) -> NDArray[np.float64]:
    return rows.loc[rows["status"] == "ok", "value"].to_numpy(dtype=float)


def _equal(
    rows: pd.DataFrame, columns: list[str]
) -> Iterator[tuple[int, list[tuple[str, int]], pd.DataFrame]]:
    """Runs of a fold with equal values: fold, (architecture, seed), and the rows of the first."""
    names, architecture = np.unique(rows["architecture"].to_numpy(dtype=str), return_inverse=True)
    codes = [np.unique(rows[c].to_numpy(dtype=str), return_inverse=True)[1] for c in columns]
    fold, seed = rows["fold"].to_numpy(), rows["seed"].to_numpy()
    order = np.lexsort((*codes[::-1], seed, architecture, fold))
    rows, keys = rows.iloc[order], np.stack([fold, architecture, seed], axis=1)[order]
    starts = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)])
    ends = np.r_[starts[1:], len(rows)]
    measured = np.stack(codes, axis=1)[order]
    # The same predictions may have been scored, or written, by two programs.
    values = np.round(rows["value"].to_numpy(dtype=float), 6) + 0.0
    found: dict[object, list[int]] = {}
    lengths = dict(zip(starts.tolist(), ends.tolist(), strict=True))
    for start, end in lengths.items():
        content = (keys[start, 0], measured[start:end].tobytes(), values[start:end].tobytes())
        found.setdefault(content, []).append(start)
    for members in found.values():
        if len(members) > 1:
            start = members[0]
            runs = [(str(names[keys[m, 1]]), int(keys[m, 2])) for m in members]
            yield int(keys[start, 0]), runs, rows.iloc[start : lengths[start]]


def _inside(values: NDArray[np.float64], facts: Metric) -> NDArray[np.float64]:
    """Leave out the ends of the range, where scores meet without being copies."""
    ends = [end for end in (facts.low, facts.high, facts.best) if end is not None]
    return np.unique(values[~np.isin(values, ends) & np.isfinite(values)])


def _trivial(
    table: pd.DataFrame, region: str, fold: int, run: tuple[str, int], least: int = 2
) -> bool:
    """Whether a run marks nothing or everything, so that all such runs are equal.

    Of fewer cases than ``least`` it cannot be told.
    """
    here = (table["fold"] == fold) & (table["seed"] == run[1])
    here &= (table["architecture"] == run[0]) & (table["region"] == region)
    scored = table[here & table["status"].eq("ok")]
    for metric, end in (("dice", 0.0), ("recall", 1.0), ("recall", 0.0)):
        values = scored.loc[scored["metric"] == metric, "value"]
        if len(values) >= least and (values == end).all():
            return True
    return False


def _beyond_chance(values: Sequence[NDArray[np.float64]]) -> bool:
    different = np.unique(np.concatenate(values))
    fine = np.abs(different * 100 - np.round(different * 100)) > 1e-6
    return int(fine.sum()) >= _FINE or len(different) >= _COARSE


def _where(found: Iterable[int], every: list[int]) -> str:
    folds = sorted(set(found))
    if folds == every:
        return "" if len(every) == 1 else f" of all {len(every)} folds"
    return f" of fold{plural(folds)} {listing(folds)}"


# -- collapsed ------------------------------------------------------------------------------


def collapsed_runs(blocks: ScoreBlocks) -> list[CollapsedRun]:
    """List the runs that score 30 % or less of what their siblings score.

    Siblings are the other runs of the architecture: other seeds of the fold, and other folds.
    They must have learned the endpoint. Where most runs of a fold fall as low, whoever made
    them, the fold is hard, and no run collapsed. Failed cases are left out: they are told of
    elsewhere. Metrics without a worst end, such as distances, have no share to speak of.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.

    Returns
    -------
    list of CollapsedRun
        In the order of their names.
    """
    facts = blocks.endpoint.facts
    worst, best = facts.worst, facts.best
    if worst is None or not np.isfinite(best):
        return []
    least = abs(best - worst) * _LEARNED
    if facts.learned_from is not None:
        least = abs(facts.learned_from - worst)
    found: list[CollapsedRun] = []
    fallen: dict[int, list[bool]] = {fold: [] for fold in blocks.folds}
    for name in blocks.architectures:
        runs = _run_means(blocks, name)
        for at, (run, mean) in enumerate(runs):
            others = [other for index, (_, other) in enumerate(runs) if index != at]
            if not others:
                continue
            siblings = float(np.median(others))
            low = abs(siblings - worst) >= least
            low &= abs(mean - worst) <= COLLAPSED * abs(siblings - worst)
            fallen[run.fold].append(low)
            if low:
                found.append(CollapsedRun(run, mean, siblings))
    hard = {f for f, flags in fallen.items() if len(flags) > 1 and 2 * sum(flags) > len(flags)}
    return sorted((c for c in found if c.run.fold not in hard), key=lambda c: c.run)


def _run_means(blocks: ScoreBlocks, name: str) -> list[tuple[Run, float]]:
    means = []
    for fold in blocks.folds:
        values = np.where(blocks.failed[name][fold], np.nan, blocks.every[name][fold])
        for column, seed in enumerate(blocks.seeds[name][fold]):
            scored = values[:, column][~np.isnan(values[:, column])]
            if len(scored):
                means.append((Run(name, fold, seed), float(scored.mean())))
    return means


def _of(table: pd.DataFrame, endpoint: Endpoint) -> pd.Series:
    return (table["region"] == endpoint.region) & (table["metric"] == endpoint.metric)
