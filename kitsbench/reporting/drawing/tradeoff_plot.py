"""The figure of quality against costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from kitsbench.reporting import words
from kitsbench.reporting.drawing.figures import INK, Picture, look, picture, style
from kitsbench.text import one_line
from kitsbench.text.numbers import big

Point = tuple[str, float, float]
"""Architecture, cost, quality."""


ALIKE = 1.5  # the axis is never narrower than this factor: costs within noise shall look alike
DECADES = 30.0  # from this factor on, powers of ten are ticks enough


def _cost_axis(axes: Axes, costs: Sequence[float]) -> None:
    """A logarithmic axis with plain numbers: a page shows the mathematics of others as its source.

    Parameters
    ----------
    axes : Axes
    costs : sequence of float
        Above 0.
    """
    axes.set_xscale("log")
    low, high = min(costs), max(costs)
    if high / low < ALIKE:
        centre = (low * high) ** 0.5
        axes.set_xlim(centre / ALIKE, centre * ALIKE)
    if high / low < DECADES:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:.6g}" if value < 1e6 else big(value))
    )
    axes.xaxis.set_minor_formatter(NullFormatter())


def tradeoff(
    panels: Mapping[str, Sequence[Point]],
    fronts: Mapping[str, set[str]],
    quality: str,
    order: list[str],
) -> Picture:
    """One panel a cost: quality upwards, the cost to the right, the front joined by a line.

    Parameters
    ----------
    panels : mapping of str to sequence of Point
        {cost with its unit: points}.
    fronts : mapping of str to set of str
        {cost: architectures on its Pareto front}.
    quality : str
        What the endpoint is called.
    order : list of str
        Names in the order of the experiment, for the colours.
    """
    looks = look(order)
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    names = list(dict.fromkeys(name for points in panels.values() for name, _, _ in points))
    with style():
        size = (0.8 + 3 * columns, 0.6 + 2.6 * lines + 0.08 * len(names))
        figure = Figure(figsize=size, layout="constrained")
        drawn = {}
        marks: dict[str, str] = {}
        axes_of = figure.subplots(lines, columns, squeeze=False).flat
        for axes, (cost, points) in zip(axes_of, panels.items(), strict=False):
            on_front = sorted((p for p in points if p[0] in fronts[cost]), key=lambda p: p[1])
            axes.plot([p[1] for p in on_front], [p[2] for p in on_front], color=INK, lw=0.8)
            for name, x, y in points:
                face = looks[name]["color"] if name in fronts[cost] else "none"
                (drawn[name],) = axes.plot(
                    x,
                    y,
                    marker=looks[name]["marker"],
                    color=looks[name]["color"],
                    markerfacecolor=face,
                    linestyle="",
                    gid=f"point-{len(marks)}",
                )
                front = ", on the Pareto front" if name in fronts[cost] else ""
                what = cost if cost[1].isupper() else cost[0].lower() + cost[1:]
                marks[f"point-{len(marks)}"] = (
                    f"{one_line(name)}: {quality[0].lower()}{quality[1:]} {words.number(y)}, "
                    f"{what} {f'{x:.3g}' if x < 999 else big(x)}{front}"
                )
            axes.set(xlabel=cost, ylabel=quality)
            _cost_axis(axes, [x for _, x, _ in points])
        for axes in list(figure.axes)[len(panels) :]:
            axes.remove()
        short = words.short_names(names)
        figure.legend(
            [drawn[name] for name in names],
            [one_line(short[name]) for name in names],
            loc="outside lower center",
            ncols=min(3, len(names)),
        )
    return picture(
        figure,
        "tradeoff",
        "Quality against cost",
        "One point an architecture; filled and joined are those on the Pareto front: nobody else "
        "is at least as good for at most as much. Costs are on a logarithmic axis.",
        marks=marks,
        told="The table above has every number of it.",
    )
