"""Transforms of MONAI, functions and samplers of plugins: pure functions of (seed, step)."""

from __future__ import annotations

from contextlib import closing

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
from kitsbench.recipe import Recipe, Sampling, Transform

WINDOW = (-100.0, 300.0, 0.0, 0.01)


def cutout(images, labels, spacing, rng, edge=4):
    """DeVries and Taylor 2017, in 3D: a cube of air."""
    for image in images.values():
        start = [rng.integers(0, n - edge + 1) for n in image.shape]
        image[tuple(slice(s, s + edge) for s in start)] = -1000
    return images, labels


def flip(images, labels, spacing, rng):
    return (
        {name: image[::-1] for name, image in images.items()},
        {name: label[::-1] for name, label in labels.items()},
    )


def plus_one(images, labels, spacing, rng):
    return {name: image + 1 for name, image in images.items()}, labels


def shrink(images, labels, spacing, rng):
    return {name: image[1:] for name, image in images.items()}, labels


def strange(images, labels, spacing, rng):
    return images, {name: label + 7 for name, label in labels.items()}


def forgetful(images, labels, spacing, rng):
    return None


def largest_first(draw, jitter=0.0):
    """Each sample on a voxel of the largest label number of the case that is next."""
    found = []
    for name in draw.names:
        table = draw.cases[name]
        value = max(v for v, where in table.positions.items() if len(where))
        voxel = draw.random.choice(table.positions[value])
        centre = voxel + 0.5 + jitter * draw.random.uniform(-1, 1, 3)
        found.append((name, np.clip(centre, 0, table.shape)))
    return found


def one_case(draw):
    first = next(iter(draw.cases))
    return [(first, np.array(draw.cases[first].shape) / 2)] * len(draw.names)


def too_few(draw):
    return one_case(draw)[1:]


def unknown_case(draw):
    return [("nobody", (1, 1, 1))] * len(draw.names)


def outside(draw):
    return [(name, (0, 0, 1e6)) for name in draw.names]


def flat(draw):
    return [(name, 3.0) for name in draw.names]


class Mine(Smallest):
    """Names what this module defines."""


def source_of(store, *transforms, architecture=None, seed=0, samples=None, **recipe):
    architecture = architecture or Mine()
    spec = architecture.spec(configure(architecture), Task(patch=PATCH))
    stores = {grid.name: store for grid in spec.grids}
    rule = Recipe(batch=2, augmentation=transforms, **recipe)
    return training_source(
        stores, store.cases, spec, rule, WINDOW, seed, samples, plugin=architecture
    )


def named(name, probability=1.0, **parameters):
    return Transform(name, probability, tuple(parameters.items()))


def plain(source, step):
    return super(ForeignSource, source).batch(step)


# --- functions ----------------------------------------------------------------------------------


def test_a_function_of_the_plugin_changes_patches_by_seed_and_step_alone(coarse_store):
    cut = named("plugin:cutout", 0.5, edge=5)
    source, again = source_of(coarse_store, cut), source_of(coarse_store, cut)
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    changed = []
    for step in (3, 0, 1, 2):
        one, untouched = source.batch(step), plain(source, step)
        assert torch.equal(one.labels["image"], untouched.labels["image"])
        for new, old in zip(one.images["image"], untouched.images["image"].float(), strict=True):
            changed.append(int((new != old).sum()))
            assert changed[-1] <= 5**3
    assert 0 in changed
    assert max(changed) > 0
    assert torch.equal(torch.rand(1), before)
    still = Augmenter(source.spec.grids, (9.0, 9.0, 9.0), (), WINDOW, 0)
    with closing(feed(again, still, torch.device("cpu"), 2, threads=2)) as batches:
        for step in (2, 3):
            drawn = next(batches)
            whole = source.batch(step).images["image"]
            for sample, image in zip(drawn.grids["image"], whole, strict=True):
                assert torch.equal(sample.image, image[0])
    other = source_of(coarse_store, named("plugin:cutout", edge=5), seed=1)
    assert not torch.equal(other.batch(0).images["image"], source.batch(0).images["image"])


def test_labels_move_with_images_and_a_part_of_the_batch_is_drawn_alike(coarse_store):
    source = source_of(coarse_store, named("plugin:flip"), named("plugin:cutout"))
    part = source_of(
        coarse_store, named("plugin:flip"), named("plugin:cutout"), samples=range(1, 2)
    )
    whole, second = source.batch(1), part.batch(1)
    assert torch.equal(whole.labels["image"], plain(source, 1).labels["image"].flip(1))
    assert torch.equal(whole.images["image"][1:], second.images["image"])


def test_functions_and_libraries_are_applied_in_the_order_of_the_recipe(coarse_store, monkeypatch):
    monkeypatch.setattr(
        ForeignSource,
        "_through_worker",  # what its process does, here
        lambda source, batch, numbers: change_batch(batch, source.setting, numbers),
    )
    clamp = named("torchio.Clamp", out_min=-1000, out_max=0.0)
    plus = named("plugin:plus_one")
    before = source_of(coarse_store, plus, clamp).batch(0).images["image"].max()
    after = source_of(coarse_store, clamp, plus).batch(0).images["image"].max()
    assert (before, after) == (0, 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plugin:shrink", "only what keeps its shape fits"),
        ("plugin:strange", "gives label .*; there are 0, 1, 2"),
        ("plugin:forgetful", "plugin:forgetful failed: TypeError"),
    ],
)
def test_what_a_function_does_wrong_is_told(coarse_store, name, message):
    with pytest.raises(ContractError, match=message):
        source_of(coarse_store, named(name)).batch(0)


def test_a_function_that_is_not_there_is_told_before_training(coarse_store):
    with pytest.raises(ContractError, match="neither Mine nor its module has it"):
        source_of(coarse_store, named("plugin:unicorn"))


