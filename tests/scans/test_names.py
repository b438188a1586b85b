"""Which names mean one case."""

from __future__ import annotations

import unicodedata

import pytest

from kitsbench.errors import DataError
from kitsbench.scans.names import (
    case_of_scan,
    folded,
    is_hidden,
    match_names,
    nifti_stem,
    one_name_each,
)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.nii.gz", "a"),
        ("a.nii", "a"),
        ("A.NII.GZ", "A"),
        ("a.Nii.Gz", "a"),
        ("a.b.nii.gz", "a.b"),
        ("._a.nii.gz", None),
        (".nii.gz", None),
        ("a.nii.gz.part", None),
        ("a.nrrd", None),
    ],
)
def test_the_suffix_of_nifti_has_any_capitals(name, stem):
    assert nifti_stem(name) == stem


def test_hidden_files_are_those_of_systems():
    assert all(map(is_hidden, (".", "._x.nii", ".DS_Store", "__MACOSX")))
    assert not any(map(is_hidden, ("x", "_x", "__MACOSX.nii")))


@pytest.mark.parametrize("name", ["Müller", "ÅNGSTRÖM", "straße", "Ǆ", "ͅα", "İstanbul"])
def test_capitals_and_codings_are_folded(name):
    spellings = [name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))]
    assert len({folded(spelling) for spelling in spellings}) == 1
    assert folded(folded(name).upper()) == folded(folded(name))


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("case_00012_0000", "case_00012"),
        ("case_00012", "case_00012_0000"),
        ("CASE_00012.NII.GZ", "case_00012"),
        ("prediction_00012", "case_00012"),
        ("00012", "case_00012"),
        ("case_00012", "00012"),
        ("pred_case_00012_0000", "case_00012"),
        ("Mu\u0308ller_seg", "M\u00fcller"),
        ("prediction_", "prediction_"),
    ],
)
def test_additions_of_tools_do_not_matter(name, case):
    assert match_names([name, "another"], [case, "third"]) == {name: case}


def test_the_nearer_likeness_goes_first():
    cases = ["scan", "scan_0000", "scan_0001", "Scan_pred"]
    names = [*cases, "SCAN", "scan_PRED"]
    assert match_names(names, cases) == {
        **dict(zip(cases, cases, strict=True)),
        "SCAN": "scan",
        "scan_PRED": "Scan_pred",
    }
    with pytest.raises(DataError, match="'prediction_scan' may mean the case scan or scan_0000"):
        match_names(["prediction_scan"], ["scan", "scan_0000"])


def test_two_names_of_one_case_are_refused():
    one_name_each(match_names(["a", "b"], ["a", "b"]))
    with pytest.raises(DataError, match="'a' and 'A_0000' both mean the case a"):
        one_name_each(match_names(["a", "A_0000"], ["a", "b"]))


@pytest.mark.parametrize(
    ("stem", "own", "case"),
    [
        ("imaging", False, "patient 7"),
        ("IMAGING", False, "patient 7"),
        ("imaging_0000", False, "patient 7"),
        ("image", False, "image"),
        ("image", True, "patient 7"),
        ("kid7_0000", True, "kid7"),
        ("kid7_0001", False, "kid7_0001"),
    ],
)
def test_a_scan_in_the_folder_of_its_case_has_its_name(stem, own, case):
    assert case_of_scan(stem, "data/patient 7", own) == case
    assert case_of_scan("imaging", "") == "imaging"
