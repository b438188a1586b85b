"""What a network is shown beside the CT is the same in training and in inference."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from architectures import PATCH
from architectures.seeing import Everything, TwoPhases, WholeScan
from scans import case, save
from two_phases import write_two_phases

from kitsbench.architecture import Architecture, Channel, Grid, Input, Task, configure
from kitsbench.data.batches.augmentation import Augmenter
from kitsbench.data.batches.source import training_source
from kitsbench.data.channels.files import complete_scan
from kitsbench.data.channels.stores import FOLDER, grid_stores, image_key
from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.preparation.prepare import prepare
from kitsbench.data.preparation.volumes import PLAIN, How, load_case
from kitsbench.errors import ContractError, DataError
from kitsbench.experiments.records import TrialIdentity
from kitsbench.experiments.trial.trained import open_stores
from kitsbench.inference.cutting import DeviceScan
from kitsbench.inference.tiles import tile_corners
from kitsbench.recipe import TRANSFORMS, Recipe, Transform
from kitsbench.spec import Spec

WINDOW = (-100.0, 300.0, 50.0, 0.01)
SPACING = {"image": (3.0, 3.0, 3.0), "wide": (6.0, 6.0, 6.0)}
MOVES = tuple(
    Transform(name, 1.0, parameters)
    for name, parameters in (
        ("rotation", ()),
        ("scale", ()),
        ("translation", (("mm", (3.0, 2.0, 2.0)),)),
        ("elastic", (("spacing_mm", (20.0,) * 3), ("magnitude_mm", (1.0,) * 3))),
        ("mirror", ()),
    )
)
INTENSITY = tuple(
    Transform(name, 1.0) for name in sorted(set(TRANSFORMS) - {move.name for move in MOVES})
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_two_phases(tmp_path_factory.mktemp("phases") / "Dataset001_Phases"))


@pytest.fixture(scope="module")
def folders(dataset, tmp_path_factory):
    """Prepared stores of both grids, and of the second phase on the first."""
    out = tmp_path_factory.mktemp("prepared")
    made = {grid: prepare(dataset, spacing, out).folder for grid, spacing in SPACING.items()}
    late = prepare(dataset.of_channel(1), SPACING["image"], out).folder
    return {**made, image_key("image", "late", 1): late}


def spec_of(architecture: Architecture, patch=PATCH) -> Spec:
    return architecture.spec(configure(architecture), Task(patch=patch))


def stores_of(folders, architecture=None, source="source"):
    architecture = architecture or Everything()
    spec = spec_of(architecture)
    derive = partial(architecture.derive, spec=spec)
    return spec, grid_stores(folders, spec, derive, source)


def batch_of(folders, transforms=(), step=0, host=True):
    """Network inputs of a step of training, and the samples that they were made of."""
    spec, stores = stores_of(folders)
    recipe = Recipe(batch=3, augmentation=transforms)
    cases = stores["image"].cases
    source = training_source(stores, cases, spec, recipe, WINDOW, seed=1)
    augment = Augmenter(spec.grids, SPACING["image"], transforms, WINDOW, seed=1)
    ready = source.prepared(step, augment)
    return augment.apply(ready if host else ready.for_device())[0], ready, source


def names_of(grid: str) -> list[str]:
    (found,) = [own for own in spec_of(Everything()).grids if own.name == grid]
    return [channel.name for channel in found.channels]


def test_a_patch_is_shown_the_same_in_training_and_in_inference(folders):
    spec, stores = stores_of(folders)
    for step in range(3):
        inputs, ready, source = batch_of(folders, step=step)
        for sample, name in enumerate(ready.cases):
            volumes = {grid: store.case(name) for grid, store in stores.items()}
            scan = DeviceScan(volumes, spec.grids, WINDOW, torch.device("cpu"), spec.inputs)
            shown = scan.tiles([source._centre(name, step, sample)])
            assert list(shown) == list(inputs) == list(spec.input_shapes())
            for key, values in shown.items():
                torch.testing.assert_close(values[0], inputs[key][sample], atol=1e-4, rtol=0)


def test_a_scan_in_files_of_its_own_is_shown_as_the_datasets_cases_are(dataset, folders):
    spec, stores = stores_of(folders)
    case = dataset.cases[1]
    volumes = {
        grid: load_case(case.id, case.image, None, spacing).case
        for grid, spacing in SPACING.items()
    }
    derive = partial(Everything().derive, spec=spec)
    numbers = {"image": {"late": 1}}
    found = complete_scan(case.image, volumes, SPACING, spec, numbers, derive, PLAIN)
    for grid, store in stores.items():
        kept = store.case(case.id)
        assert list(found[grid].channels) == list(kept.channels)
        for name, values in kept.channels.items():
            np.testing.assert_array_equal(found[grid].channels[name], values)
        for name, values in kept.numbers.items():
            np.testing.assert_array_equal(found[grid].numbers[name], values)


@pytest.mark.parametrize("host", [True, False])
def test_what_lies_in_the_scan_moves_with_it(folders, host):
    """Coordinates that are computed, and the same as volumes that are resampled."""
    for step in range(4):
        inputs, _, _ = batch_of(folders, MOVES, step, host)
        image, names = inputs["image"], names_of("image")
        inside = image[:, names.index("border")] > 1.6  # half a voxel from any face
        assert inside.float().mean() > 0.2
        for axis, name in enumerate("zyx"):
            computed = image[:, names.index(name)][inside]
            ramp = image[:, names.index(f"ramp {axis}")][inside]
            # What lies beyond the margin of the source patch is outside for what is resampled.
            assert ((computed - ramp).abs() < 1e-2).float().mean() > 0.9


def test_both_phases_move_alike_and_the_second_by_its_own_voxels(folders):
    """The late phase is the CT, and 80 HU more where the tumour is."""
    for transforms in ((), MOVES):
        inputs, _, _ = batch_of(folders, transforms)
        names = names_of("image")
        ct, late = (inputs["image"][:, names.index(name)] for name in ("ct", "late"))
        more = (late - ct) / WINDOW[3]
        assert more.min() > -1e-2
        assert 40 < more.max() < 80.1


def test_changes_of_intensity_touch_images_alone(folders):
    plain, changed = (batch_of(folders, t)[0]["image"] for t in ((), INTENSITY))
    for place, name in enumerate(names_of("image")):
        assert torch.equal(plain[:, place], changed[:, place]) == (name not in ("ct", "late"))
    noise = (Transform("noise", 1.0),)
    found = batch_of(folders, noise)[0]["image"] - plain
    ct, late = (found[:, names_of("image").index(name)].flatten() for name in ("ct", "late"))
    assert abs(torch.corrcoef(torch.stack([ct, late]))[0, 1]) < 0.1


def test_numbers_are_those_of_the_patch_as_it_is_shown(folders):
    zoom = (Transform("scale", 1.0, (("range", (1.25, 1.25)),)),)
    plain, zoomed = (batch_of(folders, t)[0] for t in ((), zoom))
    torch.testing.assert_close(plain["spacing"], torch.full((3, 3), 3.0))
    torch.testing.assert_close(zoomed["spacing"], torch.full((3, 3), 3.0 / 1.25))
    torch.testing.assert_close(plain["file"], torch.tensor([[3.0, 2.0, 2.0]] * 3))
    assert torch.equal(plain["file"], zoomed["file"])
    # The middle of a patch of even edge lies between the middles of two voxels.
    moved = batch_of(folders, MOVES[2:3])[0]
    for inputs in (plain, zoomed, moved):
        places = inputs["wide"][:, 3:, 7:9, 7:9, 7:9].mean((2, 3, 4))
        torch.testing.assert_close(inputs["where wide"], places, atol=1e-5, rtol=0)
        torch.testing.assert_close(inputs["where"], places, atol=0.1, rtol=0)
    assert not torch.equal(moved["where"], plain["where"])
    assert plain["body"].shape == (3, 2)
    assert set(plain["body"][:, 1].tolist()) == {6.0}


def test_functions_of_the_scan_are_computed_once_for_each_source(folders):
    calls = []

    class Counting(TwoPhases):
        def derive(self, name, scan, spec):
            calls.append(name)
            assert not scan.ct.flags.writeable
            return super().derive(name, scan, spec)

    only = {key: folder for key, folder in folders.items() if key != "wide"}
    for source in ("one", "one", "two"):
        _, stores = stores_of(only, Counting(), source)
        stores["image"].verify(stores["image"].cases)
    assert len(calls) == 2 * len(stores["image"].cases)
    assert len(list((only["image"] / FOLDER).iterdir())) >= 2


def test_functions_of_the_scan_are_kept_by_the_versions_of_packages(folders):
    """Where a profile looks for them too, which is told the trial's code."""
    only = {key: folder for key, folder in folders.items() if key != "wide"}
    places = set()
    for packages in ({}, {"scipy": "1.15.0"}, {"scipy": "1.16.0"}):
        identity = TrialIdentity.model_construct(source_hash="source", packages=packages)
        trial = SimpleNamespace(identity=identity)
        task = SimpleNamespace(stores=only, spec=spec_of(TwoPhases()), trial=trial)
        kept = open_stores(task)["image"].kept
        assert kept == stores_of(only, TwoPhases(), identity.code)[1]["image"].kept
        places.add(kept)
    assert len(places) == 3


