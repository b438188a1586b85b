"""Two files on one grid: what counts as one, and that both are turned alike."""

from __future__ import annotations

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
from scans import KITS_AFFINE, ct, kidneys, save

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.exchange.nnunet import export_nnunet
from kitsbench.data.inspection.covariates import measure_cases
from kitsbench.data.inspection.describe import measure
from kitsbench.data.preparation.volumes import load_case
from kitsbench.errors import DataError
from kitsbench.evaluation import evaluate
from kitsbench.scans.geometry import is_sheared, spacing_of, voxel_volume
from kitsbench.scans.grids import axes_onto, grid_findings
from kitsbench.scans.header import canonical
from kitsbench.scans.nifti import read_header, read_label

ORIENTATIONS = [
    "".join(letters[axis] for axis in order)
    for order in permutations(range(3))
    for letters in product("RL", "AP", "SI")
]
LABELS = {"kidney": 1, "tumor": 2}


def turn(path, axes, out):
    """The same voxels along other axes."""
    image = nibabel.load(path)
    there = nibabel.orientations.axcodes2ornt(tuple(axes))
    change = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), there)
    nibabel.save(image.as_reoriented(change), out)
    return out


@pytest.mark.parametrize("affine", [KITS_AFFINE, np.diag([2.0, 2.0, 2.0, 1.0])])
def test_a_file_may_store_its_axes_in_any_way(tmp_path, affine):
    image = save(tmp_path / "image.nii.gz", ct(), affine)
    mask = save(tmp_path / "mask.nii.gz", kidneys(), affine)
    reference = read_header(image)
    expected = reference.axes.to_zyx(kidneys())
    for axes in ORIENTATIONS:
        path = turn(mask, axes, tmp_path / "turned.nii")
        header = read_header(path)
        assert not grid_findings(reference, header)
        found = read_label(header, axes=axes_onto(header, reference.affine))
        np.testing.assert_array_equal(found, expected)
    case = load_case("c", image, path, spacing_of(canonical(reference)[0]), LABELS).case
    np.testing.assert_array_equal(case.label, expected)
    assert {r["value"] for r in evaluate(path, mask, "kits19").rows} == {1.0}


@pytest.fixture
def tie():
    """A grid at 45 degrees, a scan and a mask on it, and affines equal to it but for rounding."""
    cosine = np.cos(np.pi / 4)
    affine = np.eye(4)
    affine[:3, :3] = [[cosine, -cosine, 0], [cosine, cosine, 0], [0, 0, 1]]
    affine[:3] *= [2, 2, 3, 1]
    label = np.zeros((20, 20, 12), np.uint8)
    label[2:8, 12:18, 4:8] = 1
    label[4:6, 14:16, 5:7] = 2
    rng = np.random.default_rng(0)
    others = [affine + np.pad(rng.normal(0, 2e-7, (3, 3)), (0, 1)) for _ in range(12)]
    return affine, np.where(label > 0, 100, -50).astype(np.int16), label, others


def test_image_and_mask_at_45_degrees_are_turned_alike(tmp_path, tie):
    """The last digits of an affine decide which axis is called which; of one pair only one's do."""
    affine, hu, label, others = tie
    image = save(tmp_path / "image.nii", hu, affine)
    truth = save(tmp_path / "truth.nii", label, affine)
    split = 0
    for other in others:
        mask = save(tmp_path / "mask.nii", label, other)
        split += read_header(image).axes != read_header(mask).axes
        case = load_case("c", image, mask, (3.0, 2.0, 2.0), LABELS).case
        np.testing.assert_array_equal(case.image > 50, case.label > 0)
        assert {r["value"] for r in evaluate(mask, truth, "kits19").rows} == {1.0}
        assert {r["value"] for r in evaluate(truth, mask, "kits19").rows} == {1.0}
    assert split  # or the files would say nothing


