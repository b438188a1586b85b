"""Truth and every prediction on the same slices of a scan."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from kitsbench.errors import KitsbenchError
from kitsbench.evaluation.protocols import for_labels
from kitsbench.experiments.results import Results
from kitsbench.reporting import words
from kitsbench.reporting.drawing.figures import Picture, style
from kitsbench.scans.header import Header
from kitsbench.scans.label_names import KITS, LabelNames
from kitsbench.scans.nifti import read_header, read_image
from kitsbench.statistics.table.endpoints import parse_endpoint
from kitsbench.text import file_stem, one_line
from kitsbench.viewer.cases import labels_on, prediction_file
from kitsbench.viewer.palette import colours_of

FOCUS = tuple((KITS[name],) for name in ("tumor", "kidney", "cyst"))
WINDOW = (-110.0, 240.0)  # HU; soft tissue with contrast medium
_DASHES = (0, (2, 1))
_MARGIN_MM = 18.0
_COLUMNS = (5, 4, 3)
_WIDTH = 11.0  # inches of all columns together
_WIDEST = 3.4
LONGEST_TITLE = 27  # characters above a panel
DPI = 110


@dataclass(frozen=True)
class ShownCase:
    """A showcase scan on its canonical grid: axes (z, y, x), x to the right, y to the front."""

    name: str
    image: np.ndarray
    truth: np.ndarray
    predictions: dict[str, np.ndarray | None]
    spacing: tuple[float, float, float]
    scan: Header | None = None


def draw_overlays(results: Results, order: list[str]) -> tuple[list[Picture], list[str]]:
    """Draw every showcase case of an experiment.

    Parameters
    ----------
    results : Results
        Needs the dataset where the experiment says it is, and stored predictions.
    order : list of str
        Architectures in the order of the panels.

    Returns
    -------
    pictures : list of Picture
        One for each case that could be drawn.
    problems : list of str
        One sentence for each that could not.
    """
    pictures: list[Picture] = []
    problems: list[str] = []
    for name in results.experiment.showcase:
        try:
            case = load_shown(results, str(name), order)
        except (KitsbenchError, OSError, ValueError) as error:
            problems.append(f"{name} is not drawn: {error}")
            continue
        if not any(prediction is not None for prediction in case.predictions.values()):
            held = any(trial.state == "held" for trial in results.trials)
            why = "its predictions wait for the look" if held else "no prediction of it was kept"
            problems.append(f"{name} is not drawn: {why}.")
            continue
        pictures.append(_draw(case, results))
    return pictures, problems


def load_shown(results: Results, name: str, order: list[str]) -> ShownCase:
    """Read a showcase case with what every architecture predicted of it.

    Raises
    ------
    KitsbenchError, OSError, ValueError
        The dataset does not hold it any more, or a file cannot be used.
    """
    from kitsbench.data.datasets.dataset import open_dataset

    where = Path(results.experiment.dataset.path)
    dataset = open_dataset(where, results.experiment.dataset.layout)
    found = next((case for case in dataset.cases if case.id == name), None)
    if found is None or found.image is None or found.label is None:
        raise ValueError(f"the dataset in {where} does not hold its image and label map.")
    scan = read_header(found.image, name)
    z, y, x = (scan.spacing[axis] for axis in scan.axes.order)
    predictions: dict[str, np.ndarray | None] = {}
    for entrant in order:
        file = prediction_file(results.trials, entrant, name)
        own = labels_on(file, scan, "prediction", dataset.names) if file else None
        predictions[entrant] = own
    truth = labels_on(found.label, scan, "mask", dataset.names)
    return ShownCase(name, read_image(scan)[0], truth, predictions, (z, y, x), scan)


def lines_of(labels: Mapping[str, int]) -> dict[str, tuple[str, tuple[str, Any]]]:
    """What each label is drawn in: {name: (in words, (colour, dashes))}."""
    return {
        name: (own.word, (own.code, _DASHES if own.dashed else "-"))
        for name, own in colours_of(labels).items()
    }


def focus_of(labels: Mapping[str, int]) -> tuple[tuple[int, ...], ...]:
    """Which labels the first slice shall show: those of the first set that a scan has."""
    if LabelNames(dict(labels)).of_kits:
        return FOCUS
    return (tuple(labels.values()),)


def choose_slices(
    truth: np.ndarray, predictions: list[np.ndarray], focus: Sequence[Sequence[int]] = FOCUS
) -> list[int]:
    """The slice with most of a label, and one further away on which most is wrong.

    Parameters
    ----------
    truth : ndarray of int, shape (z, y, x)
    predictions : list of ndarray
        Of the same shape.
    focus : sequence of sequence of int
        As of :func:`focus_of`.

    Returns
    -------
    list of int
        One or two indices along z.
    """
    for labels in (*focus, range(1, 256)):
        area = np.isin(truth, labels).sum(axis=(1, 2))
        if area.any():
            break
    first = int(area.argmax())
    wrong = np.zeros(len(truth), np.int64)
    for prediction in predictions:
        wrong += (prediction != truth).sum(axis=(1, 2))
    near = max(1, len(truth) // 12)
    wrong[max(0, first - near) : first + near + 1] = 0
    return [first, int(wrong.argmax())] if wrong.any() else [first]


def window_of(case: ShownCase, index: int) -> tuple[slice, slice]:
    """Rows and columns that hold everything marked on a slice, and a margin around it.

    Predictions count too: what an architecture finds elsewhere in the body must stay in sight.
    """
    marked = case.truth[index] > 0
    for prediction in case.predictions.values():
        if prediction is not None:
            marked = marked | (prediction[index] > 0)
    if not marked.any():
        return slice(None), slice(None)
    window = []
    for axis, spacing in ((0, case.spacing[1]), (1, case.spacing[2])):
        inside = np.flatnonzero(marked.any(axis=1 - axis))
        margin = round(_MARGIN_MM / spacing)
        window.append(slice(max(0, inside[0] - margin), inside[-1] + margin + 1))
    return window[0], window[1]


def proportion(case: ShownCase, window: tuple[slice, slice]) -> float:
    """Height of a window relative to its width, in mm."""
    rows, columns = case.truth[0][window].shape
    return rows * case.spacing[1] / (columns * case.spacing[2])


def _draw(case: ShownCase, results: Results) -> Picture:
    labels = results.experiment.dataset.labels
    shown = [prediction for prediction in case.predictions.values() if prediction is not None]
    slices = choose_slices(case.truth, shown, focus_of(labels))
    panels = 1 + len(case.predictions)
    # As few rows as possible, then as few empty places.
    columns = min(_COLUMNS, key=lambda n: (-(-panels // n), -panels % n)) if panels > 3 else panels
    rows = -(-panels // columns) * len(slices)
    panel = min(_WIDTH / columns, _WIDEST)
    region = _scored_region(results)
    scores = _dice(results, case.name, region)
    windows = [window_of(case, index) for index in slices]
    tall = max(proportion(case, window) for window in windows)
    layout = ConstrainedLayoutEngine()
    with style():
        figure = Figure(
            figsize=(panel * columns, (panel * min(tall, 1.6) + 0.27) * rows),
            dpi=DPI,
            layout=layout,
        )
        figure.set_facecolor("#16191d")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
            # Or the places of ticks that nobody sees take half of the drawing's time.
            axes.xaxis.set_visible(False)
            axes.yaxis.set_visible(False)
        for block, index in enumerate(slices):
            top = block * (rows // len(slices))
            window = windows[block]
            above = f"Truth\nslice {index + 1} of {len(case.truth)}"
            # No mapping by names: an architecture may be called truth.
            maps: list[tuple[str, np.ndarray | None]] = [(above, case.truth)]
            maps += [(_title(name, scores), found) for name, found in case.predictions.items()]
            for place, (text, label_map) in enumerate(maps):
                axes = grid[top + place // columns][place % columns]
                _panel(axes, case, index, window, label_map, labels, text, place > 0)
        buffer = io.BytesIO()
        # Laid out once and drawn once; to save a figure with an engine draws it twice.
        layout.execute(figure)
        figure.set_layout_engine("none")
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
        width = figure.get_figwidth() * 96
    key = "; ".join(
        f"{words.region_name(name).lower()} {colour}"
        for name, (colour, _) in lines_of(labels).items()
    )
    most = "tumour" if LabelNames(labels).of_kits else "that is labelled"
    low, high = WINDOW
    return Picture(
        f"overlay-{file_stem(case.name)}",
        case.name,
        f"{case.name}, axial slices in radiological view (the patient's right is on the left; "
        f"window {low:.0f} to {high:.0f} HU). Solid: {key}. White dots: outline of the truth. "
        f"First the slice with most {most}, then the one on which most is wrong. The number is the "
        f"{words.region_name(region).lower()} Dice of the whole scan, first seed.",
        png=buffer.getvalue(),
        width=round(width),
        figure=figure,
    )


def _scored_region(results: Results) -> str:
    """The region whose Dice stands beside a picture: the tumour, or that of the endpoint."""
    experiment = results.experiment
    rule = for_labels(experiment.protocol, experiment.dataset.labels)
    names = [region.name for region in rule.regions]
    return "tumor" if "tumor" in names else parse_endpoint(experiment.endpoint).region


def _dice(results: Results, case: str, region: str) -> dict[str, float]:
    """Dice of a case by architecture: of the seed that is drawn, under the protocol."""
    scores = results.scores
    rows = scores[
        (scores["case"] == case)
        & (scores["metric"] == "dice")
        & (scores["region"] == region)
        & (scores["protocol"] == results.experiment.protocol)
        & (scores["status"] != "failed")
    ]
    return dict(rows.sort_values("seed").groupby("architecture")["value"].first())


def _title(name: str, scores: dict[str, float]) -> str:
    shown = one_line(name)
    # A panel is so wide; what is longer would run into the name beside it.
    short = shown if len(shown) <= LONGEST_TITLE else shown[: LONGEST_TITLE - 1] + "…"
    return f"{short}\n{words.number(scores.get(name))}" if name in scores else short


def _panel(
    axes: Any,
    case: ShownCase,
    index: int,
    window: tuple[slice, slice],
    label_map: np.ndarray | None,
    labels: dict[str, int],
    title: str,
    with_truth: bool,
) -> None:
    axes.set_title(title, fontsize=8.5, color="#f2f2f2", loc="left", fontweight="normal", pad=3)
    if label_map is None:
        axes.text(0.5, 0.5, "no prediction", color="#f2f2f2", ha="center", transform=axes.transAxes)
        return
    # Rows run to the front and columns to the right of the patient; both axes are turned so that
    # the front is up and the patient's right is on the left, as radiologists look at it.
    cut = (index, *window)
    aspect = case.spacing[1] / case.spacing[2]
    image = case.image[cut][::-1, ::-1]
    axes.imshow(image, cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1], aspect=aspect)
    plane = label_map[cut][::-1, ::-1]
    # A breath of colour inside, or a prediction that fills the picture would look like none.
    tint = np.zeros((*plane.shape, 4))
    lines = {name: line for name, (_, line) in lines_of(labels).items()}
    for name, value in labels.items():
        tint[plane == value] = to_rgba(lines[name][0], 0.15)
    if tint.any():
        axes.imshow(tint, aspect=aspect)
    for name, value in labels.items():
        colour, dashes = lines[name]
        _contour(axes, plane == value, colors=colour, linestyles=[dashes], linewidths=1.4)
    if with_truth:
        truth = case.truth[cut][::-1, ::-1]
        for value in labels.values():
            _contour(
                axes,
                truth == value,
                colors="#ffffff",
                linestyles=[(0, (1, 1.4))],
                linewidths=1.0,
            )


def _contour(axes: Any, mask: np.ndarray, **options: Any) -> None:
    if not mask.any():
        return
    # The margin closes outlines that run out of the picture.
    padded = np.pad(mask.astype(np.float32), 1)
    rows, columns = mask.shape
    axes.contour(
        np.arange(-1, columns + 1), np.arange(-1, rows + 1), padded, levels=[0.5], **options
    )
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
