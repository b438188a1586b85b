"""Which label map belongs to which case: layouts, names, and files that claim one case."""

from __future__ import annotations

import pytest

from kitsbench.errors import DataError
from kitsbench.evaluation.label_files import find_label_maps, match_cases


@pytest.mark.parametrize(
    ("files", "predictions"),
    [
        (["case_1.nii.gz", "case_2.nii"], True),
        (["case_1/segmentation.nii.gz", "case_2/segmentation.nii.gz"], False),
        (["case_1/aggregated_MAJ_seg.nii.gz", "case_2/aggregated_MAJ_seg.nii.gz"], False),
        (["case_1/prediction.nii.gz", "case_2/segmentation.nii.gz"], True),
        (["labelsTr/case_1.nii.gz", "labelsTr/case_2.nii.gz", "dataset.json"], False),
        (["data/case_1/segmentation.nii.gz", "data/case_2/segmentation.nii.gz"], False),
        (["dataset/case_1/segmentation.nii.gz", "dataset/case_2/segmentation.nii.gz"], False),
        (["predictions/case_1.nii.gz", "predictions/case_2.nii.gz", "trial.json"], True),
        (["case_1.nii.gz", "case_2.nii.gz", "._case_1.nii.gz", "plans.json"], True),
        (["case_1.NII.GZ", "case_2.Nii", "__MACOSX/._case_1.nii.gz"], True),
        (["case_1/Segmentation.nii.gz", "case_2/AGGREGATED_maj_seg.NII.GZ"], False),
    ],
)
def test_usual_layouts_are_understood(tmp_path, files, predictions):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_label_maps(tmp_path, predictions)
    assert list(found) == ["case_1", "case_2"]
    assert {path.relative_to(tmp_path).as_posix() for path in found.values()} <= set(files)


def test_scans_are_never_taken_for_label_maps(tmp_path):
    for name in ("case_1/imaging.nii.gz", "case_2/imaging.nii.gz", "case_2/segmentation.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_label_maps(tmp_path, predictions=False)) == ["case_2"]


def test_folders_without_label_maps_say_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"no folder .*absent \(truth\)"):
        find_label_maps(tmp_path / "absent", predictions=False)
    (tmp_path / "note.txt").touch()
    with pytest.raises(DataError, match=r"\(predictions\) holds no label map.*<case>.nii.gz"):
        find_label_maps(tmp_path, predictions=True)
    with pytest.raises(DataError, match=r"note.txt is no NIfTI file"):
        find_label_maps(tmp_path / "note.txt", predictions=True)


def test_two_files_for_one_case_are_refused(tmp_path):
    for name in ("case_1.nii", "case_1.nii.gz"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"case_1.nii and .*case_1.nii.gz both claim"):
        find_label_maps(tmp_path, predictions=True)
    names = {name: tmp_path / name for name in ("case_00001", "prediction_00001")}
    with pytest.raises(DataError, match="both claim the case case_00001"):
        match_cases(names, {"case_00001": tmp_path / "truth"})


def test_names_that_differ_in_capitals_or_coding_alone_are_refused_naming_both(tmp_path):
    for number, pair in enumerate((("Case_1", "case_1"), ("Mu\u0308", "M\u00fc"))):
        for name in pair:
            (tmp_path / str(number)).mkdir(exist_ok=True)
            (tmp_path / str(number) / f"{name}.nii.gz").touch()
        if len(list((tmp_path / str(number)).iterdir())) < 2:
            pytest.skip("this file system has one name for these")
        for predictions in (True, False):
            with pytest.raises(DataError, match=f"{pair[0]}.nii.gz and .*{pair[1]}.nii.gz both"):
                find_label_maps(tmp_path / str(number), predictions)
    inside = tmp_path / "cases" / "case_1"
    inside.mkdir(parents=True)
    for name in ("segmentation.nii", "segmentation.nii.gz"):
        (inside / name).touch()
    with pytest.raises(DataError, match=r"segmentation.nii and .*segmentation.nii.gz both claim"):
        find_label_maps(tmp_path / "cases", predictions=False)


def test_a_prediction_and_its_twin_with_a_channel_are_refused(tmp_path):
    names = {name: tmp_path / name for name in ("kid", "kid_0000")}
    with pytest.raises(DataError, match=r"kid and .*kid_0000 both claim the case kid"):
        match_cases(names, {"kid": tmp_path / "truth"})
    # Where these are two cases, each has its own.
    matched, extra = match_cases(names, dict(names))
    assert (matched, extra) == (names, [])


def test_names_of_official_submissions_are_matched(tmp_path):
    truth = {f"case_{i:05d}": tmp_path / f"truth{i}" for i in (1, 2, 3)}
    names = ["prediction_00001", "case_00002_pred", "case_00003", "case_00004"]
    predictions = {name: tmp_path / name for name in names}
    matched, extra = match_cases(predictions, truth)
    assert {case: path.name for case, path in matched.items()} == dict(
        zip(truth, names, strict=False)
    )
    assert extra == ["case_00004"]
