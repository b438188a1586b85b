"""Datasets whose files are called as other tools and systems call them."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from scans import case, ct, kidneys, save

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.inspection.verify import verify
from kitsbench.errors import DataError

LABELS = {"background": 0, "kidney": 1, "tumor": 2}
APPLE_DOUBLE = b"\0\5\26\7\0\2\0\0Mac OS X"


def flat(root, names, image="{}_0000.nii.gz", mask="{}.nii.gz", **about):
    """A folder of nnU-Net or of the Decathlon, with a note of macOS beside every file."""
    for seed, name in enumerate(names):
        for folder, file, voxels in (
            ("imagesTr", image.format(name), ct(seed=seed)),
            ("labelsTr", mask.format(name), kidneys()),
        ):
            # nibabel writes small suffixes only.
            plain = save(root / folder / "tmp.nii.gz", voxels)
            plain.rename(plain.with_name(file))
            plain.with_name(f"._{file}").write_bytes(APPLE_DOUBLE)
    (root / "dataset.json").write_text(json.dumps({"labels": LABELS, **about}))
    return root


def ids(dataset):
    return [case.id for case in dataset.cases]


@pytest.mark.parametrize("image", ["{}_0000.nii.gz", "{}.nii.gz", "{}_0000.NII.GZ", "{}.Nii.gz"])
def test_images_of_nnunet_and_of_the_decathlon_are_found(tmp_path, image):
    names = ["kid_0000", "kid_0001", "kid_0002"]  # numbers that are no channels
    dataset = open_dataset(flat(tmp_path, names, image, "{}.NII.GZ"))
    assert ids(dataset) == names
    assert [case.image.name for case in dataset.cases] == [image.format(n) for n in names]
    assert verify(dataset).findings == []


def test_an_image_without_its_mask_does_not_take_another_one(tmp_path):
    root = flat(tmp_path, ["kid_0000", "kid_0001"], "{}.nii.gz")
    (root / "labelsTr" / "kid_0000.nii.gz").unlink()
    dataset = open_dataset(root)
    assert [(c.id, c.image.name) for c in dataset.cases] == [("kid_0001", "kid_0001.nii.gz")]
    assert [f.what for f in dataset.problems] == ["missing mask"]


def test_an_image_by_either_rule_is_one_too_many(tmp_path):
    root = flat(tmp_path, ["a", "b"])
    save(root / "imagesTr" / "a.nii.gz", ct())
    dataset = open_dataset(root)
    assert ids(dataset) == ["b"]
    assert "two files for the image, a.nii.gz and a_0000.nii.gz" in dataset.excluded["a"]


def test_the_list_of_the_decathlon_is_compared_with_the_files(tmp_path):
    listed = [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
        for name in ("a", "._a", "b", "lost")
    ]
    root = flat(tmp_path, ["a", "b"], "{}.nii.gz", training=listed)
    (finding,) = open_dataset(root).problems
    assert finding.severity == "warning"
    assert finding.what == "1 of 3 listed training cases cannot be used (the first: lost)"
    root = flat(tmp_path, ["more"], "{}.nii.gz", training=listed[:3])
    (finding,) = open_dataset(root).problems
    assert finding.what == "1 cases are not in its list of training cases (the first: more)"


def test_composed_and_decomposed_names_are_one(tmp_path):
    root = flat(tmp_path, ["Mu\u0308ller"])
    (root / "labelsTr" / "Mu\u0308ller.nii.gz").rename(root / "labelsTr" / "M\u00dcLLER.nii.gz")
    dataset = open_dataset(root)
    assert ids(dataset) == ["M\u00dcLLER"]
    assert dataset.problems == []


def test_capitals_in_the_folder_of_a_case_do_not_matter(tmp_path):
    for name, image, mask in (
        ("case_00000", "Imaging.nii.gz", "SEGMENTATION.NII.GZ"),
        ("Case_00001", "imaging.NII", "segmentation.nii.gz"),
        ("patient 7", "IMAGING.nii.gz", "segmentation.nii.gz"),
    ):
        folder = case(tmp_path, name)
        packed = (folder / "imaging.nii.gz").rename(folder / image)
        if image.endswith("NII"):
            packed.write_bytes(gzip.decompress(packed.read_bytes()))
        (folder / "segmentation.nii.gz").rename(folder / mask)
        (folder / f"._{image}").write_bytes(APPLE_DOUBLE)
    notes = tmp_path / "__MACOSX" / "case_00000"
    notes.mkdir(parents=True)
    (notes / "._imaging.nii.gz").write_bytes(APPLE_DOUBLE)
    dataset = open_dataset(tmp_path)
    assert ids(dataset) == ["Case_00001", "case_00000", "patient 7"]
    assert verify(dataset).findings == []


def test_two_spellings_of_one_file_are_refused_naming_both(tmp_path):
    folder = case(tmp_path, "case_00000")
    case(tmp_path, "case_00001")
    save(folder / "Imaging.nii.gz", ct())
    if not (folder / "imaging.nii.gz").samefile(folder / "Imaging.nii.gz"):
        what = open_dataset(tmp_path).excluded["case_00000"]
        assert "Imaging.nii.gz and imaging.nii.gz" in what


def test_duplicate_ids_name_both_files(tmp_path):
    case(tmp_path, "case_a")
    case(tmp_path, "Case_A", ct(seed=3))
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system has one name for these")
    (finding,) = open_dataset(tmp_path).problems
    assert str(tmp_path / "Case_A" / "segmentation.nii.gz") in str(finding)
    assert str(tmp_path / "case_a" / "segmentation.nii.gz") in str(finding)


def test_what_is_packed_is_seen_from_the_bytes(tmp_path):
    """gzip under the name .nii, and voxels as they are under the name .nii.gz."""
    folder = case(tmp_path, "case_00000")
    other = case(tmp_path, "case_00001", ct(seed=sum(b"case_00000")))
    for name in ("imaging", "segmentation"):
        packed = (other / f"{name}.nii.gz").rename(other / f"{name}.nii")
        plain = folder / f"{name}.nii.gz"
        plain.write_bytes(gzip.decompress(packed.read_bytes()))
    dataset = open_dataset(tmp_path)
    assert [f.severity for f in verify(dataset).errors] == []
    from kitsbench.scans.nifti import read_header, read_image

    first, second = (read_image(read_header(c.image))[0] for c in dataset.cases)
    np.testing.assert_array_equal(first, second)


def test_a_list_of_files_is_told_what_a_dataset_is(tmp_path):
    file = tmp_path / "datalist.json"
    file.write_text('{"training": []}')
    with pytest.raises(DataError, match=r"is a file.*MONAI data list.*--split datalist.json"):
        open_dataset(file)
