"""The table of trials that run, as wide as the terminal: of a run, and of whoever watches one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kitsbench.cli.time_left import in_words
from kitsbench.text.screen import words

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from kitsbench.experiments.records import DeviceUse

NAME = 20  # columns that a name has before others are left out for it
BAR = 16
STYLES = {
    "finished": "green",
    "failed": "red",
    "dead": "red",
    "damaged": "red",
    "silent": "yellow",
    "waiting": "dim",
    "spared": "dim",
    "queued": "dim",
}


@dataclass(frozen=True)
class Row:
    """What the table shows of a trial.

    Attributes
    ----------
    name : str
        Of its entrant.
    fold : int
    seed : str
        Or its number in a search for settings.
    state : str
    share : float or None
        Of its stage that is done.
    left : float or None
        Seconds.
    score, loss : float or None
    device : DeviceUse or None
    """

    name: str
    fold: int
    seed: str
    state: str
    share: float | None = None
    left: float | None = None
    score: float | None = None
    loss: float | None = None
    device: DeviceUse | None = None


def number(value: float | None) -> str:
    """A loss or a score in at most eight columns."""
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.2e}"


def use(device: DeviceUse | None) -> str:
    """How much of its device a trial takes; empty where nobody tells."""
    if device is None:
        return ""
    load = "" if device.load is None else f"{min(device.load, 9.99):.0%}"
    memory = "" if device.memory_bytes is None else f"{device.memory_bytes / 2**30:.1f} GiB"
    return " ".join(filter(None, [load, memory]))


def _share(row: Row) -> str:
    return "" if row.share is None else f"{min(row.share, 0.99):.0%}"


def _left(row: Row) -> str:
    return "" if row.left is None else in_words(row.left)


# Those that go where a terminal is narrow, the first to stay first: head, and what it shows.
_MORE: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("left", _left),
    ("score", lambda row: number(row.score)),
    ("loss", lambda row: number(row.loss)),
    ("device", lambda row: use(row.device)),
)


def trial_table(rows: Sequence[Row], width: int) -> Table:
    """Rows that fit into so many columns: what is told last goes first, then names are cut."""
    from rich.table import Table

    names = [words(row.name) for row in rows]
    columns: list[tuple[str, list[Text]]] = [
        ("fold", [words(row.fold) for row in rows]),
        ("seed", [words(row.seed) for row in rows]),
        ("state", [words(row.state, STYLES.get(row.state, "")) for row in rows]),
        ("done", [words(_share(row)) for row in rows]),
    ]
    longest = max([len("trial"), *(name.cell_len for name in names)])
    free = width - sum(_wide(*column) for column in columns) - min(longest, NAME)
    for head, say in _MORE:
        cells = [words(say(row)) for row in rows]
        if any(cell.plain for cell in cells) and (free := free - _wide(head, cells)) >= 0:
            columns.append((head, cells))
        elif free < 0:
            break
    room = width - sum(_wide(*column) for column in columns)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("trial", no_wrap=True, overflow="ellipsis", width=max(min(longest, room), 1))
    for head, _ in columns:
        left = head == "state"
        table.add_column(head, justify="left" if left else "right", no_wrap=True)
    for index, name in enumerate(names):
        line: list[Text] = [name, *(cells[index] for _, cells in columns)]
        table.add_row(*line)
    return table


def _wide(head: str, cells: Sequence[Text]) -> int:
    """Columns of the terminal that a column takes, with the space before it."""
    return 1 + max([len(head), *(cell.cell_len for cell in cells)])


def counted(counts: dict[str, int]) -> str:
    """How many trials are in which state, those that ended first."""
    order = (
        "finished",
        "failed",
        "damaged",
        "dead",
        "silent",
        "running",
        "queued",
        "waiting",
        "spared",
    )
    return ", ".join(f"{counts[state]} {state}" for state in order if counts.get(state))


def overview(share: float, elapsed: float | None, left: float | None, told: str) -> Group:
    """A bar of all trials with the time that is left, and what is told in words below.

    Parameters
    ----------
    share : float
        Of all trials that is done.
    elapsed, left : float or None
        Seconds.
    told : str
    """
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    line = Table.grid(padding=(0, 1, 0, 0))
    cells: list[ProgressBar | str] = [
        ProgressBar(1.0, share, width=BAR),
        f"{min(share, 1.0):>4.0%}",
    ]
    if elapsed is not None:
        minutes, seconds = divmod(int(elapsed), 60)
        cells.append(f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}")
    cells.append("" if left is None else f"~{in_words(left)} left")
    line.add_row(*cells)
    return Group(line, wrapped(told))


def wrapped(text: str, style: str = "") -> Text:
    """Foreign text that wraps at the terminal's edge, also on a console of unbroken lines."""
    line = words(text, style)
    line.no_wrap, line.overflow = False, "fold"
    return line
