"""The words in which an architecture describes itself."""

from __future__ import annotations

import re

import pytest

from kitsbench.errors import ContractError
from kitsbench.spec import SizeRule


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"multiple": (0, 1, 1)}, "SizeRule(multiple=(0, 1, 1)): no edge may be below 1"),
        ({"multiple": (8, 8)}, "SizeRule(multiple=(8, 8)): give three whole numbers"),
        ({"multiple": (8.0, 8.0, 8.0)}, "give three whole numbers"),
        ({"multiple": (-2, 1, 1)}, "no edge may be below 1"),
        ({"shrink": (-2, -2, -2)}, "no edge may be below 0"),
        ({"minimum": (10**9,) * 3}, "of at most 4096"),
    ],
)
def test_a_size_rule_that_is_none_is_refused_where_it_is_written(fields, words):
    with pytest.raises(ContractError, match=re.escape(words)):
        SizeRule(**fields)
