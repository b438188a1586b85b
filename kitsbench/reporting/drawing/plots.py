"""The figures about scores: differences, cases, and the way along the budget."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from kitsbench.reporting import words
from kitsbench.reporting.drawing.figures import GRID, INK, Picture, look, picture, style
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
_MOST_SHADES = 6  # more of them hide each other
_MOST_PAIRS = 28  # 8 architectures; above that the forest keeps the pairs of the leader


def _layout() -> ConstrainedLayoutEngine:
    """Room between rows of panels, so that a title does not touch the axis above."""
    return ConstrainedLayoutEngine(h_pad=0.12)


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
    cut = "" if len(shown) == len(pairs) else " Of many pairs, those of the leader are drawn."
    band = f" The blue band is the margin of ±{margin:g}." if margin else ""
    return picture(
        figure,
        "forest",
        "Differences between pairs",
        f"Mark: difference of the means; line: its {_intervals(pairs)}.{band} ● difference beyond "
        "the margin (orange), ○ difference found (yellow), ■ equivalent or negligible (green), "
        f"| inconclusive (grey), × one learned nothing.{cut}",
        marks={f"pair-{height}": _in_words(row) for height, row in enumerate(rows)},
        told="; ".join(_in_words(row) for row in reversed(rows)),
    )


def _in_words(row: dict[str, Any]) -> str:
    """A pair with its full names and its numbers."""
    verdict = words.VERDICT_NAMES.get(str(row["verdict"]), str(row["verdict"]))
    span = words.interval(row["low"], row["high"], signed=True)
    number = words.number(row["difference"], signed=True)
    text = f"{row['first']} minus {row['second']}: {number}"
    return one_line(f"{text}{'' if span == words.DASH else f' {span}'}, {verdict}")


def _positive(pair: dict[str, Any]) -> dict[str, Any]:
    """The pair turned round where needed, so that differences point to the right."""
    low, high = pair["ci_simultaneous_low"], pair["ci_simultaneous_high"]
    row = {**pair, "first": pair["a"], "second": pair["b"], "low": low, "high": high}
    if pair["difference"] < 0:
        row |= {"first": pair["b"], "second": pair["a"], "difference": -pair["difference"]}
        if not words.missing(low):
            row |= {"low": -high, "high": -low}
    return row


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
    for pair in pairs:
        for one, other, sign in ((pair["a"], pair["b"], 1), (pair["b"], pair["a"], -1)):
            if one in values.index and other in values.columns:
                values.loc[one, other] = sign * pair["difference"]
                notes.loc[one, other] = signs.get(pair["verdict"], "")
    limit = max(float(np.nanmax(np.abs(values.to_numpy()))), 1e-3)
    size = 0.5 * len(order) + 1.4
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
            annot_kws={"size": 12},
            linewidths=1,
            linecolor=GRID,
            cbar_kws={"label": "Row minus column", "shrink": 0.9},
        )
        axes.grid(False)
        axes.tick_params(axis="x", rotation=45)
        for tick in axes.get_xticklabels():
            tick.set_horizontalalignment("right")
    return picture(
        figure,
        "matrix",
        "All pairs at a glance",
        "Orange: the row scores higher than the column; violet: lower. ● difference beyond the "
        "margin, ○ difference found, ≈ equivalent or negligible, × one learned nothing, empty: "
        "inconclusive.",
    )


def per_case(
    scores: pd.DataFrame, order: list[str], colours: list[str], regions: list[str]
) -> Picture:
    """Box, dots and paired lines of the seed-averaged Dice of every case.

    Parameters
    ----------
    scores : DataFrame
        Rows of one protocol.
    order : list of str
        Architectures from top to bottom.
    colours : list of str
        Architectures in the order that decides their colours.
    regions : list of str
        One panel each.
    """
    looks = look(colours)
    dice = scores[(scores["metric"] == "dice") & scores["value"].notna()]
    means = dice.groupby(["region", "architecture", "case"], as_index=False)["value"].mean()
    rows = len(order)
    with style():
        columns = len(regions) if len(regions) <= 3 else 2
        lines = -(-len(regions) // columns)
        figure = Figure(
            figsize=(1.8 + 3.4 * columns, (1.1 + 0.52 * rows) * lines), layout=_layout()
        )
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
            options = {
                "data": part,
                "x": "value",
                "y": "architecture",
                "order": order,
                "hue": "architecture",
                "palette": {name: looks[name]["color"] for name in order},
                "legend": False,
                "ax": axes,
            }
            with warnings.catch_warnings():
                # seaborn 0.13 calls matplotlib's boxplot by an argument that was renamed.
                warnings.simplefilter("ignore", DeprecationWarning)
                sns.boxplot(**options, fliersize=0, width=0.5, linewidth=1.1, fill=False)
            sns.stripplot(**options, size=4.5, jitter=False, alpha=0.6, rasterized=len(part) > 2000)
            axes.set(xlim=(-0.04, 1.04), ylabel="", title=words.region_name(region))
            axes.set_xlabel(words.metric_name("dice"))
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
            axes.set_yticks(range(rows), list(words.short_names(order).values()))
            axes.grid(axis="y", visible=False)
    return picture(
        figure,
        "cases",
        "Every case",
        "One dot a case, averaged over seeds; thin lines join the same case, so crossing lines "
        "are cases on which the architectures disagree. Box: middle half, with the median.",
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


def along_budget(
    curves: pd.DataFrame, order: list[str], colours: list[str], unit: str, watched: str
) -> Picture | None:
    """Mean score against the spent share of the budget and, where it differs, device seconds.

    Parameters
    ----------
    curves : DataFrame
    order, colours : list of str
        Architectures as in the legend, and in the order that decides their colours.
    unit : str
        Of the budget.
    watched : str
        On how many cases the scores rest, such as ``2 cases in each of 5 folds``.
    """
    scores = curves[(curves["kind"] == "score") & curves["value"].notna()]
    names = [name for name in dict.fromkeys(scores["name"]) if str(name).endswith(":dice")]
    if scores.empty or not names:
        return None
    looks = look(colours)
    marks: dict[str, str] = {}
    drawn: dict[str, Any] = {}  # a name that begins with _ would have no place in the legend
    horizontal = ["fraction"] if unit == "seconds" else ["fraction", "device_seconds"]
    with style():
        figure = Figure(
            figsize=(1 + 3.6 * len(names), 0.5 + 2.9 * len(horizontal) + 0.05 * len(order)),
            layout=_layout(),
        )
        panels = figure.subplots(len(horizontal), len(names), sharey="col", squeeze=False)
        for line, axis_name in zip(panels, horizontal, strict=True):
            for axes, name in zip(line, names, strict=True):
                part = scores[scores["name"] == name]
                for entrant in order:
                    rows = part[part["architecture"] == entrant]
                    if rows.empty:
                        continue
                    # Steps are long or short, so trials are scored at slightly different places.
                    rows = rows.sort_values("fraction")
                    grouped = rows.groupby(rows.groupby("trial").cumcount())
                    x, y = grouped[axis_name].mean(), grouped["value"].mean()
                    gid = f"curve-{len(marks)}"
                    (line_drawn,) = axes.plot(x, y, markersize=4, gid=gid, **looks[entrant])
                    marks[gid] = f"{entrant}: " + ", ".join(
                        f"{words.number(dice)} at {words.percent(share)}"
                        for share, dice in zip(grouped["fraction"].mean(), y, strict=True)
                    )
                    drawn.setdefault(entrant, line_drawn)
                    if len(order) <= _MOST_SHADES:
                        low, high = grouped["value"].min(), grouped["value"].max()
                        axes.fill_between(x, low, high, color=looks[entrant]["color"], alpha=0.1)
                axes.set(
                    title=words.region_name(str(name).split(":")[0]),
                    ylabel=words.metric_name("dice"),
                    xlabel="Share of the budget"
                    if axis_name == "fraction"
                    else "Seconds on the device",
                )
        figure.legend(
            list(drawn.values()),
            [one_line(name) for name in drawn],
            loc="outside lower center",
            ncols=min(4, len(drawn)),
            handlelength=3,
        )
    many = len(order) > _MOST_SHADES
    shade = "" if many else "; the shade spans the lowest and the highest trial"
    return picture(
        figure,
        "budget",
        "Scores along the budget",
        f"Mean over trials{shade}. Scored on the way: {watched}, held out, hence the difference "
        "from the tables. These scores only watch: the result is always what the "
        "end of the budget leaves, and no step is selected by them.",
        marks=marks,
        told="; ".join(dict.fromkeys(marks.values())),
    )


def learning(curves: pd.DataFrame, order: list[str], colours: list[str]) -> Picture | None:
    """One panel an architecture, one line a trial: the loss against the share of the budget."""
    losses = _main_loss(curves[(curves["kind"] == "loss")])
    shown = [name for name in order if (losses["architecture"] == name).any()]
    if not shown:
        return None
    looks = look(colours)
    marks: dict[str, str] = {}
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    with style():
        figure = Figure(figsize=(0.6 + 3 * columns, 0.5 + 2.1 * rows), layout=_layout())
        short = words.short_names(shown, most=34)
        panels = figure.subplots(rows, columns, squeeze=False).flat
        for axes, name in zip(panels, shown, strict=False):
            part = losses[losses["architecture"] == name]
            for _, trial in part.groupby("trial", sort=False):
                gid, first = f"trial-{len(marks)}", trial.iloc[0]
                marks[gid] = (
                    f"{name}, fold {first['fold']}, seed {first['seed']}: loss "
                    f"{words.number(first['value'])} to {words.number(trial['value'].iloc[-1])}"
                )
                colour = looks[name]["color"]
                axes.plot(trial["fraction"], trial["value"], color=colour, lw=1, gid=gid)
            axes.set_title(short[name], fontsize=9.5)
            axes.set(xlim=(0, 1.02), xlabel="Share of the budget", ylabel="Loss")
        for axes in list(figure.axes)[len(shown) :]:
            axes.remove()
    return picture(
        figure,
        "learning",
        "Learning curves",
        "One line a trial, failed ones included. Architectures bring losses of their own, so "
        "heights of different panels do not compare; look at whether a curve has settled.",
        marks=marks,
        told="; ".join(marks.values()),
    )


def _main_loss(losses: pd.DataFrame) -> pd.DataFrame:
    """The total where it was logged, else the one component that comes first."""
    for name in ("total", "loss"):
        if (losses["name"] == name).any():
            return losses[losses["name"] == name]
    return losses[losses["name"] == next(iter(losses["name"]), "")]
