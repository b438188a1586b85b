"""A table of per-case scores, held against the trials of its entry."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from kitsbench.errors import DataError
from kitsbench.evaluation.protocols import PROTOCOLS, STORED_METRICS
from kitsbench.leaderboard.parts import Run
from kitsbench.leaderboard.proof import differs, short
from kitsbench.leaderboard.schema import Entry
from kitsbench.leaderboard.table import (
    ScoreTable,
    parse_table,
    read_table_text,
    table_path,
)
from kitsbench.metrics import FAILED, UNDEFINED
from kitsbench.statistics import validate_scores

PLAIN = "labels"
"""The protocol that every run is scored by beside its own."""
_PARTS = ("precision", "recall")
_CLOSE = 1e-6  # a library may add voxels up in single precision


class Row(NamedTuple):
    """A score, as :func:`~kitsbench.statistics.validate_scores` leaves it."""

    dataset: str
    protocol: str
    architecture: str
    fold: int
    seed: int
    case: str
    region: str
    metric: str
    value: float
    status: str


def read_scores(entry: Entry, file: Path) -> tuple[pd.DataFrame | None, list[str]]:
    """Read the table beside an entry and hold it against the entry's trials.

    Parameters
    ----------
    entry : Entry
    file : Path
        Of the entry.

    Returns
    -------
    DataFrame or None
        Validated; None where it is no table of scores.
    list of str
        What is wrong.
    """
    path = table_path(file)
    try:
        text = read_table_text(path)
        if hashlib.sha256(text).hexdigest() != entry.table.sha256:
            return None, [f"the key table.sha256 is not the hash of {path.name}"]
        scores = validate_scores(parse_table(text, path))
    except DataError as error:
        found = " ".join(str(error).split()).rstrip(".")
        return None, [found if str(path) in found else f"{path.name}, {found}"]
    return scores, [*_table_faults(entry, scores, path.name)]


def rows_of(scores: pd.DataFrame) -> list[Row]:
    """The rows of a table: in these checks a thousand small sets are quicker than frames."""
    chosen = scores[list(Row._fields)]
    return [Row(*row) for row in chosen.itertuples(index=False, name=None)]


def _table_faults(entry: Entry, scores: pd.DataFrame, name: str) -> Iterator[str]:
    rows, runs = rows_of(scores), entry.trials.runs
    yield from differs("table.rows", entry.table.rows, len(rows), name)
    for key, found, others in (
        ("name", entry.name, {row.architecture for row in rows}),
        ("dataset.name", entry.dataset.name, {row.dataset for row in rows}),
    ):
        for other in sorted(others - {found}):
            yield f"the key {key} is {short(found)}; {name} has scores of {short(other)}"
    yield from _measured_faults(entry, rows, name)
    trained = {(run.fold, run.seed) for run in runs}
    for fold, seed in sorted({(row.fold, row.seed) for row in rows} - trained):
        yield f"{name} has scores of fold {fold}, seed {seed}, which no trial made"
    for run in runs:
        own = {row.status for row in rows if (row.fold, row.seed) == (run.fold, run.seed)}
        yield from _status_faults(run, own, name)
    tested = len({row.case for row in rows})
    if entry.dataset.n_cases < tested:
        yield f"the key dataset.n_cases is {entry.dataset.n_cases}; {name} has {tested}"


def _measured_faults(entry: Entry, rows: Sequence[Row], name: str) -> Iterator[str]:
    """Whether every region and metric of both protocols is there, for every case of a run."""
    measured = {(row.protocol, row.region, row.metric) for row in rows}
    by, expected = {protocol for protocol, _, _ in measured}, {entry.protocol, PLAIN}
    for found in sorted(by ^ expected):
        what = "lacks scores" if found in expected else "has scores"
        yield f"{name} {what} by {found}; an entry has those by {' and '.join(sorted(expected))}"
    for protocol in sorted(expected & by & PROTOCOLS.keys()):
        rules = PROTOCOLS[protocol]
        scored = {(region, metric) for other, region, metric in measured if other == protocol}
        # A dataset may lack a label, and then no score is told of it; of its own protocol none.
        known = {one.name for one in rules.regions}
        own = {region for region, _ in scored}
        if entry.protocol == PLAIN and not known >= own:
            known = own  # a dataset with labels of its own is scored by their names
        wanted = known & {region for region, _ in scored} if protocol == PLAIN else known
        complete = {(region, metric) for region in wanted for metric in rules.metrics}
        for region, metric in sorted(complete - scored):
            yield f"{name} lacks {protocol} {region}:{metric}"
        for region, metric in sorted(scored - complete):
            if region not in known or metric not in STORED_METRICS:
                yield f"{name} has {protocol} {region}:{metric}, which nobody stores"
    counts = Counter((row.case, row.fold, row.seed) for row in rows)
    most = max(counts.values(), default=0)
    for (case, fold, seed), count in sorted(counts.items()):
        if count < most:
            yield f"{name} has {count} scores of {case} in fold {fold}, seed {seed}, not {most}"
            return


def agreement_faults(entry: Entry, scores: pd.DataFrame, file: Path) -> list[str]:
    """Whether what a table says twice agrees; its text stands in one order and spelling, too.

    Dice is the harmonic mean of precision and recall, and one set of voxels has one score by
    whichever protocol. Of each kind of fault the first is told.
    """
    path, rows = table_path(file), rows_of(scores)
    found = {(row.protocol, row.region, row.metric, *row[3:6]): row for row in rows}
    harmonic = (text for row in rows for text in _harmonic_faults(row, found))
    alike = _same_region(entry, rows)
    shared = (text for row in rows for text in _shared_faults(row, alike, found))
    faults = [f"{path.name}, {text}" for told in (harmonic, shared) for text in islice(told, 1)]
    if not faults and ScoreTable.of(scores).note.sha256 != entry.table.sha256:
        faults.append(
            f"{path.name} has its rows in another order, or cells in another spelling, than "
            "`kitsbench leaderboard add` writes"
        )
    return faults


def _harmonic_faults(row: Row, found: Mapping[tuple[Any, ...], Row]) -> Iterator[str]:
    if row.metric != "dice" or row.status != "ok":
        return
    parts = [found.get((row.protocol, row.region, name, *row[3:6])) for name in _PARTS]
    values = [part.value for part in parts if part is not None and part.status == "ok"]
    if len(values) < len(_PARTS):
        return
    precision, recall = values
    right = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    if not math.isclose(row.value, right, abs_tol=_CLOSE):
        yield (
            f"{_place(row)}: the {row.region}:dice by {row.protocol} is {row.value:.6g}; its "
            f"precision and recall give {right:.6g}"
        )


def _same_region(entry: Entry, rows: Sequence[Row]) -> dict[str, str]:
    """Regions of the entry's protocol, each with the label that is the same set of voxels."""
    plain = {one.name: set(one.labels) for one in PROTOCOLS[PLAIN].regions}
    scored = {row.region for row in rows if row.protocol == PLAIN}
    if entry.protocol not in PROTOCOLS or entry.protocol == PLAIN or scored - plain.keys():
        return {}
    # A label that nobody has makes no difference: without cysts, KiTS19's tumor is a tumor.
    known = {label for name in scored for label in plain[name]}
    return {
        one.name: name
        for one in PROTOCOLS[entry.protocol].regions
        for name in scored
        if set(one.labels) & known == plain[name]
    }


def _shared_faults(
    row: Row, alike: Mapping[str, str], found: Mapping[tuple[Any, ...], Row]
) -> Iterator[str]:
    if row.protocol == PLAIN or row.region not in alike:
        return
    other = found.get((PLAIN, alike[row.region], row.metric, *row[3:6]))
    if other is None or {row.status, other.status} & {*FAILED, UNDEFINED}:
        return
    equal = math.isclose(row.value, other.value, abs_tol=_CLOSE)
    if row.status != other.status or not (equal or row.value != row.value):
        yield (
            f"{_place(row)}: the {row.region}:{row.metric} is {row.value:.6g} by {row.protocol}, "
            f"{other.value:.6g} by {PLAIN}, and the voxels are the same"
        )


def _place(row: Row) -> str:
    return f"{row.case}, fold {row.fold}, seed {row.seed}"


def _status_faults(run: Run, statuses: set[str], name: str) -> Iterator[str]:
    where = f"fold {run.fold}, seed {run.seed}"
    if run.state == "finished" and not statuses:
        yield f"{name} has no scores of {where}, whose trial finished"
    if run.state == "failed" and statuses - {*FAILED, UNDEFINED}:
        yield f"{name} has scores of {where}, whose trial failed (trials.runs)"
