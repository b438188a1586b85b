"""To the prepared grid and back: whatever the orientation, spacing, shear and size of the file."""

from __future__ import annotations

import nibabel
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff
from scans import on_file_voxels, save

from kitsbench.data.preparation.volumes import load_case
from kitsbench.scans.writing import write_label

AXES = [("R", "L"), ("A", "P"), ("S", "I")]


@st.composite
def grids(draw):
    """Shape and affine of a file: any axes in any order and direction, turned, sheared."""
    shape = tuple(draw(st.integers(18, 40)) for _ in range(3))
    spacing = [draw(st.floats(0.4, 5.0)) for _ in range(3)]
    order = draw(st.permutations(range(3)))
    codes = tuple(AXES[axis][draw(st.integers(0, 1))] for axis in order)
    # Up to 20 degrees about every axis, and a gantry tilt or any other shear of up to 0.3.
    turn = np.eye(3)
    for k, angle in enumerate(draw(st.lists(st.floats(-0.35, 0.35), min_size=3, max_size=3))):
        i, j = [axis for axis in range(3) if axis != k]
        about = np.eye(3)
        about[[i, j], [i, j]] = np.cos(angle)
        about[i, j], about[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ about
    shear = np.eye(3)
    shear[1, 2], shear[0, 2] = draw(st.floats(-0.3, 0.3)), draw(st.floats(-0.1, 0.1))
    affine = np.eye(4)
    affine[:3, :3] = turn @ shear @ np.diag(spacing)
    affine[:3, 3] = [draw(st.floats(-500, 500)) for _ in range(3)]
    affine = affine @ inv_ornt_aff(
        nibabel.orientations.ornt_transform(
            nibabel.orientations.io_orientation(np.eye(4)), axcodes2ornt(codes)
        ),
        shape,
    )
    return shape, affine


def blobs(shape, seed):
    """Two kidneys and a tumour, each several voxels thick."""
    rng = np.random.default_rng(seed)
    index = np.indices(shape).astype(float)
    label = np.zeros(shape, np.uint8)
    for value, radius in ((1, 0.28), (2, 0.17)):
        centre = [n * rng.uniform(0.35, 0.65) for n in shape]
        far = sum(
            ((x - c) / (radius * n)) ** 2 for x, c, n in zip(index, centre, shape, strict=True)
        )
        label[far <= 1] = value
    return label


def back(tmp_path, shape, affine, label, spacing):
    image = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)
    scan = save(tmp_path / "scan.nii", image, affine)
    mask = save(tmp_path / "mask.nii", label, affine)
    case = load_case("case", scan, mask, spacing).case
    write_label(tmp_path / "back.nii", on_file_voxels(case), case.native)
    found, original = nibabel.load(tmp_path / "back.nii"), nibabel.load(scan)
    assert found.shape == original.shape
    np.testing.assert_allclose(found.affine, original.affine, rtol=0, atol=1e-5)
    assert nibabel.aff2axcodes(found.affine) == nibabel.aff2axcodes(original.affine)
    return case, np.asarray(found.dataobj)


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


rules = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(grid=grids(), seed=st.integers(0, 99))
@rules
def test_at_equal_spacing_labels_come_back(tmp_path, grid, seed):
    shape, affine = grid
    label = blobs(shape, seed)
    native = np.sqrt((affine[:3, :3] ** 2).sum(0))
    order = nibabel.orientations.io_orientation(affine)[:, 0].astype(int)
    spacing = tuple(float(native[int(np.flatnonzero(order == axis)[0])]) for axis in (2, 1, 0))
    _, found = back(tmp_path, shape, affine, label, spacing)
    for value in (1, 2):
        assert dice(found == value, label == value) > 0.97


@given(
    grid=grids(),
    seed=st.integers(0, 99),
    finer=st.tuples(*[st.floats(0.3, 0.95)] * 3),
)
@rules
def test_through_a_finer_grid_labels_come_back(tmp_path, grid, seed, finer):
    """Nothing is lost where every old voxel has a new one of its own."""
    shape, affine = grid
    label = blobs(shape, seed)
    native = np.sqrt((affine[:3, :3] ** 2).sum(0))
    order = nibabel.orientations.io_orientation(affine)[:, 0].astype(int)
    spacing = tuple(
        max(0.06, float(native[int(np.flatnonzero(order == axis)[0])] * finer[2 - axis]))
        for axis in (2, 1, 0)
    )
    case, found = back(tmp_path, shape, affine, label, spacing)
    np.testing.assert_allclose(case.spacing, spacing, rtol=1.1e-3)
    for value in (1, 2):
        assert dice(found == value, label == value) > 0.97
