"""Preparation: complete, restartable, honest about what it left out."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys

import nibabel
import numpy as np
import pytest
from scans import KITS_AFFINE, case, ct, kidneys, save
from stored_files import damage, put

import kitsbench.data.preparation.prepare as room
from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.preparation.prepare import prepare
from kitsbench.data.preparation.store import PreparedStore
from kitsbench.data.preparation.volumes import load_case
from kitsbench.errors import DataError, UsageError

SPACING = (3.0, 2.0, 2.0)


def bad_mask(folder):
    label = kidneys()
    label[2, 2, 2] = 9
    save(folder / "data" / "case_00001" / "segmentation.nii.gz", label)


def test_a_store_holds_what_it_promises(kits23_phantom, tmp_path):
    dataset = open_dataset(kits23_phantom)
    store = prepare(dataset, (6.0, 5.0, 5.0), tmp_path)
    assert PreparedStore.open(store.folder).id == store.id == store.folder.name
    assert store.cases == [c.id for c in dataset.cases]
    assert store.spacing == (6.0, 5.0, 5.0)
    assert store.labels == dataset.labels
    assert store.dataset_fingerprint == dataset.fingerprint
    case = store.case("case_00000")
    assert isinstance(case.image, np.memmap)
    assert (case.image.dtype, case.label.dtype) == (np.int16, np.uint8)
    assert case.image.shape == case.label.shape
    np.testing.assert_allclose(np.sqrt((case.affine[:3, :3] ** 2).sum(0)), (6, 5, 5))
    for value, places in case.foreground.items():
        assert (case.label[tuple(places.T)] == value).all()
        assert len(places) == np.count_nonzero(case.label == value)
    assert set(case.foreground) == set(np.unique(case.label)) - {0}
    original = nibabel.load(dataset.cases[0].image)
    np.testing.assert_array_equal(case.native["affine"], original.affine)
    assert case.native["shape"] == list(original.shape)


def test_intensity_statistics_are_those_of_the_voxels(kits23_phantom, tmp_path):
    store = prepare(open_dataset(kits23_phantom), (4.5, 4.5, 4.5), tmp_path)
    chosen = store.cases[:2]
    cases = [store.case(c) for c in chosen]
    found = store.intensity(chosen)
    for name, values in (("kidney", (1,)), ("tumor", (2,)), ("foreground", (1, 2, 3))):
        hu = np.concatenate([c.image[np.isin(c.label, values)] for c in cases]).astype(float)
        assert found[name]["mean"] == pytest.approx(hu.mean())
        assert found[name]["sd"] == pytest.approx(hu.std())
        for percent in (0.5, 99.5):
            exact = np.percentile(hu, percent, method="inverted_cdf")
            assert found[name][f"p{percent}"] == exact
    everything = store.fingerprint
    assert everything["intensity"]["foreground"]["voxels"] > found["foreground"]["voxels"]
    assert everything["median_spacing"] == [4.5, 4.5, 4.5]


def test_the_id_names_everything_that_made_the_store(folder, tmp_path):
    dataset = open_dataset(folder)
    ids = {prepare(dataset, s, tmp_path).id for s in (SPACING, (3.0, 2.0, 2.5))}
    save(folder / "data/case_00000/imaging.nii.gz", ct(seed=99))
    ids.add(prepare(open_dataset(folder), SPACING, tmp_path).id)
    assert len(ids) == 3


def test_processes_change_nothing(folder, tmp_path):
    dataset = open_dataset(folder)
    one = prepare(dataset, SPACING, tmp_path / "one", jobs=1)
    two = prepare(dataset, SPACING, tmp_path / "two", jobs=2)
    assert one.manifest == two.manifest
    for name in one.cases:
        for file in ("image.npy", "label.npy", "case.json"):
            a, b = (s.folder / "cases" / name / file for s in (one, two))
            assert a.read_bytes() == b.read_bytes()


def test_a_finished_store_is_not_made_again(folder, tmp_path, monkeypatch):
    store = prepare(open_dataset(folder), SPACING, tmp_path)
    monkeypatch.setattr(room, "load_case", None)
    assert prepare(open_dataset(folder), SPACING, tmp_path).manifest == store.manifest


def test_an_interrupted_preparation_is_continued(folder, tmp_path, monkeypatch):
    real, seen = room.load_case, []

    def interrupted(case, *rest):
        seen.append(case)
        if case == "case_00001" and len(seen) == 2:
            raise KeyboardInterrupt
        return real(case, *rest)

    monkeypatch.setattr(room, "load_case", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(open_dataset(folder), SPACING, tmp_path / "out")
    (unfinished,) = (tmp_path / "out").iterdir()
    with pytest.raises(DataError, match="no finished preparation"):
        PreparedStore.open(unfinished)
    store = prepare(open_dataset(folder), SPACING, tmp_path / "out")
    assert seen == ["case_00000", "case_00001", "case_00001"]
    assert store.cases == ["case_00000", "case_00001"]


def test_what_a_killed_process_left_is_swept(folder, tmp_path):
    dataset = open_dataset(folder)
    cases = tmp_path / room.store_id(dataset, SPACING) / "cases"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = cases / room._prefix().replace(f".{room.os.getpid()}.", f".{dead.pid}.case")
    left.mkdir(parents=True)
    (left / "image.npy").write_bytes(b"half")
    prepare(dataset, SPACING, tmp_path)
    assert sorted(p.name for p in cases.iterdir()) == ["case_00000", "case_00001"]


def test_a_full_disk_is_said_and_leaves_nothing_half(folder, tmp_path, monkeypatch):
    real = np.save

    def full(path, array):
        if "label" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, array)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DataError, match="the disk is full"):
        prepare(open_dataset(folder), SPACING, tmp_path / "out")
    (store,) = (tmp_path / "out").iterdir()
    assert list((store / "cases").iterdir()) == []
    monkeypatch.undo()
    assert len(prepare(open_dataset(folder), SPACING, tmp_path / "out").cases) == 2


def test_bad_cases_are_set_aside_with_their_reason(folder, tmp_path):
    bad_mask(folder)
    case(folder / "data", "case_00002")
    (folder / "data/case_00002/segmentation.nii.gz").unlink()
    store = prepare(open_dataset(folder), SPACING, tmp_path)
    assert store.cases == ["case_00000"]
    assert store.excluded == {
        "case_00001": "the mask holds label 9",
        "case_00002": "missing mask",
    }
    with pytest.raises(DataError, match="set aside: the mask holds label 9"):
        store.case("case_00001")
    with pytest.raises(DataError, match="2 cases of kits cannot be used"):
        prepare(open_dataset(folder), SPACING, tmp_path, strict=True)


PAIRS = [
    (ct(), kidneys((12, 16, 17)), KITS_AFFINE, "the mask has 12 x 16 x 17 voxels"),
    (ct(), kidneys(), KITS_AFFINE, None),
    (ct(), np.zeros_like(kidneys()), KITS_AFFINE, "the mask is empty"),
    (ct(), np.where(kidneys() == 2, 2, 0).astype(np.uint8), KITS_AFFINE, "no kidney"),
]


@pytest.mark.parametrize(("image", "label", "affine", "reason"), PAIRS)
def test_image_and_mask_must_fit(folder, tmp_path, image, label, affine, reason):
    inside = folder / "data" / "case_00001"
    save(inside / "imaging.nii.gz", image)
    save(inside / "segmentation.nii.gz", label, affine)
    excluded = prepare(open_dataset(folder), SPACING, tmp_path).excluded
    if reason is None:
        assert excluded == {}
    else:
        assert reason in excluded["case_00001"]


@pytest.mark.parametrize(("shift", "fits"), [(0.0005, True), (0.01, False)])
def test_affines_are_compared_with_a_tolerance(folder, tmp_path, shift, fits):
    moved = KITS_AFFINE.copy()
    moved[0, 3] += shift
    save(folder / "data/case_00001/segmentation.nii.gz", kidneys(), moved)
    store = prepare(open_dataset(folder), SPACING, tmp_path)
    assert ("case_00001" in store.cases) is fits
    if not fits:
        assert "affines of image and mask differ" in store.excluded["case_00001"]


def test_no_usable_case_is_an_error(folder, tmp_path):
    for name in ("case_00000", "case_00001"):
        save(folder / "data" / name / "segmentation.nii.gz", np.zeros_like(kidneys()))
    with pytest.raises(DataError, match="no case of kits can be used"):
        prepare(open_dataset(folder), SPACING, tmp_path)


@pytest.mark.parametrize("spacing", [(0, 1, 1), (1, 1), (1, float("nan"), 1), (1, 1, 1e6)])
def test_spacings_that_are_none(folder, tmp_path, spacing):
    with pytest.raises(UsageError, match="not usable"):
        prepare(open_dataset(folder), spacing, tmp_path)


def test_predicting_sees_the_voxels_that_training_saw(kits23_phantom, tmp_path):
    dataset = open_dataset(kits23_phantom)
    store = prepare(dataset, (5.0, 3.0, 3.0), tmp_path)
    alone = load_case("alone", dataset.cases[0].image, None, (5.0, 3.0, 3.0)).case
    stored = store.case(dataset.cases[0].id)
    np.testing.assert_array_equal(alone.image, stored.image)
    np.testing.assert_allclose(alone.affine, stored.affine)
    assert alone.native == stored.native
    assert alone.label is None


def test_nothing_of_the_user_is_touched(folder, tmp_path):
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*.nii.gz")}
    prepare(open_dataset(folder), SPACING, tmp_path / "out")
    after = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*.nii.gz")}
    assert before == after
    assert {p.name for p in folder.iterdir()} == {"data"}


@pytest.mark.parametrize("name", ["image.npy", "label.npy", "foreground.npz", "case.json"])
@pytest.mark.parametrize("left", [0, 0.9])
def test_a_damaged_case_is_named(folder, tmp_path, name, left):
    store = prepare(open_dataset(folder), SPACING, tmp_path)
    file = store.folder / "cases/case_00000" / name
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * left)])
    with pytest.raises(DataError, match=f"{name}.*\n.*the other cases are kept") as refused:
        PreparedStore.open(store.folder).case("case_00000")
    assert str(file) in str(refused.value)
    # As it says.
    shutil.rmtree(file.parent)
    (store.folder / "manifest.json").unlink()
    prepare(open_dataset(folder), SPACING, tmp_path)
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("manifest.json", "dataset.labels.kidney"),
        ("manifest.json", "fingerprint.median_shape"),
        ("manifest.json", "cases.1"),
        ("cases/case_00000/case.json", "native.order"),
        ("cases/case_00000/case.json", "affine.2.1"),
    ],
)
def test_a_damaged_store_is_named_with_the_key(folder, tmp_path, file, place):
    store = prepare(open_dataset(folder), SPACING, tmp_path)
    whole = (store.folder / file).read_bytes()
    damage(store.folder / file, lambda content: put(content, place, {"x": 1}))
    with pytest.raises(DataError, match=f"{file}: the key {place} is wrong.*\nDelete"):
        PreparedStore.open(store.folder).case("case_00000")
    if file == "manifest.json":
        (store.folder / file).unlink()
        prepare(open_dataset(folder), SPACING, tmp_path)
        assert (store.folder / file).read_bytes() == whole


def test_a_store_is_read_without_the_libraries_that_made_it(folder, tmp_path):
    store = prepare(open_dataset(folder), SPACING, tmp_path)
    code = (
        "import sys; from kitsbench.data.preparation.store import PreparedStore;"
        "c = PreparedStore.open(sys.argv[1]).case('case_00000');"
        "assert c.image.mean() < 500;"
        "bad = {'nibabel', 'SimpleITK', 'torchio', 'torch', 'scipy', 'pandas'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code, str(store.folder)], check=True)


def test_memory_stays_a_small_multiple_of_a_case(tmp_path):
    """Reading a float64 scan of 64 MB peaks at a few int16 copies of it (16 MB each)."""
    import tracemalloc

    shape = (200, 200, 200)
    image = np.zeros(shape)
    image[50:150] = 100.0
    path = save(tmp_path / "image.nii", image)
    del image
    tracemalloc.start()
    load_case("case", path, None, SPACING)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6
