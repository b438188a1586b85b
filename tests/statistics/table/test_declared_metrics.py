"""Metrics of other tools: nothing is guessed about them, everything can be declared."""

from __future__ import annotations

import pandas as pd
import pytest
from score_tables import dice_table

from kitsbench.errors import DataError, UsageError
from kitsbench.metrics import METRICS, declare, did_you_mean, find
from kitsbench.statistics import Endpoint, compare, validate_scores
from kitsbench.statistics.table.endpoints import cut, parse_endpoint, undeclared_metrics


def other(metric, scale=1.0):
    """A table in which arch1 has the larger values."""
    data = dice_table(2, 5, 6, 2, offsets=[0, 0.2]).assign(metric=metric)
    return data.assign(value=data["value"] * scale)


@pytest.mark.parametrize(
    "metric",
    ["hd95", "HD95_mm", "msd_mm", "size_ml", "asd", "ece", "loss", "false_positives", "flops_g"],
)
def test_an_unknown_metric_is_no_primary_endpoint(metric):
    with pytest.raises(UsageError) as told:
        compare(other(metric), f"tumor:{metric}")
    found, remedy = str(told.value).splitlines()
    assert f"does not know the metric '{metric}'" in found
    assert ", ".join(METRICS) in found
    assert "--lower-is-better or --higher-is-better, and its --range" in remedy


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("hd95", "hd95_mm"),
        ("HD95_mm", "hd95_mm"),
        ("asd", "assd_mm"),
        ("Dice", "dice"),
        ("DSC", "dice"),
        ("false_positives", "lesion_false_positives"),
        ("surface-dice", "surface_dice"),
        ("volume_error", "volume_error_ml"),
        ("sensitivity", "recall"),
        ("flops_g", None),
        ("loss", None),
    ],
)
def test_the_metric_that_is_meant_is_named(name, meant):
    assert did_you_mean(name) == meant
    with pytest.raises(UsageError) as told:
        assert Endpoint("tumor", name).higher_is_better
    assert ("did you mean" in str(told.value)) == (meant is not None)


def test_a_known_metric_never_asks():
    for name, facts in METRICS.items():
        assert find(name) is facts
        assert Endpoint("tumor", name).higher_is_better == (facts.better == "higher")


@pytest.mark.parametrize(("better", "first"), [("higher", "arch1"), ("lower", "arch0")])
def test_the_declared_direction_decides_who_is_first(better, first):
    declared = {"hd95": declare("hd95", better, 0)}
    found = compare(other("hd95", 20), parse_endpoint("tumor:hd95", declared))
    assert found.ranking[0]["architecture"] == first
    assert found.pairs[0]["better"] == first


def test_values_outside_the_declared_range_are_refused():
    declared = {"ece": declare("ece", "lower", 0, 1)}
    data = other("ece")
    data.loc[4, "value"] = 1.5
    validate_scores(data)
    with pytest.raises(DataError, match=r"row 5: .*holds 1.5, but ece lies between 0 and 1"):
        validate_scores(data, declared=declared)
    below = {"ece": declare("ece", "lower", None, 1)}
    with pytest.raises(DataError, match="ece lies at or below 1"):
        validate_scores(data, declared=below)
    assert cut(-0.5, 1.5, declared["ece"]) == (0, 1)


def test_an_unknown_secondary_endpoint_is_left_out_with_a_note():
    data = pd.concat([other("dice"), other("asd", 9)])
    found = compare(data)
    assert found.secondary == []
    assert [text for text in found.warnings if "asd" in text]
    assert undeclared_metrics(data["metric"]) == (
        ["asd"],
        [
            "asd is left out: kitsbench does not know it, nor which of two values is better. "
            "Declare it (--declare asd:lower:0:1)."
        ],
    )
    assert undeclared_metrics(data["metric"], {"asd": declare("asd", "lower")}) == ([], [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", "nearer"), "say 'higher' or 'lower'"),
        (("x", "lower", 1, 1), "the range 1:1; its ends must be numbers, the lower one first"),
        (("x", "lower", float("nan"), 1), "must be numbers"),
        (("x", "lower", 0, float("inf")), "must be numbers"),
        (("hd95_mm", "higher"), "kitsbench knows it: lower is better, and it lies at or above 0"),
        (("dice", "higher", 0, 100), "higher is better, and it lies between 0 and 1"),
        (("volume_error_ml", "lower"), "nearer to 0 is better"),
    ],
)
def test_declarations_that_cannot_be(arguments, message):
    with pytest.raises(UsageError, match=message):
        declare(*arguments)


def test_what_is_known_may_be_said_again():
    assert declare("dice", "higher", 0, 1) is METRICS["dice"]
    assert declare("hd95_mm", "lower") is METRICS["hd95_mm"]
