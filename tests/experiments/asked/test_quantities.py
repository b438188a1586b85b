"""What people write on the command line or in a file, read into values."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kitsbench.errors import UsageError
from kitsbench.experiments.asked.quantities import (
    parse_folds,
    parse_interval,
    parse_memory,
    parse_patch,
    parse_spacing,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [("11GiB", 11 * 2**30), ("500MB", 500_000_000), ("1.5 gib", 3 * 2**29), ("2048kib", 2**21)],
)
def test_memory_is_read(text, value):
    assert parse_memory(text) == value


@pytest.mark.parametrize(
    "text", ["", "11", "lots", "-1GiB", "0GB", "0.5B", "9" * 400 + "GB", "GiB"]
)
def test_wrong_memory_names_the_text(text):
    with pytest.raises(UsageError, match=f"memory '{text}'"):
        parse_memory(text)


@pytest.mark.parametrize(
    ("text", "value"), [("10min", 600), ("90s", 90), ("300", 300), (300, 300), ("1.5 h", 5400)]
)
def test_a_time_is_read(text, value):
    assert parse_interval(text) == value


@pytest.mark.parametrize(
    "text", ["", "soon", "-1", "0", "0.5s", "nan", "inf", "10steps", "5e9voxels", "9" * 400]
)
def test_a_wrong_time_names_the_text(text):
    with pytest.raises(UsageError, match=f"time '{text}.*10min"):
        parse_interval(text)


def test_folds_are_read():
    assert parse_folds("all") == "all"
    assert parse_folds("2,0,2") == parse_folds([2, 0]) == (0, 2)
    assert parse_folds(0) == (0,)
    for wrong in ("", "a", "-1", "0,,1", [], [0.5], True):
        with pytest.raises(UsageError, match="folds"):
            parse_folds(wrong)


@pytest.mark.parametrize(
    ("value", "patch"),
    [
        ("64", (64, 64, 64)),
        (64, (64, 64, 64)),
        ("32,48,64", (32, 48, 64)),
        ("32x48x64", (32, 48, 64)),
        ("32X48, 64", (32, 48, 64)),
        ([32, 48, 64], (32, 48, 64)),
        (["32", "48", "64"], (32, 48, 64)),
    ],
)
def test_a_patch_is_one_edge_or_three(value, patch):
    assert parse_patch(value) == patch


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "1,2",
        "1,2,3,4",
        "0",
        "-8",
        "8,0,8",
        "1,2,x",
        "nan",
        "1.5x2x3",
        1.5,
        True,
        [],
        [8, 8],
    ],
)
def test_what_is_no_patch_is_named_with_the_rule(value):
    with pytest.raises(UsageError, match=r"patch '.*' cannot be read.*of at least 1, such as 64"):
        parse_patch(value)


@pytest.mark.parametrize(
    ("value", "spacing"),
    [
        ("4", (4.0, 4.0, 4.0)),
        (4.5, (4.5, 4.5, 4.5)),
        ("3,0.8,0.7", (3.0, 0.8, 0.7)),
        ("3x0.8x0.7", (3.0, 0.8, 0.7)),
        ([3, 0.8, 0.7], (3.0, 0.8, 0.7)),
    ],
)
def test_a_spacing_is_one_length_or_three(value, spacing):
    assert parse_spacing(value) == spacing


@pytest.mark.parametrize(
    "value", ["", "x", "1,2", "0", "-1", "100", "3,0.8,0", "nan", "inf", "1,nan,1", False, []]
)
def test_what_is_no_spacing_is_named_with_the_rule(value):
    with pytest.raises(UsageError, match=r"spacing '.*' cannot be read.*above 0 and below 100"):
        parse_spacing(value)


def test_they_are_read_without_torch():
    module = "kitsbench.experiments.asked.quantities"
    code = f"import sys, {module}; print([m for m in ('torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
