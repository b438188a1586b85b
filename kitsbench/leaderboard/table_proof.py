"""A table of per-case scores, held against the trials of its entry."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from kitsbench.errors import DataError
from kitsbench.evaluation.protocols import PROTOCOLS, STORED_METRICS
from kitsbench.leaderboard.parts import Run
from kitsbench.leaderboard.proof import differs, short
from kitsbench.leaderboard.schema import Entry
from kitsbench.leaderboard.table import parse_table, read_table_text, table_path
from kitsbench.metrics import FAILED, UNDEFINED
from kitsbench.statistics import validate_scores

PLAIN = "labels"
"""The protocol that every run is scored by beside its own."""


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


def _status_faults(run: Run, statuses: set[str], name: str) -> Iterator[str]:
    where = f"fold {run.fold}, seed {run.seed}"
    if run.state == "finished" and not statuses:
        yield f"{name} has no scores of {where}, whose trial finished"
    if run.state == "failed" and statuses - {*FAILED, UNDEFINED}:
        yield f"{name} has scores of {where}, whose trial failed (trials.runs)"
