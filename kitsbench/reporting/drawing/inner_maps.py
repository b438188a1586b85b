"""What networks show of their inside, on the slices on which their predictions are shown."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from kitsbench.errors import KitsbenchError
from kitsbench.experiments.results import Results
from kitsbench.reporting.drawing.figures import Picture, style
from kitsbench.reporting.drawing.overlays import (
    DPI,
    WINDOW,
    ShownCase,
    choose_slices,
    focus_of,
    load_shown,
    proportion,
    window_of,
)
from kitsbench.scans.header import Header
from kitsbench.text import file_stem, one_line
from kitsbench.viewer.cases import kept_maps, labels_on

COLUMNS = 4
PANEL = 2.7  # inches


def draw_maps(results: Results, order: list[str]) -> tuple[dict[str, Picture], list[str]]:
    """Draw the maps that trials kept of the showcase cases.

    Parameters
    ----------
    results : Results
    order : list of str
        Architectures in the order of the panels.

    Returns
    -------
    pictures : dict of str to Picture
        {case: its figure}; none where no network shows any.
    problems : list of str
        One sentence for each case whose maps could not be drawn.
    """
    pictures, problems = {}, []
    for case in map(str, results.experiment.showcase):
        files = {
            (entrant, name): file
            for entrant in order
            for name, file in kept_maps(results.trials, entrant, case).items()
        }
        if not files:
            continue
        try:
            focus = focus_of(results.experiment.dataset.labels)
            pictures[case] = _draw(load_shown(results, case, order), files, focus)
        except (KitsbenchError, OSError, ValueError) as error:
            problems.append(f"The maps of {case} are not drawn: {error}")
    return pictures, problems


def _levels(file: Path, scan: Header | None) -> np.ndarray:
    """A map as (z, y, x) on the voxels of a scan, from 0 to 1."""
    assert scan is not None
    return labels_on(file, scan, "map", None).astype(np.float32) / 255


def _draw(
    case: ShownCase, files: dict[tuple[str, str], Path], focus: Sequence[Sequence[int]]
) -> Picture:
    shown = [prediction for prediction in case.predictions.values() if prediction is not None]
    index = choose_slices(case.truth, shown, focus)[0]
    window = window_of(case, index)
    columns = min(COLUMNS, len(files))
    rows = -(-len(files) // columns)
    high = PANEL * min(proportion(case, window), 1.6) + 0.3
    layout = ConstrainedLayoutEngine()
    with style():
        figure = Figure(figsize=(PANEL * columns, high * rows), dpi=DPI, layout=layout)
        figure.set_facecolor("#16191d")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for place, ((entrant, name), file) in enumerate(files.items()):
            axes = grid[place // columns][place % columns]
            _panel(axes, case, (index, *window), _levels(file, case.scan))
            title = f"{one_line(entrant)}: {one_line(name)}"
            short = title if len(title) < 40 else title[:38] + "…"
            axes.set_title(short, fontsize=8.5, color="#f2f2f2", loc="left", pad=3)
        buffer = io.BytesIO()
        layout.execute(figure)
        figure.set_layout_engine("none")
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
        width = figure.get_figwidth() * 96
    return Picture(
        f"maps-{file_stem(case.name)}",
        f"{case.name}, inside the networks",
        f"Slice {index + 1} of {len(case.truth)} of {case.name}, as above. What a network shows of "
        "its inside (its plugin names it) is laid over the scan: dark where it is smallest in this "
        "scan, bright where it is largest. It decides nothing and is no measure of quality. White "
        "dots: outline of the truth.",
        png=buffer.getvalue(),
        width=round(width),
        figure=figure,
    )


def _panel(axes: Any, case: ShownCase, cut: tuple[Any, ...], levels: np.ndarray) -> None:
    aspect = case.spacing[1] / case.spacing[2]
    # Turned as predictions are: the front is up, the patient's right on the left.
    image, over, truth = (array[cut][::-1, ::-1] for array in (case.image, levels, case.truth))
    axes.imshow(image, cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1], aspect=aspect)
    axes.imshow(over, cmap="inferno", vmin=0, vmax=1, alpha=0.5, aspect=aspect)
    if truth.any():
        axes.contour(
            (truth > 0).astype(np.float32),
            levels=[0.5],
            colors="#ffffff",
            linestyles=[(0, (1, 1.4))],
            linewidths=1.0,
        )
