"""Inner folds: the training cases of a fold dealt out again, and nothing that is tested."""

from __future__ import annotations

import json

import pytest

from kitsbench.data.splits.files import import_split, keep_split
from kitsbench.data.splits.rules import check_rule, choose_rule, without_inner
from kitsbench.data.splits.split import Split
from kitsbench.errors import DataError, UsageError

CASES = [f"case_{number:05d}" for number in range(20)]


@pytest.mark.parametrize("rule", ["80:20", "3", "nnunet:4", "kfold"])
def test_inner_folds_are_the_training_cases_and_change_no_id(rule):
    plain, split = choose_rule(rule, CASES), choose_rule(f"{rule}/3", CASES)
    assert (split.id, split.folds) == (plain.id, plain.folds)
    for fold in range(len(split.folds)):
        inner = split.inner_split(fold)
        assert [case for part in map(inner.test, range(3)) for case in part] != split.train(fold)
        assert inner.cases == split.train(fold)
        for part in range(3):
            assert not set(inner.train(part)) & set(split.test(fold))
            assert set(inner.train(part)) < set(split.train(fold))
    assert plain.inner_split(0) is None


def test_a_split_with_inner_folds_is_kept_and_read_back(tmp_path):
    split = choose_rule("75:25/2", CASES)
    keep_split(split, tmp_path)
    read = {import_split(file, CASES) for file in tmp_path.glob("*.json")}
    assert read == {split, choose_rule("75:25", CASES)}
    listed = tmp_path / "list.json"
    content = [{"train": split.train(0), "val": split.test(0)}]
    listed.write_text(json.dumps(content))
    assert choose_rule(f"{listed}/2", CASES) == split


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ([["a"], ["b", "t"]], "see case t"),  # t is tested
        ([["a"], ["b"]], "see case c"),
        ([["a", "b"], ["c", "a"]], "see case a"),
        ([["a", "b", "c"]], "1 folds"),
        ([["a", "b", "c"], []], "fold 1 is empty"),
    ],
)
def test_inner_folds_that_are_none_are_refused(parts, what):
    with pytest.raises(DataError, match=what):
        Split((("t",),), (("a", "b", "c"),), (tuple(map(tuple, parts)),))
    with pytest.raises(DataError):
        Split.from_dict({"folds": [["t"]], "training": [["a", "b", "c"]], "inner": parts})


def test_a_rule_says_what_is_wrong_with_its_inner_folds():
    assert without_inner("80:20/5") == ("80:20", 5)
    assert without_inner("mine/splits_final.json") == ("mine/splits_final.json", None)
    check_rule("nnunet:3/5")
    for rule in ("5/1", "80:20/0"):
        with pytest.raises(UsageError, match="inner folds cannot be made; use 2 or more"):
            check_rule(rule)
    for rule in ("5/5/5", "5/x", "/5", "plenty/5", "5/"):
        with pytest.raises(UsageError, match="is not known"):
            check_rule(rule)
    with pytest.raises(UsageError, match="9 folds of 4 cases"):
        choose_rule("80:20/9", CASES[:5])
