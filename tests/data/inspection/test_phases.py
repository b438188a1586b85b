"""A second phase without labels behind or before the labelled one."""

from __future__ import annotations

import numpy as np
import pytest
from scans import case

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.inspection.phases import distance_of_passes
from kitsbench.data.inspection.verify import verify
from kitsbench.scans.nifti import read_header, read_image, read_label


@pytest.fixture(scope="module")
def patient(phantom) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask of a simulated patient, as stored."""
    folder = next(phantom.rglob("case_00003"))
    image, label = (
        read_header(folder / "imaging.nii.gz"),
        read_header(folder / "segmentation.nii.gz"),
    )
    turn = image.axes.from_zyx
    return turn(read_image(image)[0]), turn(read_label(label))


def later_phase(image: np.ndarray) -> np.ndarray:
    """The patient a minute later: contrast in soft tissue, moved by a voxel, other noise."""
    rng = np.random.default_rng(0)
    moved = np.roll(image, 1, axis=1).astype(float)
    moved += np.where((moved > 20) & (moved < 250), 30, 0) + rng.normal(0, 10, image.shape)
    return moved.clip(-1024, 3071).astype(np.int16)


def remarks(root, image, label):
    case(root, "case_00000", image, label=label)
    return verify(open_dataset(root)).findings


def test_a_second_phase_without_labels_is_remarked(patient, tmp_path):
    image, label = patient
    for name, order in (("after", (0, 1)), ("before", (1, 0)), ("cut", (2, 0))):
        second, nothing = later_phase(image), np.zeros_like(label)
        cut = len(image) // 4
        parts = [(image, label), (second, nothing), (second[:-cut], nothing[:-cut])]
        pair = [np.concatenate([parts[k][which] for k in order]) for which in (0, 1)]
        (finding,) = remarks(tmp_path / name, *pair)
        assert finding.severity == "warning"
        assert "have no label and show what the labelled slices" in finding.what
        assert "second phase" in finding.remedy


def test_one_phase_and_two_labelled_ones_are_not(patient, tmp_path):
    image, label = patient
    assert remarks(tmp_path / "one", image, label) == []
    both = np.concatenate([image, later_phase(image)]), np.concatenate([label, label])
    assert remarks(tmp_path / "both", *both) == []


def test_no_patient_of_the_phantom_is_taken_for_two(phantom):
    for folder in phantom.rglob("case_*"):
        image, _ = read_image(read_header(folder / "imaging.nii.gz"))
        assert distance_of_passes(image) is None


def test_real_scans_are_told_from_doubled_ones(shared):
    for name in ("amos-0018", "totalsegmentator-example"):
        image, _ = read_image(read_header(shared / "data" / name / "ct.nii.gz"))
        assert distance_of_passes(image) is None
        assert distance_of_passes(np.concatenate([image, later_phase(image)])) == len(image)
