"""The voxel size that nnU-Net would plan for a dataset."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from kitsbench.data.datasets.voxels import Voxels, nnunet_spacing

CUBES = [(0.8, 0.7, 0.7)] * 5


def geometry(rows):
    spacings = [tuple(float(row[key]) for key in ("sz", "sy", "sx")) for row in rows]
    return spacings, [tuple(int(row[key]) for key in ("nz", "ny", "nx")) for row in rows]


def random_geometry(seed):
    """Datasets of all kinds: thick slices or thin ones, many or few, along any axis."""
    rng = np.random.default_rng(seed)
    thick = rng.uniform(0.3, 8, (9, 1)) * rng.uniform(0.1, 1.5, (9, 1))
    spacings = np.concatenate([thick, rng.uniform(0.4, 1.2, (9, 2))], 1)
    shapes = np.concatenate([rng.integers(20, 400, (9, 1)), rng.integers(200, 600, (9, 2))], 1)
    turn = rng.permutation(3)
    return [tuple(row) for row in spacings[:, turn].tolist()], [
        tuple(row) for row in shapes[:, turn].tolist()
    ]


@pytest.mark.parametrize(
    ("thick", "slices", "expected"),
    [
        # Thick and few: the 10th percentile of the slices.
        ([1.0, 2.0, 3.0, 4.0, 5.0], 100, 1.4),
        # It is finer than the plane: hardly coarser than that.
        ([0.1, 0.2, 3.0, 4.0, 5.0], 100, 0.70001),
        # Thick and many, or thin and few: the median.
        ([1.0, 2.0, 3.0, 4.0, 5.0], 200, 3.0),
        ([1.0, 1.5, 2.0, 4.0, 5.0], 100, 2.0),
    ],
)
def test_thick_slices_get_their_tenth_percentile(thick, slices, expected):
    for axis in range(3):
        spacings = [tuple(np.insert([0.7, 0.7], axis, edge)) for edge in thick]
        shapes = [tuple(np.insert([512, 512], axis, slices))] * 5
        found = nnunet_spacing(spacings, shapes)
        assert found[axis] == pytest.approx(expected, abs=1e-9)
        assert sorted(found)[:2] == pytest.approx([0.7, 0.7], abs=2e-5)
        assert Voxels(tuple(spacings), tuple(shapes)).by("nnunet") == found
        assert Voxels(tuple(spacings), tuple(shapes)).by("native")[axis] == np.median(thick)


def test_voxels_that_are_nearly_cubes_stay():
    assert nnunet_spacing(CUBES, [(100, 512, 512)] * 5) == CUBES[0]


@pytest.mark.parametrize("cases", ["kits19", "kits23"])
def test_on_kits_the_slices_are_no_thicker_than_the_pixels(cases, shared):
    with open(shared / "data" / "statistics" / f"{cases}_mask_stats.csv") as file:
        spacings, shapes = geometry(list(csv.DictReader(file)))
    assert np.median(spacings, axis=0)[0] == 3.0
    z, y, x = nnunet_spacing(spacings, shapes)
    assert y == x == pytest.approx(0.78125, abs=2e-3)
    assert y < z <= 1.0


def test_nnunet_plans_the_same():
    planners = pytest.importorskip(
        "nnunetv2.experiment_planning.experiment_planners.default_experiment_planner"
    )
    planner = object.__new__(planners.ExperimentPlanner)  # its constructor wants a dataset on disk
    planner.overwrite_target_spacing, planner.anisotropy_threshold = None, 3
    changed = 0
    for seed in range(200):
        spacings, shapes = random_geometry(seed)
        planner.dataset_fingerprint = {"spacings": spacings, "shapes_after_crop": shapes}
        expected = planner.determine_fullres_target_spacing()
        np.testing.assert_allclose(nnunet_spacing(spacings, shapes), expected, rtol=1e-12)
        changed += not np.allclose(expected, np.median(spacings, axis=0))
    assert changed > 5
