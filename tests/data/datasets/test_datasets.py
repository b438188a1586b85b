"""Opening folders of scans."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from scans import case, ct, kidneys, save

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.errors import DataError


def test_kits19_folder_is_found_from_anywhere_near(folder):
    found = [open_dataset(p) for p in (folder.parent, folder, folder / "data")]
    assert {d.layout for d in found} == {"kits19"}
    assert {d.name for d in found} == {"kits"}
    assert [c.id for c in found[0].cases] == ["case_00000", "case_00001"]
    assert found[0].labels == {"kidney": 1, "tumor": 2}
    assert found[0].problems == []


def test_one_case_is_not_a_dataset(folder):
    with pytest.raises(DataError, match="is one case"):
        open_dataset(folder / "data" / "case_00000")
    with pytest.raises(DataError, match="is a file"):
        open_dataset(folder / "data" / "case_00000" / "imaging.nii.gz")


@pytest.mark.parametrize("name", ["dataset", "anything"])
def test_kits23_is_recognised(tmp_path, name):
    case(tmp_path / name, "case_00400", label=kidneys(cyst=True))
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "kits23"
    assert dataset.labels == {"kidney": 1, "tumor": 2, "cyst": 3}


def test_kits21_is_recognised_by_its_aggregated_masks(tmp_path):
    inside = case(tmp_path / "data", "case_00003")
    (inside / "segmentation.nii.gz").rename(inside / "aggregated_MAJ_seg.nii.gz")
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "kits21"
    assert dataset.cases[0].label.name == "aggregated_MAJ_seg.nii.gz"


@pytest.mark.parametrize(
    "labels",
    [{"background": 0, "kidney": 1, "tumor": 2}, {"0": "background", "1": "kidney", "2": "tumour"}],
)
def test_nnunet_folder(tmp_path, labels):
    save(tmp_path / "imagesTr" / "a b_0000.nii.gz", ct())
    save(tmp_path / "labelsTr" / "a b.nii.gz", kidneys())
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "nnunet"
    assert dataset.labels == {"kidney": 1, "tumor": 2}
    assert [c.id for c in dataset.cases] == ["a b"]


def test_nnunet_folders_with_more_than_is_read(tmp_path):
    for channel in ("0000", "0001"):
        save(tmp_path / "imagesTr" / f"a_{channel}.nii.gz", ct())
    save(tmp_path / "labelsTr" / "a.nii.gz", kidneys())
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "kidney": 1, "tumor": 2}}')
    dataset = open_dataset(tmp_path)
    assert [c.image.name for c in dataset.cases] == ["a_0000.nii.gz"]
    (finding,) = dataset.problems
    assert (finding.severity, finding.what) == ("warning", "1 images are further channels")
    assert dataset.excluded == {}


def test_nnunet_folders_of_other_formats_are_explained(tmp_path):
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a_0000.nrrd").write_bytes(b"NRRD")
    with pytest.raises(DataError, match=r"holds \.nrrd files.*convert"):
        open_dataset(tmp_path)


def test_names_with_spaces_and_letters_of_any_language(tmp_path):
    root = tmp_path / "Nierentumoren für Ärzte" / "data"
    case(root, "Fall 7 – Müller")
    case(root, "症例 二")
    dataset = open_dataset(tmp_path / "Nierentumoren für Ärzte")
    assert [c.id for c in dataset.cases] == ["Fall 7 – Müller", "症例 二"]


@pytest.mark.parametrize(("file", "what"), [("imaging", "image"), ("segmentation", "mask")])
def test_missing_file_sets_the_case_aside(folder, file, what):
    (folder / "data" / "case_00001" / f"{file}.nii.gz").unlink()
    dataset = open_dataset(folder)
    assert [c.id for c in dataset.cases] == ["case_00000"]
    (finding,) = dataset.problems
    assert (finding.case, finding.what) == ("case_00001", f"missing {what}")
    assert finding.severity == "error"
    assert dataset.excluded == {"case_00001": f"missing {what}"}


def test_dangling_links_are_named(folder):
    image = folder / "data" / "case_00001" / "imaging.nii.gz"
    image.unlink()
    image.symlink_to("/nowhere/scan.nii.gz")
    (folder / "data" / "case_00002").symlink_to("/nowhere/case")
    dataset = open_dataset(folder)
    found = {f.case: f.what for f in dataset.problems}
    assert "/nowhere/scan.nii.gz" in found["case_00001"]
    assert set(found) == {"case_00001", "case_00002"}


def test_two_files_for_one_mask_are_refused(folder):
    path = folder / "data" / "case_00001" / "segmentation.nii"
    save(path, kidneys())
    assert "two files for the mask" in open_dataset(folder).problems[0].what


def test_a_folder_in_place_of_a_file(folder):
    path = folder / "data" / "case_00001" / "imaging.nii.gz"
    path.unlink()
    path.mkdir()
    assert open_dataset(folder).problems[0].what == "the image is a folder"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folder_is_set_aside(folder):
    closed = folder / "data" / "case_00001"
    closed.chmod(0)
    try:
        dataset = open_dataset(folder)
    finally:
        closed.chmod(0o755)
    assert dataset.problems[0].what == "the folder cannot be read"


def test_nothing_usable_is_an_error_that_says_why(folder):
    for name in ("case_00000", "case_00001"):
        (folder / "data" / name / "imaging.nii.gz").unlink()
    with pytest.raises(DataError, match="missing image"):
        open_dataset(folder)
    assert len(open_dataset(folder, allow_empty=True).problems) == 2
    assert len(open_dataset(folder, masks_only=True).cases) == 2


def test_wrong_places_are_explained(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        open_dataset(tmp_path / "nothing")
    with pytest.raises(DataError, match="holds no dataset"):
        open_dataset(tmp_path)
    case(tmp_path / "a" / "data")
    case(tmp_path / "b" / "data")
    with pytest.raises(DataError, match="holds 2 datasets"):
        open_dataset(tmp_path)


def test_fingerprint_knows_content_and_not_place(folder, tmp_path):
    before = open_dataset(folder).fingerprint
    shutil.copytree(folder, tmp_path / "elsewhere" / "copy")
    assert open_dataset(tmp_path / "elsewhere" / "copy").fingerprint == before
    changed = ct()
    changed[0, 5, 5] += 1
    save(folder / "data" / "case_00000" / "imaging.nii.gz", changed)
    assert open_dataset(folder).fingerprint != before


def test_fingerprint_of_a_large_file_sees_a_change_in_its_middle(tmp_path):
    image = np.random.default_rng(0).integers(-1000, 1000, (150, 150, 150)).astype(np.int16)
    case(tmp_path / "data", image=image, label=kidneys(image.shape))
    before = open_dataset(tmp_path).fingerprint
    assert (tmp_path / "data/case_00000/imaging.nii.gz").stat().st_size > 4 << 20
    image[75, 75, 75] ^= 1
    save(tmp_path / "data/case_00000/imaging.nii.gz", image)
    assert open_dataset(tmp_path).fingerprint != before


def test_select(folder):
    dataset = open_dataset(folder).select(["case_00001"])
    assert [c.id for c in dataset.cases] == ["case_00001"]
    with pytest.raises(DataError, match="case_00009"):
        dataset.select(["case_00009"])


def test_real_masks_are_listed(shared):
    found = open_dataset(shared / "data" / "kits19-masks-2mm", masks_only=True)
    assert len(found.cases) == 210
    assert found.layout == "kits19"
    found = open_dataset(shared / "data" / "kits23-masks-2mm", masks_only=True)
    assert len(found.cases) == 80
    assert found.layout == "kits23"
