"""Power curves of a planned design."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from kitsbench.errors import UsageError
from kitsbench.reporting import words
from kitsbench.reporting.drawing.figures import INK, PALETTE, Picture, picture, standalone, style


def power_curves(result: dict[str, Any]) -> Picture:
    """Power by the true gap, one line for each scenario.

    Parameters
    ----------
    result : dict
        From :func:`~kitsbench.statistics.plan`.
    """
    with style():
        figure = Figure(figsize=(7.2, 4.0))
        axes = figure.subplots()
        axes.axhline(100 * result["power"], color=INK, linewidth=0.8, linestyle=":")
        for index, scenario in enumerate(result["scenarios"]):
            colour = PALETTE[index % len(PALETTE)]
            points = [point for point in scenario["curve"] if point["power"] is not None]
            axes.plot(
                [point["gap"] for point in points],
                [100 * point["power"] for point in points],
                color=colour,
                label=f"tau {scenario['seed_sd']:.3g}",
            )
            gap = scenario["smallest_detectable_gap"]
            if gap is not None:
                axes.plot([gap], [100 * result["power"]], "o", color=colour)
                axes.annotate(
                    words.number(gap),
                    (gap, 100 * result["power"]),
                    xytext=(6, -12),
                    textcoords="offset points",
                    color=colour,
                )
        axes.set(ylim=(0, 102), xlabel="True gap", ylabel="Power (%)")
        axes.set_xlim(left=0)
        axes.legend(frameon=False)
    design = (
        f"{result['cases']} cases, {words.plural(result['folds'], 'fold')}, "
        f"{words.plural(result['seeds'], 'seed')}, {result['architectures']} architectures"
    )
    return picture(
        figure,
        "power",
        "Power by gap",
        f"How often a comparison of this design ({design}) finds that the best differs from one of "
        "the others, which are equal; alpha "
        f"{result['alpha']:g} over all pairs. Tau: standard deviation of a fold mean between runs.",
    )


def write_power(result: dict[str, Any], file: Path) -> None:
    """Draw the power curves as an SVG file.

    Parameters
    ----------
    result : dict
        From :func:`~kitsbench.statistics.plan`.
    file : Path
        Where to; a file of that name is overwritten.

    Raises
    ------
    UsageError
        The design allows no verdict, so there is no power to draw; or the path is a folder.
    """
    if result["advice"] is not None:
        raise UsageError(
            f"The design allows no verdict on architectures, so it has no power to draw. "
            f"{result['advice']}"
        )
    if file.is_dir():
        raise UsageError(f"{file} is a folder; name a file for the figure, such as power.svg.")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(standalone(power_curves(result).svg), encoding="utf-8")
