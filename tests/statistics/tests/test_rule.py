"""The rule of a comparison: what it refuses, and that every part of a comparison keeps it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from score_tables import dice_table, long_table, plain

from kitsbench.errors import UsageError
from kitsbench.statistics import Rule, compare


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"alpha": 5}, "alpha is 5; it must lie between 0 and 1, for example 0.05."),
        ({"alpha": 0.0}, "alpha is 0.0; it must lie between 0 and 1"),
        ({"alpha": 1}, "alpha is 1; it must lie between 0 and 1"),
        ({"alpha": float("nan")}, "alpha is nan; it must lie between 0 and 1"),
        ({"alpha": "5 %"}, "alpha is '5 %'; it must lie between 0 and 1"),
        ({"test": "anova"}, "There is no test 'anova'; choose auto, wilcoxon, permutation."),
        (
            {"correction": "fdr_bh"},
            "no correction 'fdr_bh' for the primary endpoint; choose holm, hommel, shaffer.",
        ),
        (
            {"correction": "shaffer", "baseline": "unet"},
            "asked for with the baseline 'unet'; it needs all pairs of a set of architectures",
        ),
        ({"fold_count": 0}, "fold_count is 0; it must be at least 1."),
        ({"fold_count": "5"}, "fold_count is '5'; it must be a whole number."),
        ({"fold_count": 2.5}, "fold_count is 2.5; it must be a whole number."),
    ],
)
def test_a_rule_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(UsageError) as error:
        Rule(**wrong)
    assert message in str(error.value)


def test_numbers_of_numpy_are_numbers():
    rule = Rule(alpha=np.float32(0.1), fold_count=np.int64(5))
    found = plain(compare(dice_table(2), rule=rule, demsar=True, bootstrap=5))
    assert found["alpha"] == found["demsar"]["alpha"] == pytest.approx(0.1)


def test_a_rule_cannot_change_underway():
    with pytest.raises(FrozenInstanceError):
        Rule().alpha = 0.1


@pytest.fixture
def table():
    """Two seeds, five folds, one failed prediction, two endpoints."""
    scores = np.random.default_rng(0).uniform(0.4, 0.9, (2, 60, 2))
    parts = [long_table(scores, np.arange(60) % 5, metric=metric) for metric in ("dice", "recall")]
    table = pd.concat(parts, ignore_index=True).assign(status="ok")
    table.loc[[0, len(parts[0])], ["value", "status"]] = [np.nan, "failed"]
    return table


def sections(table, rule):
    """The pair of every part of a comparison: endpoint, others, sensitivity, stratum."""
    cases = pd.DataFrame({"side": "left"}, index=table["case"].unique())
    found = compare(table, rule=rule, cases=cases, strata=["side"], bootstrap=5)
    (secondary,) = found.secondary
    return [found.pairs[0], secondary, found.sensitivity["pairs"][0], found.strata[0]["pairs"][0]]


@pytest.mark.parametrize("rule", [Rule(alpha=0.4), Rule(conservative=True), Rule(test="wilcoxon")])
def test_all_parts_of_a_comparison_keep_one_rule(table, rule):
    usual, other = sections(table, Rule()), sections(table, rule)
    for before, after in zip(usual, other, strict=True):
        width = [row["ci_high"] - row["ci_low"] for row in (before, after)]
        if rule.alpha == 0.4:
            assert width[1] < 0.5 * width[0]
        elif rule.conservative:
            assert width[1] > width[0]
        else:
            assert after["p_value"] != before["p_value"]
            assert after.get("scope", "L0") == "L0"
