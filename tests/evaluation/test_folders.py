"""Whole folders of label maps."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from save_maps import SPACING, save_map

from kitsbench.errors import DataError, UsageError
from kitsbench.evaluation import METRICS, evaluate, get_protocol, score_case
from kitsbench.evaluation.summary import detection, summarise
from kitsbench.scans.nifti import read_header
from kitsbench.scans.writing import write_label
from kitsbench.statistics import compare
from kitsbench.statistics import summarise as summarise_table


def table(evaluation):
    return {
        (r["case"], r["region"], r["metric"]): (r["value"], r["status"]) for r in evaluation.rows
    }


@pytest.mark.parametrize("protocol", ["kits19", "kits21", "kits23", "labels"])
def test_a_folder_scores_as_its_arrays(folders, make_maps, protocol):
    evaluation = evaluate(*folders, protocol)
    found = table(evaluation)
    for seed in range(3):
        for row in score_case(*make_maps(seed), SPACING, protocol):
            value, status = found[f"case_{seed:05d}", row["region"], row["metric"]]
            assert status == row["status"]
            assert value == (
                None if row["value"] is None else pytest.approx(row["value"], abs=1e-6)
            )
    assert not evaluation.problems
    assert not evaluation.extra
    assert not evaluation.missing


@pytest.mark.parametrize("axes", ["IPL", "LPS", "RAS", "ASR"])
def test_scores_do_not_depend_on_how_files_store_their_axes(folders, tmp_path, make_maps, axes):
    metrics = ["dice", "surface_dice", "hd95_mm", "assd_mm", "volume_error_ml"]
    expected = table(evaluate(*folders, "kits23", metrics=metrics))
    for seed in range(3):
        prediction, truth = make_maps(seed)
        save_map(tmp_path / "other" / f"case_{seed:05d}.nii.gz", prediction, axes=axes)
        save_map(tmp_path / "data" / f"case_{seed:05d}" / "segmentation.nii.gz", truth, axes="IPL")
    found = table(evaluate(tmp_path / "other", tmp_path / "data", "kits23", metrics=metrics))
    assert found.keys() == expected.keys()
    for key, (value, status) in expected.items():
        assert found[key] == (pytest.approx(value, rel=1e-6), status)


def test_a_good_prediction_by_another_spelling_is_not_counted_as_missing(tmp_path, make_maps):
    names = {"M\u00fcller": "Mu\u0308ller", "case_1": "CASE_1", "kid": "kid_0000"}
    for seed, (name, spelled) in enumerate(names.items()):
        truth = make_maps(seed)[1]
        save_map(tmp_path / "truth" / f"{name}.nii.gz", truth)
        save_map(tmp_path / "predictions" / f"{spelled}.nii.gz", truth)
    found = evaluate(tmp_path / "predictions", tmp_path / "truth", "kits19", missing="background")
    assert {row["value"] for row in found.rows} == {1.0}
    assert {row["case"] for row in found.rows} == set(names)
    assert found.missing == found.extra == []
    one = evaluate(tmp_path / "predictions", tmp_path / "truth", "kits19", cases=["Kid.nii.gz"])
    assert {row["case"] for row in one.rows} == {"kid"}


def test_several_processes_give_the_same_scores_in_the_same_order(folders, tmp_path, make_maps):
    for seed in (3, 4):
        prediction, truth = make_maps(seed)
        save_map(folders[0] / f"case_{seed:05d}.nii.gz", prediction)
        save_map(folders[1] / f"case_{seed:05d}.nii.gz", truth)
    seen = []
    two = evaluate(*folders, "kits19", jobs=2, progress=lambda *news: seen.append(news))
    assert two.to_dict() == evaluate(*folders, "kits19", jobs=1).to_dict()
    assert [(done, total) for done, total, _ in seen] == [(n, 5) for n in range(1, 6)]
    assert {case for _, _, case in seen} == {f"case_{seed:05d}" for seed in range(5)}


def test_two_files_are_one_case(folders):
    evaluation = evaluate(
        folders[0] / "case_00001.nii.gz", folders[1] / "case_00001.nii.gz", "kits19"
    )
    everything = table(evaluate(*folders, "kits19"))
    assert table(evaluation) == {k: v for k, v in everything.items() if k[0] == "case_00001"}


def test_json_has_the_documented_keys(folders):
    found = json.loads(json.dumps(evaluate(*folders, "labels").to_dict(), allow_nan=False))
    assert set(found) == {"protocol", "regions", "cases", "summary", "detection"}
    assert found["protocol"] == "labels"
    assert found["regions"] == ["kidney", "tumor", "cyst"]
    assert all(set(r) == {"case", "region", "metric", "value", "status"} for r in found["cases"])
    keys = {"region", "metric", "mean", "std", "n", "n_undefined"}
    assert all(set(row) == keys for row in found["summary"])
    assert len(found["cases"]) == 3 * 3 * 3


def test_the_summary_is_the_mean_and_sample_deviation_over_cases(folders):
    evaluation = evaluate(*folders, "kits19")
    grouped = evaluation.frame.groupby(["region", "metric"]).value.agg(["mean", "std", "count"])
    for row in evaluation.summary:
        expected = grouped.loc[(row["region"], row["metric"])]
        assert row["mean"] == pytest.approx(expected["mean"])
        assert row["std"] == pytest.approx(expected["std"])
        assert (row["n"], row["n_undefined"]) == (expected["count"], 0)


def test_the_headline_of_kits19_is_its_composite(folders):
    evaluation = evaluate(*folders, "kits19")
    dice = evaluation.frame.query("metric == 'dice'").groupby("region").value.mean()
    assert evaluation.headline == {"dice": pytest.approx(dice.mean())}


def test_missing_predictions_are_an_error_that_names_them_all(folders):
    for seed in (0, 2):
        (folders[0] / f"case_{seed:05d}.nii.gz").unlink()
    with pytest.raises(DataError, match=r"2 of 3 .* case_00000, case_00002\. .*--missing"):
        evaluate(*folders, "kits19")


def test_missing_predictions_can_count_as_background(folders):
    (folders[0] / "case_00001.nii.gz").unlink()
    evaluation = evaluate(*folders, "kits19", missing="background")
    assert evaluation.missing == ["case_00001"]
    found = table(evaluation)
    for region in ("kidney_and_tumor", "tumor"):
        for metric in ("dice", "precision", "recall"):
            assert found["case_00001", region, metric] == (0, "empty_prediction")
    assert {row["n"] for row in evaluation.summary} == {3}
    with pytest.raises(UsageError, match="zero"):
        evaluate(*folders, "kits19", missing="zero")


def test_one_fold_can_be_scored_against_the_whole_truth(folders):
    (folders[0] / "case_00001.nii.gz").unlink()
    evaluation = evaluate(*folders, "kits19", cases=["case_00002", "case_00000"])
    assert {row["case"] for row in evaluation.rows} == {"case_00000", "case_00002"}
    with pytest.raises(DataError, match="does not hold: case_7"):
        evaluate(*folders, "kits19", cases=["case_7"])


def test_extra_predictions_are_reported_and_not_scored(folders):
    (folders[1] / "case_00001.nii.gz").unlink()
    evaluation = evaluate(*folders, "kits19")
    assert evaluation.extra == ["case_00001"]
    assert evaluation.to_dict()["extra"] == ["case_00001"]
    assert {row["case"] for row in evaluation.rows} == {"case_00000", "case_00002"}


def test_folders_that_have_nothing_in_common_say_so(folders, tmp_path):
    save_map(tmp_path / "alien" / "patient7.nii.gz", np.zeros((3, 3, 3)))
    with pytest.raises(DataError, match=r"found patient7, expected case_00000, case_00001"):
        evaluate(tmp_path / "alien", folders[1], "kits19", missing="background")


def test_all_wrong_geometries_are_named_before_anything_is_scored(folders, make_maps):
    prediction, _ = make_maps(0)
    save_map(folders[0] / "case_00000.nii.gz", prediction[:, 1:])
    save_map(folders[0] / "case_00002.nii.gz", prediction, spacing=(3, 0.8, 0.71))
    scored = []
    with pytest.raises(DataError) as caught:
        evaluate(*folders, "kits19", progress=lambda *news: scored.append(news))
    message = str(caught.value)
    assert "2 of 3 cases" in message
    assert "(16, 19, 8) and (16, 20, 8)" in message
    assert "case_00002" in message
    assert "0.71" in message
    assert not scored


@pytest.fixture
def one_sheared(folders, make_maps):
    """The folders, of which case 0 lies on a grid whose slices slide over each other."""
    for folder, labels in zip(folders, make_maps(0), strict=True):
        affine = np.diag([1.0, 1.0, 3.0, 1.0])
        affine[1, 2] = 1.0
        nib.save(nib.Nifti1Image(labels.T, affine), folder / "case_00000.nii.gz")
    return folders


def test_on_a_sheared_grid_distances_are_undefined_and_all_else_is_scored(one_sheared, make_maps):
    distances = ("surface_dice", "hd95_mm", "hd95_pooled_mm", "assd_mm")
    evaluation = evaluate(*one_sheared, "kits23", metrics=list(METRICS))
    voxels = {
        (row["region"], row["metric"]): row["value"]
        for row in score_case(*make_maps(0), (3, 1, 1), "kits23", list(METRICS))
    }
    for (case, region, metric), found in table(evaluation).items():
        if case != "case_00000":
            assert found[1] != "undefined"
        elif metric in distances:
            assert found == (None, "undefined")
        else:
            assert found == (pytest.approx(voxels[region, metric]), "ok")
    summary = {(row["region"], row["metric"]): row for row in evaluation.summary}
    assert (summary["tumor", "dice"]["n"], summary["tumor", "dice"]["n_undefined"]) == (3, 0)
    assert summary["tumor", "hd95_mm"]["n"] == 2
    assert summary["tumor", "hd95_mm"]["n_undefined"] == 1
    assert evaluation.detection[0]["n_found"] == 3
    (note,) = evaluation.notes
    assert note.startswith("the grid is sheared")
    assert "case_00000.nii.gz) and 1 more" in note


def test_a_failed_prediction_on_a_sheared_grid_pays_for_what_can_be_scored(one_sheared):
    spoil(one_sheared[0] / "case_00000.nii.gz")
    found = table(evaluate(*one_sheared, "kits23"))
    assert found["case_00000", "tumor", "dice"] == (0, "failed")
    assert found["case_00000", "tumor", "surface_dice"] == (None, "undefined")


def test_scores_of_sheared_grids_can_be_compared(one_sheared):
    frame = evaluate(*one_sheared, "kits23").frame.assign(fold=0, seed=0)
    tables = [frame.assign(architecture=name) for name in ("a", "b")]
    tables[1]["value"] *= 0.9
    lost = tables[1]["case"] == "case_00000"
    tables[1].loc[lost, ["value", "status"]] = (np.nan, "failed")  # as for a trial that failed
    scores = pd.concat(tables)
    note = "tumor:surface_dice: left out 1 case that cannot have it."
    found = compare(scores, ("tumor", "surface_dice"), bootstrap=10)
    assert note in found.warnings
    assert found.official is not None
    assert note in compare(scores, ("tumor", "dice"), bootstrap=10).warnings
    rows = summarise_table(scores).query("region == 'tumor' and metric == 'surface_dice'")
    assert list(rows["n_cases"]) == [2, 2]
    assert list(rows["n_undefined"]) == [1, 1]
    assert rows["mean"].iloc[1] == pytest.approx(0.9 * rows["mean"].iloc[0])


def test_what_is_odd_about_headers_is_noted_once_for_each_kind(folders, make_maps):
    for folder, labels in zip(folders, make_maps(0), strict=True):
        image = nib.Nifti1Image(labels.T, None)
        image.header.set_zooms((1, 1, 3))
        image.header["sform_code"] = image.header["qform_code"] = 0
        nib.save(image, folder / "case_00000.nii.gz")
    (note,) = evaluate(*folders, "kits19").notes
    assert note.startswith("the header has no orientation")
    assert "and 1 more" in note
    assert "As in nibabel" in note


def test_own_maps_of_scans_without_orientation_are_accepted(tmp_path, make_maps):
    _, truth = make_maps(0)
    image = nib.Nifti1Image(truth.T, None)
    image.header.set_zooms((1, 1, 3))
    image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(image, tmp_path / "truth.nii.gz")
    native = read_header(tmp_path / "truth.nii.gz").native()
    write_label(tmp_path / "own.nii.gz", truth.T, native)
    np.testing.assert_array_equal(
        nib.load(tmp_path / "own.nii.gz").affine, nib.load(tmp_path / "truth.nii.gz").affine
    )
    rows = evaluate(tmp_path / "own.nii.gz", tmp_path / "truth.nii.gz", "kits19").rows
    assert {row["value"] for row in rows} == {1.0}


def spoil(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def test_a_damaged_prediction_fails_its_case_and_no_other(folders):
    before = table(evaluate(*folders, "labels"))
    spoil(folders[0] / "case_00001.nii.gz")
    evaluation = evaluate(*folders, "labels")
    (problem,) = evaluation.problems
    assert problem.case == "case_00001"
    assert problem.file.endswith("case_00001.nii.gz")
    assert "is cut off" in problem.reason
    after = table(evaluation)
    assert {k: v for k, v in after.items() if k[0] != "case_00001"} == {
        k: v for k, v in before.items() if k[0] != "case_00001"
    }
    assert after["case_00001", "tumor", "dice"] == (0, "failed")
    # There is no cyst in any case, so the failed one must not enter the mean for cysts.
    summary = {(row["region"], row["metric"]): row for row in evaluation.summary}
    assert summary["tumor", "dice"]["n"] == 3
    assert summary["cyst", "dice"] == {
        "region": "cyst",
        "metric": "dice",
        "mean": None,
        "std": None,
        "n": 0,
        "n_undefined": 3,
    }
    assert evaluation.to_dict()["problems"][0]["case"] == "case_00001"


def test_a_damaged_truth_leaves_its_case_out(folders):
    spoil(folders[1] / "case_00001.nii.gz")
    evaluation = evaluate(*folders, "kits19")
    assert {row["case"] for row in evaluation.rows} == {"case_00000", "case_00002"}
    assert [problem.case for problem in evaluation.problems] == ["case_00001"]


@pytest.mark.parametrize("side", [0, 1])
def test_an_unknown_label_names_file_value_and_the_known_ones(folders, make_maps, side):
    labels = make_maps(1)[side].copy()
    labels[0, 0, 0] = 9
    save_map(folders[side] / "case_00001.nii.gz", labels)
    (problem,) = evaluate(*folders, "kits23").problems
    assert problem.file == str(folders[side] / "case_00001.nii.gz")
    assert problem.file in problem.reason
    assert "[9]" in problem.reason
    assert "[0, 1, 2, 3]" in problem.reason


def test_probabilities_instead_of_labels_are_refused(folders):
    random = np.random.default_rng(0).random((8, 20, 16))
    save_map(folders[0] / "case_00001.nii.gz", random, dtype=np.float32)
    (problem,) = evaluate(*folders, "kits23").problems
    assert "labels are whole numbers" in problem.reason


def test_cysts_under_the_rule_of_kits19_are_pointed_out(folders, make_maps):
    assert not evaluate(*folders, "kits19").notes
    prediction, _ = make_maps(0)
    prediction[0, 0, 0] = 3
    save_map(folders[0] / "case_00000.nii.gz", prediction)
    (note,) = evaluate(*folders, "kits19").notes
    assert "Label 3 occurs in 1 of 3 cases" in note
    assert not evaluate(*folders, "kits23").notes


def test_wrong_names_are_refused_before_files_are_read(tmp_path):
    with pytest.raises(UsageError, match="protocol"):
        evaluate(tmp_path, tmp_path, "kits20")
    with pytest.raises(UsageError, match="metric"):
        evaluate(tmp_path, tmp_path, "kits19", metrics=["iou"])
    with pytest.raises(UsageError, match="jobs"):
        evaluate(tmp_path, tmp_path, "kits19", jobs=0)


def test_missing_failed_and_empty_cases_enter_as_the_golden_policy_says(shared):
    golden = json.loads((shared / "golden" / "missing_policy.json").read_text())
    expected = golden["expected"]
    scores = zip(golden["status"], golden["dice_official"], strict=True)
    for method, (statuses, values) in enumerate(scores):
        rows = [
            {
                "case": str(case),
                "region": "tumor",
                "metric": "dice",
                # A failed case is scored 0, as score_failed_case does.
                "value": 0.0 if status == "failed" else value,
                "status": {"empty_pred": "empty_prediction"}.get(status, status),
            }
            for case, (status, value) in enumerate(zip(statuses, values, strict=True))
        ]
        (official,) = summarise(rows, get_protocol("kits23"))
        assert official["mean"] == pytest.approx(
            expected["official_convention_penalised_mean"][method]
        )
        (positive,) = summarise(rows, get_protocol("labels"))
        assert positive["mean"] == pytest.approx(expected["gt_positive_penalised_mean"][method])
        assert positive["n"] == expected["gt_positive_n"]
        assert positive["n_undefined"] == golden["gt_positive"].count(False)
        counts = next(r for r in detection(rows, get_protocol("kits23")) if r["region"] == "tumor")
        assert counts["sensitivity"] == expected["detection_sensitivity"][method]
        assert (
            counts["false_positive_rate"] == expected["false_positive_rate_on_gt_negative"][method]
        )
        assert counts["n_failed"] == expected["failed"][method]


def test_the_frame_has_the_columns_of_the_long_score_table(folders):
    frame = evaluate(*folders, "kits23").frame
    assert list(frame) == ["protocol", "case", "region", "metric", "value", "status"]
    assert set(frame.protocol) == {"kits23"}
    assert pd.api.types.is_float_dtype(frame.value)
