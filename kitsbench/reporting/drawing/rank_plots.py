"""Figures about ranks: critical differences, and how ranks vary when data are drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from kitsbench.errors import UsageError
from kitsbench.reporting import words
from kitsbench.reporting.drawing.figures import INK, PALETTE, Picture, picture, standalone, style
from kitsbench.reporting.drawing.plots import forest
from kitsbench.text import one_line


def critical_differences(found: dict[str, Any]) -> Picture:
    """Mean ranks on a line, bars over those that Nemenyi's test does not tell apart.

    Parameters
    ----------
    found : dict
        ``demsar`` of the JSON of ``compare``.
    """
    rows = found["mean_ranks"]
    names = [row["architecture"] for row in rows]
    ranks = {row["architecture"]: row["mean_rank"] for row in rows}
    short = words.short_names(names)
    half = -(-len(names) // 2)
    k, bars = len(names), len(found["groups"])
    levels = max(half, len(names) - half)
    floor = 0.6 + 0.22 * bars
    with style():
        figure = Figure(figsize=(7.2, 0.9 + 0.3 * (levels + bars)))
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set(xlim=(1 - 0.45 * k, k + 0.45 * k), ylim=(floor + 0.45 * levels + 0.3, -1.2))
        axes.plot([1, k], [0, 0], color=INK, linewidth=1.2)
        for place in range(1, k + 1):
            axes.plot([place, place], [-0.12, 0], color=INK, linewidth=1)
            axes.text(place, -0.2, str(place), ha="center", va="bottom")
        for index, name in enumerate(names):
            left = index < half
            row = index if left else len(names) - 1 - index
            y, end = floor + 0.45 * row, (1 - 0.08 * k if left else k + 0.08 * k)
            axes.plot([ranks[name], ranks[name], end], [0, y, y], color=INK, linewidth=0.8)
            axes.text(
                end - 0.02 * k if left else end + 0.02 * k,
                y,
                f"{short[name]}  {ranks[name]:.2f}"
                if left
                else f"{ranks[name]:.2f}  {short[name]}",
                ha="right" if left else "left",
                va="center",
            )
        for index, group in enumerate(found["groups"]):
            ends = [ranks[group[0]] - 0.02 * k, ranks[group[-1]] + 0.02 * k]
            axes.plot(ends, [0.3 + 0.22 * index] * 2, color=PALETTE[1], linewidth=4)
        width = min(found["critical_difference"], k - 1)
        axes.plot([1, 1 + width], [-0.85, -0.85], color=PALETTE[0], linewidth=2.5)
        axes.text(1 + width / 2, -0.92, f"CD {found['critical_difference']:.2f}", ha="center",
                  va="bottom")  # fmt: skip
    return picture(
        figure,
        "critical_differences",
        "Critical differences of mean ranks",
        f"Mean rank over {found['n_cases']} cases, 1 = best; a bar joins architectures whose mean "
        f"ranks differ by less than Nemenyi's critical difference ({found['alpha']:g}). Scope L0: "
        "this is about the trained models.",
    )


def rank_bubbles(ranking: list[dict[str, Any]], bootstrap: dict[str, Any]) -> Picture:
    """How often each architecture gets each rank when data are drawn again.

    Parameters
    ----------
    ranking : list of dict
        ``ranking`` of the JSON of ``compare``.
    bootstrap : dict
        ``rankings.bootstrap`` of it.
    """
    order = [row["architecture"] for row in ranking]
    short = words.short_names(order)
    counts = np.array([bootstrap["rank_counts"][name] for name in order]) / bootstrap["replicates"]
    with style():
        size = 0.55 * len(order)
        figure = Figure(figsize=(size + 3.0, size + 1.2))
        axes = figure.subplots()
        y, x = np.nonzero(counts)
        axes.scatter(x + 1, y, s=520 * counts[y, x], color=PALETTE[0], alpha=0.85, linewidth=0,
                     gid="draws")  # fmt: skip
        for index, row in enumerate(ranking):
            if not words.missing(row["rank_low"]):
                ends = [row["rank_low"], row["rank_high"]]
                axes.plot(ends, [index, index], color=INK, linewidth=1)
        axes.set_yticks(range(len(order)), [short[name] for name in order])
        axes.set_xticks(range(1, len(order) + 1))
        axes.set(xlim=(0.4, len(order) + 0.6), ylim=(len(order) - 0.4, -0.6), xlabel="Rank")
    return picture(
        figure,
        "rank_bubbles",
        "Ranks when data are drawn again",
        f"Area: share of {bootstrap['replicates']} draws of {bootstrap['drawn']} in which an "
        "architecture gets a rank; line: the ranks that the tests of all pairs leave open (95 %).",
        series={
            "draws": [
                f"{one_line(order[row])}: rank {place + 1} in {words.percent(counts[row, place])} "
                "of the draws"
                for row, place in zip(y, x, strict=True)
            ]
        },
        told="; ".join(
            f"{one_line(name)}: most often rank {own.argmax() + 1}"
            for name, own in zip(order, counts, strict=True)
        ),
    )


def write_figures(comparison: dict[str, Any], folder: Path) -> list[Path]:
    """Draw what a comparison holds, as SVG files.

    Parameters
    ----------
    comparison : dict
        The JSON of ``compare``.
    folder : Path
        Where to; files of the same name are overwritten.

    Returns
    -------
    list of Path

    Raises
    ------
    UsageError
        There is a file of that name.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the figures.")
    ranking = comparison["ranking"]
    pictures = []
    if comparison["rankings"]["bootstrap"] is not None:
        pictures.append(rank_bubbles(ranking, comparison["rankings"]["bootstrap"]))
    if comparison["pairs"]:
        leader = ranking[0]["architecture"]
        pictures.append(forest(comparison["pairs"], leader, comparison["margin"]))
    if comparison["demsar"] is not None:
        pictures.append(critical_differences(comparison["demsar"]))
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for drawn in pictures:
        file = folder / f"{drawn.name}.svg"
        file.write_text(standalone(drawn.svg), encoding="utf-8")
        written.append(file)
    return written
