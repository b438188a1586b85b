"""Positions, B-splines and the resampling of voxels, against slower ways to the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from kitsbench.architecture import Grid
from kitsbench.data.batches import resampling
from kitsbench.data.batches.resampling import resample
from kitsbench.data.batches.warping import (
    BSPLINE_SD,
    Geometry,
    Motion,
    bspline_weights,
    mesh_of,
    rotation_matrix,
)

edges = st.integers(3, 9)


def motion(rng, mesh=None, scale=1.0, flips=(False, False, False)):
    control = None if mesh is None else rng.normal(size=(3, *(mesh[1] + 3)))
    matrix = rotation_matrix(rng.uniform(-1, 1, 3)) * scale
    return Motion(matrix, rng.uniform(-3, 3, 3), flips, control)


def resampled(image, label, path, clip=(-200, 200)):
    """A source patch (z, y, x) along a path: image and labels."""
    into = torch.empty(path.shape), torch.empty(path.shape, dtype=label.dtype)
    where = path.box.slices
    resample(image[where], label[where], path, clip, into)
    return into


def reference(image, label, where, low, high):
    """The same by ``grid_sample`` in double precision."""
    size = torch.tensor(image.shape[2:]).view(1, 3, 1, 1, 1)
    unit = ((where.double() * 2 + 1) / size - 1).flip(1).permute(0, 2, 3, 4, 1)
    outside = {"padding_mode": "zeros", "align_corners": False}
    above = image.double().clamp(low, high) - low
    return (
        F.grid_sample(above, unit, **outside) + low,
        F.grid_sample(label[:, None].double(), unit, mode="nearest", **outside)[:, 0],
    )


@settings(max_examples=12, deadline=None)
@given(st.tuples(edges, edges, edges), st.tuples(edges, edges, edges), st.integers(0, 99))
def test_gathering_agrees_with_grid_sample_also_far_outside(source, shape, seed):
    rng = np.random.default_rng(seed)
    grid = Grid("image", shape)
    mesh = mesh_of([grid], (1.0, 2.0, 1.5), (3.0, 3.0, 3.0)) if seed % 2 else None
    geometry = Geometry(grid, (1.0, 2.0, 1.5), mesh)
    motions = [motion(rng, mesh, scale) for scale in (0.8, 3.0)]
    image = torch.from_numpy(rng.integers(-300, 300, (2, 1, *source), dtype=np.int16))
    label = torch.from_numpy(rng.integers(0, 4, (2, *source), dtype=np.uint8))
    paths = [geometry.path(own, source, rng.uniform(-1, 1, 3)) for own in motions]
    where = torch.stack([path.positions() for path in paths])
    found = [
        resampled(own[0], marks, path, (-100.5, 200.0))
        for own, marks, path in zip(image, label, paths, strict=True)
    ]
    moved = torch.stack([own for own, _ in found])[:, None]
    marks = torch.stack([own for _, own in found])
    expected, nearest = reference(image, label, where, -100.5, 200.0)
    torch.testing.assert_close(moved.double(), expected, atol=5e-3, rtol=0)
    assert (marks == nearest).double().mean() > 0.99  # but for ties


def test_chunks_do_not_change_a_bit(monkeypatch):
    rng = np.random.default_rng(0)
    grid = Grid("image", (11, 9, 10))
    mesh = mesh_of([grid], (1.0, 1.0, 1.0), (4.0, 4.0, 4.0))
    path = Geometry(grid, (1.0, 1.0, 1.0), mesh).path(motion(rng, mesh), (12, 12, 12), np.zeros(3))
    image = torch.from_numpy(rng.integers(-300, 300, (12, 12, 12), dtype=np.int16))
    label = torch.from_numpy(rng.integers(0, 4, (12, 12, 12), dtype=np.uint8))
    whole = resampled(image, label, path)
    again = resampled(image, label, path)
    monkeypatch.setattr(resampling, "CHUNK", 200)
    parts = resampled(image, label, path)
    assert torch.equal(whole[0], again[0])
    torch.testing.assert_close(whole[0], parts[0], atol=1e-3, rtol=0)
    assert torch.equal(whole[1], parts[1])


@pytest.mark.parametrize("flips", [(True, False, False), (False, True, True)])
def test_mirroring_while_resampling_is_an_exact_flip(flips):
    rng = np.random.default_rng(1)
    grid = Grid("image", (8, 9, 10))
    mesh = mesh_of([grid], (1.0, 1.0, 1.0), (4.0, 4.0, 4.0))
    geometry, base = Geometry(grid, (1.0, 1.0, 1.0), mesh), motion(rng, mesh)
    image = torch.from_numpy(rng.integers(-300, 300, (10, 10, 10), dtype=np.int16))
    label = torch.from_numpy(rng.integers(0, 4, (10, 10, 10), dtype=np.uint8))

    def moved(own):
        return resampled(image, label, geometry.path(own, (10, 10, 10), np.zeros(3)))

    axes = [axis - 3 for axis in range(3) if flips[axis]]
    mirrored = moved(Motion(base.matrix, base.shift, flips, base.control))
    straight = moved(base)
    torch.testing.assert_close(mirrored[0], straight[0].flip(axes), atol=1e-3, rtol=0)
    assert torch.equal(mirrored[1], straight[1].flip(axes))


def test_bspline_weights_are_those_of_scipy():
    elements, positions = 4, np.linspace(0, 4, 41)
    weights = bspline_weights(positions, elements)
    knots = np.arange(-3, elements + 4)
    expected = BSpline(knots, np.eye(elements + 3), 3)(positions)
    np.testing.assert_allclose(weights, expected, atol=1e-12)
    np.testing.assert_allclose(weights.sum(1), 1)
    np.testing.assert_allclose(bspline_weights(np.array([-1.0, 9.0]), 4), weights[[0, -1]])


def test_the_sd_of_a_displacement_is_what_it_is_said_to_be():
    rng = np.random.default_rng(2)
    weights = [bspline_weights(np.linspace(0, 40, 400), 40) for _ in range(3)]
    control = rng.normal(size=(43, 43, 43)) / BSPLINE_SD
    field = np.einsum("ijk,zi,yj,xk->zyx", control, *(w[::8] for w in weights), optimize=True)
    assert field.std() == pytest.approx(1, rel=0.03)


def test_grids_of_other_spacing_see_the_same_deformation():
    grids = [Grid("fine", (16, 16, 16)), Grid("coarse", (8, 8, 8), ratio=(4.0, 4.0, 4.0))]
    mesh = mesh_of(grids, (1.0, 1.0, 1.0), (6.0, 6.0, 6.0))
    assert mesh[0] == pytest.approx([33, 33, 33])  # the coarse one reaches further
    own = motion(np.random.default_rng(3), mesh)
    places = []
    for grid in grids:
        geometry = Geometry(grid, (1.0, 1.0, 1.0), mesh)
        path = geometry.path(own, (1, 1, 1), np.zeros(3))
        ratio = grid.ratio[0]
        places.append((path.positions().numpy() * ratio, geometry.axes))
    (fine, fine_axes), (coarse, coarse_axes) = places
    from scipy.interpolate import interpn

    inside = [axis[np.abs(axis) <= 7.5] for axis in coarse_axes]
    points = np.stack(np.meshgrid(*inside, indexing="ij"), -1)
    rows = [np.flatnonzero(np.abs(axis) <= 7.5) for axis in coarse_axes]
    for component in range(3):
        found = interpn(fine_axes, fine[component], points)
        np.testing.assert_allclose(found, coarse[component][np.ix_(*rows)], atol=0.05)
