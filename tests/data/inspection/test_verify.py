"""``verify``: everything that is wrong with a dataset, in one list."""

from __future__ import annotations

import numpy as np
import pytest
from scans import KITS_AFFINE, case, ct, kidneys, save

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.inspection.verify import verify


def test_a_good_dataset_has_no_findings(folder):
    result = verify(open_dataset(folder))
    assert result.findings == []
    assert result.usable == ["case_00000", "case_00001"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_fault_is_listed_and_the_rest_goes_on(folder, jobs):
    both = folder / "data" / "case_00001"
    image = ct().astype(np.float32)
    image[1, 1, 1] = np.nan
    save(both / "imaging.nii.gz", image)
    save(both / "segmentation.nii.gz", np.zeros((12, 16, 17), dtype=np.uint8))
    case(folder / "data", "case_00002")
    (folder / "data/case_00002/imaging.nii.gz").unlink()
    seen = []
    result = verify(open_dataset(folder), jobs, lambda done, total: seen.append((done, total)))
    found = {(f.case, f.what.split(" in ")[0].split(" voxels,")[0]) for f in result.errors}
    assert found == {
        ("case_00001", "1 voxels are NaN or infinite"),
        ("case_00001", "the mask has 12 x 16 x 17"),
        ("case_00001", "the mask is empty"),
        ("case_00002", "missing image"),
    }
    assert result.usable == ["case_00000"]
    assert seen[-1] == (2, 2)
    about = result.to_dict()
    assert (about["n_cases"], about["n_usable"], about["n_errors"]) == (3, 1, 4)
    assert {"case", "file", "what", "rule", "remedy", "severity"} == set(about["findings"][0])


def test_a_tumour_far_from_any_kidney_is_remarked(folder):
    label = kidneys()
    label[label == 2] = 1
    label[0, 15, 9] = 2
    save(folder / "data/case_00001/segmentation.nii.gz", label)
    result = verify(open_dataset(folder))
    (finding,) = result.findings
    assert (finding.case, finding.severity) == ("case_00001", "warning")
    assert "1 masses (0.012 ml) lie more than 10 mm from any kidney" in finding.what
    assert result.usable == ["case_00000", "case_00001"]


def test_the_volume_of_a_voxel_is_that_of_a_sheared_one(folder):
    label = kidneys()
    label[label == 2] = 1
    label[0, 15, 9] = 2
    tilted = KITS_AFFINE.copy()
    tilted[1, 0] = 3.0  # the step along the first axis grows to 4.2 mm, its height stays 3 mm
    case(folder / "data", "case_00001", ct(seed=1), label, tilted)
    told = [f.what for f in verify(open_dataset(folder)).findings]
    assert any("1 masses (0.012 ml) lie more than 10 mm" in what for what in told)


def test_the_same_scan_twice_is_remarked(folder):
    source = folder / "data" / "case_00000" / "imaging.nii.gz"
    (folder / "data" / "case_00001" / "imaging.nii.gz").write_bytes(source.read_bytes())
    (finding,) = verify(open_dataset(folder)).findings
    assert finding.what == "the image is the same as that of case_00000"


def test_the_phantom_has_no_errors(kits23_phantom):
    assert verify(open_dataset(kits23_phantom)).errors == []
