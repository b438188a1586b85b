"""Export to nnU-Net: what it reads, and that nothing is lost on the way there and back."""

from __future__ import annotations

import json
from itertools import product
from multiprocessing import dummy
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from scans import KITS_AFFINE, case, ct, kidneys, save

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.exchange.nnunet import export_nnunet
from kitsbench.data.preparation.prepare import prepare
from kitsbench.data.splits.files import import_split
from kitsbench.data.splits.rules import choose_rule
from kitsbench.errors import DataError, UsageError

NAME = "Dataset220_KiTS"


def export(dataset, out, **options):
    return export_nnunet(dataset, out, lambda cases: choose_rule("nnunet:2", cases), **options)


@pytest.fixture
def awkward(folder):
    """Two good cases, one that is not compressed, one with a fourth axis, one that is damaged."""
    label = kidneys()
    for name in ("case_00002", "case_00003", "case_00004"):
        case(folder / "data", name, label=label)
    plain = folder / "data" / "case_00002" / "imaging.nii.gz"
    nibabel.save(nibabel.load(plain), plain.with_name("imaging.nii"))
    plain.unlink()
    save(folder / "data" / "case_00003" / "imaging.nii.gz", ct(seed=3)[..., None])
    mask = folder / "data" / "case_00003" / "segmentation.nii.gz"
    save(mask, label.astype(np.float32))
    damaged = folder / "data" / "case_00004" / "imaging.nii.gz"
    damaged.write_bytes(b"no scan")
    return folder


def test_the_export_passes_the_check_of_nnunet(awkward, tmp_path, capfd, monkeypatch):
    check = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
    # Its pool in threads: a process that imports nnU-Net takes ten seconds to start.
    monkeypatch.setattr(check, "multiprocessing", SimpleNamespace(get_context=lambda kind: dummy))
    out = tmp_path / NAME
    done = export(open_dataset(awkward), out)
    assert done.cases == [f"case_{k:05d}" for k in range(4)]
    assert "case_00004" in done.excluded
    check.verify_dataset_integrity(str(out), num_processes=1)
    said = capfd.readouterr().out
    assert "verify_dataset_integrity Done" in said
    for word in ("Error", "Warning", "mismatch"):
        assert word not in said.replace("didn't see any error", "")


def test_what_nnunet_writes_lies_on_the_grid_of_the_original(folder, tmp_path):
    """Its reader and writer give a label map back that is scored as it is."""
    pytest.importorskip("nnunetv2")
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient

    from kitsbench.evaluation.folders import evaluate

    out = tmp_path / NAME
    export(open_dataset(folder), out)
    tool, predicted = NibabelIOWithReorient(), tmp_path / "predicted"
    predicted.mkdir()
    for name in ("case_00000", "case_00001"):
        _, properties = tool.read_images([str(out / "imagesTr" / f"{name}_0000.nii.gz")])
        labels, _ = tool.read_seg(str(out / "labelsTr" / f"{name}.nii.gz"))
        tool.write_seg(labels[0], str(predicted / f"{name}.nii.gz"), properties)
    for truth in (folder, out):
        found = evaluate(predicted, truth, "kits19", metrics=["dice"])
        assert [row["value"] for row in found.rows] == [1.0] * 4


def test_voxels_and_geometry_stay_as_they_were(awkward, tmp_path):
    before = {p: p.read_bytes() for p in awkward.rglob("*") if p.is_file()}
    out = tmp_path / NAME
    export(open_dataset(awkward), out)
    for name in ("case_00000", "case_00002", "case_00003"):
        image = nibabel.load(out / "imagesTr" / f"{name}_0000.nii.gz")
        label = nibabel.load(out / "labelsTr" / f"{name}.nii.gz")
        seed = 3 if name == "case_00003" else sum(name.encode())
        np.testing.assert_array_equal(np.asarray(image.dataobj), ct(seed=seed))
        np.testing.assert_array_equal(np.asarray(label.dataobj), kidneys())
        assert label.get_data_dtype() == np.uint8
        for file in (image, label):
            np.testing.assert_allclose(file.affine, KITS_AFFINE)
    assert before == {p: p.read_bytes() for p in awkward.rglob("*") if p.is_file()}
    again = open_dataset(out)
    assert (again.layout, again.labels) == ("nnunet", {"kidney": 1, "tumor": 2})
    assert len(again.cases) == 4


