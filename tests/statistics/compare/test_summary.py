"""Tables of plain numbers: means, spreads, and the price of failures."""

from __future__ import annotations

import numpy as np
import pytest
from designs import FEW, designs
from hypothesis import given
from references import close
from score_tables import long_table

from kitsbench import statistics as ks
from kitsbench.statistics import summarise


def test_mean_and_sd_over_folds(golden):
    for case in golden("fold_summary")["cases"]:
        scores = np.asarray(case["scores_case_by_method"], dtype=float).T[:, :, None]
        table = long_table(scores, case["fold"]).dropna(subset="value")
        found, want = ks.summarise(table), case["expected"]
        close(found["mean_of_fold_means"].tolist(), want["mean_of_fold_means"])
        close(found["sd_over_folds"].tolist(), want["sd_over_folds_ddof1"])
        close(found["mean"].tolist(), want["pooled_case_mean"])
        close(found["sd_over_cases"].tolist(), want["pooled_case_sd_ddof1"])
        text = map(ks.plus_minus, found["mean_of_fold_means"], found["sd_over_folds"])
        assert list(text) == want["percent_string"]


@pytest.mark.parametrize("region", ["cyst", "tumor"])
def test_failed_and_empty_cases(golden, region):
    data = golden("missing_policy")
    want = data["expected"]
    dice = [[np.nan if v is None else v for v in row] for row in data["dice_official"]]
    table = long_table(np.array(dice)[:, :, None], np.zeros(10, int), region=region)
    table["status"] = np.ravel(data["status"])
    found = ks.summarise(table)
    close(found["mean_official"].tolist(), want["official_convention_penalised_mean"])
    close(found["mean_gt_positive"].tolist(), want["gt_positive_penalised_mean"])
    primary = (
        "gt_positive_penalised_mean" if region == "cyst" else ("official_convention_penalised_mean")
    )
    close(found["mean"].tolist(), want[primary])
    assert set(found["n_gt_positive"]) == {want["gt_positive_n"]}
    assert found["n_failed"].tolist() == want["failed"]
    assert found["n_empty_prediction"].tolist() == want["empty_prediction_on_positive"]
    close(found["detection_sensitivity"].tolist(), want["detection_sensitivity"])
    close(found["false_positive_rate"].tolist(), want["false_positive_rate_on_gt_negative"])
    if region == "cyst":
        close(found["mean_listwise"].tolist(), want["listwise_sensitivity_mean"])
        assert set(found["n_listwise"]) == {want["listwise_n"]}
        compared = ks.compare(table, "cyst:dice")
        means = {row["architecture"]: row["mean"] for row in compared.ranking}
        close([means[f"arch{m}"] for m in range(3)], want["gt_positive_penalised_mean"])
        listwise = [row["mean"] for row in compared.sensitivity["means"]]
        close(listwise, want["listwise_sensitivity_mean"])
        assert compared.sensitivity["n_cases"] == want["listwise_n"]


@FEW
@given(designs())
def test_one_more_failure_never_helps(design):
    scores, fold = design
    table = long_table(scores, fold).assign(status="ok")
    before = mean_of(summarise(table))
    table.loc[0, ["value", "status"]] = [np.nan, "failed"]
    assert mean_of(summarise(table)) <= before + 1e-12


def mean_of(summary):
    return summary.set_index("architecture").loc["arch0", "mean"]
