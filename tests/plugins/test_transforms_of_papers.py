"""Every recipe's transforms do to voxels what the code that its paper used does to them.

Share of the samples that are touched, mean and spread, measured on images. What the code of others
gives is stored, and measured again where it is installed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import realised
import torch
from kitsbench_plugins.attention_vnet.plan import paper_recipe
from kitsbench_plugins.boundary_aware.recipe import RECIPE as BOUNDARY_AWARE
from kitsbench_plugins.cascade_classifier.recipe import RECIPE as CASCADE
from kitsbench_plugins.recipes import MSAN, NNUNET, SCAU, nnunet_recipe, scau_recipe

from kitsbench import registry
from kitsbench.architecture import Task, configure
from kitsbench.files import read_json

CUBES = (1.0, 1.0, 1.0)
FULL, LOW = paper_recipe("full", 3e-4), paper_recipe("low", 3e-4)
RECIPES = {
    # Voxels of any shape: their code takes them for cubes.
    "nnunet": (NNUNET, (3.0, 0.8, 0.8)),
    "nnunet, flat": (nnunet_recipe((32, 160, 160)), (5.0, 0.8, 0.8)),
    "attention_vnet": (FULL, FULL.spacing),
    "scau": (SCAU, SCAU.spacing),
}
DRAWS = 1000


def stored(source):
    return read_json(realised.STORED)["facts"][source]


def assert_alike(found, expected, name, count):
    """Within four standard errors of the difference."""
    count = 1 / (1 / count + 1 / read_json(realised.STORED)["draws"])
    share = expected["share"]
    spread = np.sqrt(share * (1 - share) / count)
    assert found["share"] == pytest.approx(share, abs=4 * spread + 1e-9), name
    touched = max(share * count, 1)
    error = 4 * expected["sd"] / np.sqrt(touched) + 2e-3 * abs(expected["mean"])
    assert found["mean"] == pytest.approx(expected["mean"], abs=error + 1e-6), name
    # Four standard errors of an sd whose kurtosis is at most that of a normal distribution.
    far = 4 / np.sqrt(2 * touched) + 5e-3
    assert found["sd"] == pytest.approx(expected["sd"], rel=far, abs=1e-6), name


@pytest.mark.parametrize("source", RECIPES)
def test_a_recipe_does_what_its_source_does(source):
    values = realised.of_recipe(*RECIPES[source], DRAWS)
    values = {name: own for name, own in values.items() if name != "bent"}
    expected = {name: own for name, own in stored(source).items() if name != "displacement"}
    if source == "attention_vnet":  # mirrored by a coin for each axis
        expected |= {f"mirror {axis}": {"share": 0.5, "mean": 1.0, "sd": 0.0} for axis in "zyx"}
    assert values.keys() == expected.keys()
    for name, own in values.items():
        assert_alike(realised.summary(own), expected[name], name, DRAWS)


def test_the_two_networks_of_a_paper_are_augmented_alike():
    assert LOW.augmentation == FULL.augmentation


@pytest.mark.parametrize(
    ("source", "recipe", "patch"),
    [("attention_vnet", FULL, FULL.patch), ("scau", SCAU, (64, 128, 128))],
)
def test_an_elastic_deformation_displaces_as_far(source, recipe, patch):
    found = realised.displacements(recipe, recipe.spacing, patch, 200)
    expected = stored(source)["displacement"]
    assert found.mean() == pytest.approx(expected["mean"], rel=0.08)
    assert found.std() == pytest.approx(expected["sd"], rel=0.12)


def test_what_one_transform_of_the_source_does_happens_together():
    """MONAI's Rand3DElastic bends, scales, turns and moves, or does nothing at all."""
    values = realised.of_recipe(SCAU, SCAU.spacing, 400)
    bent = ~np.isnan(values["bent"])
    assert bent.mean() == pytest.approx(0.5, abs=0.1)
    for name in ("scale z", "turn x", "translation y"):
        assert (~np.isnan(values[name]) == bent).all()
    assert (np.isnan(values["noise sd"]) != np.isnan(values["shift added"])).any()


def test_what_a_paper_says_in_words_is_what_happens():
    cascade = realised.of_recipe(CASCADE, CASCADE.spacing, 500)
    for axis in "zyx":
        factors = 1 / cascade[f"scale {axis}"]
        ends = (np.nanmin(factors), np.nanmax(factors))
        assert ends == pytest.approx((0.95, 1.05), abs=2e-3)
        assert np.nanmax(cascade[f"turn {axis}"]) < 5 * 2**0.5 + 0.1  # turned about two others
    low, high = CASCADE.intensity.clip
    shifts = cascade["shift added"] * (high - low)
    assert (shifts.min(), shifts.max()) == pytest.approx((-50, 50), abs=1)
    (elastic,) = (t for t in CASCADE.augmentation if t.name == "elastic")
    assert CASCADE.patch[0] / elastic["spacing_mm"] + 1 == 10  # control points along an edge

    aware = realised.of_recipe(BOUNDARY_AWARE, BOUNDARY_AWARE.spacing, 500)
    added, factor = aware["shift added"], aware["brightness factor"]
    assert (added.min(), added.max()) == pytest.approx((-0.1, 0.1), abs=2e-3)
    assert (factor.min(), factor.max()) == pytest.approx((0.9, 1.1), abs=2e-3)
    assert {name for name in aware if "turn" in name or "scale" in name} == set()
    assert MSAN.augmentation == ()


