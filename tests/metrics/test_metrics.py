"""What `kitsbench.metrics` says of a metric is what every room does with it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from command_line import call_kitsbench
from evaluation.save_maps import SPACING, save_map
from reporting.workdirs import Plan, write_workdir
from stored_files import replan

from kitsbench.errors import UsageError
from kitsbench.evaluation import get_protocol, score_case, score_failed_case
from kitsbench.experiments.results import load_results
from kitsbench.experiments.tables import SCORES, write_table
from kitsbench.metrics import METRICS, declare, find
from kitsbench.statistics import Endpoint, validate_scores
from kitsbench.statistics.table.endpoints import cut
from kitsbench.statistics.table.policy import penalised, truth_holds_region

NAMES = list(METRICS)
SHAPE = (10, 24, 20)
DIAGONAL = float(np.linalg.norm(np.multiply(SHAPE, SPACING)))
LESIONS = ("lesion_sensitivity", "lesion_false_positives")
# What a missing prediction costs where the truth holds the region, and where it does not.
PRICES = {
    "dice": (0, 0),
    "precision": (0, 0),
    "recall": (0, None),
    "surface_dice": (0, 0),
    "hd95_mm": (DIAGONAL, DIAGONAL),
    "hd95_pooled_mm": (DIAGONAL, DIAGONAL),
    "assd_mm": (DIAGONAL, DIAGONAL),
    "volume_error_ml": ("minus the true volume", 0),
    "lesion_sensitivity": (0, None),
    "lesion_false_positives": (None, None),
}


def truths():
    """Two scans: with two tumours and no cyst, and with a cyst and no tumour."""
    first, second = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    first[1:9, 2:10, 2:10] = second[1:9, 2:10, 2:10] = 1
    first[3:6, 4:8, 4:8] = first[3:6, 15:19, 4:8] = 2
    second[3:6, 4:8, 4:8] = 3
    return {"case_00000": first, "case_00001": second}


def price(metric, region, truth):
    """What a missing prediction of a region must cost."""
    held = np.isin(truth, region.labels)
    value = PRICES[metric][0 if held.any() else 1]
    return -held.sum() * np.prod(SPACING) / 1000 if isinstance(value, str) else value


def scored(prediction, truth, region="tumor"):
    rows = score_case(prediction, truth, SPACING, "labels", NAMES)
    return {row["metric"]: row["value"] for row in rows if row["region"] == region}


# -- the facts, against the evaluation ------------------------------------------------------


def test_a_perfect_prediction_scores_the_best_there_is():
    truth = truths()["case_00000"]
    assert scored(truth, truth) == {name: metric.best for name, metric in METRICS.items()}


def test_the_worse_prediction_is_the_worse_by_every_metric():
    truth = truths()["case_00000"]
    good, bad = np.minimum(truth, 1), np.minimum(truth, 1)
    good[3:6, 4:8, 4:9] = good[3:6, 15:19, 4:8] = 2  # a voxel too wide
    bad[3:8, 4:10, 4:12] = bad[0, 0, 0] = 2  # one too large, one missed, one made up
    perfect, good, bad = scored(truth, truth), scored(good, truth), scored(bad, truth)
    for name, metric in METRICS.items():
        values = [scores[name] for scores in (perfect, good, bad)]
        assert values == sorted(values, key=metric.order), name
        assert metric.order(bad[name]) > metric.order(good[name]), name


@pytest.mark.parametrize("seed", range(20))
def test_no_score_leaves_its_range(seed):
    generator = np.random.default_rng(seed)
    density = generator.choice([0, 0.02, 0.3], 2)
    maps = [generator.integers(0, 4, SHAPE) * (generator.random(SHAPE) < p) for p in density]
    for row in score_case(*maps, SPACING, "labels", NAMES):
        metric = METRICS[row["metric"]]
        if row["value"] is not None:
            assert metric.holds(row["value"]), row
            assert metric.order(row["value"]) >= metric.order(metric.best), row
            assert cut(row["value"], row["value"], metric.name) == (row["value"], row["value"])


@pytest.mark.parametrize("case", ["case_00000", "case_00001"])
@pytest.mark.parametrize("kind", ["empty", "everywhere", "failed"])
def test_what_is_said_of_empty_masks_is_what_is_scored(case, kind):
    truth = truths()[case]
    prediction = np.zeros_like(truth) if kind != "everywhere" else np.indices(SHAPE).sum(0) % 3 + 1
    rows = (
        score_failed_case(truth, SPACING, "labels", NAMES)
        if kind == "failed"
        else score_case(prediction, truth, SPACING, "labels", NAMES)
    )
    regions = {region.name: region for region in get_protocol("labels").regions}
    for row in rows:
        volume = np.isin(truth, regions[row["region"]].labels).sum() * np.prod(SPACING) / 1000
        said = METRICS[row["metric"]].at(row["status"], holds=volume > 0)
        if said != "formula":
            known = {"diagonal": DIAGONAL, "true volume": -volume}
            assert row["value"] == pytest.approx(known.get(said, said)), row
    said = {row["status"] for row in rows}
    assert (
        said
        == {
            "empty": {"empty_prediction", "both_empty"},
            "everywhere": {"ok", "false_positive"},
            "failed": {"failed"},
        }[kind]
    )


def test_only_regions_of_lesions_have_metrics_that_count_them():
    truth = truths()["case_00000"]
    assert {name for name, metric in METRICS.items() if metric.lesions} == set(LESIONS)
    assert set(scored(truth, truth, "kidney")) == set(NAMES) - set(LESIONS)


# -- one answer for a failed case -----------------------------------------------------------


def test_a_failed_case_costs_the_same_by_every_door(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    doors = {
        "evaluate": by_evaluate(tmp_path),
        "run": by_a_failed_trial(tmp_path),
        "compare": by_a_table(),
    }
    for door, found in doors.items():
        for case, truth in truths().items():
            for region in get_protocol("labels").regions:
                for name in NAMES:
                    if METRICS[name].lesions and not region.lesion:
                        assert (case, region.name, name) not in found
                        continue
                    value, where = found[case, region.name, name], (door, case, region.name, name)
                    expected = price(name, region, truth)
                    if expected is not None:
                        assert value == pytest.approx(expected), where
                    elif door == "compare" and name == "lesion_false_positives":
                        # Nobody knows them, but a crash must not pay: the most that others have.
                        assert value == (1 if region.name == "tumor" else 0), where
                    else:
                        assert value is None or np.isnan(value), where


def by_evaluate(folder):
    """`kitsbench evaluate` on predictions that are cut short."""
    for case, truth in truths().items():
        save_map(folder / "truth" / f"{case}.nii.gz", truth)
        file = save_map(folder / "predictions" / f"{case}.nii.gz", truth)
        file.write_bytes(file.read_bytes()[:-40])
    options = ["--protocol", "labels", "--metrics", ",".join(NAMES), "--json", "--jobs", "1"]
    done = call_kitsbench("evaluate", folder / "predictions", folder / "truth", *options)
    assert done.code == 2
    rows = done.json["cases"]
    assert {row["status"] for row in rows} == {"failed"}
    return {(row["case"], row["region"], row["metric"]): row["value"] for row in rows}


def other():
    """Scores of an architecture that found nothing, and made up one tumour."""
    rows = []
    for case, truth in truths().items():
        prediction = np.zeros_like(truth)
        if case == "case_00001":
            prediction[5, 20, 15] = 2
        for row in score_case(prediction, truth, SPACING, "labels", NAMES):
            rows.append({"protocol": "labels", "case": case, **row})
    return pd.DataFrame(rows).astype({"value": float})


def by_a_failed_trial(folder):
    """The table of a run in which one trial finished and one failed."""
    failed = (("b", 0, 0, "killed"),)
    plan = Plan({"a": 0, "b": 0}, folds=1, seeds=1, cases_per_fold=2, failed=failed)
    workdir = write_workdir(folder / "work", plan)
    only = {"protocol": "labels", "protocols": ("labels",), "endpoint": "tumor:dice"}
    replan(workdir, **only)
    (file,) = workdir.glob("trials/*/scores.parquet")
    write_table(file, other(), SCORES)
    scores = load_results(workdir).scores
    rows = scores[scores["architecture"] == "b"]
    assert set(rows["status"]) == {"failed"}
    return rows.set_index(["case", "region", "metric"])["value"].to_dict()


def by_a_table():
    """A long table whose failed rows carry no value, as `compare` and `summarise` read it."""
    rows = other().assign(architecture="a", fold=0, seed=0)
    table = pd.concat([rows, rows.assign(architecture="b", status="failed", value=np.nan)])
    found = {}
    for region, part in validate_scores(table).groupby("region"):
        positive = truth_holds_region(part)
        for name, mine in part.groupby("metric"):
            filled, _ = penalised(mine, Endpoint(region, name), positive)
            filled = filled[filled["architecture"] == "b"]
            found |= {(row.case, region, name): row.value for row in filled.itertuples()}
    return found


# -- names, help, imports -------------------------------------------------------------------


@pytest.mark.parametrize(("name", "unit"), [("msd_mm", "mm"), ("size_ml", "ml"), ("iou", "")])
def test_another_tools_metric_is_taken_for_nothing(name, unit):
    metric = find(name)
    assert not metric.known
    assert metric.unit == unit
    with pytest.raises(UsageError, match=f"does not know the metric '{name}'"):
        assert metric.higher_is_better
    assert metric.holds(-5)
    assert metric.holds(500)
    assert metric.margin_in("tumor") is None


def test_another_tools_metric_is_what_was_declared():
    iou = declare("iou", "higher", 0, 1)
    assert find("iou", {"iou": iou}) is iou
    assert find("dice", {"dice": iou}) is METRICS["dice"]
    assert (iou.worst, iou.best, iou.at("failed")) == (0, 1, 0)
    assert not iou.holds(2)


def test_the_kidney_has_the_smaller_margin():
    assert METRICS["dice"].margin_in("tumor") == METRICS["surface_dice"].margin_in("mass") == 0.02
    assert METRICS["dice"].margin_in("kidney_and_tumor") == 0.01
    assert METRICS["dice"].margin_in("Left kidney") == 0.01
    assert METRICS["dice"].margin_in("adrenal") == 0.02


@pytest.mark.parametrize(("verb", "option"), [("evaluate", "--metrics"), ("compare", "--endpoint")])
def test_help_names_every_metric(verb, option):
    words = call_kitsbench(verb, "--help").out.split(f" {option} ")[1].replace(",", " ").split()
    assert [word.strip(".") for word in words if word.strip(".") in METRICS] == NAMES


def test_importing_the_facts_needs_the_standard_library_alone():
    code = (
        "import sys, kitsbench.metrics\n"
        "print(sorted({'numpy', 'pandas', 'torch', 'click', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
