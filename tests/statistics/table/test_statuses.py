"""Statuses that contradict a value or each other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from kitsbench.errors import DataError
from kitsbench.metrics import METRICS, declare
from kitsbench.statistics import read_scores, validate_scores


def rows(*cells, **columns):
    """Rows of one prediction: (metric, value, status)."""
    table = pd.DataFrame(cells, columns=["metric", "value", "status"])
    common = {"architecture": "net", "fold": 0, "seed": 1, "case": "c7", "region": "tumor"}
    return table.assign(**common | columns)


def refused(table, **options):
    with pytest.raises(DataError) as told:
        validate_scores(table, **options)
    found = str(told.value).splitlines()
    assert len(found) == 2
    return found


@pytest.mark.parametrize("status", ["empty_prediction", "false_positive", "both_empty"])
@pytest.mark.parametrize("metric", METRICS)
def test_each_metric_is_what_its_status_says(metric, status):
    worth = METRICS[metric].at(status)
    given = {"diagonal": 500.0, "true volume": -30.0, "formula": 3.0, None: np.nan}.get(
        worth, worth
    )
    validate_scores(rows((metric, given, status)))
    validate_scores(rows((metric, np.nan, status)))
    if worth == "formula":
        return
    wrong = {"diagonal": 0.0, "true volume": 30.0, None: 0.5}.get(worth)
    if wrong is None:
        wrong = 0.25 if worth == 0 else 0.75
    first, second = refused(rows((metric, wrong, status)))
    assert first.startswith(f"row 1: the status is {status} (")
    assert f"but {metric} is {wrong:g}" in first
    assert second.startswith(f"There {metric} is ")


@pytest.mark.parametrize("status", ["failed", "timeout"])
@pytest.mark.parametrize(
    ("metric", "best", "other"),
    [("dice", 1, 0), ("hd95_mm", 0, 500), ("recall", 1, 0), ("lesion_false_positives", 0, 4)],
)
def test_a_failed_prediction_is_not_perfect(metric, best, other, status):
    validate_scores(rows((metric, other, status)))
    validate_scores(rows((metric, np.nan, status)))
    first, second = refused(rows((metric, best, status)))
    assert "there is no prediction" in first
    assert "has not earned the best" in second
    assert second.endswith("or leave the cell of the value empty.")


def test_a_failed_volume_error_may_be_0_where_there_is_nothing():
    validate_scores(rows(("volume_error_ml", 0.0, "failed")))
    validate_scores(rows(("volume_error_ml", -0.0, "empty_prediction")))


def test_a_score_that_no_prediction_can_have_has_no_value():
    assert "no prediction of the case can have it" in refused(rows(("hd95_mm", 4, "undefined")))[0]


def test_a_declared_metric_may_be_anything_but_perfect_when_it_failed():
    declared = {"ece": declare("ece", "lower", 0, 1)}
    validate_scores(rows(("ece", 0.4, "empty_prediction")), declared=declared)
    validate_scores(rows(("ece", 0.0, "failed")))
    refused(rows(("ece", 0.0, "failed")), declared=declared)


def test_single_precision_is_precise_enough():
    validate_scores(rows(("dice", float(np.float32(1e-8)), "empty_prediction")))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("dice", 1, "both_empty"), ("recall", 0, "empty_prediction")),
        (("dice", 0, "false_positive"), ("precision", np.nan, "both_empty")),
        (("dice", 0.7, "ok"), ("hd95_mm", 500, "empty_prediction")),
        (("dice", 0.7, "ok"), ("hd95_mm", 500, "failed")),
        (("dice", 0.7, "ok"), ("recall", np.nan, "both_empty")),
    ],
)
def test_one_prediction_has_one_status(one, other):
    for table in (rows(one, other), rows(other, one)):
        first, second = refused(table)
        assert first.startswith(f"row 2: {table['metric'][1]} has the status {table['status'][1]}")
        assert f"row 1: {table['metric'][0]} has {table['status'][0]}" in first
        assert "tumor in one prediction (architecture net, fold 0, seed 1, case c7)" in second


def test_what_does_not_contradict_is_read():
    sheared = rows(("dice", 0.7, "ok"), ("hd95_mm", np.nan, "undefined"))
    crashed = rows(("dice", np.nan, "failed"), ("hd95_mm", np.nan, "timeout"), seed=2)
    kidney = rows(("dice", 0, "empty_prediction"), ("recall", 0, "empty_prediction"), region="cyst")
    assert len(validate_scores(pd.concat([sheared, crashed, kidney]))) == 6


def test_rows_of_a_kind_are_counted_and_lines_are_named(tmp_path):
    table = pd.concat(
        [rows(("dice", 0.4, "empty_prediction"), case=f"c{index}") for index in range(9)]
    )
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(DataError, match=r"a.csv, line 2: .*\(so are line 3, line 4, line 5 and 5"):
        read_scores(tmp_path / "a.csv")
