"""A board's scores and what is said of them, for the page of experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from kitsbench.leaderboard import Entry
from kitsbench.leaderboard.board import read_filed
from kitsbench.statistics import Rule, compare
from kitsbench.statistics.compare.verdicts import FAILURES_WITHOUT_VERDICT
from kitsbench.text import markdown

BOARDS = Path(__file__).resolve().parents[1] / "leaderboards"
LEARNED = 0.10  # of A's design: mean Dice of the tumour of who has learned it


@dataclass(frozen=True)
class Board:
    """A board's entries, their scores, and the comparison of all of them.

    Attributes
    ----------
    entries : list of Entry
    table : DataFrame
        Scores of all entries, of every protocol.
    found : dict
        The comparison on the endpoint, as ``kitsbench compare --json`` writes it.
    """

    entries: list[Entry]
    table: pd.DataFrame
    found: dict[str, Any]

    @classmethod
    def of(cls, entries: list[Entry], tables: Sequence[pd.DataFrame]) -> Board:
        """Put the tables of entries together, and compare them."""
        table = pd.concat(tables, ignore_index=True)
        return cls(entries, table, compared(table, entries[0].endpoint, entries[0]))

    @property
    def means(self) -> dict[str, float]:
        """Mean of the endpoint, best first."""
        return {str(row["architecture"]): float(row["mean"]) for row in self.found["ranking"]}

    def pair(self, a: str, b: str) -> dict[str, Any] | None:
        """The pair of two entrants; None where one of them is missing."""
        return next((row for row in self.found["pairs"] if {row["a"], row["b"]} == {a, b}), None)


@cache
def read(name: str) -> Board | None:
    """A board of the repository; None where it has no entries yet."""
    folder = BOARDS / name
    filed = read_filed(folder) if folder.is_dir() else []
    filed = [one for one in filed if one.entry.elsewhere is None and one.scores is not None]
    return Board.of([one.entry for one in filed], [one.scores for one in filed]) if filed else None


def compared(table: pd.DataFrame, endpoint: str, like: Entry) -> dict[str, Any]:
    """Compare on an endpoint; ranks are not drawn again, since no sentence here rests on it."""
    region, metric = endpoint.split(":")
    rule = Rule(fold_count=like.folds.count)
    return compare(
        table,
        (region, metric),
        rule=rule,
        protocol=like.protocol,
        bootstrap=1,
        secondary=False,
    ).to_dict()


def judged(found: Mapping[str, Any], pair: Mapping[str, Any]) -> bool:
    """Whether a comparison could give a verdict on the architectures of a pair.

    Not with too few training runs, and not where too many predictions of one of them failed.
    """
    failed = {row["architecture"]: row["failure_rate"] or 0.0 for row in found["ranking"]}
    most = max(failed[pair["a"]], failed[pair["b"]])
    return bool(pair["scope"] == "L1" and most <= FAILURES_WITHOUT_VERDICT)


def rows_of(board: Board) -> pd.DataFrame:
    """Rows of the endpoint by the board's protocol."""
    region, metric = board.entries[0].endpoint.split(":")
    table = board.table
    own = (table["protocol"] == board.entries[0].protocol) & (table["region"] == region)
    return table[own & (table["metric"] == metric)]


def pair_sentence(pair: Mapping[str, Any] | None) -> str:
    """What the comparison says of a pair, word for word."""
    return "" if pair is None else markdown(pair["sentence"])


def names_of(names: Sequence[str]) -> str:
    """Names as code, with commas."""
    return ", ".join(f"`{name}`" for name in names)


def table_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)
