"""The words of a recipe: what they mean in numbers, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitsbench.errors import ContractError
from kitsbench.experiments.records.parts import StoredRecipe
from kitsbench.files.documents import Document
from kitsbench.named import package_of
from kitsbench.recipe import (
    TRANSFORMS,
    Group,
    Inference,
    Intensity,
    Optimiser,
    Recipe,
    Sampling,
    Schedule,
    Stage,
    Transform,
)

FOREGROUND = {"mean": 100.0, "sd": 75.0, "p0.5": -80.0, "p99.5": 300.0}


def applied(intensity, hu):
    low, high, shift, scale = intensity.resolve(FOREGROUND)
    return (np.clip(hu, low, high) - shift) * scale


def test_zscore_uses_the_foreground_of_the_training_set():
    values = applied(Intensity(), np.array([-1000.0, 100.0, 175.0, 1000.0]))
    np.testing.assert_allclose(values, [-180 / 75, 0, 1, 200 / 75])


def test_fixed_statistics_win():
    rule = Intensity(clip=(-79, 304), mean=101, sd=76.9)
    np.testing.assert_allclose(applied(rule, np.array([101.0, 304.0])), [0, 203 / 76.9])


@pytest.mark.parametrize("target", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_a_range_maps_the_window_onto_the_target(target):
    rule = Intensity(clip=(-80, 305), scale="range", target=target)
    middle = (target[0] + target[1]) / 2
    np.testing.assert_allclose(
        applied(rule, np.array([-2000.0, 112.5, 2000.0])), [target[0], middle, target[1]], atol=1e-9
    )


@pytest.mark.parametrize("scale", ["zscore", "range"])
def test_a_constant_foreground_does_not_divide_by_zero(scale):
    constant = {"mean": 100.0, "sd": 0.0, "p0.5": 100.0, "p99.5": 100.0}
    low, high, shift, scale = Intensity(scale=scale).resolve(constant)
    assert np.isfinite([low, high, shift, scale]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Intensity(clip=(100, -100)), "no window"),
        (lambda: Intensity(scale="log"), "zscore"),
        (lambda: Sampling("everywhere"), "uniform, foreground, mixture or lattice"),
        (lambda: Sampling("mixture", weights=(("tumor", 0.5),)), "add up to 1"),
        (lambda: Sampling("mixture", weights=(("tumor", 1.5), ("kidney", -0.5))), "negative"),
        (lambda: Sampling(fraction=1.5), "fraction"),
        (lambda: Sampling(per_volume=0), "per_volume"),
        (lambda: Transform("flip"), "mirror"),
        (lambda: Transform("noise", parameters=(("sigma", 1.0),)), "it has sd"),
        (lambda: Transform("noise", 1.5), r"\[0, 1\]"),
        (lambda: Transform("noise", parameters=(("sd", (0.2, 0.1)),)), "low, high"),
        (lambda: Transform("noise", parameters=(("sd", 0.1),)), "2 number"),
        (lambda: Transform("noise", parameters=(("sd", (-0.1, 0.1)),)), "not be negative"),
        (lambda: Transform("scale", parameters=(("range", (0.0, 1.0)),)), "larger than 0"),
        (lambda: Transform("scale", parameters=(("isotropic", 1.0),)), "true or false"),
        (lambda: Transform("elastic", parameters=(("spacing_mm", (1.0, 2.0)),)), "1 or 3 number"),
        (lambda: Transform("mirror", parameters=(("axes", (3,)),)), "among 0, 1, 2"),
        (lambda: Transform("scale", parameters=(("axes", (1, 5)),)), "among 0, 1, 2"),
        (lambda: Transform("rotation", parameters=(("voxels", 1),)), "true or false"),
        (lambda: Transform("elastic", parameters=(("smoothness", (0.0, 1.0)),)), "larger than 0"),
        (
            lambda: Transform("gamma", parameters=(("range", (1.1, 1.5)), ("halves", True))),
            "does not hold 1",
        ),
        (lambda: Transform("mirror", together=True), "drawn for each axis"),
        (lambda: Transform("monai.RandFlipd", together=True), "comes from outside"),
        (lambda: Recipe(augmentation=(Transform("noise", together=True),)), "stands there"),
        (
            lambda: Recipe(augmentation=(Transform("plugin:f"), Transform("noise", together=True))),
            "stands there",
        ),
        (lambda: Transform("torchio.", 1.0), "names no transform"),
        (lambda: Transform("monai.", 1.0), "names no transform of monai"),
        (lambda: Transform("plugin:"), "write plugin:NAME"),
        (lambda: Transform("plugin:noise", parameters=("sd", 1.0)), "must be pairs"),
        (lambda: Sampling("plugin:a b"), "write plugin:NAME"),
        (lambda: Sampling("uniform", arguments=(("edge", 3),)), "takes no arguments"),
        (lambda: Optimiser("plugin:a-b"), "write plugin:NAME"),
        (lambda: Optimiser(arguments=(("lr", 0.1),)), "word of its own for 'lr'"),
        (lambda: Optimiser(arguments=(("eps", 1e-3), ("eps", 1e-4))), "give one twice"),
        (lambda: Optimiser(groups=("*.bias",)), "tuple of Group"),
        (lambda: Group(), "has no pattern"),
        (lambda: Group("*.bias"), "tuple of patterns"),
        (lambda: Group(("*.bias",), lr_factor=0.0), "say frozen=True"),
        (lambda: Group(("*.bias",), weight_decay=-1.0), "negative"),
        (lambda: Group(("*.bias",), frozen=True, lr_factor=2.0), "drop one"),
        (lambda: Schedule(warmup=0.1, warmup_steps=3), "drop one of the two"),
        (lambda: Schedule(warmup_steps=0.5), "whole number"),
        (lambda: Schedule(warmup_from=2.0), r"\[0, 1\]"),
        (lambda: Recipe(augmentation=(Transform("elastic"), Transform("elastic"))), "once"),
        (lambda: Optimiser("lion"), "sgd, adam or adamw"),
        (lambda: Optimiser(lr=0), "positive"),
        (lambda: Inference(overlap=1.0), r"\[0, 1\)"),
        (lambda: Inference(blend="median"), "gaussian or uniform"),
        (lambda: Inference(decide="late"), "native or prepared"),
        (lambda: Inference(sigma=0.0), "above 0"),
        (lambda: Inference(mirror=(3,)), "among 0, 1, 2"),
        (lambda: Intensity(scale="range", target=(1.0, 1.0)), "two that differ"),
    ],
)
def test_words_that_a_recipe_does_not_know_are_refused(make, message):
    with pytest.raises(ContractError, match=message):
        make()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_gives_its_parameters(name):
    transform = Transform(name)
    for key, default in TRANSFORMS[name].items():
        assert transform[key] == default
        other = not default if isinstance(default, bool) else (0.25, 0.5)
        if key in ("degrees", "mm"):
            other = (1.0, 2.0, 3.0)
        if key in ("spacing_mm", "magnitude_mm"):
            other = 42.0
        if key == "axes":
            other = (2,)
        if key == "range":
            other = (0.5, 2.0)
        assert Transform(name, parameters=((key, other),))[key] == other


# --- schedules ---------------------------------------------------------------------------------

RULES = ["constant", "polynomial", "cosine", "steps", "exponential", "plateau"]


@given(st.sampled_from(RULES), st.floats(0, 1), st.floats(0, 1), st.floats(1, 50))
def test_factors_never_rise_and_lie_between_zero_and_one(rule, first, second, count):
    schedule = Schedule(rule, count=count)
    early, late = sorted((first, second))
    assert 1 >= schedule.at(early) >= schedule.at(late) >= 0


@pytest.mark.parametrize(("rule", "end"), [("polynomial", 0), ("cosine", 0), ("constant", 1)])
def test_schedules_start_at_one_and_end_where_they_should(rule, end):
    assert Schedule(rule).at(0) == 1
    assert Schedule(rule).at(1) == pytest.approx(end, abs=1e-12)
    assert Schedule(rule).at(7) == Schedule(rule).at(1)


def test_the_polynomial_is_that_of_nnunet():
    assert Schedule("polynomial", power=0.9).at(0.25) == pytest.approx(0.75**0.9)


def test_steps_and_exponential_agree_at_the_steps():
    steps = Schedule("steps", factor=0.9, count=28)
    smooth = Schedule("exponential", factor=0.9, count=28)
    for epoch in range(28):
        assert steps.at((epoch + 1e-9) / 28) == pytest.approx(0.9**epoch)
        assert smooth.at(epoch / 28) == pytest.approx(0.9**epoch)


def test_warmup_rises_linearly():
    schedule = Schedule("constant", warmup=0.1)
    assert [schedule.at(p) for p in (0, 0.05, 0.1, 1)] == pytest.approx([0, 0.5, 1, 1])


# --- identity ----------------------------------------------------------------------------------


def test_a_recipe_is_plain_data_and_its_hash_knows_every_value_but_the_prose():
    recipe = Recipe(augmentation=(Transform("noise", 0.1),))
    assert json.loads(json.dumps(recipe.to_dict()))["augmentation"][0]["name"] == "noise"
    assert recipe.digest() == replace(recipe, sources=(("batch", "section 2"),)).digest()
    for change in (
        {"batch": 3},
        {"patch": (8, 8, 8)},
        {"augmentation": ()},
        {"optimiser": Optimiser(lr=0.01)},
        {"inference": Inference(mirror=(2,))},
    ):
        assert replace(recipe, **change).digest() != recipe.digest()


class Stored(Document):
    """A file with a recipe."""

    schema_version: Literal[1] = 1
    recipe: StoredRecipe


EVERY_WORD = Recipe(
    "own",
    sampling=Sampling("plugin:centres", arguments=(("edge", 3), ("far", (0.5, 1.0)))),
    augmentation=(
        Transform("monai.RandFlipd", 0.5, (("spatial_axis", 0),)),
        Transform("scipy.ndimage:rotate", parameters=(("angle", 3),)),
        Transform("blur", 0.5, (("isotropic", False),)),
        Transform("noise", together=True),
    ),
    optimiser=Optimiser(
        "plugin:Lion",
        arguments=(("betas", (0.9, 0.99)), ("name", "x"), ("flag", True)),
        groups=(Group(("*.bias",), ("*Norm*",), 0.5, 0.0), Group(("stem.*",), frozen=True)),
    ),
    schedule=Schedule(warmup_steps=10, warmup_from=0.25),
)


def test_every_word_goes_to_a_file_and_back(tmp_path):
    file = tmp_path / "stored.json"
    Stored(recipe=EVERY_WORD).write(file)
    found = Stored.read(file).recipe
    assert found == EVERY_WORD
    assert found.digest() == EVERY_WORD.digest()
    without = replace(EVERY_WORD, schedule=Schedule())
    assert found.digest() != without.digest()
    assert "warmup_steps" not in without.to_dict()["schedule"]
    written = EVERY_WORD.to_dict()["augmentation"]
    assert ["together" in transform for transform in written] == [False, False, False, True]


def test_what_comes_from_outside_is_listed_once():
    stage = Stage(optimiser=Optimiser("lion_pytorch:Lion"))
    assert EVERY_WORD.foreign((stage, stage)) == (
        "plugin:Lion",
        "lion_pytorch:Lion",
        "plugin:centres",
        "monai.RandFlipd",
        "scipy.ndimage:rotate",
    )
    packages = [package_of(name) for name in EVERY_WORD.foreign()]
    assert packages == [None, None, "monai", "scipy"]
    assert Recipe(augmentation=(Transform("noise"),)).foreign() == ()
