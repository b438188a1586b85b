"""Methods from elsewhere on the same board: nnU-Net's folders to scores, and the leak guard."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pandas as pd
import pytest
from command_line import call_kitsbench

from kitsbench.data.datasets.patients import record_prediction
from kitsbench.data.splits.files import export_split
from kitsbench.data.splits.rules import nnunet_folds

CASES = [f"case_{k:05d}" for k in range(6)]
AFFINE = np.diag([0.8, 0.8, 3.0, 1.0])


def save(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(labels.astype(np.uint8), AFFINE), path)


def truth_of(number):
    labels = np.zeros((12, 12, 8))
    labels[2:9, 2:9, 2:6] = 1
    labels[4 : 6 + number % 3, 4:7, 3:5] = 2
    return labels


@pytest.fixture
def trained(tmp_path):
    """A truth, nnU-Net's folder of a training with three folds, and its split."""
    split = nnunet_folds(CASES, 3)
    export_split(split, tmp_path / "splits_final.json")
    results = tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    for number, case in enumerate(CASES):
        save(tmp_path / "truth" / case / "segmentation.nii.gz", truth_of(number))
        fold = results / f"fold_{split.fold_of(case)}"
        save(fold / "validation" / f"{case}.nii.gz", np.roll(truth_of(number), number % 2, 0))
        (fold / "validation" / "summary.json").write_text("{}")
    return tmp_path, results, split


def evaluate(predictions, folder, *options):
    common = ("--protocol", "kits19", "--metrics", "dice", "--jobs", "1", "--json")
    return call_kitsbench("evaluate", predictions, folder / "truth", *common, *options)


def table(predictions, folder, name, *options):
    path = folder / f"{name}.csv"
    stamp = ("--architecture", name, "--seed", "0", "--dataset", "kits", "-o", path)
    code, _, err = evaluate(predictions, folder, *stamp, *options)
    assert code == 0, err
    return pd.read_csv(path), path


def test_the_folds_of_an_nnunet_training_are_scored_together(trained):
    folder, results, split = trained
    found, _ = table(results, folder, "nnunet")
    assert sorted(found["case"].unique()) == CASES
    assert all(
        split.fold_of(case) == fold for case, fold in zip(found.case, found.fold, strict=True)
    )
    tumor = found[(found.region == "tumor")].set_index("case")["value"]
    assert tumor["case_00000"] == 1
    assert tumor["case_00001"] == pytest.approx(2 / 3)


def test_a_flat_folder_gets_its_folds_from_the_split(trained):
    folder, results, split = trained
    flat = folder / "merged"
    for path in results.rglob("*.nii.gz"):
        save(flat / path.name, np.asarray(nibabel.load(path).dataobj))
    by_split, _ = table(flat, folder, "flat", "--split", folder / "splits_final.json")
    by_folder, _ = table(results, folder, "nnunet")
    columns = ["case", "fold", "region", "value"]
    pd.testing.assert_frame_equal(by_split[columns], by_folder[columns])
    one, _ = table(flat, folder, "one", "--split", folder / "splits_final.json", "--fold", 1)
    assert sorted(one["case"].unique()) == split.test(1)


def test_they_stand_beside_others_in_one_comparison(trained):
    folder, results, _ = trained
    own = folder / "own"
    for number, case in enumerate(CASES):
        save(own / f"{case}.nii.gz", truth_of(number))
    _, first = table(results, folder, "nnunet")
    _, second = table(own, folder, "mine", "--split", folder / "splits_final.json")
    code, out, err = call_kitsbench("compare", first, second, "--json")
    assert code == 0, err
    ranking = json.loads(out)["ranking"]
    assert [row["architecture"] for row in ranking] == ["mine", "nnunet"]
    assert ranking[0]["mean"] == 1


def test_a_case_of_two_folds_is_an_error(trained):
    folder, results, split = trained
    again = results / f"fold_{(split.fold_of(CASES[0]) + 1) % 3}" / "validation"
    save(again / f"{CASES[0]}.nii.gz", truth_of(0))
    code, out, err = evaluate(results, folder)
    assert (code, out) == (2, "")
    assert "both claim the case case_00000" in err


def test_a_case_without_fold_is_an_error_that_says_what_to_do(trained):
    folder, results, _ = trained
    for path in results.rglob("case_00003.nii.gz"):
        path.unlink()
    code, _, err = evaluate(results, folder, "--missing", "background")
    assert code == 2
    assert "not known in which fold case_00003" in err
    assert "--split" in err
    found, _ = table(
        results,
        folder,
        "x",
        "--missing",
        "background",
        "--split",
        folder / "splits_final.json",
    )
    assert found[found.case == "case_00003"].value.eq(0).all()


LEAK = "was trained on 2 of these 6 cases: case_00001, case_00002"


def test_training_cases_are_not_scored(trained):
    folder, results, _ = trained
    names = "kits_00001,case_00002,case_00099"
    code, out, err = evaluate(results, folder, "--trained-on", names)
    assert (code, out) == (2, "")
    assert LEAK in err
    assert "--allow-training-cases" in err
    rest = ",".join(c for c in CASES if c not in ("case_00001", "case_00002"))
    assert evaluate(results, folder, "--trained-on", names, "--cases", rest)[0] == 0
    # All years hold these.
    for year in ("kits19", "kits21", "kits23"):
        assert evaluate(results, folder, "--trained-on", year)[0] == 2


def test_the_override_leaves_a_mark_everywhere(trained):
    folder, results, _ = trained
    path = folder / "marked.csv"
    options = ["--trained-on", "case_00001,case_00002", "--allow-training-cases"]
    code, out, err = evaluate(results, folder, *options, "-o", path)
    assert code == 0
    assert json.loads(out)["trained_on"] == ["case_00001", "case_00002"]
    assert "Note: The model was trained on 2 of these cases" in err
    frame = pd.read_csv(path)
    assert set(frame[frame.trained_on].case) == {"case_00001", "case_00002"}
    # Where nothing leaks, the override changes nothing.
    code, out, err = evaluate(results, folder, "--allow-training-cases")
    assert (code, err) == (0, "")
    assert "trained_on" not in json.loads(out)


def test_what_predict_recorded_is_believed(trained):
    """A model of KiTS23 on the masks of KiTS19: other files, the same patients."""
    folder, _, _ = trained
    predictions = folder / "predicted"
    about = {"t": {"architecture": "a", "train_patients": ["kits:00001", "kits:00002"]}}
    for number, case in enumerate(CASES):
        save(predictions / f"{case}.nii.gz", truth_of(number))
        record_prediction(predictions, case, about, trained_on=False)
    code, _, err = evaluate(predictions, folder)
    assert code == 2
    assert LEAK in err
    # A phantom's cases have the same names and are nobody.
    (folder / "truth" / "phantom.json").write_text("{}")
    assert evaluate(predictions, folder)[0] == 0