def test_folds_come_along(folder, tmp_path):
    for name in ("case_00002", "case_00003"):
        case(folder / "data", name)
    export(open_dataset(folder), tmp_path / NAME)
    names = [f"case_{k:05d}" for k in range(4)]
    found = import_split(tmp_path / NAME / "splits_final.json", names)
    assert found == choose_rule("nnunet:2", names)


def test_links_instead_of_copies(folder, tmp_path):
    out = tmp_path / NAME
    export(open_dataset(folder), out, link=True)
    file = out / "imagesTr" / "case_00000_0000.nii.gz"
    assert file.is_symlink()
    assert file.resolve() == (folder / "data/case_00000/imaging.nii.gz").resolve()


def test_a_prepared_store_is_exported_at_its_spacing(folder, tmp_path):
    store = prepare(open_dataset(folder), (4.0, 3.0, 3.0), tmp_path / "store")
    out = tmp_path / NAME
    export(store, out)
    case = store.case("case_00001")
    image = nibabel.load(out / "imagesTr" / "case_00001_0000.nii.gz")
    label = nibabel.load(out / "labelsTr" / "case_00001.nii.gz")
    np.testing.assert_allclose(image.header.get_zooms(), (3, 3, 4), atol=1e-5)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, case.image)
    np.testing.assert_array_equal(np.asarray(label.dataobj).T, case.label)
    # Voxel (z, y, x) lies where it did.
    np.testing.assert_allclose(
        image.affine @ [3, 2, 1, 1], case.affine @ [1, 2, 3, 1], rtol=0, atol=1e-4
    )


def test_an_export_is_continued_but_never_mixed(folder, tmp_path):
    dataset, out = open_dataset(folder), tmp_path / NAME
    export(dataset, out)
    content = (out / "dataset.json").read_text()
    (out / "labelsTr" / "case_00001.nii.gz").unlink()
    (out / "splits_final.json").unlink()
    kept = out / "labelsTr" / "case_00000.nii.gz"
    stamp = kept.stat().st_mtime_ns
    assert export(dataset, out).cases == ["case_00000", "case_00001"]
    assert (out / "labelsTr" / "case_00001.nii.gz").is_file()
    assert kept.stat().st_mtime_ns == stamp
    assert (out / "dataset.json").read_text() == content
    case(folder / "data", "case_00002")
    with pytest.raises(UsageError, match="holds something else"):
        export(open_dataset(folder), out)
    other = tmp_path / "Dataset221_mine"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        export(dataset, other)
    assert [p.name for p in other.iterdir()] == ["notes.txt"]


def test_what_nnunet_would_not_take_is_refused(folder, tmp_path):
    dataset = open_dataset(folder)
    with pytest.raises(UsageError, match="Dataset, three digits"):
        export(dataset, tmp_path / "kits")
    dataset.labels = {"kidney": 1, "tumor": 3}
    with pytest.raises(DataError, match="without a gap"):
        export(dataset, tmp_path / NAME)
    assert not (tmp_path / NAME).exists()


def test_the_description_is_version_2(folder, tmp_path):
    about = {"synthetic": True, "note": "Phantom: nobody."}
    (folder / "phantom.json").write_text(json.dumps(about))
    export(open_dataset(folder, "kits23"), tmp_path / NAME, link=True)
    found = json.loads((tmp_path / NAME / "dataset.json").read_text())
    assert found["labels"] == {"background": 0, "kidney": 1, "tumor": 2, "cyst": 3}
    assert found["numTraining"] == 2
    assert found["synthetic"] is True
    assert "Phantom" in found["description"]


