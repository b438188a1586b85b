"""The figures about scores: differences between pairs, and every case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from kitsbench.reporting import words
from kitsbench.reporting.drawing.figures import GRID, INK, PALETTE, Picture, picture, roomy, style
from kitsbench.text import one_line

_VERDICT_COLOURS = {
    "better_relevant": "#D55E00",
    "better": "#E69F00",
    "better_negligible": "#009E73",
    "equivalent": "#009E73",
    "inconclusive": "#7f7f7f",
    "not_learned": "#bbbbbb",
}
# Each has a mark of its own too: colour alone tells nothing to who does not see it.
VERDICT_MARKS: dict[str, dict[str, Any]] = {
    "better_relevant": {"marker": "o"},
    "better": {"marker": "o", "markerfacecolor": "none", "markeredgewidth": 1.6},
    "better_negligible": {"marker": "s"},
    "equivalent": {"marker": "s"},
    "inconclusive": {"marker": "|", "markersize": 9, "markeredgewidth": 1.8},
    "not_learned": {"marker": "x", "markeredgewidth": 1.8},
}
# What marks mean, for legends that name those that are drawn.
_FOREST_MARKS = {
    "better_relevant": "● difference beyond the margin (orange)",
    "better": "○ difference found (yellow)",
    "equivalent": "■ equivalent or negligible (green)",
    "inconclusive": "| inconclusive (grey)",
    "no_verdict": "| no verdict possible (grey)",
    "identical": "| identical scores (grey)",
    "not_learned": "× one learned nothing",
}
_MATRIX_MARKS = {
    "better_relevant": "● difference beyond the margin",
    "better": "○ difference found",
    "equivalent": "≈ equivalent or negligible",
    "not_learned": "× one learned nothing",
}
_MATRIX_EMPTY = {
    "inconclusive": "inconclusive",
    "no_verdict": "no verdict possible",
    "identical": "identical scores",
}
# How boxes lie is said by another word from this version on, and by the old one no more.
_TURNS_BOXES = tuple(map(int, matplotlib.__version__.split(".")[:2])) >= (3, 10)
_MOST_PAIRS = 28  # 8 architectures; above that the forest keeps the pairs of the leader


def forest(pairs: list[dict[str, Any]], leader: str, margin: float | None) -> Picture:
    """Every pair's difference with its interval, over the band of the margin.

    Parameters
    ----------
    pairs : list of dict
        Pairs of the endpoint, as in the JSON of ``compare``.
    leader : str
        Name of the entrant that comes first; of many pairs, only its own are drawn.
    margin : float or None
        Half-width of the band in units of the metric.
    """
    shown = pairs
    if len(pairs) > _MOST_PAIRS:
        shown = [pair for pair in pairs if leader in (pair["a"], pair["b"])]
    rows = sorted((_positive(pair) for pair in shown), key=lambda row: row["difference"])
    with style():
        figure = Figure(figsize=(7.2, 0.9 + 0.34 * len(rows)))
        axes = figure.subplots()
        if margin:
            axes.axvspan(-margin, margin, color="#56B4E9", alpha=0.18, linewidth=0)
        axes.axvline(0, color=INK, linewidth=1)
        for height, row in enumerate(rows):
            colour = _VERDICT_COLOURS.get(row["verdict"], "#7f7f7f")
            if not words.missing(row["low"]):
                axes.plot([row["low"], row["high"]], [height, height], color=colour, lw=2.2)
            mark = VERDICT_MARKS.get(row["verdict"], VERDICT_MARKS["inconclusive"])
            look_of = {"markersize": 6, "linestyle": "", "color": colour, **mark}
            axes.plot(row["difference"], height, gid=f"pair-{height}", **look_of)
        short = words.short_names(sorted({name for r in rows for name in (r["a"], r["b"])}))
        pair_names = [f"{short[r['first']]} − {short[r['second']]}" for r in rows]
        axes.set_yticks(range(len(rows)), pair_names)
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.grid(axis="y", visible=False)
        region, metric = shown[0]["region"], shown[0]["metric"]
        axes.set_xlabel(f"Difference of mean {words.endpoint_name(region, metric)}")
    kinds = {_kind(row) for row in rows}
    why = f" {words.no_p(pairs)}" if words.no_p(pairs) else ""
    cut = "" if len(shown) == len(pairs) else " Of many pairs, those of the leader are drawn."
    band = f" The blue band is the margin of ±{margin:g}." if margin else ""
    return picture(
        figure,
        "forest",
        "Differences between pairs",
        f"Mark: difference of the means; line: its {_intervals(pairs)}.{band} "
        f"{', '.join(text for kind, text in _FOREST_MARKS.items() if kind in kinds)}.{cut}{why}",
        marks={f"pair-{height}": _in_words(row) for height, row in enumerate(rows)},
        told="; ".join(_in_words(row) for row in reversed(rows)),
    )


def _in_words(row: dict[str, Any]) -> str:
    """A pair with its full names and its numbers."""
    verdict = words.verdict_name(row)
    span = words.interval(row["low"], row["high"], signed=True)
    number = words.number(row["difference"], signed=True)
    text = f"{row['first']} minus {row['second']}: {number}"
    return one_line(f"{text}{'' if span == words.DASH else f' {span}'}, {verdict}")


def _intervals(pairs: list[dict[str, Any]]) -> str:
    """What the lines are: intervals that hold together, or of trained models one by one."""
    if any(pair["p_adjusted"] is not None for pair in pairs):
        return "simultaneous 95 % CI (those of all pairs hold together)"
    return "95 % CI, of each pair of trained models by itself (scope L0)"


def matrix(pairs: list[dict[str, Any]], order: list[str]) -> Picture:
    """Row minus column for all pairs at a glance; a letter gives the verdict."""
    signs = {
        "better_relevant": "●",
        "better": "○",
        "better_negligible": "≈",
        "equivalent": "≈",
        "inconclusive": "",
        "not_learned": "×",
    }
    values = pd.DataFrame(np.nan, index=order, columns=order)
    notes = pd.DataFrame("", index=order, columns=order)
    cells = {(name, name): one_line(name) for name in order}
    for pair in pairs:
        for one, other, sign in ((pair["a"], pair["b"], 1), (pair["b"], pair["a"], -1)):
            if one in values.index and other in values.columns:
                values.loc[one, other] = sign * pair["difference"]
                notes.loc[one, other] = signs.get(pair["verdict"], "")
                cells[one, other] = _in_words(_turned(pair, one))
    limit = max(float(np.nanmax(np.abs(values.to_numpy()))), 1e-3)
    # A page is as wide as ever, so that larger figures have smaller words.
    cell = min(0.5, max(0.24, 0.62 - 0.01 * len(order)))  # inches
    size = cell * len(order) + 1.4
    short = words.short_names(order, most=20)
    values = values.rename(index=short, columns=short)
    with style():
        figure = Figure(figsize=(size + 2.2, size))
        axes = figure.subplots()
        sns.heatmap(
            values,
            ax=axes,
            cmap="PuOr_r",
            vmin=-limit,
            vmax=limit,
            annot=notes,
            fmt="",
            square=True,
            annot_kws={"size": 24 * cell},
            linewidths=2 * cell,
            linecolor=GRID,
            cbar_kws={"label": "Row minus column", "shrink": 0.9},
        )
        axes.collections[0].set_gid("cells")
        axes.grid(False)
        axes.tick_params(axis="x", rotation=45)
        for tick in axes.get_xticklabels():
            tick.set_horizontalalignment("right")
    return picture(
        figure,
        "matrix",
        "All pairs at a glance",
        "Orange: the row scores higher than the column; violet: lower. "
        f"{_legend({_kind(pair) for pair in pairs})}",
        series={"cells": [cells.get((one, other), "") for one in order for other in order]},
        told="Every number of it stands in the table of all pairs below.",
    )


def _kind(pair: Mapping[str, Any]) -> str:
    """The kind of a verdict, with those that are drawn alike under one key."""
    kind = words.kind_of(pair)
    return "equivalent" if kind == "better_negligible" else kind


def _legend(kinds: set[str]) -> str:
    """Marks that a matrix has, and what a cell without one means."""
    marks = [text for kind, text in _MATRIX_MARKS.items() if kind in kinds]
    empty = [text for kind, text in _MATRIX_EMPTY.items() if kind in kinds]
    if not marks:
        return f"No cell has a mark: {' or '.join(empty)}." if empty else ""
    return ", ".join([*marks, *[f"empty: {' or '.join(empty)}"] * bool(empty)]) + "."


def _turned(pair: dict[str, Any], first: str) -> dict[str, Any]:
    """The pair with a name of it as the first."""
    low, high = pair["ci_simultaneous_low"], pair["ci_simultaneous_high"]
    row = {**pair, "first": pair["a"], "second": pair["b"], "low": low, "high": high}
    if first == pair["b"]:
        row |= {"first": first, "second": pair["a"], "difference": -pair["difference"]}
        if not words.missing(low):
            row |= {"low": -high, "high": -low}
    return row


def _positive(pair: dict[str, Any]) -> dict[str, Any]:
    """The pair turned round where needed, so that differences point to the right."""
    return _turned(pair, pair["b"] if pair["difference"] < 0 else pair["a"])


def per_case(
    scores: pd.DataFrame,
    order: list[str],
    regions: list[str],
    links: Mapping[str, str] | None = None,
) -> Picture:
    """Box, dots and paired lines of the seed-averaged Dice of every case.

    Parameters
    ----------
    scores : DataFrame
        Rows of one protocol.
    order : list of str
        Architectures from top to bottom.
    regions : list of str
        One panel each.
    links : mapping of str to str, optional
        Where the pictures of a case are: {case: address}.
    """
    dice = scores[(scores["metric"] == "dice") & scores["value"].notna()]
    means = dice.groupby(["region", "architecture", "case"], as_index=False)["value"].mean()
    rows = len(order)
    series: dict[str, list[str]] = {}
    leads: dict[str, str] = {}
    with style():
        columns = len(regions) if len(regions) <= 3 else 2
        lines = -(-len(regions) // columns)
        figure = Figure(figsize=(1.8 + 3.4 * columns, (1.1 + 0.4 * rows) * lines), layout=roomy())
        panels = list(figure.subplots(lines, columns, sharey=True, squeeze=False).flat)
        for axes in panels[len(regions) :]:
            axes.remove()
        for axes, region in zip(panels, regions, strict=False):
            part = means[means["region"] == region]
            wide = part.pivot(index="case", columns="architecture", values="value").reindex(
                columns=order
            )
            axes.plot(
                wide.to_numpy().T,
                range(rows),
                color=INK,
                alpha=max(0.06, min(0.25, 8 / max(len(wide), 1))),
                linewidth=0.7,
                rasterized=len(wide) > 300,
            )
            boxes = [wide[name].dropna().to_numpy() for name in order]
            line = {"color": INK, "linewidth": 0.9}
            axes.boxplot(
                boxes, positions=range(rows), widths=0.5, showfliers=False, boxprops=line,
                whiskerprops=line, capprops=line, medianprops={**line, "linewidth": 2},
                **({"orientation": "horizontal"} if _TURNS_BOXES else {"vert": False}),
            )  # fmt: skip
            for place, name in enumerate(order):
                own = wide[name].dropna()
                gid = f"cases-{region}-{place}"
                # One colour: which architecture it is says the row, and colours mean verdicts.
                axes.plot(own.to_numpy(), [place] * len(own), "o", color=PALETTE[0], gid=gid,
                          markersize=4.5, alpha=0.6, markeredgewidth=0)  # fmt: skip
                series[gid] = [
                    f"{one_line(case)}, {one_line(name)}: {words.endpoint_name(region, 'dice')} "
                    f"{words.number(value)}"
                    for case, value in own.items()
                ]
                for case, text in zip(own.index, series[gid], strict=True):
                    if links and case in links:
                        leads[text] = links[case]
            axes.set(xlim=(-0.04, 1.04), ylabel="", title=words.region_name(region))
            axes.set_xlabel(words.metric_name("dice"))
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
            axes.set_yticks(range(rows), list(words.short_names(order).values()))
            axes.set_ylim(rows - 0.4, -0.6)
            axes.grid(axis="y", visible=False)
    several = ", averaged over seeds" if scores["seed"].nunique() > 1 else ""
    to_pictures = " The dot of a case that has pictures below is a link to them." if leads else ""
    return picture(
        figure,
        "cases",
        "Every case",
        f"One dot a case{several}; thin lines join the same case, so crossing lines "
        "are cases on which the architectures disagree. Box: middle half, with the median."
        f"{to_pictures}",
        series=series,
        links=leads,
        told=_medians(means, order, regions),
    )


def _medians(means: Any, order: list[str], regions: list[str]) -> str:
    """What the boxes show, region by region."""
    told = []
    for region in regions:
        part = means[means["region"] == region]
        halves = part.groupby("architecture")["value"].quantile([0.25, 0.5, 0.75]).unstack()
        rows = []
        for name in order:
            if name in halves.index:
                low, middle, high = (words.number(value, 2) for value in halves.loc[name])
                rows.append(f"{one_line(name)} {middle} ({low} to {high})")
        told.append(f"{words.region_name(region)}, median and middle half: {', '.join(rows)}")
    return "; ".join(told)
