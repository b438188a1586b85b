"""Large numbers have three digits and a letter."""

from __future__ import annotations

import pytest

from kitsbench.text.numbers import big, memory


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (5.25, "5.2"),
        (0.998, "1.0"),
        (0.25, "0.25"),
        (0.0432, "0.043"),
        (-0.0004, "-0.0004"),
        (999, "999"),
        (1000, "1.00 k"),
        (286_899, "287 k"),
        (999_499, "999 k"),
        (999_600, "1.00 M"),
        (1_021_000, "1.02 M"),
        (9_996_000, "10.0 M"),
        (99_970_000, "100 M"),
        (102_354_000, "102 M"),
        (-1500, "-1.50 k"),
        (1e30, "1000000000000 E"),
    ],
)
def test_three_digits_and_a_letter(value, text):
    assert big(value) == text


def test_a_unit_follows_the_letter():
    assert (big(4.1e11, "FLOP"), big(0, "B")) == ("410 GFLOP", "0 B")


@pytest.mark.parametrize(
    ("value", "text"),
    [(100 * 2**10, "100 KiB"), (2**20, "1 MiB"), (1.5 * 2**30, "1.50 GiB"), (0, "0 KiB")],
)
def test_few_bytes_are_not_told_as_none(value, text):
    assert memory(value) == text
