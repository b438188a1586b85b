"""The figures of a dataset beside those of the public KiTS data, as pictures and one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kitsbench.data.inspection.describe import Figures, moments, rows
from kitsbench.data.inspection.published import HU, HU_QUANTILES, QUANTILES, Published, like
from kitsbench.data.preparation.store import HU_BINS, HU_LOW
from kitsbench.errors import DataError
from kitsbench.files import write_atomic, write_json, write_table, write_text
from kitsbench.text import FIGURE, html, one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MINE, THEIRS = "#1f6f8b", "#8a8a8a"
HU_SHOWN = (-200, 400)


def write_figures(figures: Figures, out: Path) -> Path:
    """Draw the figures of a dataset.

    Parameters
    ----------
    figures : Figures
        What was measured.
    out : Path
        Folder for ``index.html``, ``geometry.png``, ``volumes.png``, ``hu.png`` (if images were
        read), ``cases.csv`` and ``fingerprint.json``.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    DataError
        No case could be measured, or the folder cannot be written.
    """
    if not figures.cases:
        raise DataError(f"no case of {figures.dataset.name} can be measured; see `data verify`.")
    public = like(figures.dataset.layout, figures.dataset.labels)
    from matplotlib import rc_context

    with rc_context(FIGURE):
        drawn = {
            "geometry.png": ("Spacing and size", _geometry(figures, public)),
            "volumes.png": ("Volume of each label", _volumes(figures, public)),
        }
        if any(case.histogram for case in figures.cases):
            drawn["hu.png"] = ("HU of each label", _intensities(figures))
    table = rows(figures)
    columns = list(dict.fromkeys(key for row in table for key in row))
    try:
        for name, (_, figure) in drawn.items():
            with rc_context(FIGURE):
                write_atomic(out / name, partial(figure.savefig, dpi=110, format="png"))
        write_table(out / "cases.csv", table, columns)
        write_json(out / "fingerprint.json", figures.to_dict())
        page = out / "index.html"
        write_text(page, _page(figures, public, {name: t for name, (t, _) in drawn.items()}))
    except OSError as error:
        raise DataError(
            f"{out} cannot be written: {error.strerror or error}. Choose another folder."
        ) from error
    return page


def _figure(width: float, height: float, rows_: int, columns: int) -> tuple[Figure, np.ndarray]:
    import seaborn
    from matplotlib.figure import Figure

    with seaborn.axes_style("ticks"), seaborn.plotting_context("notebook", font_scale=0.85):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows_, columns, squeeze=False)
    return figure, axes


def _compare(
    axes: Axes,
    values: Sequence[float],
    public: Sequence[float] | None,
    names: tuple[str, str],
    what: str,
    log: bool = False,
) -> None:
    """Cases as dots over their quantiles, and the public quantiles below."""
    import seaborn
    from matplotlib.ticker import LogLocator, NullFormatter

    found = np.asarray(values, dtype=float)
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    if len(found):
        _bar(axes, 1, np.percentile(found, QUANTILES).tolist(), MINE)
        data = {"value": found, "row": np.ones(len(found))}
        seaborn.stripplot(
            data, x="value", y="row", orient="h", native_scale=True, jitter=0.22, size=3.5,
            alpha=min(0.7, 12 / len(found) ** 0.5), color=MINE, ax=axes, legend=False,
        )  # fmt: skip
    if public is not None:
        _bar(axes, 0, public, THEIRS)
    axes.set_yticks([1, 0] if public is not None else [1])
    axes.set_yticklabels(list(names) if public is not None else [names[0]])
    axes.set_ylim(-0.75, 1.5)
    axes.set(xlabel=what, ylabel="")
    axes.tick_params(left=False)
    seaborn.despine(ax=axes, left=True)


def _bar(axes: Axes, row: float, five: Sequence[float], colour: str) -> None:
    """5 to 95 % as a line, 25 to 75 % as a bar, the median as a tick."""
    low, quarter, middle, three, high = five
    axes.plot([low, high], [row - 0.36] * 2, color=colour, lw=1.5)
    axes.plot([quarter, three], [row - 0.36] * 2, color=colour, lw=6, solid_capstyle="butt")
    axes.plot([middle], [row - 0.36], marker="|", color="black", ms=13, mew=2)
    axes.annotate(
        f"{middle:.3g}", (middle, row - 0.36), xytext=(0, -17), textcoords="offset points",
        ha="center", fontsize=8,
    )  # fmt: skip


def _geometry(figures: Figures, public: Published) -> Figure:
    cases = figures.cases
    figure, axes = _figure(11, 5.2, 2, 2)
    names = _names(figures, public)
    panels: tuple[tuple[Sequence[float], Sequence[float], str, bool], ...] = (
        ([c.spacing[0] for c in cases], public.slice_spacing, "distance of slices, mm", False),
        ([c.spacing[1] for c in cases], public.pixel, "pixel, mm", False),
        ([c.shape[0] for c in cases], public.slices, "slices", True),
        (
            [c.shape[0] * c.spacing[0] for c in cases],
            public.height,
            "height of the scan, mm",
            False,
        ),
    )
    for axis, (values, theirs, what, log) in zip(axes.flat, panels, strict=True):
        _compare(axis, values, theirs, names, what, log)
    return figure


def _volumes(figures: Figures, public: Published) -> Figure:
    labels = list(figures.dataset.labels)
    figure, axes = _figure(11, 0.4 + 2.4 * len(labels), len(labels), 1)
    for axis, name in zip(axes[:, 0], labels, strict=True):
        values = [v for c in figures.cases if (v := c.volume_ml.get(name, 0)) > 0]
        theirs = public.volume_ml.get(name)
        what = f"{one_line(name)}, ml ({len(values)} of {len(figures.cases)} cases"
        if theirs is not None:
            what += f"; {public.name}: {public.cases_with[name]} of {public.n_cases}"
        _compare(axis, values, theirs, _names(figures, public), what + ")", log=True)
    return figure


def _names(figures: Figures, public: Published) -> tuple[str, str]:
    mine = one_line(figures.dataset.name)
    short = mine if len(mine) <= 22 else mine[:21] + "…"
    return f"{short} ({len(figures.cases)})", f"{public.name} ({public.n_cases})"


def _intensities(figures: Figures) -> Figure:
    """Density of the HU of each label, with quantiles of all voxels of KiTS23 below."""
    import seaborn

    labels = list(figures.dataset.labels)
    figure, axes = _figure(11, 0.4 + 2.6 * len(labels), len(labels), 1)
    hu = np.arange(HU_LOW, HU_LOW + HU_BINS)
    for axis, name in zip(axes[:, 0], labels, strict=True):
        counts = figures.pooled(name)
        theirs = HU.get(name)
        top = 1.0
        shown = one_line(name)
        title = f"{shown}: no voxel"
        if counts.sum() > 0:
            mean, sd, quantiles = moments(counts)
            density = np.convolve(counts, np.full(9, 1 / 9), mode="same") / counts.sum()
            top = float(density[np.abs(hu) < 1000].max())
            axis.fill_between(hu, density, color=MINE, alpha=0.35, lw=0)
            axis.plot(hu, density, color=MINE, lw=1)
            _wide_bar(axis, -0.12 * top, quantiles, MINE)
            title = f"{shown}: {mean:.0f} ± {sd:.0f} HU here"
        if theirs is not None:
            _wide_bar(axis, -0.3 * top, theirs.pooled, THEIRS)
            title += f"; {theirs.mean:.0f} ± {theirs.sd:.0f} HU in KiTS23 (grey)"
        axis.set_title(title, loc="left", fontsize=10)
        axis.set(xlim=HU_SHOWN, ylim=(-0.42 * top, 1.05 * top), yticks=[], ylabel="")
        axis.set_xlabel("HU of all voxels; bars below: 0.5-99.5, 5-95, 25-75 % and the median")
        seaborn.despine(ax=axis, left=True)
    return figure


def _wide_bar(axes: Axes, height: float, seven: Sequence[float], colour: str) -> None:
    first, low, quarter, middle, three, high, last = seven
    axes.plot([first, last], [height] * 2, color=colour, lw=1)
    axes.plot([low, high], [height] * 2, color=colour, lw=3.5, solid_capstyle="butt")
    axes.plot([quarter, three], [height] * 2, color=colour, lw=8, solid_capstyle="butt")
    axes.plot([middle], [height], marker="|", color="black", ms=12, mew=2)


def _page(figures: Figures, public: Published, drawn: Mapping[str, str]) -> str:
    """The page, with every number of its pictures in tables."""
    found = figures.to_dict()
    name = html(found["name"])
    facts = {
        "Folder": found["root"],
        "Layout": found["layout"],
        "Labels": ", ".join(f"{value} {label}" for label, value in found["labels"].items()),
        "Cases": f"{found['n_cases']}, {found['n_images']} of them with an image",
        "Set aside": len(found["excluded"]),
        "Orientation": ", ".join(found["orientations"]),
        "Fingerprint": found["fingerprint"],
        "Note": found["note"] or ("synthetic images" if found["synthetic"] else ""),
    }
    parts = [_table(("", ""), [(k, v) for k, v in facts.items() if v != ""])]
    for file, title in drawn.items():
        parts.append(f'<h2>{title}</h2>\n<img src="{file}" alt="{title}">')
        parts.append(_numbers(file, found, public))
    if found["excluded"]:
        parts.append("<h2>Cases set aside</h2>")
        parts.append(_table(("case", "why"), sorted(found["excluded"].items())))
    parts.append('<p><a href="cases.csv">cases.csv</a> has a row for every case.</p>')
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{name}</title>\n'
        f"<style>{STYLE}</style>\n<h1>{name}</h1>\n{body}\n</html>\n"
    )


STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:68rem;margin:2rem auto;padding:0 1rem}"
    "img{max-width:100%}table{border-collapse:collapse;margin:1rem 0}"
    "td,th{padding:.2rem .8rem .2rem 0;text-align:left;border-bottom:1px solid #ddd}"
    "td:not(:first-child){font-variant-numeric:tabular-nums}"
)


def _numbers(file: str, found: Mapping[str, Any], public: Published) -> str:
    head = ["", "", *(f"{q} %" for q in QUANTILES)]
    lines: list[list[Any]] = []
    if file == "geometry.png":
        mine = (("spacing_mm", 0), ("spacing_mm", 1), ("shape", 0))
        words = ("distance of slices, mm", "pixel, mm", "slices")
        theirs = (public.slice_spacing, public.pixel, public.slices)
        for (key, axis), what, five in zip(mine, words, theirs, strict=True):
            lines.append([what, "here", *(found[key][f"p{q}"][axis] for q in QUANTILES)])
            lines.append(["", public.name, *five])
    elif file == "volumes.png":
        for label, volumes in found["volume_ml"].items():
            lines.append([f"{label}, ml", "here", *(volumes.get(f"p{q}", "") for q in QUANTILES)])
            if label in public.volume_ml:
                lines.append(["", public.name, *public.volume_ml[label]])
    else:
        head = ["", "", "mean", "SD", *(f"{q:g} %" for q in HU_QUANTILES)]
        for label, hu in found["hu"].items():
            if hu:
                quantiles = [hu[f"p{q:g}"] for q in HU_QUANTILES]
                lines.append([f"{label}, HU", "here", hu["mean"], hu["sd"], *quantiles])
            if label in HU:
                known = HU[label]
                lines.append(["", "KiTS23", known.mean, known.sd, *known.pooled])
    return _table(head, lines)


def _table(head: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    def cells(tag: str, line: Sequence[Any]) -> str:
        shown = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in line)
        return "<tr>" + "".join(f"<{tag}>{html(v)}</{tag}>" for v in shown) + "</tr>"

    top = cells("th", head) if any(head) else ""
    return "<table>" + top + "\n".join(cells("td", line) for line in lines) + "</table>"
