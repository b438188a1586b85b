"""KiTS21 against sampled annotations, and several protocols at once."""

from __future__ import annotations

import numpy as np
import pytest
from save_maps import SPACING, save_map

from kitsbench.errors import DataError, UsageError
from kitsbench.evaluation import (
    evaluate,
    evaluate_protocols,
    get_protocols,
    score_case,
    side_by_side,
)

PLACES = ("group_0/kidney_i1a1_tumor_i1a1", "group_0/kidney_i1a2_tumor_i1a2", "group_1/kidney_i1a1")
METRICS = ["dice", "surface_dice", "precision", "recall", "hd95_mm", "volume_error_ml"]


@pytest.fixture
def kits21(tmp_path, make_maps):
    """Two cases in KiTS21's layout; the maps of each: prediction, majority, samples."""
    maps = {}
    for case in range(2):
        prediction, majority = make_maps(case)
        samples = [np.roll(majority, shift, axis=2) for shift in range(1, 4)]
        if case == 1:
            samples[2] = np.minimum(samples[2], 1)  # one annotator saw no tumor
        name = f"case_{case:05d}"
        save_map(tmp_path / "predictions" / f"{name}.nii.gz", prediction)
        save_map(tmp_path / "data" / name / "aggregated_MAJ_seg.nii.gz", majority)
        for place, sample in zip(PLACES, samples, strict=True):
            path = tmp_path / "data" / name / "segmentation_samples" / f"{place}.nii.gz"
            save_map(path, sample)
        maps[name] = (prediction, majority, samples)
    return tmp_path / "predictions", tmp_path / "data", maps


def test_the_score_of_a_case_is_the_mean_over_all_members_of_all_groups(kits21):
    predictions, truth, maps = kits21
    evaluation = evaluate(predictions, truth, "kits21", metrics=METRICS)
    found = {(r["case"], r["region"], r["metric"]): r for r in evaluation.rows}
    for case, (prediction, _, samples) in maps.items():
        parts = [score_case(prediction, s, SPACING, "kits21", METRICS) for s in samples]
        for same in zip(*parts, strict=True):
            row = found[case, same[0]["region"], same[0]["metric"]]
            values = [r["value"] for r in same if r["value"] is not None]
            assert row["value"] == pytest.approx(np.mean(values), abs=1e-6)
            # A region that one annotator drew is there.
            assert row["status"] == "ok"
    (note,) = evaluation.notes
    assert "6 in 2 cases" in note


def test_the_majority_mask_is_used_where_asked_for_or_without_samples(kits21):
    predictions, truth, maps = kits21
    evaluation = evaluate(predictions, truth, "kits21", reference="majority")
    assert "development" in evaluation.notes[0]
    for row in evaluation.rows:
        prediction, majority, _ = maps[row["case"]]
        expected = {
            (r["region"], r["metric"]): r["value"]
            for r in score_case(prediction, majority, SPACING, "kits21")
        }
        assert row["value"] == pytest.approx(expected[row["region"], row["metric"]], abs=1e-6)
    # The samples concern no other protocol.
    assert evaluate(predictions, truth, "kits23").rows == evaluation.rows
    with pytest.raises(UsageError, match="Only the protocol kits21"):
        evaluate(predictions, truth, "kits23", reference="samples")


def test_cases_with_and_without_samples_are_not_mixed(kits21):
    predictions, truth, _ = kits21
    for path in (truth / "case_00001" / "segmentation_samples").glob("group*/*"):
        path.unlink()
    with pytest.raises(DataError, match=r"1 of 2 cases have no sampled.*case_00001.*majority"):
        evaluate(predictions, truth, "kits21")
    assert len({row["case"] for row in evaluate(predictions, truth, "kits23").rows}) == 2


def test_a_sample_on_another_grid_or_damaged_is_named(kits21):
    predictions, truth, maps = kits21
    path = truth / "case_00000" / "segmentation_samples" / f"{PLACES[1]}.nii.gz"
    data = path.read_bytes()
    path.write_bytes(data[:-30])
    evaluation = evaluate(predictions, truth, "kits21")
    assert evaluation.problems[0].file == str(path)
    assert {row["case"] for row in evaluation.rows} == {"case_00001"}
    save_map(path, maps["case_00000"][1][:, 1:])
    with pytest.raises(DataError, match=r"case_00000: sample .*differ in shape"):
        evaluate(predictions, truth, "kits21")


def test_a_damaged_prediction_fails_against_every_sample(kits21):
    predictions, truth, _ = kits21
    path = save_map(predictions / "case_00000.nii.gz", np.full((8, 20, 16), 7), axes="LPS")
    evaluation = evaluate(predictions, truth, "kits21")
    assert evaluation.problems[0].file == str(path)
    failed = [row for row in evaluation.rows if row["case"] == "case_00000"]
    assert {(row["status"], row["value"]) for row in failed} == {("failed", 0)}


def test_all_protocols_at_once_score_as_each_by_itself(folders):
    together = evaluate_protocols(*folders, get_protocols("all"), jobs=2)
    for evaluation in together:
        alone = evaluate(*folders, evaluation.protocol)
        assert evaluation.to_dict() == alone.to_dict()
    document = side_by_side(together)
    assert document["protocol"] == "all"
    assert document["regions"][:3] == ["kidney_and_tumor", "tumor", "kidney_and_mass"]
    for key in ("cases", "summary", "detection"):
        assert {row["protocol"] for row in document[key]} == {
            "kits19",
            "kits21",
            "kits23",
            "labels",
        }
    assert len(document["cases"]) == sum(len(evaluation.rows) for evaluation in together)
    # The files are the same whatever the rule, so they are listed once.
    (folders[1] / "case_00001.nii.gz").unlink()
    again = side_by_side(evaluate_protocols(*folders, get_protocols("all")))
    assert again["extra"] == ["case_00001"]


def test_the_detection_of_lesions_is_summed_over_cases(tmp_path):
    truth = np.zeros((6, 10, 10), np.uint8)
    truth[1:5, 1:5, 1:5] = 1
    truth[2, 2, 2] = truth[4, 4, 4] = 2
    prediction = truth.copy()
    prediction[4, 4, 4] = 1
    prediction[0, 8, 8] = prediction[5, 8, 8] = 2
    for case, (p, t) in {
        "a": (prediction, truth),
        "b": (truth, truth),
        "c": (without_tumor(truth),) * 2,
    }.items():
        save_map(tmp_path / "predictions" / f"{case}.nii.gz", p)
        save_map(tmp_path / "truth" / f"{case}.nii.gz", t)
    evaluation = evaluate(tmp_path / "predictions", tmp_path / "truth", "labels")
    kidney, tumor, cyst = evaluation.detection
    assert "n_lesions" not in kidney
    assert (tumor["n_present"], tumor["n_found"], tumor["n_absent"]) == (2, 2, 1)
    assert (tumor["n_lesions"], tumor["n_lesions_found"]) == (4, 3)
    assert tumor["lesion_sensitivity"] == 0.75
    assert tumor["false_positives_per_case"] == pytest.approx(2 / 3)
    assert cyst["lesion_sensitivity"] is None


def without_tumor(labels):
    """The map without its tumor."""
    return np.minimum(labels, 1)