def test_what_verify_refuses_is_not_exported(folder, tmp_path):
    """Files that would be copied as they are must be whole too."""
    data = folder / "data"
    for number, change in ((2, 2), (3, 9)):
        label = kidneys()
        label[0, 0, 0] = change
        case(data, f"case_{number:05d}", label=label)
    image = data / "case_00001" / "imaging.nii.gz"
    image.write_bytes(image.read_bytes()[:-6])
    case(data, "case_00004", label=np.where(kidneys() == 2, 2, 0).astype(np.uint8))
    done = export(open_dataset(folder), tmp_path / NAME)
    assert done.cases == ["case_00000", "case_00002"]
    assert "cut off" in done.excluded["case_00001"]
    assert "holds label 9" in done.excluded["case_00003"]
    assert "no kidney" in done.excluded["case_00004"]
    for name in ("imagesTr", "labelsTr"):
        assert len(list((tmp_path / NAME / name).iterdir())) == 2


def test_a_mask_along_other_axes_is_exported_on_those_of_its_image(folder, tmp_path):
    path = folder / "data" / "case_00000" / "segmentation.nii.gz"
    turned = nibabel.as_closest_canonical(nibabel.load(path))
    nibabel.save(turned, path)
    assert turned.shape != kidneys().shape
    out = tmp_path / NAME
    export(open_dataset(folder), out)
    written = nibabel.load(out / "labelsTr" / "case_00000.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), kidneys())
    np.testing.assert_allclose(written.affine, KITS_AFFINE)


@pytest.mark.parametrize("beyond", [1e-9, -1e-9])
@pytest.mark.parametrize("masked", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("scanned", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_image_and_mask_are_turned_alike_where_rounding_names_the_axes(
    folder, tmp_path, scanned, masked, beyond
):
    """nnU-Net turns each by its own affine; NIfTI-2 holds more digits of it than NIfTI-1."""
    label = kidneys()
    image = np.where(label > 0, 100, -50).astype(np.int16)
    image[0, 0, 0] = -1000
    affine = np.diag([2, 2, 3, 1.0])
    affine[:2, :2] = np.sqrt(2) * np.array([[1 + beyond, -1], [1, 1 + beyond]])
    data = folder / "data" / "case_00000"
    nibabel.save(scanned(image, affine), data / "imaging.nii.gz")
    nibabel.save(masked(label, affine), data / "segmentation.nii.gz")
    done = export(open_dataset(folder), tmp_path / NAME)
    assert "case_00000" in done.cases
    _see_that_both_are_turned_alike(tmp_path / NAME)


@pytest.mark.parametrize("beyond", [1e-6, -1e-6])
@pytest.mark.parametrize("stored", list(product((False, True), repeat=3)), ids=str)
def test_a_mask_stored_otherwise_is_not_taken_as_it_is_by_its_own_affine(
    folder, tmp_path, stored, beyond
):
    """Turned by its own last digits, a mask with other axes may look like one with the same."""
    swapped, *flipped = stored
    label = kidneys()
    image = np.where(label > 0, 100, -50).astype(np.int16)
    image[0, 0, 0] = -1000
    tie = np.diag([2, 2, 3, 1.0])
    tie[:2, :2] = np.sqrt(2) * np.array([[1, -1], [1, 1]])
    moved = tie.copy()
    moved[:2, :2] += beyond * np.array([[1, 1], [-1, 1]])
    mask = label
    for axis in np.flatnonzero(flipped):
        mask = np.flip(mask, axis)
        back = np.eye(4)
        back[axis, axis], back[axis, 3] = -1, label.shape[axis] - 1
        moved = moved @ back
    if swapped:
        mask, moved = mask.swapaxes(0, 1), moved[:, [1, 0, 2, 3]]
    data = folder / "data" / "case_00000"
    nibabel.save(nibabel.Nifti1Image(image, tie), data / "imaging.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask, moved), data / "segmentation.nii.gz")
    done = export(open_dataset(folder), tmp_path / NAME)
    assert "case_00000" in done.cases
    _see_that_both_are_turned_alike(tmp_path / NAME)


def _see_that_both_are_turned_alike(out):
    files = ("imagesTr/case_00000_0000.nii.gz", "labelsTr/case_00000.nii.gz")
    turned = [nibabel.as_closest_canonical(nibabel.load(out / file)) for file in files]
    scan, mask = (np.asarray(one.dataobj) for one in turned)
    np.testing.assert_array_equal(scan > 50, mask > 0)
