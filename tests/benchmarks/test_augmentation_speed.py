"""How fast the augmentation is, against torchio and batchgeneratorsv2 doing the same to a batch.

``pytest -n0 -s --benchmark-only tests/benchmarks/test_augmentation_speed.py``
times both sides in turn; the medians, their spread and the ratio are printed and kept in
``extra_info``. Every transform is applied to every sample on both sides.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.interleaved import measure_in_turn

from kitsbench.architecture import Grid
from kitsbench.data.batches.augmentation import Augmenter, needed_margin
from kitsbench.data.batches.patches import Batch, source_shape
from kitsbench.recipe import Transform

WINDOW = (-100.0, 300.0, 100.0, 0.01)
BATCH = 2
MIRROR = Transform("mirror", 0.5)
ROTATION = Transform("rotation", 1.0, (("degrees", (15.0, 15.0, 15.0)),))
SCALE = Transform("scale", 1.0, (("range", (0.85, 1.2)),))
NOISE = Transform("noise", 1.0)
GAMMA = Transform("gamma", 1.0)


def elastic(edge):
    """Seven control points an axis, as torchio has by default."""
    return Transform("elastic", 1.0, (("spacing_mm", edge / 3.9), ("magnitude_mm", 2.0)))


@pytest.fixture(params=[1, 2], ids=["1thread", "2threads"])
def threads(request):
    """Threads of torch and of SimpleITK."""
    sitk = pytest.importorskip("SimpleITK")
    before = torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    torch.set_num_threads(request.param)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(request.param)
    yield request.param
    torch.set_num_threads(before[0])
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before[1])


def batch_of(edge, transforms, step=0):
    """Smooth images in HU and balls as labels, with the margin that the transforms need."""
    shape = tuple(int(n) for n in source_shape((edge,) * 3, needed_margin(transforms)))
    coarse = torch.randn(BATCH, 1, 8, 8, 8, generator=torch.Generator().manual_seed(step))
    image = torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear") * 150
    return Batch(
        {"image": image.to(torch.int16)},
        {"image": (image[:, 0] > 50).to(torch.uint8) + (image[:, 0] > 150).to(torch.uint8)},
        {"image": torch.zeros(BATCH, 3)},
        ("case",) * BATCH,
        step,
    )


def ours(edge, transforms):
    """Augment batch after batch, each step drawing anew."""
    augment = Augmenter((Grid("image", (edge,) * 3),), (1.0, 1.0, 1.0), transforms, WINDOW, 0)
    batches = [batch_of(edge, transforms, step) for step in range(4)]
    step = iter(range(10**9))
    return lambda: augment(batches[next(step) % 4])


@pytest.mark.parametrize("edge", [64, 96])
def test_augmentation_against_torchio(benchmark, edge, threads):
    tio = pytest.importorskip("torchio")
    transforms = (MIRROR, ROTATION, SCALE, elastic(edge), NOISE, GAMMA)
    theirs = tio.Compose(
        [
            tio.RandomAffineElasticDeformation(
                affine_kwargs={
                    "scales": (0.85, 1.2),
                    "isotropic": True,
                    "degrees": 15,
                    "default_pad_value": -1.0,
                },
                elastic_kwargs={"max_displacement": 5.0},
            ),
            tio.RandomFlip((0, 1, 2), 0.5),
            tio.RandomNoise(std=(0, 0.1)),
            tio.RandomGamma((-0.35, 0.4)),
        ]
    )
    # They work on patches that are cut and normalised already; ours start from HU with a margin.
    batch = batch_of(edge, ())
    image = (batch.images["image"].float().clamp(-100, 300) - 100) * 0.01

    def peer():
        for sample in range(BATCH):
            theirs(
                tio.Subject(
                    image=tio.ScalarImage(tensor=image[sample]),
                    label=tio.LabelMap(tensor=batch.labels["image"][sample][None]),
                )
            )

    key = f"augmentation.torchio.{edge}" if threads == 1 else ""
    measure_in_turn(benchmark, ours(edge, transforms), peer, "torchio", threads, key=key)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("edge", [64, 96])
def test_moving_voxels_against_batchgenerators(benchmark, edge, mode, threads):
    spatial = pytest.importorskip("batchgeneratorsv2.transforms.spatial.spatial")
    transforms = (ROTATION, SCALE, elastic(edge))
    margin = needed_margin(transforms)
    theirs = spatial.SpatialTransform(
        (edge,) * 3,
        0,
        False,
        p_elastic_deform=1,
        elastic_deform_scale=(0.1, 0.2),
        elastic_deform_magnitude=(2, 5),
        p_rotation=1,
        rotation=(-np.pi / 12, np.pi / 12),
        p_scaling=1,
        scaling=(1 / 1.2, 1 / 0.85),
        p_synchronize_scaling_across_axes=1,
        mode_seg=mode,
    )
    # Both cut the patch out of a larger one.
    batch = batch_of(edge, transforms)
    image = (batch.images["image"].float().clamp(-100, 300) - 100) * 0.01
    label = batch.labels["image"].to(torch.int16)
    assert image.shape[2] == source_shape((edge,) * 3, margin)[0]

    def peer():
        for sample in range(BATCH):
            theirs(image=image[sample], segmentation=label[sample][None])

    key = f"augmentation.{mode}.{edge}" if threads == 1 else ""
    measure_in_turn(benchmark, ours(edge, transforms), peer, "batchgeneratorsv2", threads, key=key)
