"""The same transforms with the same numbers, by torchio and by the batched augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kitsbench.architecture import Grid
from kitsbench.data.augmentation import Augmenter
from kitsbench.data.patches import Batch
from kitsbench.recipe import Transform

tio = pytest.importorskip("torchio")
sitk = pytest.importorskip("SimpleITK")

LOW, HIGH = -150.0, 250.0
WINDOW = (LOW, HIGH, 50.0, 0.01)
SPACING = (2.0, 1.0, 1.5)
SHAPE = (24, 32, 28)
TO_LPS = np.diag([-1.0, -1.0, 1.0])

SPATIAL = {
    "rotation": (("degrees", (25.0, 15.0, 20.0)),),
    "scale": (("range", (0.8, 1.3)),),
    "translation": (("mm", (6.0, 5.0, 4.0)),),
    "elastic": (("spacing_mm", (20.0, 9.0, 13.0)), ("magnitude_mm", (2.0, 1.5, 1.0))),
    "mirror": (),
}


def volume(shape=SHAPE, seed=0):
    """Smooth image and blobs of labels, both empty at the border, where tools differ."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(size=(1, 1, 6, 6, 6)))
    image = torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear")[0, 0].numpy()
    label = np.digitize(image, (0.2, 0.8)).astype(np.uint8)
    image = (image * 150).round().clip(LOW, HIGH).astype(np.int16)
    inside = np.zeros(shape, bool)
    inside[2:-2, 2:-2, 2:-2] = True
    return np.where(inside, image, np.int16(LOW)), np.where(inside, label, np.uint8(0))


def batch_of(*volumes, step=0):
    return Batch(
        {"image": torch.from_numpy(np.stack([image for image, _ in volumes]))[:, None]},
        {"image": torch.from_numpy(np.stack([label for _, label in volumes]))},
        {"image": torch.zeros(len(volumes), 3)},
        ("case",) * len(volumes),
        step,
    )


def augmenter(transforms, shape=SHAPE, spacing=SPACING):
    return Augmenter((Grid("image", shape),), spacing, transforms, WINDOW, seed=3)


def subject_of(image, label, spacing=SPACING):
    """Voxel axes (z, y, x) stand for torchio's three axes."""
    affine = np.diag([*spacing, 1.0])
    return tio.Subject(
        image=tio.ScalarImage(
            tensor=torch.from_numpy(np.asarray(image, np.float32))[None], affine=affine
        ),
        label=tio.LabelMap(tensor=torch.from_numpy(np.asarray(label))[None], affine=affine),
    )


def by_torchio(motion, image, label):
    """Apply a motion through torchio's own classes."""
    zoom = np.linalg.det(motion.matrix) ** (-1 / 3)
    rotation = np.linalg.inv(motion.matrix * zoom)
    euler = sitk.Euler3DTransform()
    euler.SetMatrix((TO_LPS @ rotation @ TO_LPS).ravel().tolist(), 1e-6)
    radians = np.array([euler.GetAngleX(), euler.GetAngleY(), euler.GetAngleZ()])
    affine = {
        "scales": (float(zoom),) * 3,
        "degrees": tuple(np.degrees(TO_LPS @ radians).tolist()),
        "translation": tuple((-rotation @ motion.shift).tolist()),
        "default_pad_value": LOW,
    }
    subject = subject_of(image, label)
    if motion.control is None:
        moved = tio.Affine(**affine)(subject)
    else:
        # ITK's control points go along its own axes, of which two run the other way.
        points = np.moveaxis(motion.control, 0, -1)[::-1, ::-1] @ TO_LPS
        elastic = {"control_points": points, "max_displacement": (1.0, 1.0, 1.0)}
        moved = tio.AffineElasticDeformation(True, affine, elastic)(subject)
    axes = tuple(axis for axis in range(3) if motion.flips[axis])
    moved = tio.Flip(axes)(moved) if axes else moved
    return moved.image.data[0].numpy(), moved.label.data[0].numpy()


@pytest.mark.parametrize("names", [*[(name,) for name in SPATIAL], tuple(SPATIAL)], ids="+".join)
def test_moving_voxels(names):
    transforms = tuple(
        Transform(name, 0.5 if name == "mirror" else 1.0, SPATIAL[name]) for name in names
    )
    chosen = augmenter(transforms)
    volumes = [volume(seed=seed) for seed in range(2)]
    inputs, labels = chosen(batch_of(*volumes, step=5))
    for sample, (image, label) in enumerate(volumes):
        expected, marks = by_torchio(chosen.draw(5, sample).motion, image, label)
        np.testing.assert_allclose(inputs["image"][sample, 0], (expected - 50) * 0.01, atol=2e-3)
        assert (labels["image"][sample].numpy() == marks).mean() > 0.9995
