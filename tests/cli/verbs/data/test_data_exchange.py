"""``kitsbench data split`` and ``export``: what a user types and sees."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from command_line import call_kitsbench


@pytest.fixture
def dataset(tmp_path):
    """Four small cases in the layout of KiTS19."""
    rng = np.random.default_rng(0)
    for number in range(4):
        folder = tmp_path / "kits" / "data" / f"case_{number:05d}"
        folder.mkdir(parents=True)
        label = np.zeros((9, 10, 11), np.uint8)
        label[2:7, 2:7, 2:7] = 1
        label[3 : 5 + number % 2, 3:5, 3:5] = 2
        image = rng.normal(0, 200, label.shape).astype(np.int16)
        for name, array in (("imaging", image), ("segmentation", label)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / f"{name}.nii.gz")
    return tmp_path / "kits"


def test_split_shows_and_writes_the_folds(dataset, tmp_path):
    path = tmp_path / "splits_final.json"
    code, out, err = call_kitsbench("data", "split", dataset, "stratified:2", "-o", path)
    assert code == 0
    assert "fold 0: 2 for training, 2 for testing: case_0000" in out
    assert f"Wrote {path}" in err
    for fold in json.loads(path.read_text()):
        # Small and large tumours in both folds.
        assert {int(case[-1]) % 2 for case in fold["val"]} == {0, 1}
    code, out, _ = call_kitsbench("data", "split", dataset, path, "--json")
    assert code == 0
    again = json.loads(out)
    assert [sorted(f["val"]) for f in json.loads(path.read_text())] == again["folds"]


def test_a_hold_out_says_its_parts(dataset):
    code, out, _ = call_kitsbench("data", "split", dataset, "75:25")
    assert code == 0
    assert "fold 0: 3 for training, 1 for testing" in out


def test_export_says_what_it_wrote(dataset, tmp_path):
    broken = dataset / "data" / "case_00003" / "imaging.nii.gz"
    broken.write_bytes(b"")
    out = tmp_path / "nnUNet_raw" / "Dataset220_KiTS"
    code, stdout, err = call_kitsbench("data", "export", dataset, "-o", out, "--split", "3")
    assert (code, stdout) == (0, "")
    assert "left out case_00003: the file is empty" in err
    assert f"3 cases are in {out}, the folds in {out / 'splits_final.json'}" in err
    assert len(json.loads((out / "splits_final.json").read_text())) == 3
    code, _, err = call_kitsbench("data", "export", dataset, "-o", tmp_path / "kits19")
    assert code == 2
    assert "Dataset220_KiTS" in err


def test_a_prepared_store_is_exported_too(dataset, tmp_path):
    code, out, _ = call_kitsbench(
        "data", "prepare", dataset, "-o", tmp_path, "--spacing", "2", "--json"
    )
    store = json.loads(out)["folder"]
    target = tmp_path / "Dataset221_coarse"
    code, _, err = call_kitsbench("data", "export", store, "-o", target, "--split", "none")
    assert code == 0, err
    assert not (target / "splits_final.json").exists()
    image = nibabel.load(target / "imagesTr" / "case_00000_0000.nii.gz")
    assert image.header.get_zooms() == (2, 2, 2)


@pytest.mark.parametrize("rule", ["nnunett", "9", "msan", "none.json"])
def test_wrong_rules_are_explained(dataset, rule):
    code, out, err = call_kitsbench("data", "split", dataset, rule)
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
