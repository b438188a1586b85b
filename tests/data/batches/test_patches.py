"""Batches are a pure function of (seed, step), and patches lie where the rules say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from architectures import PATCH, Smallest, TwoGrids, Valid
from hypothesis import given, settings
from hypothesis import strategies as st

from kitsbench.architecture import Task, configure
from kitsbench.data.batches.patches import PatchSource, crop, cut_patch, source_shape
from kitsbench.data.preparation.store import PreparedCase
from kitsbench.errors import DataError
from kitsbench.recipe import Recipe, Sampling


def source_of(store, sampling=None, architecture=None, seed=0, batch=2, **options):
    architecture = architecture or Smallest()
    spec = architecture.spec(configure(architecture), Task(patch=PATCH))
    recipe = Recipe(batch=batch, sampling=sampling or Sampling())
    stores = {grid.name: store for grid in spec.grids}
    return PatchSource(stores, store.cases, spec, recipe, seed, **options)


def equal(a, b):
    return all(torch.equal(a.images[g], b.images[g]) for g in a.images) and all(
        torch.equal(a.labels[g], b.labels[g]) for g in a.labels
    )


def test_a_batch_depends_on_seed_and_step_alone(coarse_store):
    one, other = source_of(coarse_store), source_of(coarse_store)
    for step in (3, 0, 11):  # in any order
        assert equal(one.batch(step), other.batch(step))
    assert not equal(one.batch(0), one.batch(1))
    assert not equal(one.batch(0), source_of(coarse_store, seed=1).batch(0))


def test_every_case_comes_once_a_round(coarse_store):
    source = source_of(coarse_store, batch=2)
    rounds = [name for step in range(9) for name in source.batch(step).cases]
    for begin in range(0, 18, 6):
        assert sorted(rounds[begin : begin + 6]) == coarse_store.cases
    assert rounds[:6] != rounds[6:12] or rounds[6:12] != rounds[12:]


def test_the_forced_share_of_a_batch_holds_foreground(coarse_store):
    source = source_of(coarse_store, Sampling("foreground", fraction=0.5), batch=4)
    for step in range(8):
        labels = source.batch(step).labels["image"]
        assert (labels[2:].flatten(1) > 0).any(1).all()


def test_labels_are_drawn_evenly_among_those_present(coarse_store):
    """Tumours are small, and would seldom be met if voxels were drawn evenly."""
    source = source_of(coarse_store, Sampling("foreground", fraction=1.0), batch=2)
    held = [
        bool((label == 2).any())
        for step in range(30)
        for label in source.batch(step).labels["image"]
    ]
    assert np.mean(held) > 0.4


@pytest.mark.parametrize(
    ("weights", "value"),
    [((("tumor", 1.0),), 2), ((("background", 1.0),), 0), ((("kidney", 1.0),), 1)],
)
def test_a_mixture_centres_on_the_kind_it_names(coarse_store, weights, value):
    source = source_of(coarse_store, Sampling("mixture", weights=weights))
    middles = Counter()
    for step in range(6):
        for label in source.batch(step).labels["image"]:
            # The centre lies on a voxel; after rounding to whole voxels it is one of two.
            middles[value in label[7:9, 7:9, 7:9].unique().tolist()] += 1
    assert middles[True] == 12


def test_uniform_patches_stay_inside_a_volume_that_is_large_enough(coarse_store):
    source = source_of(coarse_store, Sampling("uniform"), fill=-1024)
    for step in range(10):
        for image in source.batch(step).images["image"]:
            # Air outside the body is around -1000, never exactly the fill everywhere in a plane.
            assert not (image[0] == -1024).all(dim=(1, 2)).any()


def test_patches_per_volume_share_their_case(coarse_store):
    source = source_of(coarse_store, Sampling("uniform", per_volume=2), batch=4)
    cases = source.batch(0).cases
    assert cases[0] == cases[1]
    assert cases[2] == cases[3]


def test_sampling_aims_at_the_output_of_a_valid_network(coarse_store):
    source = source_of(
        coarse_store, Sampling("mixture", weights=(("tumor", 1.0),)), architecture=Valid()
    )
    shape = source.spec.primary.shape
    for step in range(5):
        for label in source.batch(step).labels["image"]:
            edges = [(n - m) // 2 for n, m in zip(label.shape, shape, strict=True)]
            centre = label[tuple(slice(e, e + m) for e, m in zip(edges, shape, strict=True))]
            assert (centre == 2).any()


def test_no_training_case_is_an_error(coarse_store):
    spec = source_of(coarse_store).spec
    with pytest.raises(DataError, match="no training case"):
        PatchSource({"image": coarse_store}, [], spec, Recipe(), 0)


@given(
    start=st.tuples(*[st.integers(-9, 12)] * 3),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
)
@settings(max_examples=100)
def test_crop_equals_padding_and_slicing(start, shape):
    volume = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    padded = np.pad(volume, 25, constant_values=-7)
    wanted = padded[tuple(slice(s + 25, s + 25 + n) for s, n in zip(start, shape, strict=True))]
    np.testing.assert_array_equal(crop(volume, start, shape, -7), wanted)


def gradient_case(spacing, shape):
    """A volume whose HU is its world position along z in mm, times 10."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *spacing, 1
    z = np.arange(shape[0]) * spacing[0] * 10
    image = np.broadcast_to(z[:, None, None], shape).round().astype(np.int16)
    return PreparedCase("case", image, (image > 0).astype(np.uint8), spacing, affine, {})


@given(centre=st.floats(8, 20), ratio=st.sampled_from([1.0, 2.0, 3.0, 4.0]))
@settings(max_examples=60)
def test_all_grids_of_a_patch_share_its_physical_centre(centre, ratio):
    fine = gradient_case((2.0, 2.0, 2.0), (30, 8, 8))
    coarse = gradient_case((2.0 * ratio,) * 3, (30, 8, 8))
    at = np.array([round(centre), 4.0, 4.0])
    world = (at[0] - 0.5) * 2.0
    for case, spacing in ((fine, 2.0), (coarse, 2.0 * ratio)):
        image, _, offset = cut_patch(case, fine, (4, 2, 2), at, -1024)
        # HU at the middle of what was cut, moved by the offset, is the position asked for.
        column = image[:, 0, 0].astype(float)
        inside = column != -1024
        if inside.all():
            middle = np.interp(1.5 + offset[0], np.arange(4), column) / 10
            assert middle == pytest.approx(world, abs=0.06 * spacing)
        assert (offset >= 0).all()
        assert (offset < 1).all()


def test_two_grids_come_with_their_ratio(coarse_store):
    architecture = TwoGrids()
    source = source_of(coarse_store, architecture=architecture, margin=1.25)
    batch = source.batch(0)
    for grid in source.spec.grids:
        assert tuple(batch.images[grid.name].shape[2:]) == tuple(source_shape(grid.shape, 1.25))


def test_margins_keep_the_middle(coarse_store):
    near, far = source_of(coarse_store), source_of(coarse_store, margin=1.5)
    a, b = near.batch(2).images["image"], far.batch(2).images["image"]
    cut = (b.shape[2] - a.shape[2]) // 2
    inner = b[:, :, cut:-cut, cut:-cut, cut:-cut]
    assert torch.equal(a, inner)


def test_recipes_are_plain_data():
    recipe = replace(Recipe(), batch=4)
    assert recipe.digest() != Recipe().digest()
    assert recipe.to_dict()["batch"] == 4
