"""Tiles cover every voxel, and blending a constant gives the constant."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kitsbench.inference.tiles import tile_starts, tile_weight
from kitsbench.recipe import Inference


@given(st.integers(1, 200), st.integers(1, 64), st.floats(0, 0.9))
@settings(max_examples=300)
def test_tiles_cover_the_axis_with_at_least_the_overlap(size, tile, overlap):
    starts = tile_starts(size, tile, overlap)
    covered = np.zeros(size, dtype=int)
    for start in starts:
        covered[max(start, 0) : max(start + tile, 0)] += 1
    assert covered.min() >= 1
    if size > tile:
        assert starts[0] == 0
        assert starts[-1] + tile == size
        steps = np.diff(starts)
        assert steps.min() >= 0
        assert steps.max() <= max(1, tile * (1 - overlap)) + 1


def test_a_tile_larger_than_the_axis_is_centred():
    assert tile_starts(10, 16, 0.5) == [-3]


def test_gaussian_weights_fall_off_and_never_vanish():
    weight = tile_weight((16, 8, 32), Inference())
    assert weight.shape == (16, 8, 32)
    assert float(weight.max()) == 1
    assert float(weight.min()) > 0
    assert torch.equal(weight, weight.flip(0, 1, 2))
    # MONAI's importance map, the field's usual one, for the same sigma.
    from monai.data.utils import compute_importance_map

    theirs = compute_importance_map((16, 8, 32), mode="gaussian", sigma_scale=0.125)
    mine = weight / weight.max()
    assert torch.corrcoef(torch.stack([mine.flatten(), theirs.flatten()]))[0, 1] > 0.97
