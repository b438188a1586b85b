"""What was trained elsewhere, and whether it may know the scans of the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from kitsbench.data.datasets.dataset import Case, Dataset
from kitsbench.data.datasets.leaks import trained_patients, why_leaks


def dataset(root, *cases, name="data", synthetic=False):
    found = [Case(case, None, None) for case in cases]
    return Dataset(name, Path(root), "kits19", {"kidney": 1}, found, synthetic=synthetic)


def why(trained_on, cases, tmp_path, **kinds):
    return why_leaks(trained_on, dataset(tmp_path, *cases, **kinds), cases)


@pytest.mark.parametrize(
    "told",
    ["KiTS19", "kits 2019", "the KiTS-19 challenge", "KiTS", "KiTS'23", "AbdomenCT-1K", "FLARE 22"],
)
def test_a_patient_of_kits_is_known_by_the_number_whatever_the_dataset_is_called(told, tmp_path):
    cases = ("case_00003", "case_00400")
    leak = why((told,), cases, tmp_path)
    assert told in leak
    number = 2 if told in ("KiTS", "KiTS'23") else 1
    assert f"{number} of the 2 scans" in leak
    # Whether a collection holds a case is listed nowhere.
    assert ("which may hold" in leak) == (told in ("AbdomenCT-1K", "FLARE 22"))


@pytest.mark.parametrize(
    "told", ["TotalSegmentator v2 CT", "toolkits of 2019", "nothing", "other folds", "MSD"]
)
def test_other_scans_are_no_leak(told, tmp_path):
    assert why((told,), ("case_00003",), tmp_path) is None


def test_those_of_kits23_alone_are_new_to_who_knows_kits19(tmp_path):
    assert why(("KiTS19",), ("case_00400", "case_00588"), tmp_path, name="kits19") is None
    assert why(("KiTS19", "KiTS23"), ("case_00400",), tmp_path) is not None


def test_elsewhere_the_name_of_the_dataset_tells(tmp_path):
    cases = ("patient-a", "patient-b")
    assert "the dataset in use" in why(
        ("Our Hospital, 2020",), cases, tmp_path, name="our_hospital"
    )
    assert why(("another hospital",), cases, tmp_path, name="our_hospital") is None
    assert why(("KiTS19",), cases, tmp_path, name="our_hospital") is None


def test_a_phantom_is_nobody_and_has_a_name(tmp_path):
    (tmp_path / "phantom.json").write_text("{}")
    cases = ("case_00003",)
    kinds = {"name": "small-32", "synthetic": True}
    assert why(("KiTS19",), cases, tmp_path, **kinds) is None
    assert "the dataset in use" in why(("a phantom",), cases, tmp_path, **kinds)


@pytest.mark.parametrize(
    "text", ["Unknown", "unknown.", "unknown?", "un-known", "?", "Unknown, maybe"]
)
def test_who_does_not_know_is_not_trusted(text, tmp_path):
    assert "nobody says" in why((text,), ("case_00003",), tmp_path)


def test_a_collection_may_hold_what_its_source_hid(tmp_path):
    hidden = ("case_00250",)  # of the test set of KiTS19, whose scans are public
    assert "may hold 1 of the 1 scans" in why(("AbdomenCT-1K",), hidden, tmp_path)
    assert why(("KiTS19",), hidden, tmp_path) is None
    assert why(("AbdomenCT-1K",), ("case_00400",), tmp_path) is None
    assert "may hold" in why(("AbdomenAtlas 1.1",), ("case_00400",), tmp_path)


def test_patients_follow_from_what_was_declared():
    assert len(trained_patients(("KiTS19", "TotalSegmentator"))) == 210
    assert trained_patients(("TotalSegmentator",)) == []
