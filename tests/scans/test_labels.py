"""What a label is: the same rule for files and for arrays, and never a lost class."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from scans import KITS_AFFINE, patch, save

from kitsbench.errors import DataError
from kitsbench.evaluation import score_case
from kitsbench.scans.findings import Refused
from kitsbench.scans.labels import as_label_map, foreign_labels
from kitsbench.scans.nifti import read_header, read_label

SHAPE = (3, 4, 5)
TYPES = ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")


def read(path):
    """Labels on disk axes."""
    header = read_header(path)
    return header.axes.from_zyx(read_label(header))


@pytest.mark.parametrize("code", ["u1", "i2", "u4", "f4"])
def test_no_slope_of_single_precision_loses_a_label(tmp_path, code):
    path = save(tmp_path / "m.nii", np.zeros(SHAPE, code))
    for k in range(1, 256):
        labels = np.arange(60).reshape(SHAPE) % 4 if code != "u1" else np.ones(SHAPE, int)
        data = bytearray(path.read_bytes())
        data[352:] = (labels * k).astype(code).tobytes(order="F")
        path.write_bytes(data)
        patch(path, scl_slope=1 / k, scl_inter=0.0)
        np.testing.assert_array_equal(read(path), labels)
        np.testing.assert_array_equal(np.rint(nibabel.load(path).get_fdata()), labels)


@pytest.mark.parametrize("label", [1, 2, 3, 100, 254, 255])
def test_the_highest_labels_survive_a_scaling(tmp_path, label):
    for k in (1, 3, 7, 41, 100, 255):
        stored = np.full(SHAPE, label * k, np.int32)
        path = save(tmp_path / "m.nii", stored, scl_slope=1 / k, scl_inter=0.0)
        assert (read(path) == label).all()


@pytest.mark.parametrize("code", ["i2", "u2", "i4"])
def test_masks_that_nibabel_rescaled_are_whole(tmp_path, code):
    labels = np.arange(60).reshape(SHAPE) % 4
    first = nibabel.load(save(tmp_path / "first.nii", labels.astype(code)))
    path = tmp_path / "m.nii"
    nibabel.save(nibabel.Nifti1Image(first.get_fdata(), first.affine, first.header), path)
    assert nibabel.load(path).dataobj.slope != 1
    np.testing.assert_array_equal(read(path), labels)


VERDICTS = [
    (0.0, 0),
    (-0.0, 0),
    (-1e-5, 0),
    (0.99999, 1),
    (1.99995, 2),
    (2.00009, 2),
    (254.99995, 255),
    (255.00005, 255),
    (2.0002, None),
    (0.5, None),
    (-0.001, None),
    (-1.0, None),
    (255.001, None),
    (256.0, None),
    (1e30, None),
    (np.nan, None),
    (np.inf, None),
    (-np.inf, None),
]


@pytest.mark.parametrize("code", ["f4", "f8"])
@pytest.mark.parametrize(("value", "label"), VERDICTS)
def test_files_and_arrays_are_judged_alike(tmp_path, code, value, label):
    values = np.zeros(SHAPE, code)
    values[1, 2, 3] = value
    path = save(tmp_path / "m.nii.gz", values)
    if label is None:
        with pytest.raises(Refused, match="holds the value"):
            read(path)
        with pytest.raises(DataError, match="prediction holds"):
            score_case(values, np.zeros(SHAPE, np.uint8), (1, 1, 1), "labels")
        return
    for found in (read(path), as_label_map(values, "map")):
        assert found.dtype == np.uint8
        assert found[1, 2, 3] == label
        assert np.count_nonzero(found) == (label > 0)


@pytest.mark.parametrize("code", TYPES)
def test_every_type_holds_the_same_labels(tmp_path, code):
    labels = np.arange(60).reshape(SHAPE) % 128
    path = save(tmp_path / "m.nii.gz", labels.astype(code))
    np.testing.assert_array_equal(read(path), labels)
    np.testing.assert_array_equal(as_label_map(labels.astype(code), "map"), labels)


@pytest.mark.parametrize("code", [c for c in TYPES if c not in ("u1", "i1", "f4", "f8")])
def test_whole_numbers_beyond_the_range_never_wrap(tmp_path, code):
    for value in (256, 257, 511, np.iinfo(code).max, np.iinfo(code).min or 256):
        values = np.zeros(SHAPE, code)
        values[0, 0, 0] = value
        with pytest.raises(Refused, match="holds the value"):
            read(save(tmp_path / "m.nii", values))
        with pytest.raises(DataError, match="map holds"):
            as_label_map(values, "map")


def test_arrays_keep_their_layout_in_memory():
    for layout in (np.ascontiguousarray, np.asfortranarray):
        array = layout(np.arange(60, dtype=np.float32).reshape(SHAPE))
        assert as_label_map(array, "map").flags.f_contiguous == array.flags.f_contiguous
    view = np.ones(SHAPE, bool)
    assert as_label_map(view, "map").base is view


def test_what_is_no_map_is_refused():
    with pytest.raises(DataError, match="map has 2 axes"):
        as_label_map(np.zeros((3, 3)), "map")
    with pytest.raises(DataError, match="map holds complex64"):
        as_label_map(np.zeros(SHAPE, np.complex64), "map")


def test_labels_that_should_not_be_there_are_found():
    labels = np.zeros(SHAPE, np.uint8)
    labels[0, 0, :3] = (1, 2, 7)
    labels[2, 3, 4] = 255
    assert foreign_labels(labels, {1, 2}) == [7, 255]
    assert foreign_labels(labels.T, {1, 2, 7, 255}) == []
    assert foreign_labels(labels % 7, {1, 2}) == [3]
    assert foreign_labels(np.zeros(SHAPE, np.uint8), {1}) == []


def test_a_mask_that_cannot_be_whole_says_that_it_is_scaled(tmp_path):
    path = save(tmp_path / "m.nii", np.full(SHAPE, 127, np.uint8), KITS_AFFINE, scl_slope=2 / 255)
    patch(path, scl_inter=0.0)
    with pytest.raises(Refused, match=r"holds the value 0.9960785 .* not scaled \(here by 0.00784"):
        read(path)
