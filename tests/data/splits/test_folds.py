"""Splits: every case tested once, whatever the order, and nothing by accident."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitsbench.data.splits.split import Split, make_folds
from kitsbench.errors import DataError, UsageError
from kitsbench.files import canonical_json

names = st.lists(st.text(min_size=1, max_size=6), min_size=2, max_size=40, unique=True)


@given(cases=names, data=st.data(), seed=st.integers(0, 2**32))
def test_every_case_is_tested_exactly_once(cases, data, seed):
    folds = data.draw(st.integers(2, len(cases)))
    split = make_folds(cases, folds, seed)
    assert sorted(c for k in range(folds) for c in split.test(k)) == sorted(cases)
    sizes = [len(split.test(k)) for k in range(folds)]
    assert max(sizes) - min(sizes) <= 1
    for k in range(folds):
        assert sorted(split.test(k) + split.train(k)) == sorted(cases)


@given(cases=names, seed=st.integers(0, 100), data=st.data())
def test_the_order_of_the_cases_plays_no_role(cases, seed, data):
    assert make_folds(data.draw(st.permutations(cases)), 2, seed) == make_folds(cases, 2, seed)


def test_seeds_give_other_splits_and_ids():
    cases = [f"case_{k:05d}" for k in range(20)]
    splits = [make_folds(cases, 5, seed) for seed in range(4)]
    assert len({s.id for s in splits}) == 4
    assert make_folds(cases, 5, 0).id == splits[0].id


def test_the_split_of_a_seed_never_changes():
    """Stored experiments refer to splits by seed: another shuffle would break them silently."""
    split = make_folds([f"case_{k:05d}" for k in range(6)], 3, 0)
    assert split.id == SPLIT_ID


SPLIT_ID = "6a34ebe4d361d143"


def test_round_trip_through_json():
    import json

    split = make_folds("abcdefg", 3, 1)
    assert Split.from_dict(json.loads(canonical_json(split.to_dict()))) == split


def test_a_changed_split_is_noticed():
    stored = make_folds("abcdef", 3, 1).to_dict()
    stored["folds"][0], stored["folds"][1] = stored["folds"][0][:1], [*stored["folds"][1], "z"]
    with pytest.raises(DataError, match="changed by hand"):
        Split.from_dict(stored)
    with pytest.raises(DataError, match="malformed"):
        Split.from_dict({"fold": []})


@pytest.mark.parametrize(
    ("folds", "reason"),
    [
        ((("a", "b"), ("b",)), "case b is in fold 0 and in fold 1"),
        ((("a",), ()), "fold 1 is empty"),
        ((("a",),), "at least 2"),
    ],
)
def test_broken_splits_are_refused(folds, reason):
    with pytest.raises(DataError, match=reason):
        Split(folds)


def test_numbers_that_do_not_fit():
    with pytest.raises(UsageError, match="use 2 to 3"):
        make_folds("abc", 4)
    with pytest.raises(UsageError):
        make_folds("abc", 1)
    with pytest.raises(DataError, match="a occurs twice"):
        make_folds(["a", "b", "a"], 2)
    with pytest.raises(UsageError, match="folds 0 to 1"):
        make_folds("ab", 2).test(2)
    with pytest.raises(UsageError):
        make_folds("ab", 2).train(-1)