def test_whoever_measures_turns_a_pair_alike(tmp_path, tie):
    affine, hu, label, others = tie
    hu[label == 1] = 150
    for number, other in enumerate(others):
        folder = tmp_path / "data" / f"case_{number:05d}"
        save(folder / "imaging.nii.gz", hu, affine)
        save(folder / "segmentation.nii.gz", label, other)
    dataset = open_dataset(tmp_path)
    assert set(measure_cases(dataset, enhancement=True)["kidney_hu"]) == {150.0}
    for case in measure(dataset, intensities=True).cases:
        for name, value in (("kidney", 150), ("tumor", 100)):
            assert np.flatnonzero(case.histogram[name]) == [value + 1024]
    exported = export_nnunet(dataset, tmp_path / "Dataset001_Tie").folder
    for image in sorted((exported / "imagesTr").iterdir()):
        mask = exported / "labelsTr" / image.name.replace("_0000.nii", ".nii")
        # As nnU-Net's reader has them, which turns each by itself.
        both = [nibabel.as_closest_canonical(nibabel.load(path)) for path in (image, mask)]
        hu, labels = (np.asarray(turned.dataobj) for turned in both)
        np.testing.assert_array_equal(hu > 50, labels > 0)


def moved(by):
    affine = KITS_AFFINE.copy()
    affine[0, 3] += by
    return affine


def stretched(by):
    affine = KITS_AFFINE.copy()
    affine[2, 0] -= by
    return affine


@pytest.mark.parametrize(
    ("affine", "same"),
    [
        (moved(9e-4), True),
        (moved(1.2e-3), False),
        (stretched(9e-4), True),
        (stretched(1.2e-3), False),
        (moved(2.0), False),
        (KITS_AFFINE * [1, 1, -1, 1], False),
    ],
)
def test_one_rule_for_masks_and_predictions(tmp_path, affine, same):
    image = save(tmp_path / "image.nii.gz", ct())
    truth = save(tmp_path / "truth.nii.gz", kidneys())
    mask = save(tmp_path / "mask.nii.gz", kidneys(), affine)

    def prepare():
        load_case("c", image, mask, (3.0, 2.0, 2.0), LABELS)

    for door in (prepare, lambda: evaluate(mask, truth, "kits19")):
        if same:
            door()
            continue
        with pytest.raises(DataError, match="affine"):
            door()


def test_a_mismatch_names_both_files_and_both_values(tmp_path):
    truth = save(tmp_path / "truth.nii.gz", kidneys())
    short = save(tmp_path / "short.nii.gz", kidneys()[:-1])
    with pytest.raises(DataError) as caught:
        evaluate(short, truth, "kits19")
    pair = f"prediction {short} and truth {truth} differ in shape: (11, 16, 18) and (12, 16, 18)"
    assert pair in str(caught.value)
    shifted = save(tmp_path / "shifted.nii.gz", kidneys(), moved(2.0))
    with pytest.raises(DataError) as caught:
        evaluate(shifted, truth, "kits19")
    text = str(caught.value)
    assert f"prediction {shifted} and truth {truth} differ in affine by 2 (" in text
    assert "[0, 0, -2, 2; 0, -2, 0, 0; -3, 0, 0, 0] and [0, 0, -2, 0; 0, -2, 0, 0; " in text


def test_swapped_axes_are_no_other_order_of_axes(tmp_path):
    image = read_header(save(tmp_path / "image.nii.gz", ct()))
    mask = read_header(save(tmp_path / "mask.nii.gz", kidneys().T))
    (finding,) = grid_findings(image, mask)
    assert finding.what == "the mask has 18 x 16 x 12 voxels, the image 12 x 16 x 18"
    assert "swapped" in finding.remedy


def test_shear_and_volume():
    assert not is_sheared(KITS_AFFINE)
    turned = np.array([[0.8, -0.6, 0, 5], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert not is_sheared(turned @ KITS_AFFINE)
    tilted = KITS_AFFINE.copy()
    tilted[1, 0] = 0.9
    assert is_sheared(tilted)
    assert voxel_volume(KITS_AFFINE) == pytest.approx(12)
    assert voxel_volume(tilted) == pytest.approx(12)  # slices slide over each other
