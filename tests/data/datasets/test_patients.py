"""One patient in several datasets, and who has seen whom."""

from __future__ import annotations

import json

import pytest
from reporting.workdirs import Plan, trial_record

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.datasets.patients import (
    check_split_patients,
    known_patients,
    leaked_cases,
    patient,
    patients,
    record_prediction,
    recorded_leaks,
    shows_patients,
)
from kitsbench.errors import DataError
from kitsbench.experiments.records import TrialRecord


@pytest.mark.parametrize(
    "name", ["case_00012", "kits_00012", "KiTS23_case_00012", "kits19-00012", "case_00012_0000"]
)
def test_a_patient_is_one_whatever_the_file_is_called(name):
    assert patient(name) == "kits:00012"


@pytest.mark.parametrize("name", ["patient12", "case_12", "case_000012", "amos_0018", "", "kidney"])
def test_other_names_say_nothing(name):
    assert patient(name) is None


def test_later_years_hold_the_patients_of_kits19():
    years = {year: set(known_patients(year)) for year in ("kits19", "kits21", "kits23")}
    assert [len(found) for found in years.values()] == [210, 300, 489]
    assert years["kits19"] < years["kits21"] < years["kits23"]
    # Its hidden test cases, too.
    assert leaked_cases(["case_00210", "case_00299", "case_00300"], years["kits23"]) == [
        "case_00210",
        "case_00299",
    ]


def test_training_cases_are_named_in_several_ways(tmp_path):
    (tmp_path / "cases.txt").write_text("case_00003\nkits_00004\n")
    for text in ("case_00003, case_00004", str(tmp_path / "cases.txt")):
        assert known_patients(text) == ["kits:00003", "kits:00004"]
    with pytest.raises(DataError, match="'kits20' is no KiTS case"):
        known_patients("kits20")


def test_a_patient_in_a_dataset_twice_is_refused():
    check_split_patients(["case_00001", "case_00002", "mine", "yours"])
    with pytest.raises(DataError, match="case_00001 and kits19_00001 are one patient"):
        check_split_patients(["kits19_00001", "case_00001"])


def test_a_phantom_shows_nobody(folder):
    dataset = open_dataset(folder)
    assert shows_patients(folder / "data" / "case_00000")
    assert patients(dataset, ["case_00001", "other"]) == ["kits:00001"]
    (folder / "phantom.json").write_text('{"synthetic": true}')  # as `data phantom` leaves it
    for name in ("", "data", "data/case_00000"):
        assert not shows_patients(folder / name)
    assert patients(dataset, ["case_00001"]) == []


def test_records_beside_predictions_are_kept_and_replaced(tmp_path):
    about = {"architecture": "a", "train_patients": ["kits:00001", "kits:00002"]}
    other = {"architecture": "b", "train_patients": ["kits:00003"]}
    truth = tmp_path / "truth"
    record_prediction(tmp_path, "case_00001", {"t1": about}, False)
    record_prediction(tmp_path, "mine", {"t1": about}, True)
    record_prediction(tmp_path, "case_00003", {"t1": about}, False)
    cases = ["case_00001", "case_00003", "case_00004", "mine"]
    assert recorded_leaks(tmp_path, truth, cases) == ["case_00001", "mine"]
    # Predicted again by another network: what counts is who made the file that is there.
    record_prediction(tmp_path, "case_00001", {"t2": other}, False)
    record_prediction(tmp_path, "case_00003", {"t2": other}, False)
    assert recorded_leaks(tmp_path, truth, cases) == ["case_00003", "mine"]
    record_prediction(tmp_path, "mine", {"t2": other}, False)
    assert set(json.loads((tmp_path / "provenance.json").read_text())["trials"]) == {"t2"}


def test_records_are_found_by_any_spelling_of_the_case(tmp_path):
    about = {"architecture": "a", "train_patients": []}
    record_prediction(tmp_path, "Mu\u0308ller_0000", {"t1": about}, True)
    assert recorded_leaks(tmp_path, tmp_path, ["M\u00fcller", "other"]) == ["M\u00fcller"]
    # A record by the very name goes first.
    record_prediction(tmp_path, "M\u00fcller", {"t1": about}, False)
    assert recorded_leaks(tmp_path, tmp_path, ["M\u00fcller", "other"]) == []


def test_the_predictions_of_a_trial_know_what_it_trained_on(tmp_path):
    (tmp_path / "predictions").mkdir()
    trial = trial_record(Plan({"unet3d": 0.0}), "unet3d", 0, 0)
    context = trial.context.model_copy(update={"train_patients": ("kits:00005",)})
    TrialRecord.of(trial.identity, context).write(tmp_path / "trial.json")
    found = recorded_leaks(tmp_path / "predictions", tmp_path, ["case_00005", "case_00006"])
    assert found == ["case_00005"]
    assert recorded_leaks(tmp_path, tmp_path, ["case_00005"]) == []


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("provenance.json", lambda text: text[:30], "is no JSON"),
        (
            "provenance.json",
            lambda text: text.replace("trained_on", "seen"),
            "trained_on is missing",
        ),
        ("provenance.json", lambda text: text.replace('"t1":', '"t0":'), "the key trials lacks t1"),
        ("trial.json", lambda text: "[]", "holds a list"),
        ("trial.json", lambda text: text.replace("train_patients", "p"), "context.train_patients"),
        ("trial.json", lambda text: text.replace('"kits:00005"', "5"), "context.train_patients"),
    ],
)
def test_a_damaged_record_does_not_mean_that_nothing_was_trained_on(tmp_path, name, spoil, words):
    folder = tmp_path / "predictions"
    about = {"architecture": "a", "train_patients": ["kits:00005"]}
    record_prediction(folder, "case_00001", {"t1": about}, False)
    trial = trial_record(Plan({"unet3d": 0.0}), "unet3d", 0, 0)
    context = trial.context.model_copy(update={"train_patients": ("kits:00005",)})
    TrialRecord.of(trial.identity, context).write(tmp_path / "trial.json")
    assert recorded_leaks(folder, tmp_path, ["case_00005"]) == ["case_00005"]
    file = (folder if name == "provenance.json" else tmp_path) / name
    file.write_text(spoil(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError, match=words) as refused:
        recorded_leaks(folder, tmp_path, ["case_00005"])
    first, remedy = str(refused.value).splitlines()
    assert str(file) in first
    assert remedy.startswith("Restore it, or move")
