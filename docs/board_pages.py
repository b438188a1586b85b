"""Boards as pages of the site, and a gallery of what a report says of their scores.

The pages are those that ``kitsbench leaderboard render`` wrote, with links to the cards. The
figures are the report's own, drawn from the committed scores of every case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from findings_boards import compared

from kitsbench.leaderboard import Entry
from kitsbench.leaderboard.board import read_filed
from kitsbench.leaderboard.cells import synthetic
from kitsbench.leaderboard.rules import read_rules
from kitsbench.reporting import words
from kitsbench.reporting.drawing.figures import Picture
from kitsbench.reporting.drawing.plots import forest, matrix, per_case
from kitsbench.reporting.drawing.tradeoff_plot import tradeoff
from kitsbench.reporting.tradeoffs import COSTS, Tradeoff, front
from kitsbench.text import markdown

BOARDS = Path(__file__).resolve().parents[1] / "leaderboards"
_TABLE = re.compile(r"((?:^\|.*\n)+)", re.MULTILINE)
_NAME = re.compile(r"^(\|[^|]*\| )`([^`]+)`", re.MULTILINE)


def boards() -> list[Path]:
    """The folders of the repository's boards."""
    return sorted(path for path in BOARDS.iterdir() if (path / "board.toml").is_file())


def linked(text: str, cards: Mapping[str, str]) -> str:
    """A board's page whose architectures lead to their cards, and whose tables fit a phone.

    Parameters
    ----------
    text : str
        Markdown.
    cards : mapping of str to str
        Where the card of an architecture is, from the page.
    """

    def link(found: re.Match[str]) -> str:
        card = cards.get(found[2].split(":")[0].split("+")[0])
        name = f"`{found[2]}`"
        return found[1] + (name if card is None else f"[{name}]({card})")

    return _TABLE.sub(r":::{div} board\n\1:::\n", _NAME.sub(link, text))


def gallery(out: Path) -> dict[str, str]:
    """A page for each board, with its figures beside it.

    Parameters
    ----------
    out : Path
        Folder of the pages.

    Returns
    -------
    dict of str to str
        Markdown by the name of the board.
    """
    return {board.name: _page(board, out) for board in boards()}


def _page(board: Path, out: Path) -> str:
    filed = [one for one in read_filed(board) if one.entry.elsewhere is None]
    entries = [one.entry for one in filed]
    first, rules = entries[0], read_rules(board)
    region = first.endpoint.split(":")[0]
    table = pd.concat([one.scores for one in filed if one.scores is not None], ignore_index=True)
    found = compared(table, first.endpoint, first)
    order = [str(row["architecture"]) for row in found["ranking"]]
    own = table[table["protocol"] == first.protocol]
    regions = sorted({*own["region"]}, key=lambda name: (name != region, name))
    pictures = [
        forest(found["pairs"], order[0], found["margin"]),
        matrix(found["pairs"], order),
        per_case(own, order, regions),
        _costs(entries, order, first.endpoint),
    ]
    title = (rules.title if rules is not None else "") or board.name
    folds = f"--fold-count {first.folds.count}"
    said = [f"- {markdown(text)}" for text in found["warnings"]]
    parts = [
        f"# Report: {markdown(title)}",
        *([synthetic(first).strip()] if first.synthetic else []),
        f"{len(order)} architectures on {markdown(first.dataset.name)}, "
        f"{markdown(first.budget.text)} a training run, protocol {markdown(first.protocol)}; their "
        f"places and costs are on [the board](../leaderboards/{board.name}.md). What follows is "
        "what a report says of its scores.",
        "The same statistics from a checkout:",
        f"```console\n$ kitsbench compare leaderboards/{board.name}/*.scores.csv.gz {folds} "
        f"--protocol {first.protocol}\n```",
        *(["\n".join(said)] if said else []),
        *(_figure(picture, board.name, out) for picture in pictures),
    ]
    return "\n\n".join(parts) + "\n"


def _costs(entries: Sequence[Entry], order: Sequence[str], endpoint: str) -> Picture:
    """Quality against what a training run spends and what the network is."""
    region, metric = endpoint.split(":")
    rows = []
    for entry in entries:
        score = entry.score(endpoint)
        if score is None or score.mean is None or any(run.members for run in entry.trials.runs):
            continue  # an ensemble spends nothing of its own
        if entry.planted:
            continue  # nobody chooses a control
        cost: dict[str, Any] = entry.cost.model_dump()
        known = ("device_seconds", "peak_memory_bytes", "parameters")
        rows.append(Tradeoff(entry.name, score.mean, {key: cost[key] for key in known}))
    units = {"device_seconds": ("s", 1.0), "peak_memory_bytes": ("MiB", 2.0**20)}
    panels, fronts = {}, {}
    for key in ("device_seconds", "peak_memory_bytes", "parameters"):
        unit, scale = units.get(key, ("", 1.0))
        name = f"{COSTS[key]}, {unit}" if unit else COSTS[key]
        points = [(r.name, float(r.costs[key]) / scale, r.quality) for r in rows if r.costs[key]]
        if points:
            panels[name], fronts[name] = points, front(rows, key, metric)
    return tradeoff(panels, fronts, f"Mean {words.endpoint_name(region, metric)}", [*order])


def _figure(picture: Picture, board: str, out: Path) -> str:
    folder = out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{board}-{picture.name}.svg"
    file.write_bytes(picture.files()["svg"])
    alt = " ".join(f"{picture.title}. {picture.caption}".split())
    return (
        f"## {markdown(picture.title)}\n\n```{{figure}} figures/{file.name}\n:alt: {alt}\n\n"
        f"{markdown(picture.caption)}\n```"
    )
