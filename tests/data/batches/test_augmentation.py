"""The batched augmentation moves voxels where geometry says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kitsbench.architecture import Grid
from kitsbench.data.batches.augmentation import Augmenter, needed_margin
from kitsbench.data.batches.patches import Batch
from kitsbench.data.batches.warping import rotation_matrix
from kitsbench.recipe import TRANSFORMS, Transform

WINDOW = (-100.0, 100.0, 0.0, 0.01)


def batch_of(image: np.ndarray, label: np.ndarray, step: int = 0, offset=(0.0, 0.0, 0.0)) -> Batch:
    return Batch(
        {"image": torch.from_numpy(image.astype(np.int16))[None, None]},
        {"image": torch.from_numpy(label.astype(np.uint8))[None]},
        {"image": torch.tensor([offset], dtype=torch.float32)},
        ("case",),
        step,
    )


def augmenter(transforms, shape, spacing=(1.0, 1.0, 1.0)):
    return Augmenter((Grid("image", shape),), spacing, transforms, WINDOW, seed=1)


def random_volume(shape=(12, 12, 12), seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-100, 100, shape), rng.integers(0, 3, shape)


def test_without_transforms_the_middle_is_normalised_and_nothing_else():
    image, label = random_volume((12, 14, 16))
    inputs, labels = augmenter((), (8, 8, 8))(batch_of(image, label))
    np.testing.assert_allclose(inputs["image"][0, 0], image[2:10, 3:11, 4:12] * 0.01, atol=1e-6)
    np.testing.assert_array_equal(labels["image"][0], label[2:10, 3:11, 4:12])


def test_clipping_happens_before_scaling():
    image = np.full((4, 4, 4), 3000)
    inputs, _ = augmenter((), (4, 4, 4))(batch_of(image, image * 0))
    assert inputs["image"].unique().tolist() == [1.0]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirroring_is_an_exact_flip_of_image_and_labels(axis):
    image, label = random_volume()
    mirror = Transform("mirror", 1.0, (("axes", (axis,)),))
    inputs, labels = augmenter((mirror,), (12, 12, 12))(batch_of(image, label))
    np.testing.assert_allclose(inputs["image"][0, 0], np.flip(image, axis) * 0.01, atol=1e-4)
    np.testing.assert_array_equal(labels["image"][0], np.flip(label, axis))


def test_an_offset_of_a_whole_voxel_shifts_by_that_voxel():
    image, label = random_volume()
    inputs, labels = augmenter((), (8, 8, 8))(batch_of(image, label, offset=(1.0, 0.0, -2.0)))
    np.testing.assert_allclose(inputs["image"][0, 0], image[3:11, 2:10, 0:8] * 0.01, atol=1e-4)
    np.testing.assert_array_equal(labels["image"][0], label[3:11, 2:10, 0:8])


def test_zoom_keeps_the_centre_and_enlarges():
    image = np.zeros((33, 33, 33))
    image[12:21, 12:21, 12:21] = 100
    zoom = Transform("scale", 1.0, (("range", (1.5, 1.5)),))
    inputs, labels = augmenter((zoom,), (33, 33, 33))(batch_of(image, image > 0))
    volume = float(labels["image"].sum())
    assert volume == pytest.approx(9**3 * 1.5**3, rel=0.15)
    assert inputs["image"][0, 0, 16, 16, 16] == pytest.approx(1.0)


def test_rotation_agrees_with_scipy():
    from scipy.ndimage import affine_transform

    rng = np.random.default_rng(3)
    coarse = rng.normal(size=(5, 5, 5)) * 80
    image = np.kron(coarse, np.ones((5, 5, 5))).round()
    transform = Transform("rotation", 1.0, (("degrees", (20.0, 10.0, 15.0)),))
    chosen = augmenter((transform,), (25, 25, 25))
    batch = batch_of(image, image * 0)
    matrix = chosen.draw(0, 0).motion.matrix
    inputs, _ = chosen(batch)
    centre = np.full(3, 12.0)
    clipped = np.clip(image, -100, 100)
    expected = affine_transform(clipped + 100, matrix, centre - matrix @ centre, order=1, cval=0)
    inside = inputs["image"][0, 0, 6:19, 6:19, 6:19].numpy() / 0.01
    np.testing.assert_allclose(inside, expected[6:19, 6:19, 6:19] - 100, atol=0.05)


def test_rotation_respects_anisotropic_spacing():
    """A ball in mm stays a ball in mm, whatever the voxels."""
    spacing = np.array([4.0, 1.0, 1.0])
    shape = (16, 64, 64)
    grid = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in shape], indexing="ij"), -1)
    ball = (np.linalg.norm(grid * spacing, axis=-1) < 20).astype(np.uint8)
    turn = Transform("rotation", 1.0, (("degrees", (40.0, 40.0, 40.0)),))
    _, labels = augmenter((turn,), shape, tuple(spacing))(batch_of(ball * 50, ball))
    moved = labels["image"][0].numpy()
    assert 2 * (moved & ball).sum() / (moved.sum() + ball.sum()) > 0.93


def test_rotation_matrices_are_proper():
    matrix = rotation_matrix(np.radians([10.0, -35.0, 80.0]))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_every_transform_is_a_pure_function_of_seed_and_step(name):
    image, label = random_volume((16, 16, 16))
    parameters = (("mm", (2.0, 2.0, 2.0)),) if name == "translation" else ()
    chosen = augmenter((Transform(name, 1.0, parameters),), (16, 16, 16))
    first, again = chosen(batch_of(image, label, 5)), chosen(batch_of(image, label, 5))
    other = chosen(batch_of(image, label, 6))
    assert torch.equal(first[0]["image"], again[0]["image"])
    assert torch.equal(first[1]["image"], again[1]["image"])
    assert torch.isfinite(first[0]["image"]).all()
    plain = augmenter((), (16, 16, 16))(batch_of(image, label, 5))[0]["image"]
    if name != "mirror":  # mirrored at every step when its probability is one
        assert not torch.allclose(first[0]["image"], other[0]["image"])
    assert not torch.allclose(first[0]["image"], plain)


def test_probability_zero_changes_nothing():
    image, label = random_volume()
    every = tuple(Transform(name, 0.0) for name in TRANSFORMS)
    inputs, _ = augmenter(every, (12, 12, 12))(batch_of(image, label))
    np.testing.assert_allclose(inputs["image"][0, 0], image * 0.01, atol=1e-6)


def test_gamma_keeps_mean_and_spread():
    image, label = random_volume((16, 16, 16))
    inputs, _ = augmenter((Transform("gamma", 1.0),), (16, 16, 16))(batch_of(image, label))
    assert float(inputs["image"].mean()) == pytest.approx(image.mean() * 0.01, abs=1e-4)
    assert float(inputs["image"].std()) == pytest.approx((image * 0.01).std(ddof=1), rel=1e-3)


def test_labels_never_gain_values():
    image, label = random_volume((20, 20, 20))
    spatial = tuple(Transform(name, 1.0) for name in ("rotation", "scale", "mirror", "elastic"))
    _, labels = augmenter(spatial, (16, 16, 16))(batch_of(image, label * 2))
    assert set(labels["image"].unique().tolist()) <= {0, 2, 4}


def test_the_margin_covers_the_zoom():
    assert needed_margin((Transform("scale", 1.0, (("range", (0.8, 1.2)),)),)) == pytest.approx(
        1.25
    )
    assert needed_margin(()) == 1


def test_a_sample_does_not_depend_on_the_others():
    image, label = random_volume((20, 20, 20))
    every = tuple(Transform(name, 0.5) for name in TRANSFORMS)
    chosen = augmenter(every, (16, 16, 16))
    for step in range(4):
        alone = batch_of(image, label, step)
        other = batch_of(image[::-1].copy(), label, step)
        pair = Batch(
            {"image": torch.cat([alone.images["image"], other.images["image"]])},
            {"image": torch.cat([alone.labels["image"], other.labels["image"]])},
            {"image": torch.zeros(2, 3)},
            ("a", "b"),
            step,
        )
        together, apart = chosen(pair), chosen(alone)
        assert torch.equal(together[0]["image"][:1], apart[0]["image"])
        assert torch.equal(together[1]["image"][:1], apart[1]["image"])


def test_an_augmentation_leaves_the_batch_as_it_was():
    image, label = random_volume((20, 20, 20))
    for dtype in (torch.int16, torch.float32):
        batch = batch_of(image, label)
        batch.images["image"] = batch.images["image"].to(dtype)
        before = batch.images["image"].clone()
        augmenter((Transform("noise", 1.0),), (16, 16, 16))(batch)
        augmenter((Transform("elastic", 1.0),), (16, 16, 16))(batch)
        assert torch.equal(batch.images["image"], before)


def test_transforms_are_applied_as_often_as_they_say():
    chosen = augmenter((Transform("noise", 0.3), Transform("mirror", 0.5)), (4, 4, 4))
    drawn = [chosen.draw(step, sample) for step in range(500) for sample in range(2)]
    assert np.mean([bool(own.changes) for own in drawn]) == pytest.approx(0.3, abs=0.05)
    flips = np.array([own.motion.flips for own in drawn])
    np.testing.assert_allclose(flips.mean(0), 0.5, atol=0.05)
    assert abs(np.corrcoef(flips.T)[0, 1]) < 0.1


def test_one_transform_does_not_change_what_another_draws():
    mirror, noise = Transform("mirror", 0.5), Transform("noise", 0.5)
    both = augmenter((mirror, noise), (4, 4, 4))
    never = augmenter((mirror, Transform("noise", 0.0)), (4, 4, 4))
    for step in range(20):
        assert both.draw(step, 0).motion.flips == never.draw(step, 0).motion.flips


def test_zoom_can_differ_between_axes():
    free = Transform("scale", 1.0, (("range", (0.5, 2.0)), ("isotropic", False)))
    zooms = 1 / np.diag(augmenter((free,), (4, 4, 4)).draw(0, 0).motion.matrix)
    assert len(set(zooms.round(6))) == 3
    assert ((zooms >= 0.5) & (zooms <= 2)).all()
    same = augmenter((Transform("scale", 1.0),), (4, 4, 4)).draw(0, 0).motion.matrix
    np.testing.assert_allclose(same, same[0, 0] * np.eye(3))


def test_elastic_deformation_can_differ_between_axes():
    flat = Transform(
        "elastic",
        1.0,
        (("spacing_mm", (100.0, 5.0, 10.0)), ("magnitude_mm", (0.0, 1.0, 2.0))),
    )
    control = augmenter((flat,), (20, 20, 20)).draw(0, 0).motion.control
    assert control.shape == (3, 4, 8, 6)
    assert not control[0].any()
    assert control[2].std() / control[1].std() == pytest.approx(2, rel=0.2)
    strong = Transform("elastic", 1.0, (("strength", (3.0, 3.0)),))
    once, thrice = (
        augmenter((t,), (90, 90, 90)).draw(0, 0).motion.control
        for t in (Transform("elastic", 1.0), strong)
    )
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-6)


def test_an_elastic_deformation_moves_by_its_sd():
    bend = Transform("elastic", 1.0, (("spacing_mm", 8.0), ("magnitude_mm", 1.5)))
    chosen = augmenter((bend,), (48, 48, 48))
    still = np.stack(np.meshgrid(*[np.arange(48.0)] * 3, indexing="ij"))
    path = chosen.geometries[0].path(chosen.draw(0, 0).motion, (48, 48, 48), np.zeros(3))
    assert (path.positions().numpy() - still).std() == pytest.approx(1.5, rel=0.1)


# --- words that say how others draw -----------------------------------------------------------


def drawn(transforms, count=600, spacing=(1.0, 1.0, 1.0)):
    transforms = (transforms,) if isinstance(transforms, Transform) else transforms
    chosen = augmenter(transforms, (9, 9, 9), spacing)
    return [chosen.draw(step, 0) for step in range(count)]


@pytest.mark.parametrize("name", ["gamma", "brightness", "contrast"])
def test_half_of_the_draws_lie_below_one_where_halves_are_asked_for(name):
    skewed = Transform(name, 1.0, (("range", (0.7, 3.0)), ("halves", True)))
    values = np.array([own.changes[0].value for own in drawn(skewed, 1500)])
    below, above = values[values < 1], values[values >= 1]
    assert len(below) / len(values) == pytest.approx(0.5, abs=0.05)
    for part, ends in ((below, (0.7, 1.0)), (above, (1.0, 3.0))):
        assert (part.min(), part.max()) == pytest.approx(ends, abs=0.02)
        assert part.mean() == pytest.approx(sum(ends) / 2, abs=0.05)
    even = Transform(name, 1.0, (("range", (0.7, 3.0)),))
    values = np.array([own.changes[0].value for own in drawn(even)])
    assert (values < 1).mean() == pytest.approx(0.3 / 2.3, abs=0.05)


def test_a_factor_of_coordinates_makes_objects_smaller():
    image = np.zeros((33, 33, 33))
    image[8:25, 8:25, 8:25] = 100
    away = Transform("scale", 1.0, (("range", (1.5, 1.5)), ("coordinates", True)))
    _, labels = augmenter((away,), (33, 33, 33))(batch_of(image, image > 0))
    assert float(labels["image"].sum()) == pytest.approx((17 / 1.5) ** 3, rel=0.15)
    assert needed_margin((away,)) == 1.5
    assert needed_margin((Transform("scale", 1.0, (*away.parameters[1:],)),)) == 1.25


def test_a_plane_is_scaled_and_coarsened_alone():
    plane = ("axes", (1, 2))
    zooms = Transform("scale", 1.0, (("range", (0.5, 0.8)), plane, ("isotropic", False)))
    matrices = np.array([own.motion.matrix for own in drawn(zooms, 50)])
    assert (matrices[:, 0, 0] == 1).all()
    assert (matrices[:, [1, 2], [1, 2]] > 1).all()
    slices = np.repeat(np.arange(12) * 10, 144).reshape(12, 12, 12)  # they differ along z alone
    coarse = Transform("low_resolution", 1.0, (("zoom", (0.5, 0.5)), plane))
    inputs, _ = augmenter((coarse,), (12, 12, 12))(batch_of(slices, slices * 0))
    np.testing.assert_allclose(inputs["image"][0, 0], np.minimum(slices, 100) * 0.01, atol=1e-6)
    everywhere = Transform("low_resolution", 1.0, (("zoom", (0.5, 0.5)),))
    inputs, _ = augmenter((everywhere,), (12, 12, 12))(batch_of(slices, slices * 0))
    assert not np.allclose(inputs["image"][0, 0], np.minimum(slices, 100) * 0.01)


def test_a_rotation_of_voxels_takes_them_for_cubes():
    spacing = np.array([5.0, 0.8, 0.7])
    by_mm = Transform("rotation", 1.0, (("degrees", (20.0, 30.0, 40.0)),))
    by_voxels = Transform("rotation", 1.0, (*by_mm.parameters, ("voxels", True)))
    for mm, voxels in zip(
        drawn(by_mm, 5, tuple(spacing)), drawn(by_voxels, 5, tuple(spacing)), strict=True
    ):
        in_voxels = voxels.motion.matrix / spacing[:, None] * spacing
        np.testing.assert_allclose(in_voxels, mm.motion.matrix, atol=1e-12)
        assert not np.allclose(voxels.motion.matrix @ voxels.motion.matrix.T, np.eye(3))


def test_lengths_can_be_voxels():
    spacing = (4.0, 0.5, 1.0)
    moved = Transform("translation", 1.0, (("mm", (3.0, 3.0, 3.0)), ("voxels", True)))
    reach = np.abs([own.motion.shift for own in drawn(moved, 300, spacing)]).max(0)
    np.testing.assert_allclose(reach, np.multiply(spacing, 3), rtol=0.05)
    parameters = (("spacing_mm", 4.0), ("magnitude_mm", 0.5))
    bent = Transform("elastic", 1.0, (*parameters, ("voxels", True)))
    shape, grid = (40, 36, 32), Grid("image", (40, 36, 32))
    still = np.stack(np.meshgrid(*[np.arange(float(n)) for n in shape], indexing="ij"))
    chosen = Augmenter((grid,), spacing, (bent,), WINDOW, seed=0)
    path = chosen.geometries[0].path(chosen.draw(0, 0).motion, shape, np.zeros(3))
    away = path.positions().numpy() - still
    np.testing.assert_allclose(away.std(axis=(1, 2, 3)), 0.5, rtol=0.15)
    assert tuple(chosen.mesh[1]) == (11, 10, 9)


def test_a_smoother_deformation_displaces_less():
    bend = Transform(
        "elastic",
        1.0,
        (("spacing_mm", 6.0), ("magnitude_mm", 1.0), ("smoothness", (0.5, 2.0))),
    )
    chosen = augmenter((bend,), (48, 48, 48))
    still = np.stack(np.meshgrid(*[np.arange(48.0)] * 3, indexing="ij"))
    sds, points = [], []
    for step in range(40):
        course = chosen.plan(step, 0, {"image": ((48, 48, 48), np.zeros(3))})["image"]
        away = course.path.positions().numpy() - still
        sds.append(away.std())
        points.append(chosen.draw(step, 0).motion.control.shape[1])
    assert len(set(points)) > 4
    # The distance of the points is a whole part of the edge, so only about its power -1.5.
    widths = 48.25 / (np.array(points) - 3) / 6
    np.testing.assert_allclose(np.log(sds), -1.5 * np.log(widths), atol=0.45)
    assert np.corrcoef(np.log(sds), np.log(widths))[0, 1] < -0.97


def test_what_goes_together_happens_together_or_not_at_all():
    one, never = Transform("elastic", 0.4), Transform("rotation", 0.0)
    turn = Transform("rotation", 1.0, together=True)
    half = Transform("noise", 0.5, together=True)
    found = drawn((one, Transform("mirror", 0.5), turn, half), 800)
    bent = np.array([own.motion.control is not None for own in found])
    turned = np.array([not np.allclose(own.motion.matrix, np.eye(3)) for own in found])
    noisy = np.array([bool(own.changes) for own in found])
    assert bent.mean() == pytest.approx(0.4, abs=0.07)
    assert (turned == bent).all()
    assert not (noisy & ~bent).any()
    assert noisy[bent].mean() == pytest.approx(0.5, abs=0.1)
    assert all(own.motion.still for own in drawn((never, turn), 50))
    # What one draws does not depend on what it is tied to.
    apart = drawn((one, Transform("mirror", 0.5), Transform("rotation", 1.0), half), 20)
    for tied, free in zip(found, apart, strict=False):
        if tied.motion.control is not None:
            assert (tied.motion.matrix == free.motion.matrix).all()


def test_each_axis_can_be_blurred_by_its_own():
    from scipy.ndimage import gaussian_filter

    image, label = random_volume((14, 15, 16))
    blur = Transform("blur", 1.0, (("sigma", (0.5, 2.0)), ("isotropic", False)))
    chosen = augmenter((blur,), (14, 15, 16))
    (change,) = chosen.draw(0, 0).changes
    widths = (change.value, *change.more)
    assert len(set(widths)) == 3
    inputs, _ = chosen(batch_of(image, label))
    expected = gaussian_filter(image * 0.01, widths, mode="reflect")
    np.testing.assert_allclose(inputs["image"][0, 0], expected, atol=1e-5)
    assert drawn(Transform("blur", 1.0), 1)[0].changes[0].more is None
