"""What an entry has replaced: each line names a file that stood here, by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from kitsbench.files import digest
from kitsbench.files.foreign import read_bytes
from kitsbench.leaderboard.parts import Former
from kitsbench.leaderboard.schema import Entry


def replacing(new: Entry, old: Entry, file: Path) -> Entry:
    """The new entry with the history of the old one, and that one as its last line.

    Parameters
    ----------
    new, old : Entry
    file : Path
        Where the old one lies, until it is written over.
    """
    score, made = old.score(old.endpoint), old.provenance
    last = Former(
        sha256=hashlib.sha256(read_bytes(file)).hexdigest(),
        created=made.created,
        kitsbench=made.kitsbench,
        distribution=made.distribution,
        version=made.version,
        source_hash=made.source_hash,
        experiment=old.experiment,
        conditions=digest(old.conditions),
        mean=None if score is None else score.mean,
    )
    return with_history(new, (*(old.history or ()), last))


def with_history(entry: Entry, history: tuple[Former, ...] | None) -> Entry:
    """The entry with another history, sealed."""
    found = entry.model_copy(update={"history": history})
    return found.model_copy(update={"seals": found.sealed()})


def history_faults(entry: Entry) -> Iterator[str]:
    """What of an entry's history cannot be: a file twice, or made at no time."""
    history = entry.history or ()
    for number, one in enumerate(history):
        if one.sha256 in [other.sha256 for other in history[:number]]:
            yield f"the key history.{number}.sha256 is that of an earlier line"
        if one.experiment == entry.experiment:
            yield f"the key history.{number}.experiment is the entry's own"
        if not is_time(one.created):
            yield f"the key history.{number}.created is no time in ISO 8601"


def is_time(text: str) -> bool:
    """Whether a text is a time in ISO 8601."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
