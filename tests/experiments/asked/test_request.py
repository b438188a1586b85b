"""What people write on the command line, read into values."""

from __future__ import annotations

import pytest

from kitsbench.errors import UsageError
from kitsbench.experiments.asked.request import parse_folds, parse_memory, parse_triple


@pytest.mark.parametrize(
    ("text", "value"),
    [("11GiB", 11 * 2**30), ("500MB", 500_000_000), ("1.5 gib", 3 * 2**29), ("2048kib", 2**21)],
)
def test_memory_is_read(text, value):
    assert parse_memory(text) == value


@pytest.mark.parametrize(
    "text", ["", "11", "lots", "-1GiB", "0GB", "GiB", "0.1B", "9" * 400 + "GiB"]
)
def test_wrong_memory_names_the_text(text):
    with pytest.raises(UsageError, match="memory"):
        parse_memory(text)


def test_folds_are_read():
    assert parse_folds("all") == "all"
    assert parse_folds("2,0,2") == (0, 2)
    for text in ("", "a", "-1", "0,,1"):
        with pytest.raises(UsageError, match="folds"):
            parse_folds(text)


def test_triples_take_one_number_or_three():
    assert parse_triple("4", float, "spacing") == (4.0, 4.0, 4.0)
    assert parse_triple("3,0.8,0.7", float, "spacing") == (3.0, 0.8, 0.7)
    assert parse_triple("32x48x64", int, "patch") == (32, 48, 64)
    for text in ("", "1,2", "0", "1,2,x", "nan", "1.5x2x3"):
        with pytest.raises(UsageError, match="patch"):
            parse_triple(text, int, "patch")
    for text in ("inf", "2,2,nan", "1e400", "-1"):
        with pytest.raises(UsageError, match="spacing"):
            parse_triple(text, float, "spacing")