def test_a_shift_in_units_of_the_sd_follows_the_image():
    (shift,) = (t for t in BOUNDARY_AWARE.augmentation if t.name == "shift")
    augment = realised.Augmenter(
        (realised.Grid("image", (8, 8, 8)),), CUBES, (shift,), (0.0, 1.0, 0.0, 1.0), seed=0
    )
    (change,) = augment.draw(3, 0).changes
    image = torch.randn(8, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.3 + 5
    after = image.clone()
    change.apply(after)
    expected = torch.full_like(image, float(image.std()) * change.value)
    torch.testing.assert_close(after - image, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("source", realised.SOURCES)
def test_what_is_stored_is_what_the_source_does(source):
    pytest.importorskip("monai" if source == "scau" else "batchgenerators")
    if source.startswith("nnunet"):
        pytest.importorskip("batchgeneratorsv2")
    np.random.seed(1)  # noqa: NPY002 - what their code draws by
    torch.manual_seed(1)
    count, expected = 300, stored(source)
    values = realised.SOURCES[source](count)
    assert values.keys() == expected.keys() - {"displacement"}
    for name, own in values.items():
        assert_alike(realised.summary(own), expected[name], name, count)


@pytest.mark.parametrize("source", realised.BENDS)
def test_what_is_expected_of_smoothed_noise_is_what_the_source_makes(source):
    pytest.importorskip("monai" if source == "scau" else "batchgenerators")
    np.random.seed(1)  # noqa: NPY002 - what their code draws by
    bend = realised.bent_by_monai if source == "scau" else realised.bent_by_batchgenerators
    small = replace(realised.BENDS[source], patch=(40, 48, 56))
    sigma, amplitude = small.sigma[0], small.amplitude[1]
    draws = [bend(small, sigma, amplitude + draw) for draw in range(6)]
    assert np.sqrt(np.mean(np.square(draws))) == pytest.approx(
        small.rms(sigma, amplitude), rel=0.15
    )
    assert stored(source)["displacement"] == realised.BENDS[source].summary()


def test_nnunet_still_trains_by_the_transforms_that_were_measured():
    """Names, order and chances in the trainer that is installed."""
    trainer = pytest.importorskip("nnunetv2.training.nnUNetTrainer.nnUNetTrainer")
    angles = (-np.pi / 6, np.pi / 6)
    found = trainer.nnUNetTrainer.get_training_transforms(
        (64, 64, 64), angles, None, (0, 1, 2), False
    )
    named = [
        (type(getattr(t, "transform", t)).__name__, getattr(t, "apply_probability", 1.0))
        for t in found.transforms
    ]
    *named, last = named
    assert last[0].startswith("RemoveLabel")  # its ending differs between releases
    assert named == [
        ("SpatialTransform", 1.0),
        ("GaussianNoiseTransform", 0.1),
        ("GaussianBlurTransform", 0.2),
        ("MultiplicativeBrightnessTransform", 0.15),
        ("ContrastTransform", 0.15),
        ("SimulateLowResolutionTransform", 0.25),
        ("GammaTransform", 0.1),
        ("GammaTransform", 0.3),
        ("MirrorTransform", 1.0),
    ]
    assert [transform.name for transform in NNUNET.augmentation] == [
        "rotation",
        "scale",
        "noise",
        "blur",
        "brightness",
        "contrast",
        "low_resolution",
        "gamma",
        "gamma",
        "mirror",
    ]
    inverted = [t.transform.p_invert_image for t in found.transforms[6:8]]
    assert inverted == [t["invert"] for t in NNUNET.augmentation[7:9]] == [1, 0]


def test_a_flat_patch_is_augmented_in_its_plane():
    thick = nnunet_recipe((32, 160, 160))
    values = realised.of_recipe(thick, CUBES, 500)
    assert {name for name in values if name.startswith("scale")} == {"scale y", "scale x"}
    assert "turn z" not in values
    assert nnunet_recipe((48, 128, 128)).augmentation == NNUNET.augmentation
    assert nnunet_recipe().augmentation == NNUNET.augmentation
    assert scau_recipe((64, 128, 128), 1e-4).augmentation == SCAU.augmentation


@pytest.mark.parametrize("name", ["nnunet_plain", "unet3d", "smp_unet", "unet3d:paper_recipe=msan"])
def test_whoever_takes_nnunets_recipe_augments_flat_patches_so(name):
    plain, settings = registry.parse_request(name)
    entry = registry.load(plain)
    if entry.status == "missing dependency":
        pytest.skip(entry.error)
    config = configure(entry.architecture, settings)
    flat, cube = (
        entry.architecture.spec(config, Task(patch=patch)).paper.augmentation
        for patch in ((16, 128, 128), (64, 64, 64))
    )
    of_msan = "msan" in name
    assert flat == (() if of_msan else nnunet_recipe((16, 128, 128)).augmentation)
    assert cube == (() if of_msan else NNUNET.augmentation)
