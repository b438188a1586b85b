"""From the prepared grid back to the voxels of the file, for any geometry."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scans import KITS_AFFINE, ct, kidneys, on_file_voxels, save

from kitsbench.data.preparation.volumes import load_case
from kitsbench.scans.geometry import axes_of, canonical_affine, resampled_grid, spacing_of
from kitsbench.scans.nifti import read_header
from kitsbench.scans.writing import write_label


def smooth_label(shape, affine):
    """Two balls in world coordinates, sampled on a grid."""
    index = np.indices(shape).reshape(3, -1)
    world = affine[:3, :3] @ index + affine[:3, 3:]
    middle = world.mean(1, keepdims=True)
    label = np.zeros(world.shape[1], dtype=np.uint8)
    label[((world - middle) ** 2).sum(0) < 30**2] = 1
    label[((world - middle - np.array([[14.0], [0], [0]])) ** 2).sum(0) < 16**2] = 2
    return label.reshape(shape)


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / max(np.count_nonzero(a) + np.count_nonzero(b), 1)


@st.composite
def affines(draw):
    """Any turn and flip of the axes, a tilt, a shear, and spacings from 1 to 6 mm."""
    order = draw(st.permutations(range(3)))
    signs = [draw(st.sampled_from([-1.0, 1.0])) for _ in range(3)]
    spacing = [draw(st.floats(1.0, 6.0)) for _ in range(3)]
    matrix = np.zeros((3, 3))
    for column, row in enumerate(order):
        matrix[row, column] = signs[column] * spacing[column]
    angle = draw(st.floats(-0.35, 0.35))
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    shear = np.eye(3)
    shear[0, 2] = draw(st.floats(-0.2, 0.2))
    affine = np.eye(4)
    affine[:3, :3] = turn @ shear @ matrix
    affine[:3, 3] = [draw(st.floats(-200, 200)) for _ in range(3)]
    return affine


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(affine=affines(), target=st.tuples(*[st.floats(1.5, 4.0)] * 3))
def test_label_maps_return_to_their_voxels(tmp_path, affine, target):
    affine = affine.astype(np.float32).astype(np.float64)  # what a header can hold
    shape = tuple(int(90 / s) for s in spacing_of(affine))
    label = smooth_label(shape, affine)
    image = np.where(label > 0, 120, -50).astype(np.int16)
    path = save(tmp_path / "image.nii", image, affine)
    mask = save(tmp_path / "mask.nii", label, affine)
    prepared = load_case("case", path, mask, target).case

    back = on_file_voxels(prepared)
    assert back.shape == shape
    coarse = max(max(target), *spacing_of(affine))
    assert dice(back > 0, label > 0) > 1 - 0.045 * coarse
    assert dice(back == 2, label == 2) > 1 - 0.09 * coarse

    write_label(tmp_path / "out.nii", back, prepared.native)
    written, given_image = nibabel.load(tmp_path / "out.nii"), nibabel.load(path)
    np.testing.assert_array_equal(written.affine, given_image.affine)
    assert written.shape == given_image.shape

    # No voxel of the file lies farther than one prepared voxel from the prepared grid.
    corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(shape) - 1)
    places = (corners @ affine[:3, :3].T + affine[:3, 3] - prepared.affine[:3, 3]) @ np.linalg.inv(
        prepared.affine[:3, :3]
    ).T
    assert places.min() > -1
    assert (places < prepared.image.shape).all()


@settings(max_examples=50)
@given(affine=affines(), target=st.tuples(*[st.floats(0.5, 8.0)] * 3), data=st.data())
def test_preparing_mixes_no_axes(affine, target, data):
    """Each axis is rescaled by itself about the middle of its box, however the file is turned."""
    shape = tuple(data.draw(st.integers(3, 30)) for _ in range(3))
    canonical = canonical_affine(affine, shape)
    zyx = tuple(shape[k] for k in axes_of(affine).order)
    prepared, count = resampled_grid(canonical, zyx, target)
    mapping = np.linalg.inv(canonical) @ prepared
    np.testing.assert_allclose(mapping[:3, :3], np.diag(np.diag(mapping)[:3]), atol=1e-6)
    middles = [[*((np.array(n) - 1) / 2), 1] for n in (count, zyx)]
    np.testing.assert_allclose(prepared @ middles[0], canonical @ middles[1], atol=1e-6)


def test_the_same_spacing_changes_no_voxel(tmp_path):
    path = save(tmp_path / "image.nii.gz", ct())
    mask = save(tmp_path / "mask.nii.gz", kidneys())
    prepared = load_case("case", path, mask, (3.0, 2.0, 2.0)).case
    np.testing.assert_array_equal(prepared.image, ct()[::-1, ::-1, ::-1])
    np.testing.assert_array_equal(on_file_voxels(prepared), kidneys())


def test_resampling_agrees_with_scipy(tmp_path):
    from scipy.ndimage import map_coordinates

    path = save(tmp_path / "image.nii.gz", ct())
    mask = save(tmp_path / "mask.nii.gz", kidneys())
    prepared = load_case("case", path, mask, (2.0, 3.1, 1.7)).case
    source = ct()[::-1, ::-1, ::-1].astype(float)
    index = np.indices(prepared.image.shape).reshape(3, -1).astype(float)
    mapping = np.linalg.inv(canonical_affine(KITS_AFFINE, ct().shape)) @ prepared.affine
    where = mapping[:3, :3] @ index + mapping[:3, 3:]
    expected = map_coordinates(source, where, order=1, mode="nearest")
    expected = expected.reshape(prepared.image.shape)
    assert np.abs(prepared.image - expected).max() <= 0.51  # rounding to whole HU


@pytest.mark.slow  # importing torchio takes seconds
def test_resampling_follows_torchio(tmp_path):
    """The same grid and, within rounding, the same values as torchio's Resample."""
    torchio = pytest.importorskip("torchio")
    path = save(tmp_path / "image.nii.gz", ct())
    prepared = load_case("case", path, None, (1.5, 4.0, 4.0)).case
    reference = torchio.ScalarImage(path=tmp_path / "image.nii.gz")
    target = (prepared.image.shape[::-1], prepared.affine[:, [2, 1, 0, 3]])
    moved = torchio.Resample(target=target)(torchio.ToCanonical()(reference))
    values = moved.numpy()[0].T
    inside = (slice(1, -1),) * 3
    assert np.abs(values[inside] - prepared.image[inside]).max() <= 1.01


def test_a_prediction_of_a_real_scan_fits_it(shared, tmp_path):
    source = shared / "data" / "totalsegmentator-example"
    prepared = load_case(
        "crop", source / "ct_crop.nii.gz", source / "kidneys_crop.nii.gz", (2.0, 2.0, 2.0)
    ).case
    back = on_file_voxels(prepared)
    truth = np.asarray(nibabel.load(source / "kidneys_crop.nii.gz").dataobj)
    for value in (1, 2):
        assert dice(back == value, truth == value) > 0.97
    write_label(tmp_path / "out.nii.gz", back, read_header(source / "ct_crop.nii.gz").native())
    image, out = nibabel.load(source / "ct_crop.nii.gz"), nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(image.affine, out.affine)
    assert image.shape == out.shape
