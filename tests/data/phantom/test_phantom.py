"""The phantom: deterministic, restartable, shaped like KiTS, and like what was measured."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.phantom.anatomy import draw_patient
from kitsbench.data.phantom.dataset import draw_case, render_case, write_phantom
from kitsbench.data.phantom.on_masks import render_on_mask
from kitsbench.data.phantom.render import render
from kitsbench.errors import DataError, UsageError


def hashes(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*.nii.gz"))
    }


def test_a_seed_gives_the_same_bytes_in_another_process(kits23_phantom, tmp_path):
    code = (
        "from kitsbench.data.phantom.dataset import write_phantom; import sys;"
        "write_phantom(sys.argv[1], 2, labels='kits23')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "again")], check=True)
    again, before = hashes(tmp_path / "again"), hashes(kits23_phantom)
    assert len(again) == 4
    assert again == {name: before[name] for name in again}


def test_cases_differ_and_seeds_differ(kits23_phantom):
    images = [h for name, h in hashes(kits23_phantom).items() if "imaging" in name]
    assert len(set(images)) == 3
    other = render_case(0, seed=1, labels="kits23")
    first = render_case(0, seed=0, labels="kits23")
    assert other.image.shape != first.image.shape or (other.image != first.image).any()


def test_layout_and_header_are_those_of_kits(kits23_phantom):
    dataset = open_dataset(kits23_phantom)
    assert (dataset.layout, dataset.synthetic, len(dataset.cases)) == ("kits23", True, 3)
    assert dataset.labels == {"kidney": 1, "tumor": 2, "cyst": 3}
    assert "not" in dataset.note or "nothing" in dataset.note
    assert (kits23_phantom / "dataset" / "kits23.json").is_file()
    for case in dataset.cases:
        image, label = nibabel.load(case.image), nibabel.load(case.label)
        assert nibabel.aff2axcodes(image.affine) == ("I", "P", "L")
        np.testing.assert_array_equal(image.affine, label.affine)
        assert image.shape == label.shape
        assert image.get_data_dtype() == np.int16
        assert label.get_data_dtype() == np.uint8
        assert 150_000 < np.prod(image.shape) < 600_000


def test_kits19_labels_make_a_cyst_kidney():
    index = 0  # has a cyst of 3 ml
    with_cyst = render_case(index, labels="kits23")
    without = render_case(index, labels="kits19")
    assert (with_cyst.label == 3).any()
    np.testing.assert_array_equal(with_cyst.image, without.image)
    np.testing.assert_array_equal(np.where(with_cyst.label == 3, 1, with_cyst.label), without.label)


def test_a_second_call_keeps_cases_and_adds_others(tmp_path):
    write_phantom(tmp_path / "p", 1)
    path = tmp_path / "p/data/case_00000/imaging.nii.gz"
    before = path.stat().st_mtime_ns
    told = []
    write_phantom(tmp_path / "p", 2, progress=lambda done, total: told.append((done, total)))
    assert path.stat().st_mtime_ns == before
    assert told == [(1, 2), (2, 2)]
    assert len(json.loads((tmp_path / "p/data/kits.json").read_text())) == 2


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="not empty"):
        write_phantom(tmp_path / "mine", 1)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    write_phantom(tmp_path / "p", 1)
    with pytest.raises(DataError, match="seed=0 not 1"):
        write_phantom(tmp_path / "p", 1, seed=1)


@pytest.mark.parametrize(
    "options",
    [
        {"cases": 0},
        {"size": "huge"},
        {"labels": "kits20"},
        {"spacing": (1, 1, 1)},
        {"tumors": "big"},
    ],
)
def test_meaningless_options(tmp_path, options):
    with pytest.raises(UsageError):
        write_phantom(tmp_path / "p", **{"cases": 1, **options})
    assert not (tmp_path / "p").exists()


def test_a_full_disk_leaves_no_half_case(tmp_path, monkeypatch):
    import errno

    def full(nifti, path):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nibabel, "save", full)
    with pytest.raises(DataError, match="No space left"):
        write_phantom(tmp_path / "p", 1)
    assert list((tmp_path / "p" / "data").iterdir()) == []


def measured(count: int, size: str) -> tuple[dict[int, list], dict[int, np.ndarray]]:
    """HU by case and volumes (ml) of every label over the first cases of seed 0.

    Only the part of the scan that holds kidneys and lesions is rendered.
    """
    hu: dict[int, list] = {1: [], 2: [], 3: []}
    ml: dict[int, list] = {1: [], 2: [], 3: []}
    for index in range(count):
        patient, fields, frame = draw_case(index, size=size)
        low, high = patient.extent()
        part = frame.part(tuple(v - 9 for v in low), tuple(v + 9 for v in high))
        image, label = render(patient, fields, part)
        for value in hu:
            inside = label == value
            hu[value].append(image[inside])
            ml[value].append(inside.sum() * np.prod(frame.spacing) / 1000)
    return hu, {v: np.array(m) for v, m in ml.items()}


def standard_error(cases: list[np.ndarray]) -> float:
    """Standard error of the mean of all voxels, when cases are what is sampled."""
    count = np.array([len(case) for case in cases])
    total = np.array([case.sum(dtype=float) for case in cases])
    return float(np.linalg.norm(total - count * total.sum() / count.sum()) / count.sum())


def test_large_tumours_are_large_and_nothing_else_changes():
    volumes = []
    for index in range(300):
        usual, large = (
            draw_patient(np.random.default_rng([0, index]), tumors) for tumors in ("all", "large")
        )
        assert large.body == usual.body
        assert [k.volume_ml for k in large.kidneys] == [k.volume_ml for k in usual.kidneys]
        mine, theirs = (
            next(m.volume_ml for m in p.lesions if m.kind == "tumor") for p in (usual, large)
        )
        assert mine > 310 or theirs > min(mine, 89)
        volumes.append(theirs)
    assert min(volumes) == pytest.approx(89, rel=0.03)
    assert max(volumes) == pytest.approx(310, rel=0.03)


def test_a_folder_holds_tumours_of_one_kind(tmp_path):
    write_phantom(tmp_path / "p", 1)
    with pytest.raises(DataError, match="tumors='all' not 'large'"):
        write_phantom(tmp_path / "p", 1, tumors="large")
    # Written before there was a choice.
    path = tmp_path / "p/phantom.json"
    described = json.loads(path.read_text())
    del described["tumors"]
    path.write_text(json.dumps(described))
    write_phantom(tmp_path / "p", 1)
    with pytest.raises(DataError, match="tumors='all' not 'large'"):
        write_phantom(tmp_path / "p", 1, tumors="large")


def test_kidneys_stand_out_and_tumours_differ_from_them():
    """A few cases: enough to see that there is something to learn, and something to confuse."""
    differences, contrast = [], []
    for index in range(4):
        case = render_case(index)
        kidney, tumour = case.image[case.label == 1], case.image[case.label == 2]
        tissue = case.image[(case.label == 0) & (case.image > 0) & (case.image < 250)]
        contrast.append(np.median(kidney) - np.median(tissue))
        differences.append(np.median(tumour) - np.median(kidney))
        # Something else is as bright as kidney: intensity alone does not solve the task.
        assert np.mean(tissue > np.median(kidney)) > 0.01
    assert np.mean(contrast) > 25
    assert np.mean(differences) < -15


@pytest.mark.slow
@pytest.mark.parametrize("size", ["small", pytest.param("full", marks=pytest.mark.exhaustive)])
def test_statistics_are_those_of_kits(size):
    """40 cases against the pooled HU of KiTS23 and the volumes of KiTS19 (cysts: KiTS23).

    Tolerances: mean and SD within 12 HU, or two standard errors: a few large tumours hold most
    of the voxels of 40 cases, so their pooled mean is uncertain. Volume quantiles within 20 %
    (kidneys), a factor of 1.8 (tumours) and of 3.3 (cysts: two standard errors of a quartile of
    the 20 cases that have one).
    The population that cysts are drawn from is tested more sharply below.
    """
    hu, ml = measured(40, size)
    for value, mean, sd in ((1, 115.5, 75.2), (2, 61.3, 54.2), (3, 19.3, 36.5)):
        pooled = np.concatenate(hu[value])
        assert abs(pooled.mean() - mean) < max(12, 2 * standard_error(hu[value])), value
        # Finer voxels mix less at the rim, so cysts are more even at full size than in KiTS.
        assert abs(pooled.std() - sd) < (12 if size == "small" else 15), value
    kidney = np.percentile(ml[1], (25, 50, 75))
    assert (np.abs(kidney / (353, 408, 490) - 1) < 0.2).all(), kidney
    tumour = np.percentile(ml[2], (25, 50, 75))
    assert (np.abs(np.log(tumour / (7.9, 30.1, 93))) < np.log(1.8)).all(), tumour
    assert (ml[2] > 0).all()
    present = ml[3] > 0
    assert 0.3 < present.mean() < 0.7
    cyst = np.percentile(ml[3][present], (25, 50, 75))
    assert (np.abs(np.log(cyst / (1.24, 4.4, 21.4))) < np.log(3.3)).all(), cyst


def test_patients_are_drawn_as_they_come_in_kits():
    """Counts of 1500 patients, against what the masks of KiTS19 and KiTS23 say.

    The bounds are three standard errors of the 210 and 489 cases around their shares.
    """
    patients = [draw_patient(np.random.default_rng([0, k])) for k in range(1500)]
    tumours = [[x for x in p.lesions if x.kind == "tumor"] for p in patients]
    cysts = [[x for x in p.lesions if x.kind == "cyst"] for p in patients]
    assert all(tumours)
    assert 0.44 < np.mean([bool(c) for c in cysts]) < 0.58  # 248 of 489
    assert 0.005 < np.mean([len(p.kidneys) == 1 for p in patients]) < 0.045  # 12 of 489
    both = [len({x.kidney for x in t}) == 2 for t in tumours]
    assert 0.01 < np.mean(both) < 0.06  # 5 of 210
    first = [p.kidneys[t[0].kidney].side for p, t in zip(patients, tumours, strict=True)]
    assert 0.4 < np.mean(np.array(first) > 0) < 0.6  # either side
    for table, found in (
        ((2.6, 7.9, 30.1, 93, 614), [t[0].volume_ml for t in tumours]),
        ((0.21, 1.24, 4.4, 21.4, 94.9), [sum(x.volume_ml for x in c) for c in cysts if c]),
    ):
        ratio = np.percentile(found, (5, 25, 50, 75, 95)) / table
        assert (np.abs(np.log(ratio)) < np.log(1.3)).all(), ratio
    # Only large tumours have a large dead core.
    core = {large: [] for large in (False, True)}
    for found in tumours:
        for tumour in found:
            core[tumour.volume_ml > 200].append(tumour.necrosis)
    assert np.median(core[False]) < 0.15 < 0.4 < np.median(core[True])
    # Contrast from corticomedullary to nephrographic.
    difference = [p.contrast.cortex - p.contrast.medulla for p in patients]
    assert np.percentile(difference, 5) < 15
    assert np.percentile(difference, 95) > 95


def test_a_case_is_the_same_however_much_of_it_is_rendered():
    """Tissues do not depend on the field of view: away from the noise, parts fit the whole."""
    patient, fields, frame = draw_case(1)
    whole, labels = render(patient, fields, frame)
    low, high = patient.extent()
    part = frame.part(low, high)
    image, label = render(patient, fields, part)
    first = [
        round((a - b) / s) for a, b, s in zip(part.start, frame.start, frame.spacing, strict=True)
    ]
    box = tuple(slice(f, f + n) for f, n in zip(first, part.shape, strict=True))
    np.testing.assert_array_equal(labels[box], label)
    assert (labels > 0).sum() == (label > 0).sum()
    difference = whole[box].astype(float) - image
    assert abs(difference.mean()) < 0.5
    assert difference.std() < 25  # two draws of noise of at most 15 HU


def test_volumes_are_those_that_were_drawn():
    for index in range(3):
        case = render_case(index, seed=3, labels="kits23")
        for value, drawn in (
            (1, sum(k.volume_ml for k in case.patient.kidneys)),
            (2, sum(x.volume_ml for x in case.patient.lesions if x.kind == "tumor")),
        ):
            found = (case.label == value).sum() * np.prod(case.spacing) / 1000
            # A voxel has 0.09 ml; masses that overlap are counted once.
            assert abs(found - drawn) < max(0.15 * drawn, 1.0)


@pytest.mark.parametrize("spacing", [(5.0, 4.0, 4.0), pytest.param(None, marks=pytest.mark.slow)])
def test_a_body_around_a_real_mask(shared, tmp_path, spacing):
    masks = shared / "data" / "kits23-masks-2mm"
    path = masks / "case_00405" / "segmentation.nii.gz"
    image, label, affine = render_on_mask(path, 0, 0, "kits23", spacing)
    truth = nibabel.load(path)
    if spacing is None:
        np.testing.assert_array_equal(label, np.asarray(truth.dataobj))
        np.testing.assert_array_equal(affine, truth.affine)
    else:
        np.testing.assert_allclose(np.sqrt((affine[:3, :3] ** 2).sum(0)), spacing)
        voxel = np.prod(spacing) / 8
        ratio = (label > 0).sum() * voxel / np.count_nonzero(np.asarray(truth.dataobj))
        assert abs(ratio - 1) < 0.05
    assert image.shape == label.shape
    assert np.median(image[label == 1]) > np.median(image[label == 0]) + 60
    assert image[:, :, 0].mean() < -900  # air at the edge of the picture


def test_a_dataset_on_real_masks_says_so(shared, tmp_path):
    masks = shared / "data" / "kits19-masks-2mm"
    out = write_phantom(tmp_path / "p", 1, anatomy=masks, spacing=(6.0, 6.0, 6.0))
    dataset = open_dataset(out)
    assert dataset.synthetic
    assert "Synthetic images on real masks" in dataset.note
    assert "kits19-masks-2mm" in (out / "README.md").read_text()
    with pytest.raises(UsageError, match="210 masks"):
        write_phantom(tmp_path / "q", 211, anatomy=masks)


def test_full_size_has_the_geometry_of_kits():
    frames = []
    for index in range(12):
        patient, _, frame = draw_case(index, size="full")
        low, high = patient.extent()
        top = frame.start[0] + (frame.shape[0] - 1) * frame.spacing[0]
        assert frame.start[0] <= low[0]
        assert high[0] <= top  # no kidney and no mass is cut off
        frames.append(frame)
    assert {f.shape[1:] for f in frames} == {(512, 512)}
    assert all(0.6 <= f.spacing[1] == f.spacing[2] <= 1.0 for f in frames)
    assert len({f.spacing[0] for f in frames}) > 3
    assert all(0.5 <= f.spacing[0] <= 5 for f in frames)
    assert all(150 < f.shape[0] * f.spacing[0] < 720 for f in frames)


@pytest.mark.exhaustive
def test_scans_are_as_high_and_as_fine_as_those_of_kits():
    frames = [draw_case(index, size="full")[2] for index in range(200)]
    found = np.array(
        [(f.spacing[0], f.spacing[1], f.shape[0], f.shape[0] * f.spacing[0]) for f in frames]
    )
    quantiles = np.percentile(found, (5, 25, 50, 75, 95), axis=0).T
    for name, low, high, values in (
        ("slice distance", (0.5, 1.25, 3, 5, 5), (0.5, 2, 3, 5, 5), quantiles[0]),
        ("pixel", (0.66, 0.72, 0.78, 0.87, 0.98), (0.64, 0.72, 0.78, 0.87, 0.98), quantiles[1]),
        ("slices", (49, 88, 108, 273, 679), (44, 84, 104, 211, 635), quantiles[2]),
        ("height", (183, 274, 411, 488, 674), (187, 270, 417, 485, 655), quantiles[3]),
    ):
        assert (values > 0.75 * np.minimum(low, high)).all(), (name, values)
        assert (values <= 1.25 * np.maximum(low, high)).all(), (name, values)


@pytest.mark.exhaustive
def test_a_full_size_case_takes_little_more_memory_than_its_files():
    """Painted slab by slab: the int16 image, the label map, and a slab of constant size."""
    import tracemalloc

    patient, fields, frame = draw_case(0, size="full")
    frame = replace(frame, spacing=(1.0, *frame.spacing[1:]))
    peaks = []
    for slices in (60, 180):
        tracemalloc.start()
        render(patient, fields, replace(frame, shape=(slices, *frame.shape[1:])))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 1.1 * 120 * 512 * 512 * 3
