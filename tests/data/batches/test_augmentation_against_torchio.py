"""The same transforms with the same numbers, by torchio and by the batched augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kitsbench.architecture import Grid
from kitsbench.data.batches.augmentation import Augmenter
from kitsbench.data.batches.patches import Batch
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


def changed(transform, step=2):
    """A sample before and after one change of intensity, and the change."""
    image, label = volume(seed=4)
    chosen = augmenter((transform,))
    (change,) = chosen.draw(step, 0).changes
    plain = augmenter(())(batch_of((image, label)))[0]["image"][0, 0]
    return plain, chosen(batch_of((image, label), step=step))[0]["image"][0, 0].numpy(), change


def torchio_image(data, spacing=SPACING):
    return tio.ScalarImage(tensor=data[None], affine=np.diag([*spacing, 1.0]))


def test_noise():
    plain, noisy, change = changed(Transform("noise", 1.0, (("sd", (0.05, 0.3)),)))
    expected = tio.Noise(0.0, change.value, change.seed)(torchio_image(plain)).data[0]
    np.testing.assert_allclose(noisy, expected, atol=1e-6)


def test_blur():
    plain, blurred, change = changed(Transform("blur", 1.0, (("sigma", (0.6, 1.4)),)))
    widths = tuple(change.value * edge for edge in SPACING)  # mm there, voxels here
    expected = tio.Blur(widths)(torchio_image(plain)).data[0]
    np.testing.assert_allclose(blurred, expected, atol=2e-6)


@pytest.mark.parametrize("invert", [False, True])
def test_gamma(invert):
    parameters = (("range", (0.6, 1.7)), ("invert", invert))
    plain, bent, change = changed(Transform("gamma", 1.0, parameters))
    sign = -1 if invert else 1
    onto_unit = tio.RescaleIntensity((0, 1))(torchio_image(sign * plain))
    powered = tio.ZNormalization()(tio.Gamma(change.value)(onto_unit)).data[0]
    expected = sign * (powered * plain.std() + (sign * plain).mean())
    np.testing.assert_allclose(bent, expected, atol=2e-5)


def test_brightness_and_shift():
    for name in ("brightness", "shift"):
        plain, after, change = changed(Transform(name, 1.0))
        apply = tio.Lambda(
            (lambda x, v=change.value: x * v)
            if name == "brightness"
            else lambda x, v=change.value: x + v
        )
        np.testing.assert_allclose(after, apply(torchio_image(plain)).data[0], atol=1e-6)


def test_contrast():
    plain, after, change = changed(Transform("contrast", 1.0))
    stretch = tio.Lambda(lambda x: (x - x.mean()) * change.value + x.mean())
    clamp = tio.Clamp(float(plain.min()), float(plain.max()))
    expected = clamp(stretch(torchio_image(plain))).data[0]
    np.testing.assert_allclose(after, expected, atol=1e-6)


def test_low_resolution():
    """Nearest on the way down, linear on the way up, with voxels that share their outer edges."""
    plain, after, change = changed(Transform("low_resolution", 1.0))
    small = [round(n * change.value) for n in SHAPE]
    down = torch.nn.functional.interpolate(plain[None, None], size=small, mode="nearest-exact")
    up = torch.nn.functional.interpolate(down, size=SHAPE, mode="trilinear")[0, 0]
    np.testing.assert_allclose(after, up, atol=1e-5)
