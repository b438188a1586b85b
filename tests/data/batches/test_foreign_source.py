"""Transforms of torchio in the loader: pure functions of (seed, step), with clear errors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from architectures import PATCH, Smallest, TwoGrids

from kitsbench.architecture import Task, configure
from kitsbench.data.batches.augmentation import Augmenter
from kitsbench.data.batches.foreign_source import ForeignSource, change_batch
from kitsbench.data.batches.source import training_source
from kitsbench.data.batches.upload import feed
from kitsbench.errors import ContractError
from kitsbench.recipe import Recipe, Transform

pytest.importorskip("torchio")

WINDOW = (-100.0, 300.0, 0.0, 0.01)
BIAS = Transform("torchio.RandomBiasField", 0.5, (("coefficients", 0.5),))
FLIP = Transform("torchio.RandomFlip", 1.0, (("axes", (0,)), ("flip_probability", 1.0)))


def source_of(store, *transforms, architecture=None, seed=0):
    architecture = architecture or Smallest()
    spec = architecture.spec(configure(architecture), Task(patch=PATCH))
    stores = {grid.name: store for grid in spec.grids}
    recipe = Recipe(batch=2, augmentation=transforms)
    return training_source(stores, store.cases, spec, recipe, WINDOW, seed)


def plain(source):
    """The batches before torchio."""
    return lambda step: super(ForeignSource, source).batch(step)


def test_batches_through_the_process_depend_on_seed_and_step_alone(coarse_store):
    source, again = source_of(coarse_store, BIAS), source_of(coarse_store, BIAS)
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    changed = 0
    for step in (3, 0, 2):
        one = source.batch(step)
        untouched = plain(source)(step)
        assert torch.equal(one.labels["image"], untouched.labels["image"])
        for sample in range(2):
            changed += not torch.equal(
                one.images["image"][sample], untouched.images["image"][sample].float()
            )
        # Here in this process, and in another order.
        assert torch.equal(
            change_batch(untouched, replace(again.setting)).images["image"], one.images["image"]
        )
        torch.manual_seed(1)
    assert 0 < changed < 6
    still = Augmenter(source.spec.grids, (9.0, 9.0, 9.0), (), WINDOW, 0)
    with closing(feed(source, still, torch.device("cpu"), 2)) as batches:
        drawn = next(batches)
    for sample, whole in zip(drawn.grids["image"], source.batch(2).images["image"], strict=True):
        assert torch.equal(sample.image, whole[0])
    assert torch.equal(torch.rand(1), before)  # training draws what it would have drawn


def test_batches_asked_for_by_several_threads_do_not_mix(coarse_store):
    source = source_of(coarse_store, FLIP)
    steps = range(12)
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(source.batch, steps))
    source.close()
    for step, batch in zip(steps, drawn, strict=True):
        assert batch.step == step
        untouched = plain(source)(step)
        assert torch.equal(
            batch.images["image"], change_batch(untouched, source.setting).images["image"]
        )


def test_voxel_axes_are_z_y_x_and_labels_follow(coarse_store):
    source = source_of(coarse_store, FLIP)
    batch = plain(source)(1)
    flipped = change_batch(batch, source.setting)
    assert torch.equal(flipped.images["image"], batch.images["image"].float().flip(2))
    assert torch.equal(flipped.labels["image"], batch.labels["image"].flip(1))
    assert flipped.labels["image"].dtype == torch.uint8


def test_world_axes_say_where_the_patient_lies(coarse_store):
    """To the head is the first voxel axis, to the right the last."""
    for side, axis in (("Superior", 2), ("Anterior", 3), ("Right", 4)):
        flip = Transform("torchio.Flip", 1.0, (("axes", side),))
        source = source_of(coarse_store, flip)
        batch = plain(source)(0)
        flipped = change_batch(batch, source.setting)
        assert torch.equal(flipped.images["image"], batch.images["image"].float().flip(axis))


def test_both_grids_get_the_same_turn(coarse_store):
    turn = Transform("torchio.Flip", 1.0, (("axes", (0, 1)),))
    source = source_of(coarse_store, turn, architecture=TwoGrids())
    batch = plain(source)(0)
    turned = change_batch(batch, source.setting)
    for name, image in batch.images.items():
        assert torch.equal(turned.images[name], image.float().flip((2, 3)))


def test_seeds_of_torchio_do_not_depend_on_the_other_samples(coarse_store):
    source = source_of(coarse_store, replace(BIAS, probability=1.0))
    batch = plain(source)(4)
    second = change_batch(batch, source.setting).images["image"][1]
    swapped = replace(batch, images={"image": batch.images["image"].clone()})
    swapped.images["image"][0] = 7
    assert torch.equal(change_batch(swapped, source.setting).images["image"][1], second)
    assert not np.allclose(second, batch.images["image"][1])


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (Transform("torchio.RandomUnicorn"), "no transform 'torchio.RandomUnicorn'"),
        (Transform("torchio.Subject"), "no transform"),
        (Transform("torchio.RandomBlur", parameters=(("sigma", 1.0),)), "refuses"),
    ],
)
def test_what_torchio_does_not_know_is_refused_before_training(coarse_store, transform, message):
    with pytest.raises(ContractError, match=message):
        source_of(coarse_store, transform)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (Transform("torchio.Crop", parameters=(("cropping", 1),)), "keep its shape"),
        (Transform("torchio.CopyAffine", parameters=(("target", "moon"),)), "failed"),
    ],
)
def test_what_goes_wrong_on_a_patch_is_told(coarse_store, transform, message):
    source = source_of(coarse_store, transform)
    with pytest.raises(ContractError, match=message):
        change_batch(plain(source)(0), source.setting)


def test_a_recipe_without_torchio_needs_no_process(coarse_store):
    assert not isinstance(source_of(coarse_store, Transform("noise")), ForeignSource)