# --- MONAI --------------------------------------------------------------------------------------


def test_transforms_of_monai_depend_on_seed_and_step_and_labels_follow(coarse_store):
    transforms = pytest.importorskip("monai.transforms")
    turn = named("monai.RandFlipd", spatial_axis=0)
    noise = named("monai.RandGaussianNoised", 1.0, std=20.0)
    bend = named("monai:Rand3DElasticd", sigma_range=(2.0, 3.0), magnitude_range=(20.0, 30.0))
    source = source_of(coarse_store, turn, noise, bend)
    batch = plain(source, 1)
    noisy = change_batch(batch, source.setting, (1,))
    assert torch.equal(
        noisy.images["image"], change_batch(batch, source.setting, (1,)).images["image"]
    )
    assert torch.equal(noisy.labels["image"], batch.labels["image"])
    spread = (noisy.images["image"] - batch.images["image"]).flatten(1).std(1)
    assert ((spread > 0) & (spread < 21)).all()  # MONAI draws it between 0 and its std
    flipped = change_batch(batch, source.setting, (0,))
    assert torch.equal(flipped.images["image"], batch.images["image"].float().flip(2))
    assert torch.equal(flipped.labels["image"], batch.labels["image"].flip(1))
    assert flipped.labels["image"].dtype == torch.uint8
    bent = change_batch(batch, source.setting, (2,))
    assert not torch.equal(bent.images["image"], batch.images["image"].float())
    assert set(bent.labels["image"].unique().tolist()) <= {0, 1, 2}
    moved = bent.labels["image"] != batch.labels["image"]
    assert moved.any()
    # Seeded sample by sample.
    single = transforms.RandFlipd(keys="x", prob=1.0, spatial_axis=0)
    one = single({"x": batch.images["image"][1].float()})["x"]
    assert torch.equal(flipped.images["image"][1], torch.as_tensor(one))


@pytest.mark.slow
def test_what_monai_does_in_its_process_is_what_it_does_here(coarse_store):
    pytest.importorskip("monai")
    source = source_of(coarse_store, named("monai.RandGaussianNoised", 0.5, std=20.0))
    batch = plain(source, 1)
    torch.manual_seed(3)
    before = torch.rand(1)
    torch.manual_seed(3)
    with closing(source):
        asked = source.batch(1)
    assert torch.equal(torch.rand(1), before)
    there = change_batch(batch, source.setting)
    assert torch.equal(asked.images["image"], there.images["image"])
    assert torch.equal(asked.labels["image"], there.labels["image"])


@pytest.mark.parametrize(
    ("transform", "architecture", "message"),
    [
        (named("monai.RandUnicornd"), None, "no transform of dictionaries 'monai.RandUnicornd'"),
        (named("monai.RandFlip"), None, "write monai.RandFlipd"),
        (named("monai.MixUpd"), None, "for 'regularization'.*a step of your own"),
        (named("monai.RandFlipd", prob=0.5), None, "Transform.probability"),
        (named("monai.RandFlipd", axis=0), None, "monai refuses"),
        (named("monai.RandFlipd"), TwoGrids(), "2 grids"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_monai_does_not_know_is_refused(coarse_store, transform, architecture, message):
    pytest.importorskip("monai")
    with pytest.raises(ContractError, match=message):
        source_of(coarse_store, transform, architecture=architecture)


def test_without_monai_the_command_is_told(coarse_store, monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "monai"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "monai", None)
    with pytest.raises(ContractError, match="run `pip install monai`"):
        source_of(coarse_store, named("monai.RandFlipd"))


# --- samplers -----------------------------------------------------------------------------------


def test_a_sampler_of_the_plugin_says_where_patches_lie(coarse_store):
    rule = Sampling("plugin:largest_first")
    source, again = (source_of(coarse_store, sampling=rule) for _ in range(2))
    still = Augmenter(source.spec.grids, (9.0, 9.0, 9.0), (), WINDOW, 0)
    for step in (5, 0, 5):
        batch = source.batch(step)
        # On a whole voxel, so the middle of an even patch is one of the eight around it.
        middle = batch.labels["image"][:, 7:9, 7:9, 7:9].flatten(1).amax(1)
        assert middle.tolist() == [2, 2]
        assert batch.cases == source_of(coarse_store).batch(step).cases == source.cases_of(step)
        prepared = again.prepared(step, still)
        for sample, image in zip(prepared.grids["image"], batch.images["image"], strict=True):
            assert torch.equal(sample.image, image[0])
    part = source_of(coarse_store, sampling=rule, samples=range(1, 2)).batch(5)
    assert torch.equal(part.images["image"], source.batch(5).images["image"][1:])


def test_a_sampler_takes_arguments_and_chooses_cases(coarse_store):
    near = source_of(coarse_store, sampling=Sampling("plugin:largest_first")).batch(0)
    rule = Sampling("plugin:largest_first", arguments=(("jitter", 6.0),))
    far = source_of(coarse_store, sampling=rule).batch(0)
    assert not torch.equal(near.images["image"], far.images["image"])
    alone = source_of(coarse_store, sampling=Sampling("plugin:one_case"))
    assert alone.batch(3).cases == (coarse_store.cases[0],) * 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("too_few", "gave 1 centres for a batch of 2"),
        ("unknown_case", "'nobody', which is not trained on"),
        ("outside", r"give \(z, y, x\) within them"),
        ("flat", r"failed: ValueError: a centre has the shape \(\)"),
    ],
)
def test_what_a_sampler_does_wrong_is_told(coarse_store, name, message):
    with pytest.raises(ContractError, match=message):
        source_of(coarse_store, sampling=Sampling(f"plugin:{name}")).batch(0)
