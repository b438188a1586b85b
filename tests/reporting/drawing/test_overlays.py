"""Overlays: orientation, choice of slices, and what is marked."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from reporting.workdirs import Plan, write_workdir

from kitsbench.experiments.results import load_results
from kitsbench.reporting.drawing.overlays import (
    ShownCase,
    _panel,
    choose_slices,
    draw_overlays,
    focus_of,
    lines_of,
)


@pytest.fixture(scope="module")
def image(report):
    with Image.open(report / "figures" / "overlay-case_00000.png") as opened:
        return np.asarray(opened.convert("RGB")).astype(int)


def _near(image, colour):
    return np.abs(image - np.array(colour)).sum(axis=2) < 40


def test_kidney_and_tumour_are_drawn_in_colours_that_stay_apart(image):
    assert _near(image, (0x56, 0xB4, 0xE9)).sum() > 500
    assert _near(image, (0xFF, 0x9F, 0x1C)).sum() > 200


def test_the_view_is_radiological(image):
    # The scan's tumour sits on the patient's left kidney, which is on the right of each panel.
    columns = image.shape[1] // 5
    first = image[: image.shape[0] // 2, :columns]
    tumour = np.flatnonzero(_near(first, (0xFF, 0x9F, 0x1C)).any(axis=0)).mean()
    kidneys = np.flatnonzero(_near(first, (0x56, 0xB4, 0xE9)).any(axis=0))
    assert tumour > (kidneys.min() + kidneys.max()) / 2


def test_the_front_of_the_patient_is_up(image):
    # In the scan, the tumour lies further to the front than the middle of its kidney.
    columns = image.shape[1] // 5
    first = image[: image.shape[0] // 2, :columns]
    tumour = np.flatnonzero(_near(first, (0xFF, 0x9F, 0x1C)).any(axis=1)).mean()
    kidney = np.flatnonzero(_near(first, (0x56, 0xB4, 0xE9)).any(axis=1)).mean()
    assert tumour < kidney


def test_slices_hold_most_tumour_and_most_error():
    truth = np.zeros((24, 8, 8), np.uint8)
    truth[4:20, 2:6, 2:6] = 1
    truth[10, 2:5, 2:5] = 2
    wrong = truth.copy()
    wrong[18] = 0
    assert choose_slices(truth, [wrong]) == [10, 18]
    assert choose_slices(truth, [truth]) == [10]


def test_a_scan_without_tumour_shows_the_kidney():
    truth = np.zeros((10, 8, 8), np.uint8)
    truth[3, 2:6, 2:6] = 1
    assert choose_slices(truth, []) == [3]


def test_a_prediction_that_fills_the_picture_is_visible():
    figure = Figure()
    axes = figure.subplots()
    case = ShownCase("c", np.zeros((1, 8, 8)), np.zeros((1, 8, 8), np.uint8), {}, (1.0, 1.0, 1.0))
    full = np.full((1, 8, 8), 1, np.uint8)
    everything = (slice(None), slice(None))
    _panel(axes, case, 0, everything, full, {"kidney": 1}, "net", True)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    middle = pixels[pixels.shape[0] // 2, pixels.shape[1] // 2]
    assert middle[2] > middle[0] + 10  # bluer than the grey of the scan


def test_labels_of_another_kind_have_lines_of_their_own_and_no_order():
    labels = {"left kidney": 1, "right kidney": 2}
    lines = lines_of(labels)
    assert [words for words, _ in lines.values()] == ["blue", "orange"]
    assert lines["left kidney"] != lines["right kidney"]
    assert len(set(lines_of({str(value): value for value in range(1, 12)}).values())) == 11
    assert lines_of({"kidney": 1, "cyst": 3})["cyst"][0] == "yellow, dashed"
    # The slice with most of either, where KiTS's would be the one with most of the second.
    truth = np.zeros((12, 8, 8), np.uint8)
    truth[3, 1:6, 1:6], truth[8, 2:4, 2:4] = 1, 2
    assert choose_slices(truth, [], focus_of(labels)) == [3]
    assert choose_slices(truth, [], focus_of({"kidney": 1, "tumor": 2})) == [8]


def test_an_architecture_called_truth_stands_beside_the_truth(tmp_path):
    plan = Plan({"truth": 0.0, "b": 0.1}, folds=2, seeds=1, showcase=1, profiles=False)
    results = load_results(write_workdir(tmp_path, plan))
    ((picture,), problems) = draw_overlays(results, ["truth", "b"])
    assert problems == []
    titles = [axes.get_title(loc="left").split("\n") for axes in picture.figure.axes]
    assert [first for first, *_ in titles[:3]] == ["Truth", "truth", "b"]
    assert titles[0][1].startswith("slice ")
    assert titles[1][1].startswith("0.")
