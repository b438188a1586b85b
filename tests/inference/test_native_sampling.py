"""From the prepared grid back to native voxels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from kitsbench.inference.native import decide_native, nearest_native, sample_native

PERMUTATIONS = [(0, 1, 2), (2, 1, 0), (1, 0, 2), (2, 0, 1)]


def mapping(permutation, scale, shift, shear=0.0):
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag(scale)[:, permutation] + shear
    matrix[:3, 3] = shift
    return matrix


@given(
    permutation=st.sampled_from(PERMUTATIONS),
    scale=st.tuples(*[st.sampled_from([-1.3, -0.5, 0.4, 1.0, 1.7])] * 3),
    shift=st.tuples(*[st.floats(-2, 9)] * 3),
    shear=st.sampled_from([0.0, 0.07]),
)
@settings(max_examples=60)
def test_sampling_equals_scipy_for_any_mapping(permutation, scale, shift, shear):
    volume = np.random.default_rng(0).normal(size=(2, 9, 8, 7)).astype(np.float32)
    matrix = mapping(permutation, scale, shift, shear)
    shape, rows = (5, 6, 4), (1, 4)
    found = sample_native(torch.from_numpy(volume), matrix, shape, rows).numpy()
    index = np.stack(np.meshgrid(np.arange(*rows), np.arange(6), np.arange(4), indexing="ij"), -1)
    place = index @ matrix[:3, :3].T + matrix[:3, 3]
    # Outside the prepared grid its nearest voxel counts, on each axis.
    place = np.clip(place, 0, np.array(volume.shape[1:]) - 1)
    for channel in range(2):
        expected = map_coordinates(volume[channel], np.moveaxis(place, -1, 0), order=1)
        np.testing.assert_allclose(found[channel], expected, atol=2e-4)


def test_slabs_give_what_one_piece_gives(monkeypatch):
    from kitsbench.inference import native

    volume = {"head": torch.rand(3, 6, 6, 6)}
    matrix, shape = np.diag([0.5, 0.5, 0.5, 1.0]), (11, 10, 9)

    def decide(members):
        return members[0]["head"].argmax(0).to(torch.uint8)

    arguments = ([volume], [{"head": np.eye(4)}], matrix, shape, decide)
    whole = decide_native(*arguments)
    monkeypatch.setattr(native, "SLAB_VOXELS", 100)
    monkeypatch.setattr(native.slabs, "__defaults__", (100,))
    np.testing.assert_array_equal(decide_native(*arguments), whole)
    assert whole.shape == shape


@pytest.mark.parametrize("permutation", PERMUTATIONS)
def test_nearest_returns_labels_exactly_at_equal_spacing(permutation):
    labels = torch.randint(0, 3, (4, 5, 6), dtype=torch.uint8)
    shape = tuple(labels.shape[axis] for axis in permutation)
    matrix = mapping(permutation, (1, 1, 1), (0, 0, 0))
    found = nearest_native(labels, matrix, shape)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    place = np.rint(index @ matrix[:3, :3].T).astype(int)
    expected = labels.numpy()[place[..., 0], place[..., 1], place[..., 2]]
    np.testing.assert_array_equal(found, expected)