@pytest.mark.parametrize("file", ["channel_0.npy", "input_0.npy", "SHA256SUMS"])
def test_what_is_kept_of_a_scan_is_checked_before_a_training(folders, file):
    _, stores = stores_of(folders, source=f"changed {file}")
    store = next(s for s in stores.values() if s.wanted.functions and s.wanted.numbers)
    store.verify(store.cases)
    kept = store.kept / store.cases[-1] / file
    content = bytearray(kept.read_bytes())
    content[3 if file == "SHA256SUMS" else -1] ^= 1
    kept.write_bytes(content)
    with pytest.raises(DataError, match=r"was changed since it was prepared.*\nDelete the folder"):
        store.verify(store.cases)
    kept.unlink()
    with pytest.raises(DataError, match=rf"{file} (cannot be read|is damaged): .*\nDelete"):
        store.verify(store.cases)
    shutil.rmtree(kept.parent)
    store.verify(store.cases)  # it is made anew


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda scan: scan.ct[:-1], "returned shape"),
        (lambda scan: np.full(scan.shape, np.nan), "NaN or infinite"),
        (lambda scan: "ramp", "returned a str"),
    ],
)
def test_a_function_that_gives_no_channel_is_refused(folders, answer, message):
    class Wrong(TwoPhases):
        def derive(self, name, scan, spec):
            return answer(scan)

    only = {key: folder for key, folder in folders.items() if key != "wide"}
    _, stores = stores_of(only, Wrong(), message)
    with pytest.raises(ContractError, match=message):
        stores["image"].case("case0")


