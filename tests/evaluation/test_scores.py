"""Scores of one case against the answers of the official code and of other tools."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest

from kitsbench.errors import DataError, UsageError
from kitsbench.evaluation import (
    METRICS,
    PROTOCOLS,
    Region,
    get_protocol,
    score_case,
    score_failed_case,
)
from kitsbench.evaluation.counts import joint_histogram, region_counts

GOLDEN_REGIONS = {
    ("kits19", "kidney_and_tumor"): "kits19_kidney(labels>=1)",
    ("kits23", "kidney_and_mass"): "hec_kidney_and_mass(1,2,3)",
    ("kits23", "mass"): "hec_mass(2,3)",
    ("kits23", "tumor"): "hec_tumor(2)",
    ("labels", "kidney"): "label_kidney(1)",
    ("labels", "tumor"): "hec_tumor(2)",
    ("labels", "cyst"): "label_cyst(3)",
}
VOLUMETRIC = ("dice", "precision", "recall")


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "golden"
    cases = json.loads((folder / "seg_metrics.json").read_text())["cases"]
    for case in cases:
        with np.load(folder / case["file"]) as arrays:
            case["truth"], case["prediction"] = arrays["gt"], arrays["pred"]
            case["spacing"] = tuple(arrays["spacing"])
    return cases


def values(rows):
    return {(row["region"], row["metric"]): row["value"] for row in rows}


def statuses(rows):
    return {row["region"]: row["status"] for row in rows}


def same(value, expected, tolerance=1e-12):
    """Whether two values are equal to a relative tolerance, or both undefined."""
    if value is None or expected is None:
        return value is expected
    return value == pytest.approx(expected, rel=tolerance, abs=tolerance)


def region_of(protocol, name):
    return next(r for r in get_protocol(protocol).regions if r.name == name)


def score(case, protocol, metrics=None):
    return score_case(case["prediction"], case["truth"], case["spacing"], protocol, metrics)


@pytest.mark.parametrize(("protocol", "region"), GOLDEN_REGIONS)
def test_volumetric_scores_equal_the_golden_answers(golden, protocol, region):
    for case in golden:
        expected = case["regions"][GOLDEN_REGIONS[protocol, region]]
        expected = expected["kitsbench_policy"]["official_convention"]
        found = values(score(case, protocol, VOLUMETRIC))
        for metric in VOLUMETRIC:
            assert same(found[region, metric], expected[metric]), case["name"]


def test_counts_equal_the_golden_answers(golden):
    for case in golden:
        histogram = joint_histogram(case["prediction"], case["truth"])
        for expected in case["regions"].values():
            counts = region_counts(histogram, Region("region", tuple(expected["labels"])))
            assert counts._asdict() == {key: expected[key] for key in ("tp", "fp", "fn", "tn")}


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 1000, (1 << 20) + 3])
def test_the_joint_histogram_counts_every_pair_of_labels(size):
    random = np.random.default_rng(size)
    labels = np.array([0, 0, 0, 0, 0, 0, 0, 1, 2, 255], np.uint8)
    prediction, truth = random.choice(labels, (2, size))
    histogram = joint_histogram(prediction, truth)
    assert histogram.sum() == size
    for t, p in product(np.unique(labels), repeat=2):
        assert histogram[t, p] == ((truth == t) & (prediction == p)).sum()


def test_kits19_equals_the_official_script(golden):
    for case in golden:
        found = values(score(case, "kits19"))
        official = case["kits19_official_kidney_and_tumour_dice"]
        for region, expected in zip(("kidney_and_tumor", "tumor"), official, strict=True):
            # The script divides 0 by 0 where both masks are empty; we score that 1.
            expected = 1.0 if expected is None else expected
            assert same(found[region, "dice"], expected), case["name"]


@pytest.mark.parametrize("protocol", ["kits21", "kits23"])
def test_dice_and_surface_dice_equal_the_official_evaluation(golden, protocol):
    for case in golden:
        found = values(score(case, protocol))
        for region, metrics in case["kits23_official"].items():
            for metric, expected in metrics.items():
                assert same(found[region, metric], expected, 1e-9), (case["name"], region, metric)


@pytest.mark.parametrize(("protocol", "region"), GOLDEN_REGIONS)
def test_surface_scores_equal_the_golden_answers(golden, protocol, region):
    for case in golden:
        expected = case["regions"][GOLDEN_REGIONS[protocol, region]]
        policy = expected["kitsbench_policy"]["official_convention"]
        rows = score(case, protocol, ["surface_dice", "hd95_mm", "hd95_pooled_mm", "assd_mm"])
        found = values(rows)
        if expected["tolerance_mm"] == region_of(protocol, region).tolerance_mm:
            assert same(found[region, "surface_dice"], policy["surface_dice"], 1e-9)
        # The golden HD95 is MONAI's, whose percentile is in single precision: 1e-4 mm.
        assert found[region, "hd95_mm"] == pytest.approx(policy["hd95"], abs=1e-4), case["name"]
        if statuses(rows)[region] == "ok":
            reloaded, medpy = expected["metrics_reloaded"]["hd95"], expected["medpy"]["hd95"]
            assert same(found[region, "hd95_mm"], reloaded, 1e-9), case["name"]
            assert same(found[region, "hd95_pooled_mm"], medpy, 1e-9), case["name"]
            assert same(found[region, "assd_mm"], expected["medpy"]["assd"], 1e-9), case["name"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_status_says_which_mask_is_empty(golden, protocol):
    for case in golden:
        found = statuses(score(case, protocol, VOLUMETRIC))
        for region in get_protocol(protocol).regions:
            truth = np.isin(case["truth"], region.labels).any()
            prediction = np.isin(case["prediction"], region.labels).any()
            expected = {
                (True, True): "ok",
                (True, False): "empty_prediction",
                (False, True): "false_positive",
                (False, False): "both_empty",
            }[bool(truth), bool(prediction)]
            assert found[region.name] == expected, case["name"]


def test_a_failed_case_gets_the_penalty_whatever_the_truth(golden):
    for case in golden:
        rows = score_failed_case(case["truth"], case["spacing"], "labels", list(METRICS))
        assert set(statuses(rows).values()) == {"failed"}
        found = values(rows)
        for region in get_protocol("labels").regions:
            volume = np.isin(case["truth"], region.labels).sum() * np.prod(case["spacing"]) / 1000
            assert found[region.name, "dice"] == 0
            assert found[region.name, "surface_dice"] == 0
            assert found[region.name, "precision"] == 0
            assert found[region.name, "recall"] == (0 if volume else None)
            assert found[region.name, "hd95_mm"] == pytest.approx(case["image_diagonal_mm"])
            assert found[region.name, "assd_mm"] == pytest.approx(case["image_diagonal_mm"])
            assert found[region.name, "volume_error_ml"] == pytest.approx(-volume)


def test_volume_error_is_signed_and_in_millilitres():
    truth = np.zeros((10, 10, 10), np.uint8)
    truth[:5] = 1
    prediction = np.zeros_like(truth)
    prediction[:3] = 1
    rows = score_case(prediction, truth, (2.0, 0.5, 1.0), "labels", ["volume_error_ml"])
    assert values(rows)["kidney", "volume_error_ml"] == pytest.approx(-0.2)


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.float32, np.float64, np.uint16])
def test_the_number_type_of_a_label_map_does_not_matter(golden, dtype):
    case = golden[0]
    rows = score_case(
        case["prediction"].astype(dtype), case["truth"].astype(dtype), case["spacing"], "kits19"
    )
    assert rows == score(case, "kits19")


def test_the_layout_in_memory_does_not_matter(golden):
    case = golden[0]
    expected = score(case, "kits19")
    for change in (
        np.asfortranarray,
        np.ascontiguousarray,
        lambda a: a[::-1, :, ::-1][::-1, :, ::-1],
    ):
        for other in (np.asfortranarray, np.ascontiguousarray):
            rows = score_case(
                change(case["prediction"]), other(case["truth"]), case["spacing"], "kits19"
            )
            assert rows == expected


def test_a_prediction_with_another_shape_is_refused():
    with pytest.raises(DataError, match=r"\(2, 3, 4\).*\(2, 3, 5\)"):
        score_case(np.zeros((2, 3, 4), int), np.zeros((2, 3, 5), int), (1, 1, 1), "kits19")


@pytest.mark.parametrize(
    ("value", "message"),
    [(0.5, "0.5"), (-1.0, "-1"), (300.0, "300"), (np.nan, "nan"), (np.inf, "inf")],
)
def test_what_is_no_label_is_refused(value, message):
    wrong = np.zeros((2, 2, 2))
    wrong[0, 0, 0] = value
    with pytest.raises(DataError, match=f"prediction holds {message}; labels are whole numbers"):
        score_case(wrong, np.zeros((2, 2, 2), np.uint8), (1, 1, 1), "kits19")


def test_an_unknown_label_is_refused_and_named():
    wrong = np.zeros((2, 2, 2), np.uint8)
    wrong[0, 0, 0] = 7
    with pytest.raises(DataError, match=r"prediction .*\[7\].*\[0, 1, 2, 3\]"):
        score_case(wrong, np.zeros_like(wrong), (1, 1, 1), "kits19")
    with pytest.raises(DataError, match=r"truth .*\[7\]"):
        score_case(np.zeros_like(wrong), wrong, (1, 1, 1), "labels")


@pytest.mark.parametrize("spacing", [(1, 1), (1, 0, 1), (1, -1, 1), (1, np.nan, 1)])
def test_an_impossible_spacing_is_refused(spacing):
    with pytest.raises(DataError, match="spacing"):
        score_case(np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int), spacing, "kits19")


def test_an_unknown_protocol_or_metric_gets_a_suggestion():
    with pytest.raises(UsageError, match="Did you mean 'kits23'"):
        get_protocol("kit23")
    empty = np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(UsageError, match="Did you mean 'hd95_mm'"):
        score_case(empty, empty, (1, 1, 1), "kits19", ["hd95"])
