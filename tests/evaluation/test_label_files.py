"""Label maps on disk: layouts, orientations, number types, and everything that can be wrong."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from save_maps import SPACING, save_map

from kitsbench.errors import DataError
from kitsbench.evaluation.label_files import (
    check_same_grid,
    find_label_maps,
    match_cases,
    read_header,
    read_labels,
)

ORIENTATIONS = [
    "".join(letters[axis] for axis in order)
    for order in permutations(range(3))
    for letters in product("RL", "AP", "SI")
]
LABELS = np.arange(4 * 5 * 6).reshape(4, 5, 6) % 3


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_arrays_come_out_as_zyx_however_the_file_stores_them(tmp_path, axes):
    header = read_header(save_map(tmp_path / "map.nii.gz", LABELS, axes=axes))
    assert header.spacing == pytest.approx(SPACING)
    np.testing.assert_array_equal(read_labels(header), LABELS)


def test_the_orientation_may_differ_between_prediction_and_truth(tmp_path):
    truth = read_header(save_map(tmp_path / "truth.nii.gz", LABELS, axes="IPL"))
    for axes in ORIENTATIONS:
        check_same_grid(read_header(save_map(tmp_path / f"{axes}.nii", LABELS, axes=axes)), truth)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_every_number_type_is_read(tmp_path, dtype):
    header = read_header(save_map(tmp_path / "map.nii.gz", LABELS, dtype=dtype, axes="LPS"))
    labels = read_labels(header)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, LABELS)


def test_scaled_files_are_read(tmp_path):
    image = nib.Nifti1Image((LABELS.T * 100).astype(np.int16), np.diag([*SPACING[::-1], 1.0]))
    image.header.set_slope_inter(0.01, 0)
    nib.save(image, tmp_path / "map.nii.gz")
    image = nib.load(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(read_labels(read_header(tmp_path / "map.nii.gz")), LABELS)


def test_axes_of_length_one_at_the_end_are_ignored(tmp_path):
    nib.save(nib.Nifti1Image(LABELS.T.astype(np.uint8)[..., None], np.eye(4)), tmp_path / "m.nii")
    np.testing.assert_array_equal(read_labels(read_header(tmp_path / "m.nii")), LABELS)


def test_the_spacing_comes_from_the_affine_even_if_the_grid_is_oblique(tmp_path):
    angle = np.deg2rad(20)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(SPACING[::-1])
    nib.save(nib.Nifti1Image(LABELS.T.astype(np.uint8), affine), tmp_path / "map.nii")
    header = read_header(tmp_path / "map.nii")
    assert header.spacing == pytest.approx(SPACING)
    assert not header.sheared


@pytest.mark.parametrize(("value", "shown"), [(0.5, "0.5"), (-1, "-1"), (1000, "1000")])
def test_values_that_are_no_labels_name_file_and_value(tmp_path, value, shown):
    labels = LABELS.astype(float)
    labels[1, 2, 3] = value
    header = read_header(save_map(tmp_path / "map.nii.gz", labels, dtype=np.float32))
    with pytest.raises(DataError, match=rf"map.nii.gz holds {shown}; labels are whole numbers"):
        read_labels(header)


def test_damaged_files_are_named(tmp_path):
    whole = save_map(
        tmp_path / "whole.nii.gz", np.random.default_rng(0).integers(0, 3, (40, 40, 40))
    )
    data = whole.read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"cut.nii.gz is damaged"):
        read_labels(read_header(tmp_path / "cut.nii.gz"))
    (tmp_path / "flipped.nii.gz").write_bytes(data[:2000] + bytes(200) + data[2200:])
    with pytest.raises(DataError, match=r"flipped.nii.gz is damaged"):
        read_labels(read_header(tmp_path / "flipped.nii.gz"))
    for name, content in (("text", b"no image"), ("empty", b""), ("head", data[:30])):
        (tmp_path / f"{name}.nii.gz").write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}.nii.gz cannot be read"):
            read_header(tmp_path / f"{name}.nii.gz")


def test_impossible_grids_are_named(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3, 2), np.uint8), np.eye(4)), tmp_path / "four.nii")
    with pytest.raises(DataError, match=r"four.nii has shape \(3, 3, 3, 2\)"):
        read_header(tmp_path / "four.nii")
    header = nib.Nifti1Header()
    header.set_sform(np.diag([1.0, 0.0, 1.0, 1.0]), 1)
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.uint8), None, header), tmp_path / "flat.nii")
    with pytest.raises(DataError, match=r"flat.nii has an affine that is no grid"):
        read_header(tmp_path / "flat.nii")


def test_another_shape_or_affine_names_both_files_and_both_values(tmp_path):
    truth = read_header(save_map(tmp_path / "truth.nii.gz", LABELS))
    short = read_header(save_map(tmp_path / "short.nii.gz", LABELS[1:]))
    with pytest.raises(
        DataError, match=r"short.nii.gz.*truth.nii.gz.*shape: \(6, 5, 3\) and \(6, 5, 4\)"
    ):
        check_same_grid(short, truth)
    moved = read_header(save_map(tmp_path / "moved.nii.gz", LABELS, shift=(0, 2, 0)))
    with pytest.raises(
        DataError, match=r"(?s)moved.nii.gz.*truth.nii.gz.*affine by 2 .*, 13\b.*, 11\b"
    ):
        check_same_grid(moved, truth)
    stretched = read_header(save_map(tmp_path / "mm.nii.gz", LABELS, spacing=(3, 0.8, 0.8)))
    with pytest.raises(DataError, match="affine"):
        check_same_grid(stretched, truth)


def test_differences_below_the_official_limit_are_no_mismatch(tmp_path):
    truth = read_header(save_map(tmp_path / "truth.nii.gz", LABELS))
    check_same_grid(read_header(save_map(tmp_path / "p.nii.gz", LABELS, shift=(9e-4, 0, 0))), truth)
    other = read_header(save_map(tmp_path / "p.nii.gz", LABELS, shift=(1.2e-3, 0, 0)))
    with pytest.raises(DataError, match="affine"):
        check_same_grid(other, truth)


@pytest.mark.parametrize(
    ("files", "predictions"),
    [
        (["case_1.nii.gz", "case_2.nii"], True),
        (["case_1/segmentation.nii.gz", "case_2/segmentation.nii.gz"], False),
        (["case_1/aggregated_MAJ_seg.nii.gz", "case_2/aggregated_MAJ_seg.nii.gz"], False),
        (["case_1/prediction.nii.gz", "case_2/segmentation.nii.gz"], True),
        (["labelsTr/case_1.nii.gz", "labelsTr/case_2.nii.gz", "dataset.json"], False),
        (["data/case_1/segmentation.nii.gz", "data/case_2/segmentation.nii.gz"], False),
        (["dataset/case_1/segmentation.nii.gz", "dataset/case_2/segmentation.nii.gz"], False),
        (["predictions/case_1.nii.gz", "predictions/case_2.nii.gz", "trial.json"], True),
        (["case_1.nii.gz", "case_2.nii.gz", "._case_1.nii.gz", "plans.json"], True),
    ],
)
def test_usual_layouts_are_understood(tmp_path, files, predictions):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_label_maps(tmp_path, predictions)
    assert list(found) == ["case_1", "case_2"]
    assert {path.relative_to(tmp_path).as_posix() for path in found.values()} <= set(files)


def test_scans_are_never_taken_for_label_maps(tmp_path):
    for name in ("case_1/imaging.nii.gz", "case_2/imaging.nii.gz", "case_2/segmentation.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_label_maps(tmp_path, predictions=False)) == ["case_2"]


def test_folders_without_label_maps_say_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"no folder .*absent \(truth\)"):
        find_label_maps(tmp_path / "absent", predictions=False)
    (tmp_path / "note.txt").touch()
    with pytest.raises(DataError, match=r"\(predictions\) holds no label map.*<case>.nii.gz"):
        find_label_maps(tmp_path, predictions=True)
    with pytest.raises(DataError, match=r"note.txt is no NIfTI file"):
        find_label_maps(tmp_path / "note.txt", predictions=True)


def test_two_files_for_one_case_are_refused(tmp_path):
    for name in ("case_1.nii", "case_1.nii.gz"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"case_1.nii and .*case_1.nii.gz both claim"):
        find_label_maps(tmp_path, predictions=True)
    names = {name: tmp_path / name for name in ("case_00001", "prediction_00001")}
    with pytest.raises(DataError, match="both claim the case case_00001"):
        match_cases(names, {"case_00001": tmp_path / "truth"})


def test_names_of_official_submissions_are_matched(tmp_path):
    truth = {f"case_{i:05d}": tmp_path / f"truth{i}" for i in (1, 2, 3)}
    names = ["prediction_00001", "case_00002_pred", "case_00003", "case_00004"]
    predictions = {name: tmp_path / name for name in names}
    matched, extra = match_cases(predictions, truth)
    assert {case: path.name for case, path in matched.items()} == dict(
        zip(truth, names, strict=False)
    )
    assert extra == ["case_00004"]
