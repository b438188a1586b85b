"""Patches lie where recipes say: how many, where, and as MONAI's do where a paper used those."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from architectures import PATCH, Smallest, Valid

from kitsbench.architecture import KITS19, Task, configure
from kitsbench.data.batches.patches import PatchSource
from kitsbench.data.batches.positions import Positions, lattice, on_whole_voxels, tiles_with
from kitsbench.data.preparation import prepare as room
from kitsbench.data.preparation.store import PreparedCase
from kitsbench.errors import ContractError
from kitsbench.recipe import Recipe, Sampling

BODY = -80.0  # HU
HALF_AND_HALF = (("foreground", 0.5), ("background", 0.5))


def scan(shape=(40, 34, 50), seed=0):
    """A body in air, with a kidney and a tumour in it, both near one side."""
    _, y, x = np.ogrid[tuple(map(slice, shape))]
    body = ((y / shape[1] - 0.5) / 0.35) ** 2 + ((x / shape[2] - 0.5) / 0.4) ** 2 < 1
    body = np.broadcast_to(body, shape)
    noise = np.random.default_rng(seed).normal(0, 10, shape)
    image = np.where(body, 40 + noise, -1000 + noise).astype(np.int16)
    label = np.zeros(shape, np.uint8)
    label[shape[0] // 2 : -2, 10:18, 12:22] = 1
    label[-6:-3, 11:14, 13:17] = 2
    return volume(image, label)


def volume(image, label, kept=None):
    """A case whose positions are capped as a store's are."""
    rng, foreground, voxels = np.random.default_rng(1), {}, {}
    for value in (1, 2):
        found = np.argwhere(label == value)
        voxels[value] = len(found)
        if len(found):
            foreground[value] = rng.permutation(found)[:kept]
    affine = np.eye(4)
    return PreparedCase("scan", image, label, (1.0,) * 3, affine, {}, foreground, voxels)


def starts_of(case, rule, count, architecture=None, patch=PATCH, batch=1):
    """First voxels of patches, and centres as they were drawn."""
    architecture = architecture or Smallest()
    spec = architecture.spec(configure(architecture), Task(KITS19, patch))
    positions, rng = Positions(rule, batch, spec), np.random.default_rng(0)
    edges = np.array(spec.grids[0].shape)
    centres = np.array([positions.centre(case, rng, batch - 1) for _ in range(count)])
    inside = case.image.shape if rule.inside else None
    placed = np.array([on_whole_voxels(centre, edges, inside) for centre in centres])
    return (placed - edges / 2).astype(int), centres


