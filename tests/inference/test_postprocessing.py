"""Cleaning of label maps, against scipy's components and dilation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from kitsbench.inference.postprocessing import (
    keep_kidney_each_side,
    keep_largest,
    tumor_touching_kidney,
    within_dilated,
)

FULL = np.ones((3, 3, 3))


@st.composite
def label_maps(draw, highest=2):
    """Blobs of a few labels; the density decides how many components there are."""
    shape = draw(st.tuples(*[st.integers(1, 9)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    filled = rng.random(shape) < draw(st.sampled_from([0.0, 0.05, 0.15, 0.5]))
    return (filled * rng.integers(1, highest + 1, shape)).astype(np.uint8)


def largest_by_scipy(mask, count):
    components, found = ndimage.label(mask, FULL)
    sizes = [int((components == k).sum()) for k in range(1, found + 1)]
    return components, sorted(sizes, reverse=True)[:count]


@given(label_maps(), st.integers(1, 3))
@settings(max_examples=80, deadline=None)
def test_the_largest_components_stay(labels, count):
    kept = keep_largest(torch.from_numpy(labels), count).numpy()
    components, sizes = largest_by_scipy(labels > 0, count)
    # Equally large components may be told apart either way; sizes may not differ.
    numbers = np.unique(components[kept > 0])
    assert sorted(((components == n).sum() for n in numbers), reverse=True) == sizes
    np.testing.assert_array_equal(kept, labels * np.isin(components, numbers) * (labels > 0))


@given(label_maps())
@settings(max_examples=80, deadline=None)
def test_one_kidney_stays_on_each_side_and_the_rest_is_left_alone(labels):
    kept = keep_kidney_each_side(torch.from_numpy(labels)).numpy()
    np.testing.assert_array_equal(kept[labels != 1], labels[labels != 1])
    middle = labels.shape[2] // 2
    for half in (np.s_[..., :middle], np.s_[..., middle:]):
        components, sizes = largest_by_scipy(labels[half] == 1, 1)
        numbers = np.unique(components[kept[half] == 1])
        assert [(components == n).sum() for n in numbers] == sizes
        np.testing.assert_array_equal(
            kept[half] == 1, np.isin(components, numbers) & (components > 0)
        )


@given(label_maps(highest=3))
@settings(max_examples=80, deadline=None)
def test_a_tumor_stays_where_it_touches_a_kidney(labels):
    kept = tumor_touching_kidney(torch.from_numpy(labels)).numpy()
    near = ndimage.binary_dilation(labels == 1, FULL)
    components, found = ndimage.label(labels == 2, FULL)
    expected = labels.copy()
    for number in range(1, found + 1):
        if not near[components == number].any():
            expected[components == number] = 0
    np.testing.assert_array_equal(kept, expected)


def test_several_tumor_labels_form_one_component():
    labels = torch.tensor([1, 3, 2, 0, 2, 0, 3], dtype=torch.uint8).reshape(1, 1, -1)
    kept = tumor_touching_kidney(labels, tumor=(2, 3))
    assert kept.flatten().tolist() == [1, 3, 2, 0, 0, 0, 0]
    assert tumor_touching_kidney(labels).flatten().tolist() == [1, 3, 0, 0, 0, 0, 3]


@given(label_maps(), st.integers(0, 2**32 - 1), st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_the_dilated_mask_is_scipys(labels, seed, iterations):
    mask = np.random.default_rng(seed).random(labels.shape) < 0.02
    kept = within_dilated(torch.from_numpy(labels), torch.from_numpy(mask), iterations).numpy()
    grown = ndimage.binary_dilation(mask, iterations=iterations)
    np.testing.assert_array_equal(kept, labels * grown)


@pytest.mark.parametrize("spacing", [(5.0, 0.7, 0.7), (1.0, 1.0, 1.0), (2.5, 3.0, 0.4)])
def test_a_dilation_in_mm_is_the_city_block_distance(spacing):
    labels = torch.ones(7, 40, 41, dtype=torch.uint8)
    mask = torch.zeros(7, 40, 41, dtype=torch.bool)
    mask[3, 20, 20] = True
    kept = within_dilated(labels, mask, 10.0, spacing).numpy()
    offsets = np.abs(np.indices(labels.shape) - np.array([3, 20, 20]).reshape(3, 1, 1, 1))
    distance = np.tensordot(np.array(spacing), offsets, 1)
    np.testing.assert_array_equal(kept, distance <= 10.0 + 1e-3)


def test_labels_are_not_changed_in_place_and_keep_their_type():
    labels = (torch.rand(6, 7, 8) < 0.2).to(torch.uint8) * 2
    copy = labels.clone()
    for cleaned in (
        keep_largest(labels, 1),
        keep_kidney_each_side(labels, (2,)),
        tumor_touching_kidney(labels),
        within_dilated(labels, torch.zeros(6, 7, 8, dtype=torch.bool), 2),
    ):
        assert torch.equal(labels, copy)
        assert cleaned.dtype == torch.uint8
        assert cleaned.data_ptr() != labels.data_ptr()
