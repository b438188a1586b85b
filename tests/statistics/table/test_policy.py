"""What missing, failed and empty cases cost where the value depends on the metric."""

from __future__ import annotations

import numpy as np
import pytest
from score_tables import long_table

from kitsbench.errors import DataError
from kitsbench.metrics import declare
from kitsbench.statistics import Endpoint, compare, summarise


def table(metric, region="tumor", low=1.0):
    """Two architectures, 60 cases in five folds, one seed; all is well."""
    scores = np.arange(120).reshape(2, 60, 1) % 5 + low
    return long_table(scores, np.arange(60) % 5, region, metric).assign(status="ok")


def means(data):
    return summarise(data).set_index("architecture")["mean"].to_dict()


def test_a_failed_distance_costs_where_there_was_nothing_to_find_too():
    data = table("hd95_mm")
    first = data["case"] == "case_00000"
    data.loc[first, ["status", "value"]] = ["false_positive", 400.0]
    data.loc[0, ["value", "status"]] = [np.nan, "failed"]
    assert means(data[first]) == {"arch0": 400, "arch1": 400}


def test_a_failure_of_unknown_cost_does_not_pay():
    data = table("lesion_false_positives")
    data.loc[0, ["value", "status"]] = [np.nan, "failed"]
    data.loc[60, ["value", "status"]] = [3.0, "ok"]
    found = compare(data, "tumor:lesion_false_positives")
    assert any("1 failed row without a penalty" in text for text in found.warnings)
    assert {row["architecture"]: row["mean"] for row in found.ranking} == {
        "arch0": pytest.approx(3 + 4 / 60),  # 5, the largest of the table, in place of 1
        "arch1": pytest.approx(3 + 2 / 60),
    }


@pytest.mark.parametrize(("better", "worst"), [("lower", 9.0), ("higher", -1.0)])
def test_a_failure_costs_the_worst_end_of_a_declared_range(better, worst):
    data = table("ece")
    data.loc[0, ["value", "status"]] = [np.nan, "failed"]
    data.loc[1, ["value", "status"]] = [3.0, "timeout"]
    data.loc[2, ["value", "status"]] = [np.nan, "empty_prediction"]
    endpoint = Endpoint("tumor", "ece", declare("ece", better, -1, 9))
    found = {row["architecture"]: row["mean"] for row in compare(data, endpoint).ranking}
    assert found["arch0"] == pytest.approx(3 - (1 + 2 + 3) / 60 + 3 * worst / 60)
    assert compare(data, endpoint).ranking[0]["architecture"] == (
        "arch0" if better == "higher" and worst > 3 else "arch1"
    )


@pytest.mark.parametrize(
    ("status", "value", "ends"),
    [
        ("failed", np.nan, (0, None)),
        ("failed", 0.0, (0, None)),  # a crash that carries the best there is
        ("empty_prediction", np.nan, (None, None)),
        ("both_empty", np.nan, (0, 9)),  # the best, or nothing: nobody's guess
    ],
)
def test_a_declared_metric_without_a_worst_end_must_be_given(status, value, ends):
    data = table("wall_s")
    data.loc[data["case"] == "case_00000", ["value", "status"]] = [value, status]
    endpoint = Endpoint("tumor", "wall_s", declare("wall_s", "lower", *ends))
    with pytest.raises(DataError) as told:
        compare(data, endpoint)
    first, second = str(told.value).splitlines()
    assert first.startswith(f"Case case_00000 of arch0 has the status {status} and no tumor:wall_s")
    assert second.startswith("Give the value in the table")


def test_false_positives_that_nobody_else_made_do_not_set_the_cost():
    data = table("lesion_false_positives")
    data.loc[0, ["value", "status"]] = [np.nan, "failed"]
    data.loc[60, ["value", "status"]] = [0.0, "empty_prediction"]
    assert means(data)["arch0"] == pytest.approx(3 + 4 / 60)


def test_a_failure_whose_cost_stands_nowhere_is_refused():
    data = table("assd_mm").assign(status="failed", value=np.nan)
    with pytest.raises(DataError, match=r"has no tumor:assd_mm; the penalty \(image diagonal\)"):
        compare(data, "tumor:assd_mm")


def test_a_missed_volume_is_taken_from_who_missed_it_too():
    data = table("volume_error_ml")
    data.loc[0, ["value", "status"]] = [np.nan, "timeout"]
    data.loc[60, ["value", "status"]] = [-47.0, "empty_prediction"]
    assert means(data[data["case"] == "case_00000"]) == {"arch0": -47, "arch1": -47}
    data.loc[[0, 60], "status"] = ["failed", "both_empty"]
    data.loc[60, "value"] = 0.0
    assert means(data[data["case"] == "case_00000"]) == {"arch0": 0, "arch1": 0}


@pytest.mark.parametrize("metric", ["precision", "recall", "lesion_sensitivity"])
def test_a_failure_without_the_region_enters_no_mean_of_shares_of_it(metric):
    data = table(metric, "mass", low=0.0)
    data["value"] /= 5
    empty = data["case"] < "case_00030"
    data.loc[empty, ["status", "value"]] = ["both_empty", np.nan]
    before = means(data)
    data.loc[0, "status"] = "failed"
    assert means(data) == before
    assert summarise(data).set_index("architecture")["n_failed"].to_dict() == {
        "arch0": 1,
        "arch1": 0,
    }
    data.loc[40, "status"] = "failed"
    assert means(data)["arch0"] <= before["arch0"]


def test_false_positives_are_counted_on_every_case():
    data = table("lesion_false_positives", "cyst")
    data.loc[data["case"] < "case_00030", "status"] = "false_positive"
    assert compare(data, "cyst:lesion_false_positives").pairs[0]["n_cases"] == 60
    assert compare(data.assign(metric="assd_mm"), "cyst:assd_mm").pairs[0]["n_cases"] == 30
