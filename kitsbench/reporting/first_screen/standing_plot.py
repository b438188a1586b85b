"""The first figure as a file of its own, for papers and for the report as Markdown."""

from __future__ import annotations

from matplotlib.figure import Figure

from kitsbench.reporting import words
from kitsbench.reporting.drawing.figures import INK, Picture, picture, style
from kitsbench.reporting.first_screen.standing import Standing, State

_COLOURS: dict[State, str] = {
    "first": "#0072B2",
    "level": "#0072B2",
    "behind": "#D55E00",
    "plain": "#0072B2",
    "lost": "#7f7f7f",
    "unjudged": "#7f7f7f",
}


def draw(found: Standing) -> Picture:
    """The figure as a file of its own, for papers and for the report as Markdown."""
    short = words.short_names([place.name for place in found.places])
    rows = len(found.places)
    with style():
        figure = Figure(figsize=(7.2, 0.9 + 0.28 * rows))
        axes = figure.subplots()
        for height, place in enumerate(found.places):
            colour = _COLOURS[place.state]
            if place.low is not None and place.high is not None:
                axes.plot([place.low, place.high], [height] * 2, color=colour, lw=2)
            hollow = place.state in ("lost", "unjudged")
            axes.plot(place.mean, height, "o", color=colour, mfc="none" if hollow else colour)
            note = ", ".join(filter(None, [place.remark, "rising" * place.rising]))
            axes.text(1.01, height, note, transform=axes.get_yaxis_transform(), va="center",
                      fontsize=8)  # fmt: skip
        if found.together:
            axes.axvline(found.places[0].mean, color=INK, linewidth=1, linestyle="--")
        axes.set_yticks(range(rows), [short[place.name] for place in found.places])
        axes.set(xlim=(found.low, found.high), ylim=(rows - 0.4, -0.6))
        axes.set_xlabel(f"Mean {found.endpoint}")
        axes.grid(axis="y", visible=False)
    legend = found.legend.replace("↗ still", "“rising”: still")
    return picture(figure, "ranking", "Who stands where", legend)
