"""Recipes of the zoo do what the authors' code does, where that differs from this project's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import realised
from kitsbench_plugins.recipes import NNUNET, nnunet_recipe

from kitsbench import registry
from kitsbench.architecture import configure

pytest.importorskip("kitsbench_zoo", reason='needs "./plugins/zoo[all]"')

DRAWS = 400


def recipe_of(name, patch=None):
    entry = registry.load(name)
    if entry.status == "missing dependency":
        pytest.skip(entry.error)
    architecture = entry.architecture
    task = registry.paper_task(architecture)
    task = task if patch is None else replace(task, patch=patch)
    return architecture.spec(configure(architecture), task).paper


def test_vnet_is_bent_as_a_b_spline_of_its_authors_bends():
    """SimpleITK's, with 2x2x2 elements and an sd of 15 mm, along y and x alone."""
    import SimpleITK as sitk

    recipe, rng = recipe_of("vnet"), np.random.default_rng(0)
    z, y, x = recipe.patch
    image = sitk.Image(x, y, z, sitk.sitkUInt8)
    image.SetSpacing(recipe.spacing[::-1])
    bend = sitk.BSplineTransformInitializer(image, [2, 2, 2])
    places = rng.integers(0, (x, y, z), (200, 3)).tolist()
    points = [image.TransformIndexToPhysicalPoint(place) for place in places]
    expected = []
    for _ in range(60):
        values = rng.normal(0, 15, (3, len(bend.GetParameters()) // 3))
        values[2] = 0
        bend.SetParameters(values.ravel().tolist())
        away = [np.subtract(bend.TransformPoint(point), point) for point in points]
        expected.append(np.sqrt(np.mean(np.square(away))))
    found = realised.displacements(recipe, recipe.spacing, recipe.patch, 60)
    assert found.mean() == pytest.approx(np.mean(expected), rel=0.1)
    assert found.std() == pytest.approx(np.std(expected), rel=0.5)
    bent = ~np.isnan(realised.of_recipe(recipe, recipe.spacing, DRAWS)["bent"])
    assert bent.mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    "name",
    ["dynunet", "mednext_s", "primus", "stunet", "umamba_base", "unetplusplus", "swin_unetr"],
)
def test_whoever_takes_nnunets_recipe_augments_flat_patches_as_that_does(name):
    """Of a patch that is more than three times as wide as deep the plane alone is moved."""
    flat, cube = recipe_of(name, (32, 160, 160)), recipe_of(name, (96, 96, 96))
    if name == "swin_unetr":  # by a recipe of its authors'
        assert flat == cube
        return
    assert flat.augmentation == nnunet_recipe((32, 160, 160)).augmentation
    assert cube.augmentation == NNUNET.augmentation


def test_slices_of_attention_unet_move_in_their_plane():
    recipe = recipe_of("attention_unet")
    values = realised.of_recipe(recipe, recipe.spacing, DRAWS)
    still = {"scale z", "turn z", "translation z", "mirror z"}
    assert not still & values.keys()
    for axis in "yx":
        factors = values[f"scale {axis}"]  # of coordinates
        assert (factors.min(), factors.max()) == pytest.approx((0.7, 1.3), abs=0.02)
        assert values[f"turn {axis}"].max() == pytest.approx(15, abs=0.5)
        assert np.abs(values[f"translation {axis}"]).max() == pytest.approx(16, abs=0.5)
        flipped = ~np.isnan(values[f"mirror {axis}"])
        assert flipped.mean() == pytest.approx(0.5, abs=0.1)
    assert np.corrcoef(values["scale y"], values["scale x"])[0, 1] < 0.2


def test_auto3dseg_turns_and_scales_together_as_monai_draws_both():
    transforms = pytest.importorskip("monai.transforms")
    recipe = recipe_of("segresnet_ds")
    values = realised.of_recipe(recipe, (2.0, 0.8, 0.8), 1000)
    scaled = ~np.isnan(values["scale z"])
    assert scaled.mean() == pytest.approx(0.2, abs=0.04)
    assert (~np.isnan(values["turn x"]) == scaled).all()
    grid = transforms.RandAffineGrid(rotate_range=(0.26,) * 3, scale_range=(0.2,) * 3)
    grid.set_random_state(0)
    theirs = []
    for _ in range(300):
        grid(spatial_size=(3, 3, 3))
        matrix = grid.get_transformation_matrix().numpy()[:3, :3]
        theirs.append([*realised._moved(matrix).values()])
    mine = [values[f"{what} {axis}"][scaled] for axis in "zyx" for what in ("scale", "turn")]
    for found, expected in zip(mine, np.transpose(theirs), strict=True):
        assert found.mean() == pytest.approx(expected.mean(), abs=0.25 * expected.std() + 0.01)
        assert found.std() == pytest.approx(expected.std(), rel=0.2)


def test_segresnet_shifts_by_the_sd_of_each_image():
    (shift,) = (t for t in recipe_of("segresnet").augmentation if t.name == "shift")
    assert shift["of_sd"]
    assert shift["range"] == (-0.1, 0.1)


@pytest.mark.parametrize("name", ["unetr", "swin_unetr", "swin_unetr_v2"])
def test_what_is_dark_is_cut_off_and_no_background(name):
    """MONAI's CropForeground and its image_threshold: 0 is the lower end of the window there."""
    recipe = recipe_of(name)
    darkest = recipe.intensity.clip[0]
    assert recipe.preparation.crop_above == darkest
    assert recipe.sampling.background_above == darkest
    assert recipe.sampling.inside


def test_the_rate_of_vnet_falls_where_it_does_in_thirty_thousand_steps():
    schedule = recipe_of("vnet").schedule
    assert schedule.at(24_999 / 30_000) == 1
    assert schedule.at(25_001 / 30_000) == schedule.at(1.0) == pytest.approx(0.1)
