"""What entries must agree on: those of an experiment, of a board, of all boards.

Means, intervals, ranks and groups are worked out again here, from the tables of all entries of an
experiment, since what a case cannot have, and who is better, is told by all of them together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from kitsbench.errors import KitsbenchError
from kitsbench.files import digest
from kitsbench.leaderboard.looked import retaken, said_faults, seed_faults
from kitsbench.leaderboard.numbers import ranks_of, scores_of
from kitsbench.leaderboard.parts import Score
from kitsbench.leaderboard.proof import differs
from kitsbench.leaderboard.schema import Entry
from kitsbench.leaderboard.table_proof import rows_of
from kitsbench.statistics.table.policy import truth_holds_region
from kitsbench.statistics.table.runs import equal_runs


@dataclass(frozen=True)
class Filed:
    """An entry as it lies on a board.

    Attributes
    ----------
    file : Path
    entry : Entry
    scores : DataFrame or None
        None where something is wrong with its table.
    """

    file: Path
    entry: Entry
    scores: pd.DataFrame | None


Faults = Iterator[tuple[Path, str]]


def board_faults(filed: Sequence[Filed]) -> Faults:
    """What the entries of a board contradict each other in.

    Parameters
    ----------
    filed : sequence of Filed
        All entries of the board.

    Yields
    ------
    (Path, str)
        File, and what is wrong in a sentence that names the key.
    """
    trained = [one for one in filed if one.entry.elsewhere is None]
    first = next(iter(trained or filed), None)
    for one in filed:
        if first is not None and (different := differences(one.entry, first.entry)):
            yield one.file, f"{different}; entries of one board share their conditions"
    yield from _shared_trials(filed)
    for experiment in dict.fromkeys(one.entry.experiment for one in filed):
        yield from _experiment_faults([one for one in filed if one.entry.experiment == experiment])
    yield from _elsewhere_faults(trained, [one for one in filed if one.entry.elsewhere is not None])


def differences(one: Entry, other: Entry) -> str:
    """What differs between the conditions of two entries, in words; empty if nothing does."""
    found = [
        f"its {key} is {one.conditions[key]!r}, that of '{other.name}' {other.conditions[key]!r}"
        for key in one.conditions
        if key in other.conditions and one.conditions[key] != other.conditions[key]
    ]
    return "; ".join(found)


def _shared_trials(filed: Sequence[Filed]) -> Faults:
    owners: dict[str, Filed] = {}
    names: dict[str, Filed] = {}
    for one in filed:
        before = names.setdefault(one.entry.name, one)
        if before is not one:
            yield one.file, f"the key name is that of {before.file.name}"
        for trial in dict.fromkeys(one.entry.trials.ids):
            owner = owners.setdefault(trial, one)
            if owner is not one:
                yield one.file, f"the key trials.ids holds {trial}, a trial of {owner.file.name}"


def _experiment_faults(filed: Sequence[Filed]) -> Faults:
    first = filed[0]
    for one in filed[1:]:
        for key, own, other in zip(_SHARED, _shared(one.entry), _shared(first.entry), strict=True):
            for fault in differs(key, own, other, f"{first.file.name}, of the same experiment,"):
                yield one.file, fault
    ids = {trial for one in filed for trial in one.entry.trials.ids}
    if digest(sorted(ids)) != first.entry.experiment:
        yield (
            first.file,
            f"the key experiment is {first.entry.experiment}, which is not the hash of the trials "
            f"of its {len(filed)} entries here: an entry is missing, or one was changed",
        )
    if any(one.scores is None for one in filed):
        return  # told already; without all of them nothing can be worked out
    tables = {one.entry.name: one.scores for one in filed if one.scores is not None}
    uneven = list(_case_faults(filed, tables))
    if uneven:
        yield from uneven
        return  # every mean would be another
    whole = pd.concat(list(tables.values()), ignore_index=True)
    yield from _copy_faults(filed, whole)
    entry = first.entry
    try:
        scores = scores_of(whole)
        ranks = ranks_of(whole, entry.endpoint, entry.protocol, entry.folds.count, entry.looks)
        ended = _look_faults(filed, whole)
    except (KitsbenchError, ValidationError) as error:
        yield first.file, f"the scores of its experiment break a rule: {_line(error)}"
        return
    yield from ((first.file, text) for text in ended)
    for one in filed:
        yield from ((one.file, text) for text in score_faults(one, scores.get(one.entry.name, ())))
        rank = ranks.get(one.entry.name)
        for fault in differs("rank", one.entry.rank, rank, "the table of its experiment"):
            yield one.file, fault


def _look_faults(filed: Sequence[Filed], whole: pd.DataFrame) -> list[str]:
    """How the looks of entries, and their seeds, differ from what a run would have made."""
    entry = filed[0].entry
    looks = entry.looks
    if looks is None:
        return []
    members = {id_ for one in filed for run in one.entry.trials.runs for id_ in run.members}
    asked = [one.entry.name for one in filed if not members & {*one.entry.trials.ids}]
    seeds = [(one.entry.name, one.entry.seeds) for one in filed]
    told = said_faults(looks, len(entry.folds.used), asked, [name for name, _ in seeds])
    taken = retaken(whole, entry.endpoint, entry.protocol, looks)
    return [*told, *seed_faults(seeds, looks, taken)]


def _elsewhere_faults(trained: Sequence[Filed], outside: Sequence[Filed]) -> Faults:
    """Who was trained elsewhere is tested on the very cases of the others, and is none of them."""
    peers = [one for one in trained if one.entry.experiment == trained[0].entry.experiment]
    group = [*peers, *outside]
    tables = {one.entry.name: one.scores for one in group if one.scores is not None}
    if not outside or len(group) < 2 or len(tables) < len(group):
        return
    own = {one.file for one in outside}  # of the others it is told already
    yield from (fault for fault in _case_faults(group, tables) if fault[0] in own)
    whole = pd.concat(list(tables.values()), ignore_index=True)
    try:
        for _, rows in whole.groupby(["protocol", "region"]):
            truth_holds_region(rows)
    except KitsbenchError as error:
        yield outside[0].file, f"its scores and those of the board contradict: {_line(error)}"
    yield from _copy_faults(group, whole)


def _copy_faults(filed: Sequence[Filed], whole: pd.DataFrame) -> Faults:
    """Runs with equal scores, throughout: one result, entered as several.

    Settings of one architecture may make no difference, as a post-processing that finds nothing to
    do, and an ensemble may decide as one of its members does; such entries are left alone.
    """
    owners = {one.entry.name: one for one in filed}
    for group in equal_runs(whole):
        first, known = group[0], owners[group[0].architecture].entry.identity
        for other in group[1:]:
            one = owners[other.architecture]
            identity = one.entry.identity
            same = first.architecture == other.architecture
            if not same and (
                known is None
                or identity is None
                or known.architecture == identity.architecture
                or known.members
                or identity.members
            ):
                continue
            yield (
                one.file,
                f"its scores of fold {other.fold}, seed {other.seed} are those of "
                f"{'' if same else owners[first.architecture].file.name + ', '}seed {first.seed}: "
                f"one {'training run' if one.entry.elsewhere is None else 'result'}, entered twice",
            )


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


_SHARED = (
    "dataset",
    "protocol",
    "endpoint",
    "recipe.mode",
    "recipe.tuning",
    "budget",
    "folds",
    "seeds",
    "looks",
    "provenance.command",
    "provenance.created",
)


def _shared(entry: Entry) -> tuple[Any, ...]:
    """What the entries of an experiment have in common, by the keys ``_SHARED``."""
    made, recipe = entry.provenance, entry.recipe
    note = (entry.dataset, entry.protocol, entry.endpoint, recipe.mode, recipe.tuning)
    seeds = (entry.most_seeds, entry.looks)
    return (*note, entry.budget, entry.folds, *seeds, made.command, made.created)


def _case_faults(filed: Sequence[Filed], tables: Mapping[str, pd.DataFrame]) -> Faults:
    """All runs of a fold test the same cases, by the same regions and metrics."""
    rows = {name: rows_of(table) for name, table in tables.items()}
    measured = {
        name: {(row.protocol, row.region, row.metric) for row in own} for name, own in rows.items()
    }
    tested: dict[int, set[str]] = {}
    for row in (row for own in rows.values() for row in own):
        tested.setdefault(row.fold, set()).add(row.case)
    first = filed[0]
    for one in filed:
        own = measured[one.entry.name]
        for what in sorted(own ^ measured[first.entry.name]):
            has = "has" if what in own else "lacks"
            other = f"that of {first.file.name} has it otherwise"
            yield one.file, f"its table {has} scores of {what[0]} {what[1]}:{what[2]}, {other}"
        known = {(row.fold, row.seed, row.case) for row in rows[one.entry.name]}
        for run in one.entry.trials.runs:
            cases = tested.get(run.fold, set())
            lacking = {case for case in cases if (run.fold, run.seed, case) not in known}
            if lacking:
                yield (
                    one.file,
                    f"its table lacks {min(lacking)} in fold {run.fold}, seed {run.seed}, which "
                    "other runs of the fold test",
                )


def score_faults(one: Filed, right: Sequence[Score]) -> Iterator[str]:
    """How the scores of an entry differ from those that its table gives."""
    own = one.entry.scores
    keys = [_key(score) for score in own]
    known = {_key(score): score for score in right}
    for key, count in Counter(keys).items():
        if count > 1:
            yield f"the key scores has {' '.join(key)} {count} times"
    for key in known.keys() - set(keys):
        yield f"the key scores lacks {' '.join(key)}, of which the table has scores"
    for number, score in enumerate(own):
        if _key(score) not in known:
            yield f"the key scores.{number} is of {' '.join(_key(score))}, which the table lacks"
            continue
        yield from differs(f"scores.{number}", score, known[_key(score)], "the table")


def _key(score: Score) -> tuple[str, str]:
    return score.protocol, f"{score.region}:{score.metric}"


def dataset_faults(filed: Sequence[Filed]) -> Faults:
    """One fingerprint is one dataset, on whichever board: one name, one note."""
    known: dict[str, Filed] = {}
    splits: dict[str, Filed] = {}
    for one in sorted(filed, key=lambda one: one.entry.elsewhere is not None):
        dataset = one.entry.dataset
        first = known.setdefault(dataset.fingerprint, one)
        for key in ("name", "note", "synthetic"):
            own, other = getattr(dataset, key), getattr(first.entry.dataset, key)
            by = f"{first.file}, of the same fingerprint,"
            for fault in differs(f"dataset.{key}", own, other, by):
                yield one.file, fault
        first = splits.setdefault(one.entry.folds.split_id, one)
        by = f"{first.file}, of the same split,"
        pairs = [("folds.count", one.entry.folds.count, first.entry.folds.count)]
        if one.entry.elsewhere is None:  # which trains on no case
            pairs.append(("dataset.n_cases", dataset.n_cases, first.entry.dataset.n_cases))
        for key, own, other in pairs:
            for fault in differs(key, own, other, by):
                yield one.file, fault
