"""The words in which an architecture describes itself."""

from __future__ import annotations

import re

import pytest

from kitsbench.errors import ContractError
from kitsbench.spec import SizeRule, Spec


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"multiple": (0, 1, 1)}, "SizeRule(multiple=(0, 1, 1)): no edge may be below 1"),
        ({"multiple": (8, 8)}, "SizeRule(multiple=(8, 8)): give three whole numbers"),
        ({"multiple": (8.0, 8.0, 8.0)}, "give three whole numbers"),
        ({"multiple": (-2, 1, 1)}, "no edge may be below 1"),
        ({"shrink": (-2, -2, -2)}, "no edge may be below 0"),
        ({"minimum": (10**9,) * 3}, "of at most 4096"),
        ({"maximum": (0, 8, 8)}, "no edge may be below 1"),
        ({"maximum": 96}, "SizeRule(maximum=96): give three whole numbers"),
        (
            {"multiple": (16, 16, 16), "maximum": (32, 8, 32)},
            "along y no edge of at most 8 is a multiple of 16 and 0 more, and at least 1",
        ),
        ({"minimum": (9, 9, 9), "maximum": (8, 8, 8)}, "along z no edge of at most 8"),
    ],
)
def test_a_size_rule_that_is_none_is_refused_where_it_is_written(fields, words):
    with pytest.raises(ContractError, match=re.escape(words)):
        SizeRule(**fields)


def test_a_largest_edge_is_never_passed():
    rule = SizeRule((16, 16, 16), minimum=(32, 32, 32), maximum=(100, 96, 40))
    assert rule.nearest((128, 128, 128)) == ((96, 96, 32), (96, 96, 32))
    assert rule.nearest((1, 60, 33))[0] == (32, 64, 32)
    assert not rule.is_fixed
    assert rule.admits((96, 96, 32))
    assert not rule.admits((112, 96, 32))


def test_one_shape_alone():
    rule = SizeRule.fixed((96, 96, 64), shrink=(8, 8, 8))
    assert rule.is_fixed
    for patch in ((1, 1, 1), (128, 96, 500)):
        assert rule.nearest(patch) == ((96, 96, 64), (88, 88, 56))


def test_rules_without_a_largest_edge_are_hashed_as_before():
    assert "maximum" not in Spec().to_dict()["size_rule"]
    assert Spec(size_rule=SizeRule.fixed((8, 8, 8))).to_dict()["size_rule"]["maximum"] == (8, 8, 8)
