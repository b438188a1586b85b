"""The words of preparation: interpolation, cutting, and voxels that follow from the scans."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scans import KITS_AFFINE, SHAPE, ct, kidneys, save
from scipy import ndimage

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.preparation import resample as room
from kitsbench.data.preparation.prepare import prepare, store_id
from kitsbench.data.preparation.volumes import How, box_above, load_case, orders
from kitsbench.data.preparation.wanted import grid_spacings, prepared_how
from kitsbench.errors import ContractError
from kitsbench.preparation import Coarsened, OwnVoxels, Preparation, Typical, own_voxels
from kitsbench.recipe import Recipe
from kitsbench.spec import Grid, Spec

CUBIC = Preparation("cubic")
CUT = Preparation(crop_above=-500.0)


def places(shape, scale, offset):
    """Index in the old array of every new voxel."""
    axes = [np.arange(n) * s + o for n, s, o in zip(shape, scale, offset, strict=True)]
    return np.meshgrid(*axes, indexing="ij")


@pytest.mark.parametrize("slab", [room.SLAB_BYTES, 4000])
@pytest.mark.parametrize(
    ("shape", "scale"), [((30, 17, 40), (0.6, 1.3, 0.5)), ((9, 30, 20), (2.0, 0.7, 1.0))]
)
def test_cubic_is_the_spline_of_scipy(shape, scale, slab, monkeypatch):
    monkeypatch.setattr(room, "SLAB_BYTES", slab)
    volume = np.random.default_rng(0).normal(0, 300, (18, 22, 20)).astype(np.int16)
    sizes = zip(volume.shape, shape, scale, strict=True)
    offset = tuple((size - 1 - s * (n - 1)) / 2 for size, n, s in sizes)
    found = room.resample_by(volume, shape, scale, offset, (3, 3, 3))
    expected = ndimage.map_coordinates(
        volume.astype(float), places(shape, scale, offset), order=3, mode="nearest"
    )
    assert found.dtype == np.int16
    assert np.abs(found - expected).max() <= 0.51  # rounded, and nothing else
    linear = room.resample_by(volume, shape, scale, offset, (1, 1, 1))
    np.testing.assert_array_equal(linear, room.resample(volume, shape, scale, offset, False))
    assert np.abs(linear - expected).mean() > 20  # so the word makes a difference


def test_a_spline_stays_within_what_a_file_can_hold():
    volume = np.full((9, 9, 9), -32768, np.int16)
    volume[4:] = 32767
    found = room.resample_by(volume, (17, 9, 9), (0.5, 1, 1), (0, 0, 0), (3, 3, 3))
    assert found.min() == -32768
    assert found.max() == 32767


def test_labels_by_share_are_those_of_nnunet():
    """One mask after the other, linear, from one half on, the larger value last."""
    label = np.zeros((12, 14, 13), np.uint8)
    label[2:9, 3:11, 2:10], label[4:7, 5:9, 4:8] = 1, 3
    shape, scale, offset = (20, 19, 31), (0.6, 0.7, 0.4), (-0.1, -0.2, 0.1)
    found = room.resample_labels(label, shape, scale, offset, (1, 1, 1))
    expected = np.zeros(shape, np.uint8)
    where = places(shape, scale, offset)
    torn = np.zeros(shape, bool)
    for value in (1, 3):
        share = ndimage.map_coordinates(
            (label == value).astype(float), where, order=1, mode="nearest"
        )
        expected[share >= 0.5] = value
        torn |= np.abs(share - 0.5) < 1e-4
    np.testing.assert_array_equal(found[~torn], expected[~torn])
    nearest = room.resample_labels(label, shape, scale, offset, (0, 0, 0))
    assert (nearest != found).any()


@pytest.mark.parametrize(
    ("old", "new", "images", "labels"),
    [
        ((5.0, 0.8, 0.8), (3.0, 1.0, 1.0), (0, 3, 3), (0, 1, 1)),
        ((1.0, 0.8, 0.8), (4.0, 1.0, 1.0), (0, 3, 3), (0, 1, 1)),  # the grid's slices are thick
        ((2.0, 0.8, 0.8), (2.0, 1.0, 1.0), (3, 3, 3), (1, 1, 1)),
        ((3.0, 3.0, 0.8), (1.0, 1.0, 1.0), (3, 3, 3), (1, 1, 1)),  # two long axes: no slices
    ],
)
def test_thick_slices_are_not_interpolated_across(old, new, images, labels):
    rule = Preparation("cubic", "linear", slices_from=3)
    assert orders(rule, old, new) == (images, labels)
    assert orders(CUBIC, old, new) == ((3, 3, 3), (0, 0, 0))


@pytest.fixture
def dataset(tmp_path):
    """Two scans with voxels of their own: a body that is smaller than the picture."""
    for number, factor in enumerate((1.0, 1.5)):
        folder = tmp_path / "set" / f"case_{number:05d}"
        affine = KITS_AFFINE @ np.diag([factor, 1, factor, 1])
        image = ct(seed=number)
        image[:, :, 15:] = -1000
        image[:1] = -1000
        save(folder / "imaging.nii.gz", image, affine)
        save(folder / "segmentation.nii.gz", kidneys(), affine)
    return open_dataset(tmp_path / "set")


def test_another_preparation_is_another_store(dataset, tmp_path):
    spacing = (2.5, 2.5, 2.5)
    ways = [How(), How(preparation=CUBIC), How(preparation=CUT), How(own=True), How((9, 9, 9))]
    assert len({store_id(dataset, spacing, way) for way in ways}) == len(ways)
    # Who says nothing has the store of before there were these words.
    assert store_id(dataset, spacing, How(None, Preparation(), False)) == store_id(dataset, spacing)
    plain, cubic = (prepare(dataset, spacing, tmp_path, how=way) for way in ways[:2])
    case = dataset.cases[0]
    for store, way in ((plain, ways[0]), (cubic, ways[1])):
        loaded = load_case(case.id, case.image, case.label, spacing, dataset.names, way).case
        np.testing.assert_array_equal(store.case(case.id).image, loaded.image)
    assert (plain.case(case.id).image != cubic.case(case.id).image).any()
    np.testing.assert_array_equal(plain.case(case.id).label, cubic.case(case.id).label)


def test_a_scan_is_cut_down_to_the_voxels_above_a_threshold(dataset, tmp_path):
    native = (3.0, 2.0, 2.0)
    case = dataset.cases[0]
    whole = load_case(case.id, case.image, case.label, native).case
    cut = load_case(case.id, case.image, case.label, native, how=How(preparation=CUT)).case
    box = box_above(whole.image, -500.0)
    assert cut.image.shape == tuple(side.stop - side.start for side in box)
    assert cut.image.size < whole.image.size
    np.testing.assert_array_equal(cut.image, whole.image[box])
    np.testing.assert_array_equal(cut.label, whole.label[box])
    start = np.array([side.start for side in box])
    np.testing.assert_allclose(cut.affine @ [0, 0, 0, 1], whole.affine @ [*start, 1])
    assert (cut.image > -500).any((1, 2))[[0, -1]].all()
    # Whatever the grid: its box is that of the cut scan.
    store = prepare(dataset, (4.0, 4.0, 4.0), tmp_path, how=How(preparation=CUT))
    coarse = store.case(case.id)
    for corner in (0, 1):
        ends = [(-0.5 if not corner else n - 0.5) for n in coarse.image.shape]
        fine = np.linalg.inv(cut.affine) @ coarse.affine @ [*ends, 1]
        expected = [(-0.5 if not corner else n - 0.5) for n in cut.image.shape]
        assert (np.abs(fine[:3] - expected) * native <= 1.01).all()


def test_labels_that_are_cut_off_are_told(tmp_path):
    image = ct()
    image[0, 0, 0] = 3000
    files = tmp_path / "imaging.nii.gz", tmp_path / "segmentation.nii.gz"
    for file, array in zip(files, (image, kidneys()), strict=True):
        save(file, array, KITS_AFFINE)
    metal = How(preparation=Preparation(crop_above=2500.0))
    loaded = load_case("case", *files, (2.5, 2.5, 2.5), how=metal)
    (found,) = (f for f in loaded.findings if "labelled voxels" in f.what)
    count = np.count_nonzero(kidneys())
    assert found.what == f"{count} of {count} labelled voxels lie outside the box above 2500 HU"
    assert (found.severity, found.file) == ("warning", str(files[1]))
    whole = load_case("case", *files, (2.5, 2.5, 2.5), how=How(preparation=CUT))
    assert not [f for f in whole.findings if "labelled voxels" in f.what]


def test_nothing_above_the_threshold_leaves_a_scan_whole():
    assert box_above(np.full((3, 4, 5), -1000), 0) == (slice(0, 3), slice(0, 4), slice(0, 5))


def test_other_channels_are_cut_as_the_ct(dataset, tmp_path):
    case = dataset.cases[0]
    late = save(tmp_path / "late.nii.gz", ct(seed=9).clip(-70))
    how = How(preparation=CUT)
    ct_ = load_case(case.id, case.image, None, (3.0,) * 3, how=how).case
    other = load_case(case.id, late, None, (3.0,) * 3, how=how, ct=case.image).case
    assert other.image.shape == ct_.image.shape
    np.testing.assert_allclose(other.affine, ct_.affine)
    assert other.image.shape != load_case(case.id, late, None, (3.0,) * 3, how=how).case.image.shape


def test_every_scan_keeps_its_own_voxels(dataset, tmp_path):
    store = prepare(dataset, (1.0, 2.0, 1.0), tmp_path, how=How(own=True))
    found = [store.case(name) for name in store.cases]
    np.testing.assert_allclose([c.spacing for c in found], [(3, 4, 2), (4.5, 4, 3)])
    np.testing.assert_allclose(store.spacing, (3.75, 4, 2.5))  # the median, for whoever asks
    for case, scan in zip(found, dataset.cases, strict=True):
        raw = load_case(scan.id, scan.image, scan.label, (1.0,) * 3, how=How(own=True)).case
        assert raw.image.shape == SHAPE
        assert case.image.shape == (SHAPE[0], SHAPE[1] // 2, SHAPE[2])


# --- recipes --------------------------------------------------------------------------------

KITS19_SCANS = Typical((3.0, 0.78, 0.78), (3.0 * 136, 0.78 * 511, 0.78 * 511))


def test_voxels_grow_until_few_patches_cover_the_median_scan():
    # Paper 000: halved until less than four patches of 80 x 128 x 128: 35.5 million voxels, and
    # an eighth of them.
    patch = (80, 128, 128)
    assert Coarsened().resolve(KITS19_SCANS, patch) == (6.0, 1.56, 1.56)
    # By the planner of its code, with the patch that this planner had: table 1 of the paper.
    planned = Coarsened(4, 1.01, alike=False).resolve(KITS19_SCANS, (80, 160, 160))
    np.testing.assert_allclose(planned, (3.22, 1.62, 1.62), rtol=0.03)
    shape = [size / edge for size, edge in zip(KITS19_SCANS.extent, planned, strict=True)]
    np.testing.assert_allclose(shape, (127, 247, 247), rtol=0.03)
    # A median scan that is small enough keeps the median voxels.
    assert Coarsened().resolve(KITS19_SCANS, (136, 511, 511)) == KITS19_SCANS.spacing


def test_a_rule_without_end_is_refused():
    with pytest.raises(ContractError, match="no voxel size"):
        Coarsened(patches=1e-6).resolve(KITS19_SCANS, (1, 1, 1))


def test_what_a_recipe_says_reaches_preparation():
    grids = (Grid("fine", (8, 8, 8)), Grid("wide", (8, 8, 8), (4.0, 4.0, 4.0)))
    spec = Spec(grids=grids)
    for spacing, times in (("native", (1, 1, 1)), (OwnVoxels((1.0, 2.0, 2.0)), (1, 2, 2))):
        recipe = Recipe(spacing=spacing, preparation=CUBIC)
        assert prepared_how(spec, recipe) == How(None, CUBIC, own=True)
        wide = tuple(4.0 * edge for edge in times)
        assert grid_spacings(grids, recipe, (9.0,) * 3) == {"fine": times, "wide": wide}
    recipe = Recipe(spacing=(2.0, 1.0, 1.0))
    assert prepared_how(spec, recipe) == How()
    assert grid_spacings(grids, recipe, (2.0, 1.0, 1.0))["wide"] == (8.0, 4.0, 4.0)
    assert own_voxels("median") is None


def test_the_words_are_part_of_the_hash_and_silent_where_unused():
    plain = Recipe()
    assert "preparation" not in plain.to_dict()
    digests = {
        replace(plain, **words).digest()
        for words in (
            {},
            {"preparation": CUBIC},
            {"preparation": CUT},
            {"spacing": "native"},
            {"spacing": OwnVoxels((2.0, 2.0, 2.0))},
            {"spacing": Coarsened()},
        )
    }
    assert len(digests) == 6
    # What a file gives back as 3.0 and -500.0 has the hash of what was written as 3 and -500.
    written = Preparation(slices_from=3, crop_above=-500)
    assert written == Preparation(slices_from=3.0, crop_above=-500.0)
    assert repr(written) == repr(Preparation(slices_from=3.0, crop_above=-500.0))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Preparation("sinc"), "interpolation='sinc'; use linear, cubic, nearest"),
        (lambda: Preparation(labels="cubic"), "labels='cubic'; use nearest, linear"),
        (lambda: Preparation(slices_from=0.5), "slices_from=0.5"),
        (lambda: Preparation(crop_above="body"), "crop_above='body'"),
        (lambda: Preparation(crop_above=float("inf")), "crop_above=inf"),
        (lambda: OwnVoxels((1.0, 0.0, 1.0)), "OwnVoxels"),
        (lambda: OwnVoxels((1.0, 1.0)), "OwnVoxels"),  # type: ignore[arg-type]
        (lambda: Coarsened(factor=1.0), "factor=1.0"),
        (lambda: Coarsened(patches=0), "patches=0"),
    ],
)
def test_words_without_sense_are_refused(make, told):
    with pytest.raises(ContractError, match=told):
        make()
