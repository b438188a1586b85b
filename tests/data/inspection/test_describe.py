"""The figures of a dataset: independent counts, and pictures with something in them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import call_kitsbench
from scans import KITS_AFFINE, case, ct, kidneys, save

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.inspection.describe import measure, moments
from kitsbench.data.inspection.figures import write_figures
from kitsbench.data.inspection.published import HU, HU_QUANTILES, KITS19, KITS23, QUANTILES
from kitsbench.errors import DataError


@pytest.fixture
def two(tmp_path) -> Path:
    """Two cases of different size, one of them with a cyst, and a third without an image."""
    root = tmp_path / "my scans" / "dataset"
    case(root, "case_00400", label=kidneys(cyst=True))
    other = KITS_AFFINE * [2, 1, 1, 1]
    case(root, "case_00401", ct((14, 16, 18), seed=1), kidneys((14, 16, 18)), other)
    (case(root, "case_00402") / "imaging.nii.gz").unlink()
    return tmp_path / "my scans"


@pytest.mark.parametrize("jobs", [1, 2])
def test_figures_agree_with_counting(two, jobs):
    figures = measure(open_dataset(two), intensities=True, jobs=jobs)
    assert [c.case for c in figures.cases] == ["case_00400", "case_00401"]
    assert figures.excluded == {"case_00402": "missing image"}
    first, second = figures.cases
    assert (first.orientation, first.spacing, first.shape) == ("IPL", (3, 2, 2), (12, 16, 18))
    assert (second.spacing, second.shape) == ((6, 2, 2), (14, 16, 18))
    label = kidneys(cyst=True)
    for name, value in {"kidney": 1, "tumor": 2, "cyst": 3}.items():
        assert first.volume_ml[name] == pytest.approx((label == value).sum() * 12 / 1000)
    hu = np.concatenate(
        [
            ct(seed=sum(b"case_00400"))[label == 1],
            ct((14, 16, 18), seed=1)[kidneys((14, 16, 18)) == 1],
        ]
    )
    mean, sd, quantiles = moments(figures.pooled("kidney"))
    assert mean == pytest.approx(hu.mean())
    assert sd == pytest.approx(hu.std())
    expected = np.percentile(hu, HU_QUANTILES, method="inverted_cdf")
    np.testing.assert_allclose(quantiles, expected, atol=1)
    about = figures.to_dict()
    assert about["hu"]["cyst"]["n_cases"] == 1
    assert about["volume_ml"]["cyst"]["n_cases"] == 1


def test_pictures_page_and_table(two, tmp_path):
    figures = measure(open_dataset(two), intensities=True)
    page = write_figures(figures, tmp_path / "out")
    text = page.read_text(encoding="utf-8")
    assert "my scans" in text
    assert "missing image" in text
    assert "KiTS23" in text
    from matplotlib.image import imread

    for name in ("geometry", "volumes", "hu"):
        assert f'src="{name}.png"' in text
        picture = imread(page.parent / f"{name}.png")
        assert min(picture.shape[:2]) > 300
        assert (picture[..., :3].min(-1) < 0.9).mean() > 0.005  # something is drawn
    with open(page.parent / "cases.csv", encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert [row["case"] for row in listed] == ["case_00400", "case_00401"]
    assert float(listed[0]["tumor_ml"]) == pytest.approx(figures.cases[0].volume_ml["tumor"])
    assert listed[1]["cyst_hu_mean"] == ""
    stored = json.loads((page.parent / "fingerprint.json").read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(figures.to_dict()))


def test_nothing_to_draw_is_explained(tmp_path):
    folder = case(tmp_path / "data")
    (folder / "segmentation.nii.gz").write_bytes(b"damaged")
    figures = measure(open_dataset(tmp_path))
    with pytest.raises(DataError, match=r"no case of .* can be measured"):
        write_figures(figures, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_writes_them(two, tmp_path):
    done = call_kitsbench("data", "info", two, "-o", tmp_path / "out", "--json")
    assert done.code == 0
    assert done.json["hu"]["tumor"]["n_cases"] == 2
    assert str(tmp_path / "out" / "index.html") in done.err


@pytest.mark.parametrize(("name", "known"), [("kits19", KITS19), ("kits23", KITS23)])
def test_the_published_numbers_are_those_of_the_masks(shared, name, known):
    import pandas as pd

    table = pd.read_csv(shared / "data" / "statistics" / f"{name}_mask_stats.csv")
    assert len(table) == known.n_cases
    columns = {"sz": known.slice_spacing, "sx": known.pixel, "nz": known.slices}
    columns["fov_z_mm"] = known.height
    for column, five in columns.items():
        np.testing.assert_allclose(np.percentile(table[column], QUANTILES), five, rtol=0.012)
    for label, five in known.volume_ml.items():
        present = table[f"{label}_ml"][table[f"{label}_ml"] > 0]
        assert len(present) == known.cases_with[label]
        np.testing.assert_allclose(np.percentile(present, QUANTILES), five, rtol=0.02)


def test_the_published_intensities_are_those_of_the_histogram(shared):
    import pandas as pd

    table = pd.read_csv(shared / "data" / "statistics" / "kits23_hu_histogram_by_label.csv")
    for label, known in HU.items():
        weights = table[label] / table[label].sum()
        mean = (weights * table["HU"]).sum()
        sd = np.sqrt((weights * (table["HU"] - mean) ** 2).sum())
        assert (mean, sd) == (pytest.approx(known.mean, abs=0.1), pytest.approx(known.sd, abs=0.1))
        reached = weights.cumsum().to_numpy()
        found = [table["HU"][int(np.searchsorted(reached, q / 100))] for q in HU_QUANTILES]
        np.testing.assert_allclose(found, known.pooled, atol=1)


@pytest.mark.parametrize("choice", ["AND", "MAJ", "OR"])
def test_a_mask_of_kits21_may_be_chosen(tmp_path, choice):
    folder = case(tmp_path / "kits21" / "data", "case_00003")
    (folder / "segmentation.nii.gz").unlink()
    volumes = {"AND": 1, "MAJ": 2, "OR": 3}
    for name, layers in volumes.items():
        label = np.zeros((12, 16, 18), dtype=np.uint8)
        label[:layers, 5:9, 5:9] = 1
        save(folder / f"aggregated_{name}_seg.nii.gz", label)
    opened = open_dataset(tmp_path, f"kits21:{choice}")
    assert opened.layout == "kits21"
    assert opened.cases[0].label.name == f"aggregated_{choice}_seg.nii.gz"
    assert (f"aggregated_{choice}_seg" in opened.note) == (choice != "MAJ")
    (found,) = measure(opened).cases
    assert found.volume_ml["kidney"] == pytest.approx(volumes[choice] * 16 * 12 / 1000)
    assert open_dataset(tmp_path).cases[0].label.name == "aggregated_MAJ_seg.nii.gz"
    (folder / f"aggregated_{choice}_seg.nii.gz").unlink()
    with pytest.raises(DataError, match="choose with --layout kits21:AND, :MAJ or :OR"):
        open_dataset(tmp_path, f"kits21:{choice}")