@pytest.mark.parametrize("patch", [(16, 16, 16), (15, 16, 17)])
def test_a_patch_lies_about_its_voxel_as_monai_and_nnunet_cut(patch):
    for voxel in itertools.product((7, 8), (10, 11), (20, 21)):
        centre = np.array(voxel) + 0.5
        start = on_whole_voxels(centre, patch) - np.array(patch) / 2
        np.testing.assert_array_equal(start, np.array(voxel) - np.array(patch) // 2)


@pytest.mark.parametrize(
    "weights", [HALF_AND_HALF, (("tumor", 0.4), ("kidney", 0.2), ("background", 0.4))]
)
def test_patches_begin_on_voxels_of_both_parities(weights):
    starts, _ = starts_of(scan(), Sampling("mixture", weights=weights), 600)
    even = (starts % 2 == 0).mean(0)
    assert (np.abs(even - 0.5) < 0.1).all()


def test_labels_are_met_by_their_voxels_however_many_positions_are_kept():
    whole = scan()
    share = whole.voxels[2] / sum(whole.voxels.values())
    capped = volume(whole.image, whole.label, kept=20)
    assert len(capped.foreground[1]) == len(capped.foreground[2]) == 20
    rule = Sampling("mixture", weights=(("foreground", 1.0),))
    for case in (whole, capped):
        _, centres = starts_of(case, rule, 3000)
        drawn = case.label[tuple(np.floor(centres).astype(int).T)]
        assert set(drawn.tolist()) == {1, 2}
        assert (drawn == 2).mean() == pytest.approx(share, abs=0.02)


def test_a_store_tells_how_many_voxels_there_are(phantom, tmp_path, monkeypatch):
    from kitsbench.data.datasets.dataset import open_dataset

    monkeypatch.setattr(room, "MOST_POSITIONS", 50)
    dataset = open_dataset(phantom)
    store = room.prepare(dataset.select([dataset.cases[0].id]), (9.0, 9.0, 9.0), tmp_path)
    case = store.case(store.cases[0])
    for value, kept in case.foreground.items():
        assert case.count(value) == (case.label == value).sum()
        assert len(kept) == min(case.count(value), 50)


def test_background_lies_in_the_body_and_patches_in_the_volume():
    case = scan()
    rule = Sampling("mixture", weights=HALF_AND_HALF, background_above=BODY, inside=True)
    starts, centres = starts_of(case, rule, 800)
    voxels = tuple(np.floor(centres).astype(int).T)
    background = case.label[voxels] == 0
    assert background.mean() == pytest.approx(0.5, abs=0.06)
    assert (case.image[voxels][background] > BODY).all()
    assert (starts >= 0).all()
    assert (starts + PATCH <= case.image.shape).all()
    # Without the words half of the background is air, and patches reach beyond the volume.
    starts, centres = starts_of(case, Sampling("mixture", weights=HALF_AND_HALF), 800)
    voxels = tuple(np.floor(centres).astype(int).T)
    assert (case.image[voxels] <= BODY).mean() > 0.2
    assert ((starts < 0) | (starts + PATCH > case.image.shape)).any(1).mean() > 0.2


def test_a_volume_that_is_smaller_than_the_patch_lies_inside_it():
    case = scan((10, 34, 50))
    rule = Sampling("mixture", weights=HALF_AND_HALF, inside=True)
    starts, _ = starts_of(case, rule, 100)
    assert (starts[:, 0] <= 0).all()
    assert (starts[:, 0] + 16 >= 10).all()


@pytest.mark.parametrize("missing", ["foreground", "body"])
def test_where_a_kind_is_missing_the_other_is_drawn(missing):
    case = scan()
    if missing == "foreground":
        case = volume(case.image, np.zeros_like(case.label))
    else:
        case = volume(np.where(case.label > 0, 40, -1000).astype(np.int16), case.label)
    rule = Sampling("mixture", weights=HALF_AND_HALF, background_above=BODY, inside=True)
    _, centres = starts_of(case, rule, 50)
    voxels = tuple(np.floor(centres).astype(int).T)
    assert (case.image[voxels] > BODY).all()
    assert (case.label[voxels] > 0).all() == (missing == "body")


@pytest.mark.parametrize("size", [(16, 16, 16), (15, 12, 17)])
def test_centres_are_distributed_as_monais(size):
    """The realised centres of the crops: kinds, and quantiles along every axis."""
    torch = pytest.importorskip("torch")
    transforms = pytest.importorskip("monai.transforms")
    case, count = scan(), 4000
    crop = transforms.RandCropByPosNegLabel(size, pos=1, neg=1, num_samples=count)
    crop.set_random_state(0)
    label = torch.from_numpy(case.label.astype(np.float32))[None]
    # The image as the paper's transforms hand it on: the window's lower end is 0.
    image = torch.from_numpy(case.image.astype(np.float32) - BODY)[None]
    crop.randomize(label=label, image=image)
    theirs = np.array(crop.centers)
    rule = Sampling("mixture", weights=HALF_AND_HALF, background_above=BODY, inside=True)
    ours = starts_of(case, rule, count, patch=size)[0] + np.array(size) // 2
    for values in (ours, theirs):
        assert (values - np.array(size) // 2 >= 0).all()
        assert (values - np.array(size) // 2 + size <= case.image.shape).all()
    kinds = [np.bincount(case.label[tuple(v.T)], minlength=3) / count for v in (ours, theirs)]
    np.testing.assert_allclose(kinds[0], kinds[1], atol=0.04)
    for axis in range(3):
        share = [
            np.cumsum(np.bincount(v[:, axis], minlength=case.image.shape[axis])) / count
            for v in (ours, theirs)
        ]
        # Kolmogorov and Smirnov: 1.95 * sqrt(2 / n) is passed once in a thousand times.
        assert np.abs(share[0] - share[1]).max() < 1.95 * np.sqrt(2 / count)


# --- lattices -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "tile", "steps"),
    [
        ((21, 30, 17), (8, 8, 8), (4, 4, 4)),
        ((5, 40, 9), (6, 7, 3), (6, 2, 3)),
        ((3, 3, 3), (8, 8, 8), (1, 1, 1)),
    ],
)
def test_a_lattice_covers_its_volume_and_knows_what_its_tiles_hold(shape, tile, steps):
    mask = np.random.default_rng(0).random(shape) < 0.004
    first, counts = lattice(shape, tile, steps)
    found = tiles_with(mask, tile, steps)
    assert found.shape == tuple(counts)
    seen = np.zeros(shape, bool)
    for place in np.ndindex(*counts):
        start = first + np.array(place) * steps
        box = tuple(slice(max(s, 0), s + n) for s, n in zip(start, tile, strict=True))
        seen[box] = True
        assert found[place] == mask[box].any()
        assert mask[box].size
    assert seen.all()
    last = first + (counts - 1) * steps + tile - shape
    assert (np.abs(last + first) <= 1).all()  # as far beyond it before as behind


@pytest.mark.parametrize("architecture", [Smallest, Valid])
def test_tiles_are_balanced_and_drawn_evenly(architecture):
    case = scan()
    rule = Sampling("lattice", fraction=0.5, overlap=0.5)
    starts, centres = starts_of(case, rule, 2000, architecture())
    output = 16 if architecture is Smallest else 12
    first, _ = lattice(case.image.shape, (output,) * 3, (output // 2,) * 3)
    places = centres - output / 2 - first
    assert (places % (output // 2) == 0).all()
    assert (starts == centres - 8).all()  # whole voxels, so nothing is rounded off the lattice
    table = tiles_with(case.label > 0, (output,) * 3, (output // 2,) * 3)
    places = (places // (output // 2)).astype(int)
    positive = table[tuple(places.T)]
    assert positive.mean() == pytest.approx(0.5, abs=0.04)
    # By voxels, tiles in the middle of a kidney would come several times as often as its rim.
    counts = np.zeros(table.shape)
    np.add.at(counts, tuple(places[positive].T), 1)
    expected = positive.sum() / table.sum()
    spread = ((counts[table] - expected) ** 2 / expected).sum() / table.sum()  # chi squared
    assert 0.5 < spread < 1.7


def test_a_case_of_one_kind_of_tiles_gives_those():
    case = scan()
    empty = volume(case.image, np.zeros_like(case.label))
    rule = Sampling("lattice", fraction=1.0, stride=4)
    assert len(starts_of(empty, rule, 5)[0]) == 5


@pytest.mark.parametrize("centred", [True, False])
def test_a_forced_patch_holds_a_voxel_of_a_label_drawn_as_often_as_the_others(centred):
    case = scan()
    rule = Sampling("foreground", fraction=1.0, centred=centred)
    starts, _ = starts_of(case, rule, 600)
    middles = (starts + np.array(PATCH) // 2).clip(0, np.array(case.label.shape) - 1)
    middles = case.label[tuple(middles.T)]
    share = np.bincount(middles, minlength=3) / 600
    if centred:
        assert share == pytest.approx([0, 0.5, 0.5], abs=0.07)
    else:
        assert share[0] > 0.3


def cornered():
    """Labels in both corners of a volume that has fewer voxels than a patch along one axis."""
    label = np.zeros((11, 40, 36), np.uint8)
    label[:4, :5, :3], label[8:, -4:, -6:] = 1, 2
    return volume(np.zeros(label.shape, np.int16), label)


def test_patches_begin_with_the_volume_and_small_volumes_lie_in_the_middle():
    case = cornered()
    for fraction in (0.0, 1.0):
        rule = Sampling("foreground", fraction=fraction, centred=True)
        starts, _ = starts_of(case, rule, 300)
        assert set(starts[:, 0]) == ({-3, 0, 1, 2} if fraction else {-3, -2})
        assert starts[:, 1:].min() == 0
        last = 0 if fraction else 20  # a forced patch may reach beyond the end
        assert starts[:, 2].max() == (36 - 8 - 1 if fraction else last)
    shared, _ = starts_of(case, Sampling("foreground", fraction=0.0), 50)
    assert set(shared[:, 0]) == {0}


@pytest.mark.parametrize("forced", [True, False])
@pytest.mark.parametrize("made", [scan, cornered])
def test_a_patch_lies_as_nnunet_cuts_it(made, forced):
    """The realised first voxels, along every axis; what lies near an edge is moved in there."""
    loaders = pytest.importorskip("nnunetv2.training.dataloading.data_loader")
    case, count = made(), 2000
    loader = object.__new__(loaders.nnUNetDataLoader)  # which wants a folder of preprocessed cases
    loader.patch_size, loader.need_to_pad = np.array(PATCH), np.zeros(3, int)
    loader.has_ignore, loader.annotated_classes_key = False, (-1, 0, 1, 2)
    places = {v: np.insert(np.argwhere(case.label == v), 0, 0, 1) for v in (1, 2)}
    shape = np.array(case.image.shape)
    np.random.seed(0)  # noqa: NPY002 - what their code draws by
    theirs = np.array([loader.get_bbox(shape, forced, places)[0] for _ in range(count)])
    rule = Sampling("foreground", fraction=float(forced), centred=True)
    ours, _ = starts_of(case, rule, count)
    for axis in range(3):
        reach = range(min(ours[:, axis].min(), theirs[:, axis].min()), int(shape[axis]))
        share = [[(v[:, axis] <= place).mean() for place in reach] for v in (ours, theirs)]
        assert np.abs(np.subtract(*share)).max() < 1.95 * np.sqrt(2 / count)


# --- what stays, and what is refused --------------------------------------------------------


def test_words_that_nobody_uses_change_no_hash():
    assert set(Recipe().to_dict()["sampling"]) == {
        "rule",
        "fraction",
        "weights",
        "stride",
        "per_volume",
    }
    used = Sampling("mixture", weights=HALF_AND_HALF, background_above=-80)
    assert used.background_above == -80.0
    assert Recipe(sampling=used).digest() != Recipe().digest()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"rule": "uniform", "background_above": 0.0}, "background_above=0.0 .* 'uniform'"),
        (
            {"rule": "mixture", "weights": HALF_AND_HALF, "background_above": float("nan")},
            "background_above=nan",
        ),
        ({"rule": "lattice", "overlap": 1.0}, r"overlap=1\.0"),
        ({"rule": "lattice", "overlap": 0.5, "stride": 4}, r"overlap=0\.5"),
        ({"rule": "uniform", "overlap": 0.5}, r"overlap=0\.5"),
        ({"inside": "yes"}, "inside='yes'"),
        ({"centred": 1}, "centred=1"),
        ({"rule": "uniform", "centred": True}, "centred=True .* 'foreground'"),
    ],
)
def test_words_without_sense_are_refused(words, told):
    with pytest.raises(ContractError, match=told):
        Sampling(**words)


def test_a_sampler_of_ones_own_is_kept_inside_too(coarse_store):
    spec = Smallest().spec(configure(Smallest()), Task(KITS19, PATCH))
    recipe = Recipe(sampling=Sampling("plugin:any", inside=True))
    source = PatchSource({"image": coarse_store}, coarse_store.cases, spec, recipe, 0)
    name = coarse_store.cases[0]
    source.sampler = lambda step: [(name, np.zeros(3))] * 2
    shape = np.array(coarse_store.case(name).image.shape)
    np.testing.assert_array_equal(source._centre(name, 0, 0), np.minimum(shape - 16, 0) + 8)
