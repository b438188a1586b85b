"""Lesions found, missed and made up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from kitsbench.evaluation import score_case, score_failed_case
from kitsbench.evaluation.lesions import count_lesions

METRICS = ["lesion_sensitivity", "lesion_false_positives"]


def plain_counts(prediction, truth, labels):
    """The definition, on whole volumes."""
    p, t = np.isin(prediction, labels), np.isin(truth, labels)
    (predicted, n_predicted), (true, n_true) = (label(m, np.ones((3, 3, 3))) for m in (p, t))
    found = sum(bool(p[true == i].any()) for i in range(1, n_true + 1))
    wrong = sum(not t[predicted == i].any() for i in range(1, n_predicted + 1))
    return n_true, found, wrong


@settings(max_examples=100)
@given(
    st.integers(0, 2**32),
    st.tuples(*[st.integers(1, 12) for _ in range(3)]),
    st.sampled_from([0.0, 0.01, 0.05, 0.2, 0.6]),
    st.sampled_from([(2,), (2, 3), (1, 2, 3)]),
)
def test_counts_equal_their_definition(seed, shape, density, labels):
    random = np.random.default_rng(seed)
    maps = random.integers(1, 4, (2, *shape)).astype(np.uint8)
    maps[random.random(maps.shape) > density] = 0
    assert tuple(count_lesions(*maps, labels)) == plain_counts(*maps, labels)


def test_diagonal_neighbours_are_one_lesion_and_a_gap_of_one_voxel_makes_two():
    truth = np.zeros((6, 6, 6), np.uint8)
    truth[0, 0, 0] = truth[1, 1, 1] = 2
    truth[3, 3, 3] = 2
    assert count_lesions(np.zeros_like(truth), truth, (2,)) == (2, 0, 0)


def test_what_touches_a_lesion_is_no_false_positive():
    truth = np.zeros((1, 1, 20), np.uint8)
    truth[..., 2:5] = truth[..., 8:10] = 2
    prediction = np.zeros_like(truth)
    prediction[..., 4:7] = prediction[..., 12] = prediction[..., 15:18] = 2
    assert count_lesions(prediction, truth, (2,)) == (2, 1, 2)
    rows = score_case(prediction, truth, (1, 1, 1), "kits23", METRICS)
    # A kidney is no lesion, so it has no such score.
    assert {row["region"] for row in rows} == {"mass", "tumor"}
    assert [row["value"] for row in rows] == [0.5, 2, 0.5, 2]


def test_where_nothing_is_to_be_found_sensitivity_is_undefined():
    empty, lesion = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    lesion[1, 1, 1] = 3

    def cyst(rows):
        return [row["value"] for row in rows if row["region"] == "cyst"]

    assert cyst(score_case(empty, empty, (1, 1, 1), "labels", METRICS)) == [None, 0]
    assert cyst(score_case(lesion, empty, (1, 1, 1), "labels", METRICS)) == [None, 1]
    assert cyst(score_case(empty, lesion, (1, 1, 1), "labels", METRICS)) == [0, 0]
    assert cyst(score_failed_case(lesion, (1, 1, 1), "labels", METRICS)) == [0, None]
    assert cyst(score_failed_case(empty, (1, 1, 1), "labels", METRICS)) == [None, None]


@pytest.mark.parametrize("size", [9, (1 << 20) + 11])
def test_lesions_anywhere_in_the_volume_are_seen(size):
    """Volumes are gone through in blocks and words; none may lose its ends."""
    for at in (0, 7, 8, size - 1, min(size - 1, 1 << 20)):
        truth = np.zeros((1, 1, size), np.uint8)
        truth[..., at] = 2
        assert count_lesions(truth, truth, (2,)) == (1, 1, 0)