def test_without_the_hook_the_author_is_told(folders):
    class Forgotten(TwoPhases):
        derive = Architecture.derive

    only = {key: folder for key, folder in folders.items() if key != "wide"}
    with pytest.raises(ContractError, match=r"names 'washout' a function.*does not define"):
        stores_of(only, Forgotten(), "forgotten")[1]["image"].case("case0")


@pytest.mark.parametrize("name", ["torchio.RandomAffine", "monai.RandFlipd", "plugin:blur"])
def test_transforms_from_outside_are_refused_beside_channels(folders, name):
    spec, stores = stores_of(folders)
    recipe = Recipe(augmentation=(Transform(name, 1.0),))
    with pytest.raises(ContractError, match=f"names {name}, .* given the CT alone"):
        training_source(stores, stores["image"].cases, spec, recipe, WINDOW, seed=0)


# --- whole scans ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edge", "shape", "spacing"), [(2.0, (16, 13, 16), 3.0), (4.0, (12, 10, 12), 4.0)]
)
def test_a_scan_is_fitted_into_the_patch(dataset, tmp_path, edge, shape, spacing):
    """48 x 40 x 48 mm in 16 voxels: larger ones where they would be too many."""
    spec = spec_of(WholeScan())
    assert spec.fit == PATCH
    store = prepare(dataset, (edge,) * 3, tmp_path, how=How(spec.fit))
    case = store.case("case0")
    assert (case.image.shape, case.label.shape) == (shape, shape)
    np.testing.assert_allclose(case.spacing, spacing)
    loaded = load_case("case0", dataset.cases[0].image, None, (edge,) * 3, how=How(spec.fit)).case
    np.testing.assert_array_equal(loaded.image, case.image)
    plain = prepare(dataset, (edge,) * 3, tmp_path)
    assert plain.id != store.id
    assert (plain.case("case0").image.shape == shape) == (edge == 4.0)
    # The whole scan is the patch: in training where the one tile of inference lies.
    stores = grid_stores({"image": store.folder}, spec, partial(WholeScan().derive, spec=spec), "")
    source = training_source(stores, store.cases, spec, Recipe(batch=2), WINDOW, seed=0)
    augment = Augmenter(spec.grids, (edge,) * 3, (), WINDOW, seed=0)
    ready = source.prepared(0, augment)
    inputs, labels = augment.apply(ready)
    found = stores["image"].case(ready.cases[0])
    (corner,) = tile_corners(found.image.shape, PATCH, 0.5)
    scan = DeviceScan({"image": found}, spec.grids, WINDOW, torch.device("cpu"), spec.inputs)
    shown = scan.tiles([np.array(corner) + np.array(PATCH) / 2])
    for name, values in shown.items():
        torch.testing.assert_close(values[0], inputs[name][0], atol=1e-5, rtol=0)
    assert (labels["image"][0] > 0).sum() == (found.label > 0).sum()
    torch.testing.assert_close(inputs["spacing"][0], torch.full((3,), spacing))


