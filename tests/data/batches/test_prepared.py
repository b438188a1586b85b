"""What the host prepares: the same patches as from the whole margin, and no more than is needed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from architectures import PATCH, Smallest, TwoGrids
from kitsbench_plugins.recipes import NNUNET

from kitsbench.architecture import Grid, Task, configure
from kitsbench.data.batches.augmentation import Augmenter, needed_margin
from kitsbench.data.batches.patches import Batch, PatchSource, source_shape
from kitsbench.data.batches.paths import Box
from kitsbench.data.batches.prepared import ALIGNED
from kitsbench.data.batches.rows import put_back, touched_rows
from kitsbench.data.batches.warping import Geometry, Motion, mesh_of, rotation_matrix
from kitsbench.recipe import TRANSFORMS, Recipe, Transform
from kitsbench.training.recipes import MATCHED_GPU

WINDOW = (-100.5, 300.0, 50.0, 0.01)
EVERY = tuple(
    Transform(name, 0.5, (("mm", (20.0, 9.0, 9.0)),) if name == "translation" else ())
    for name in TRANSFORMS
)


def pair_of(store, transforms=EVERY, architecture=None, seed=0):
    """A source and the augmentation of its batches."""
    architecture = architecture or TwoGrids()
    spec = architecture.spec(configure(architecture), Task(patch=PATCH))
    recipe = Recipe(batch=3, augmentation=transforms)
    stores = {grid.name: store for grid in spec.grids}
    margin = needed_margin(transforms)
    source = PatchSource(stores, store.cases, spec, recipe, seed, margin, fill=-101)
    return source, Augmenter(spec.grids, store.spacing, transforms, WINDOW, seed)


def test_what_is_needed_gives_the_patches_that_the_whole_margin_gives(coarse_store):
    source, augment = pair_of(coarse_store)
    moved = 0
    for step in range(6):
        ready = source.prepared(step, augment)
        whole = source.batch(step)
        assert (ready.cases, ready.step) == (whole.cases, step)
        for one, other in zip(augment(ready), augment(whole), strict=True):
            for name, values in one.items():
                assert torch.equal(values, other[name])
        moved += sum(own.course.path is not None for own in ready.grids["image"])
    assert 0 < moved < 18


def test_a_process_of_several_prepares_its_part(coarse_store):
    source, augment = pair_of(coarse_store)
    part = PatchSource(
        source.stores,
        source.names,
        source.spec,
        Recipe(batch=3),
        0,
        source.margin,
        -101,
        range(1, 3),
    )
    whole, own = augment(source.prepared(4, augment)), augment(part.prepared(4, augment))
    for name, values in own[0].items():
        assert torch.equal(values, whole[0][name][1:])


@pytest.mark.parametrize("bent", [False, True])
def test_a_path_touches_nothing_outside_its_box(bent):
    """Every position, and the voxel above it, lies in the box or outside of the source patch."""
    rng = np.random.default_rng(0)
    spacing, shape, source = (2.0, 1.0, 1.5), (9, 14, 11), np.array((15, 20, 17))
    grid = Grid("image", shape)
    mesh = mesh_of([grid], spacing, (7.0, 6.0, 5.0)) if bent else None
    geometry, slack = Geometry(grid, spacing, mesh), []
    for _ in range(30):
        control = rng.normal(size=(3, *(mesh[1] + 3))) if bent else None
        matrix = rotation_matrix(rng.uniform(-0.3, 0.3, 3)) * rng.uniform(0.7, 1.2)
        flips = tuple(bool(flip) for flip in rng.integers(0, 2, 3))
        motion = Motion(matrix, rng.uniform(-9, 9, 3), flips, control)
        path = geometry.path(motion, source, rng.uniform(0, 1, 3))
        where = path.positions().flatten(1).numpy()
        start, stop = np.array(path.box.start), np.add(path.box.start, path.box.shape)
        assert (start >= 0).all()
        assert (stop <= source).all()
        assert (stop > start).all()
        low, high = where.min(1), where.max(1)
        assert ((np.floor(low) >= start) | (start == 0) | (low > source - 1)).all()
        assert ((np.floor(high) + 1 < stop) | (stop == source) | (high < 0)).all()
        slack.append(((low - start)[start > 0]).max(initial=0))
    assert max(slack) < (4 if bent else 1.01)  # and the box is no larger than it must be


def test_a_mesh_too_fine_for_bounds_takes_the_whole_margin():
    grid = Grid("image", (18, 18, 18))
    mesh = mesh_of([grid], (1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
    motion = Motion(np.eye(3), np.zeros(3), control=np.zeros((3, *(mesh[1] + 3))))
    path = Geometry(grid, (1.0, 1.0, 1.0), mesh).path(motion, (24, 24, 24), np.zeros(3))
    assert path.box == Box((0, 0, 0), (24, 24, 24))


def test_a_patch_that_lies_wholly_outside_is_empty(coarse_store):
    far = (Transform("translation", 1.0, (("mm", (4000.0, 4000.0, 4000.0)),)),)
    source, augment = pair_of(coarse_store, far, Smallest())
    inputs, labels = augment(source.prepared(0, augment))
    torch.testing.assert_close(inputs["image"], torch.full_like(inputs["image"], augment.empty))
    assert not labels["image"].any()


@pytest.mark.parametrize(
    ("recipe", "most"),
    [(MATCHED_GPU, 1.1), (replace(NNUNET, patch=(80, 128, 128)), 1.15)],
    ids=["matched", "nnunet"],
)
def test_little_more_travels_than_the_patches(recipe, most):
    """Over 50 steps; a margin for every sample would be 2.4 and 4.2 times the patches."""
    # Half the edges of voxels twice the size: the same shapes, and quicker.
    patch, spacing = tuple(edge // 2 for edge in recipe.patch), (4.0, 3.24, 3.24)
    grid = Grid("image", patch)
    augment = Augmenter((grid,), spacing, recipe.augmentation, WINDOW, 0)
    source = source_shape(patch, needed_margin(recipe.augmentation)).tolist()
    batch = Batch(
        {"image": torch.zeros(1, 1, 1, 1, 1, dtype=torch.int16).expand(2, 1, *source)},
        {"image": torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(2, *source)},
        {"image": torch.zeros(2, 3)},
        ("a", "b"),
        0,
    )
    travelled = sum(
        augment.prepare(replace(batch, step=step)).for_device().pack().buffer.numel()
        for step in range(50)
    )
    assert travelled / (50 * 2 * np.prod(patch) * 3) < most


@pytest.mark.parametrize("bent", [False, True])
def test_rows_that_are_cut_hold_every_voxel_that_is_touched(bent):
    rng = np.random.default_rng(1)
    grid, spacing, source = Grid("image", (12, 15, 11)), (1.0, 1.0, 1.5), np.array((24, 26, 25))
    mesh = mesh_of([grid], spacing, (5.0, 5.0, 5.0)) if bent else None
    geometry, shares = Geometry(grid, spacing, mesh), []
    for _ in range(40):
        matrix = rotation_matrix(rng.uniform(-0.6, 0.6, 3)) * rng.uniform(0.7, 1.3)
        control = rng.normal(size=(3, *(mesh[1] + 3))) * 0.5 if bent else None
        motion = Motion(matrix, rng.uniform(-6, 6, 3), control=control)
        path = geometry.path(motion, source, np.zeros(3))
        rows = touched_rows(path)
        if rows is None:
            continue
        touched = np.zeros(source + 2, bool)  # with a rim
        below = np.floor(path.positions().flatten(1).numpy()).astype(int)
        for corner in np.ndindex(2, 2, 2):
            z, y, x = np.clip(below + np.array(corner)[:, None] + 1, 0, (source + 1)[:, None])
            touched[z, y, x] = True
        touched = touched[1:-1, 1:-1, 1:-1][path.box.slices]
        box = torch.from_numpy(rng.integers(1, 9, path.box.shape))
        (back,) = put_back(rows.begins(), rows.length, *rows.cut(box))
        assert (back == box).numpy()[touched].all()
        shares.append(rows.count / touched.sum())
    assert len(shares) > 20
    assert np.mean(shares) < (1.6 if bent else 1.35)  # so small that a voxel more counts


def test_a_packed_batch_is_one_buffer(coarse_store):
    source, augment = pair_of(coarse_store)
    loose = source.prepared(2, augment).for_device()
    packed = loose.pack()
    begin = packed.buffer.data_ptr()
    ends = begin
    for one, other in zip(packed.tensors(), loose.tensors(), strict=True):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype
        assert (one.data_ptr() - begin) % ALIGNED == 0
        assert one.data_ptr() >= ends  # none lies over another
        ends = one.data_ptr() + one.numel() * one.element_size()
    assert ends <= begin + packed.buffer.numel()
    voxels = sum(own.image.numel() for samples in loose.grids.values() for own in samples)
    tables = packed.buffer.numel() - 3 * voxels
    assert tables < 3 * 2 * 60_000  # three samples on two grids, with control points
    copy = packed.moved(packed.buffer.clone())
    for one, other in zip(copy.tensors(), loose.tensors(), strict=True):
        assert torch.equal(one, other)


def test_an_augmentation_leaves_a_prepared_batch_as_it_was(coarse_store):
    """A step that ran out of memory is taken a second time."""
    source, augment = pair_of(coarse_store)
    for step in range(3):
        for ready in (source.prepared(step, augment), source.prepared(step, augment).for_device()):
            before = [tensor.clone() for tensor in ready.tensors()]
            first, again = augment(ready), augment(ready)
            assert all(map(torch.equal, ready.tensors(), before))
            assert torch.equal(first[0]["image"], again[0]["image"])
