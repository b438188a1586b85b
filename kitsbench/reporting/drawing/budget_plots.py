"""The figures along the budget: scores on the way, and losses."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from kitsbench.reporting import words
from kitsbench.reporting.drawing.figures import INK, Picture, look, picture, roomy, style
from kitsbench.text import one_line

_TOGETHER = 6  # architectures in one panel; more of them hide each other


def along_budget(
    curves: pd.DataFrame, order: list[str], colours: list[str], region: str, watched: str
) -> Picture | None:
    """Mean Dice on the watched cases against the spent share of the budget.

    Up to six architectures share a panel for each region. Of more, each has a panel of its own
    with the endpoint's region, before the lines of all others.

    Parameters
    ----------
    curves : DataFrame
    order, colours : list of str
        Architectures as they are shown, and in the order that decides their colours.
    region : str
        That of the endpoint.
    watched : str
        On how many cases the scores rest, such as ``2 cases in each of 5 folds``.
    """
    scores = curves[(curves["kind"] == "score") & curves["value"].notna()]
    names = [name for name in dict.fromkeys(scores["name"]) if str(name).endswith(":dice")]
    if scores.empty or not names:
        return None
    shown = [name for name in order if (scores["architecture"] == name).any()]
    own = f"{region}:dice" if f"{region}:dice" in names else str(names[0])
    together = len(shown) <= _TOGETHER
    kept = names if together else [own]
    lines = {
        (str(name), entrant): found
        for name in kept
        for entrant in shown
        if (found := _line(scores, str(name), entrant)) is not None
    }
    looks, series = look(colours), {}
    with style():
        draw = _shared if together else _apart
        figure = draw(lines, shown, kept, looks)
    for number, ((name, entrant), found) in enumerate(lines.items()):
        what = words.endpoint_name(name.split(":")[0], "dice")
        series[f"curve-{number}"] = [
            f"{one_line(entrant)}: {what} {words.number(row['mean'])} at "
            f"{words.percent(row['fraction'])} of the budget, "
            f"{words.duration(row['device_seconds'])} on the device"
            + (f" ({row['low']:.3f} to {row['high']:.3f} in {row['trials']:.0f} trials)"
               if row["trials"] > 1 else "")
            for row in found.to_dict("records")
        ]  # fmt: skip
    band = any(found["trials"].max() > 1 for found in lines.values())
    shade = "; the shade spans the lowest and the highest trial" if band else ""
    mean = "Means over trials" if band else "A trial each"
    grey = "" if together else " Grey: all others."
    return picture(
        figure,
        "budget",
        "Scores along the budget",
        f"{mean}{shade}.{grey} Scored on the way: {watched} of those that are tested on; the "
        "tables are means over all of them. These scores only watch: the result is always what the "
        "end of the budget leaves, and no step is selected by them.",
        series=series,
        told="; ".join(texts[-1] for texts in series.values() if texts),
    )


def _line(scores: pd.DataFrame, name: str, entrant: str) -> pd.DataFrame | None:
    """Mean, lowest and highest of the trials at each point; None where there are none."""
    rows = scores[(scores["name"] == name) & (scores["architecture"] == entrant)]
    if rows.empty:
        return None
    # Steps are long or short, so trials are scored at slightly different places.
    rows = rows.sort_values("fraction")
    grouped = rows.groupby(rows.groupby("trial").cumcount())
    value = grouped["value"]
    return pd.DataFrame(
        {
            "fraction": grouped["fraction"].mean(),
            "device_seconds": grouped["device_seconds"].mean(),
            "mean": value.mean(),
            "low": value.min(),
            "high": value.max(),
            "trials": value.count(),
        }
    )


def _shared(
    lines: dict[tuple[str, str], pd.DataFrame],
    shown: list[str],
    names: list[str],
    looks: dict[str, dict[str, Any]],
) -> Figure:
    """A panel for each region, with all architectures."""
    figure = Figure(figsize=(1 + 3.6 * len(names), 3.6 + 0.05 * len(shown)), layout=roomy())
    panels = dict(zip(map(str, names), figure.subplots(1, len(names), squeeze=False).flat,
                      strict=True))  # fmt: skip
    drawn: dict[str, Any] = {}  # a name that begins with _ would have no place in the legend
    for number, ((name, entrant), found) in enumerate(lines.items()):
        axes = panels[name]
        (drawn[entrant],) = axes.plot(
            found["fraction"], found["mean"], markersize=4, gid=f"curve-{number}", **looks[entrant]
        )
        axes.fill_between(found["fraction"], found["low"], found["high"],
                          color=looks[entrant]["color"], alpha=0.1)  # fmt: skip
    for name, axes in panels.items():
        axes.set(title=words.region_name(name.split(":")[0]), ylabel=words.metric_name("dice"))
        axes.set_xlabel("Share of the budget")
    figure.legend(
        list(drawn.values()),
        [one_line(name) for name in drawn],
        loc="outside lower center",
        ncols=min(4, len(drawn)),
        handlelength=3,
    )
    return figure


def _apart(
    lines: dict[tuple[str, str], pd.DataFrame],
    shown: list[str],
    names: list[str],
    looks: dict[str, dict[str, Any]],
) -> Figure:
    """A panel for each architecture, before the others."""
    del looks  # whose line it is says the panel
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(0.6 + 2.3 * columns, 0.5 + 1.8 * rows), layout=roomy())
    short = words.short_names(shown, most=28)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, entrant in zip(panels.flat, shown, strict=False):
        for other in lines.values():
            axes.plot(other["fraction"], other["mean"], color=INK, alpha=0.15, lw=0.7)
        axes.set_title(short[entrant], fontsize=9)
    for number, ((_, entrant), found) in enumerate(lines.items()):
        axes = panels.flat[shown.index(entrant)]
        axes.fill_between(found["fraction"], found["low"], found["high"], color="#0072B2",
                          alpha=0.2, linewidth=0)  # fmt: skip
        axes.plot(found["fraction"], found["mean"], "o-", color="#0072B2", markersize=4, lw=1.8,
                  gid=f"curve-{number}")  # fmt: skip
    for axes in list(figure.axes)[len(shown) :]:
        axes.remove()
    figure.supxlabel("Share of the budget", fontsize=10)
    region = words.region_name(names[0].split(":")[0])
    figure.supylabel(f"{region} {words.metric_name('dice')}", fontsize=10)
    return figure


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
        figure = Figure(figsize=(0.6 + 3 * columns, 0.5 + 2.1 * rows), layout=roomy())
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