# --- which files channels are ---------------------------------------------------------------


def test_channels_are_found_by_name_and_number(dataset):
    assert [dataset.channel_number(name) for name in ("late", "LATE", "0001", "1", "ct")] == [
        1,
        1,
        1,
        1,
        0,
    ]
    late = dataset.of_channel(1)
    assert [case.image.name for case in late.cases][:1] == ["case0_0001.nii.gz"]
    assert late.fingerprint != dataset.fingerprint
    with pytest.raises(DataError, match=r"has no channel 'early': its images are CT \(0000\), la"):
        dataset.channel_number("early")


def test_a_dataset_without_further_images_says_so(tmp_path):
    case(tmp_path / "kits", "case_00000")
    with pytest.raises(DataError, match=r"has no channel 'late': its images are 0000\."):
        open_dataset(tmp_path / "kits").channel_number("late")


def test_a_case_that_lacks_a_channel_or_has_it_elsewhere_is_set_aside(tmp_path):
    folder = write_two_phases(tmp_path / "Dataset002_Gaps", cases=3)
    (folder / "imagesTr" / "case1_0001.nii.gz").unlink()
    image = np.random.default_rng(0).integers(0, 99, (4, 5, 6)).astype(np.int16)
    save(folder / "imagesTr" / "case2_0001.nii.gz", image)
    store = prepare(open_dataset(folder).of_channel(1), (3.0, 3.0, 3.0), tmp_path / "out")
    assert store.cases == ["case0"]
    assert store.excluded["case1"] == "missing channel 0001"
    assert "case2" in store.excluded


def test_names_in_dataset_json_of_both_versions(tmp_path):
    folder = write_two_phases(tmp_path / "Dataset003_Old", cases=2)
    content = json.loads((folder / "dataset.json").read_text())
    content["modality"] = content.pop("channel_names")
    (folder / "dataset.json").write_text(json.dumps(content))
    assert open_dataset(folder).channel_number("late") == 1


# --- the words ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Channel("a:b"), "no name of a channel"),
        (lambda: Channel(""), "no name of a channel"),
        (lambda: Channel("x", "distance"), "source of channel 'distance' is not known"),
        (lambda: Channel("x", "position", 3), "axis of channel 3"),
        (lambda: Channel("x", "position", 0, "cm"), "unit of channel 'cm'"),
        (lambda: Channel("x", "function", outside=float("nan")), "outside=nan"),
        (lambda: Input("age", "table"), "source of input 'table' is not known"),
        (lambda: Input("spacing", size=2), "gives 3 numbers"),
        (lambda: Input("body", "function", size=0), "must be 1 or more"),
    ],
)
def test_words_that_mean_nothing_are_refused(make, message):
    with pytest.raises(ContractError, match=message):
        make()


def test_who_names_no_channel_keeps_the_hash_of_the_spec():
    from architectures import Smallest, TwoGrids

    for architecture in (Smallest(), TwoGrids()):
        data = spec_of(architecture).to_dict()
        assert "inputs" not in data
        assert not any("channels" in grid for grid in data["grids"])
    plain = spec_of(Smallest())
    (grid,) = plain.grids
    seen = replace(plain, grids=(replace(grid, channels=(Channel(), Channel("late"))),))
    assert seen.digest() != plain.digest()
    assert Grid("image", PATCH).channels == (Channel("ct"),)
