"""The figure of the paths of pairs over the looks."""

from __future__ import annotations

from collections.abc import Collection

from matplotlib.figure import Figure

from kitsbench.experiments.records import LooksRecord
from kitsbench.look import PairLook, State, said
from kitsbench.reporting import words
from kitsbench.reporting.drawing.figures import GRID, INK, PALETTE, Picture, picture, style
from kitsbench.text import one_line

MOST = 24
"""Pairs that are drawn; of more, those that the last look found farthest apart."""
COLOURS = {
    "difference": PALETTE[1],
    "equivalence": PALETTE[2],
    "futile": PALETTE[3],
    "not asked": PALETTE[5],
    "open": PALETTE[0],
}
SIGNS = {"difference": "o", "equivalence": "s", "futile": "x", "not asked": "v", "open": "D"}
_UNSETTLED: tuple[State, ...] = ("futile", "not asked", "open")
LEGEND: dict[State, str] = {
    "difference": "difference shown",
    "equivalence": "equivalence shown",
    **{state: said(state) for state in _UNSETTLED},
}


def paths(
    looks: LooksRecord, names: Collection[str], margin: float | None, endpoint: str
) -> Picture | None:
    """Estimate of every pair at each look, a panel a pair; None where no look was taken.

    Parameters
    ----------
    looks : LooksRecord
    names : collection of str
        Entrants of the report.
    margin : float or None
    endpoint : str
        What differences are of, such as ``tumour Dice``.
    """
    if not looks.looks:
        return None
    last = looks.looks[-1].pairs
    shown = [pair.estimate is not None and {*pair.name} <= {*names} for pair in last]
    places = [place for place in range(len(last)) if shown[place]]
    farthest = sorted(places, key=lambda place: -abs(last[place].estimate or 0.0))[:MOST]
    chosen = [place for place in places if place in farthest]
    if not chosen:
        return None
    columns = min(4, len(chosen))
    lines = -(-len(chosen) // columns)
    marks: dict[str, str] = {}
    with style():
        figure = Figure(figsize=(0.8 + 2.1 * columns, 1.0 + 1.7 * lines), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        drawn = {}
        for axes, place in zip(panels.flat, chosen, strict=False):
            if margin is not None:
                axes.axhspan(-margin, margin, color=GRID, alpha=0.6, lw=0)
            axes.axhline(0, color=INK, lw=0.6)
            seen = [(look.seeds, look.pairs[place]) for look in looks.looks]
            seen = [(seeds, pair) for seeds, pair in seen if pair.estimate is not None]
            axes.plot(
                [seeds for seeds, _ in seen], [p.estimate for _, p in seen], color=INK, lw=0.8
            )
            for seeds, pair in seen:
                colour = COLOURS[pair.state]
                if pair.low is not None and pair.high is not None:
                    axes.plot([seeds, seeds], [pair.low, pair.high], color=colour, lw=1.6)
                gid = f"look-{len(marks)}"
                (drawn[pair.state],) = axes.plot(
                    seeds,
                    pair.estimate,
                    marker=SIGNS[pair.state],
                    color=colour,
                    ms=4.5,
                    linestyle="",
                    gid=gid,
                )
                marks[gid] = _tip(pair, seeds)
            short = words.short_names([last[place].a, last[place].b])
            title = f"{one_line(short[last[place].a])}\n− {one_line(short[last[place].b])}"
            axes.set_title(title, fontsize=8, fontweight="normal")
            axes.set_xticks([look.seeds for look in looks.looks])
        for axes in list(panels.flat)[len(chosen) :]:
            axes.remove()
        panels.flat[0].set_ylim(*_heights([last[place] for place in chosen], margin))
        figure.supxlabel("seeds of each fold", fontsize=9)
        figure.supylabel(f"difference in {endpoint}", fontsize=9)
        states = [state for state in LEGEND if state in drawn]
        figure.legend(
            [drawn[state] for state in states],
            [LEGEND[state] for state in states],
            loc="outside upper center",
            ncols=min(3, len(states)),
        )
    more = len(places) - len(chosen)
    left_out = f" {more} pairs that lie nearer are in the table alone." if more else ""
    return picture(
        figure,
        "looks",
        "The path of every pair over the looks",
        "Difference of the means at each look, with the interval that holds for all pairs and "
        "looks together, which may reach beyond the axis where little is known; the band is the "
        f"margin. What was decided stays where it was.{left_out}",
        marks=marks,
        told="The table below has every number of it.",
    )


def _heights(pairs: list[PairLook], margin: float | None) -> tuple[float, float]:
    """Ends of the axis: what the last look left open, and not the first, which knows little."""
    ends = [0.0] if margin is None else [-margin, margin]
    for pair in pairs:
        ends += [end for end in (pair.estimate, pair.low, pair.high) if end is not None]
    room = 0.08 * (max(ends) - min(ends)) or 1.0
    return min(ends) - room, max(ends) + room


def _tip(pair: PairLook, seeds: int) -> str:
    size = words.number(pair.estimate, signed=True)
    span = words.interval(pair.low, pair.high, signed=True)
    return one_line(f"{pair.a} minus {pair.b}, {seeds} seeds: {size} {span}, {LEGEND[pair.state]}")
