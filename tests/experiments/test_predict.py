"""Prediction of scans: any orientation in, the same geometry out."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from command_line import SMALL, run_kitsbench


@pytest.fixture(scope="module")
def trial(finished) -> tuple[str, str]:
    """Working directory and id of a trained trial of architecture alpha."""
    _, workdir, done = finished
    found = next(t for t in done.json["trials"] if t["architecture"] == "alpha")
    return str(workdir), found["id"]


def predict(trial, images, out):
    workdir, name = trial
    done = run_kitsbench("predict", name[:10], *images, "-o", out, "--workdir", workdir)
    assert done.code == 0, done.err
    return [nibabel.load(path) for path in sorted(out.iterdir())]


def scan_of(phantom, case="case_00000"):
    return next(phantom.rglob(f"{case}/imaging.nii.gz"))


def test_a_prediction_has_the_geometry_of_its_scan_and_the_name_of_its_case(
    trial, phantom, tmp_path
):
    scan = scan_of(phantom)
    (found,) = predict(trial, [scan], tmp_path / "out")
    image = nibabel.load(scan)
    assert found.shape == image.shape
    np.testing.assert_array_equal(found.affine, image.affine)
    assert (tmp_path / "out" / "case_00000.nii.gz").is_file()
    assert set(np.unique(found.dataobj)) <= {0, 1, 2}


def test_a_prediction_does_not_depend_on_how_the_scan_is_stored(trial, phantom, tmp_path):
    image = nibabel.load(scan_of(phantom))
    ras = nibabel.as_closest_canonical(image)
    turned = ras.as_reoriented(
        nibabel.orientations.axcodes2ornt("LIP", (("L", "R"), ("P", "A"), ("I", "S")))
    )
    names = []
    for name, version in (("a", image), ("b", ras), ("c", turned)):
        path = tmp_path / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.asarray(version.dataobj), version.affine), path)
        names.append(path)
    found = predict(trial, names, tmp_path / "out")
    first, *others = [np.asarray(nibabel.as_closest_canonical(f).dataobj) for f in found]
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_the_trial_predicts_what_it_was_scored_on(trial, finished, phantom, tmp_path):
    """The label map that the run kept, and the one made again from the stored weights."""
    _, folder, _ = finished
    kept = folder / "trials" / trial[1] / "predictions"
    case = sorted(p.name for p in kept.iterdir())[0]
    (found,) = predict(trial, [scan_of(phantom, case.removesuffix(".nii.gz"))], tmp_path / "out")
    np.testing.assert_array_equal(
        np.asarray(found.dataobj), np.asarray(nibabel.load(kept / case).dataobj)
    )


def test_a_damaged_scan_is_named_and_the_others_are_done(trial, phantom, tmp_path):
    workdir, name = trial
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no scan")
    done = run_kitsbench(
        "predict", name, bad, scan_of(phantom), "-o", tmp_path / "out", "--workdir", workdir
    )
    assert done.code == 2
    assert "bad.nii.gz" in done.err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["case_00000.nii.gz"]


def test_nothing_is_overwritten_without_being_asked(trial, phantom, tmp_path):
    workdir, name = trial
    arguments = ["predict", name, scan_of(phantom), "-o", tmp_path, "--workdir", workdir]
    assert run_kitsbench(*arguments).code == 0
    refused = run_kitsbench(*arguments)
    assert refused.code == 2
    assert "--overwrite" in refused.err
    assert run_kitsbench(*arguments, "--overwrite").code == 0


def test_an_unknown_trial_says_where_it_looked(tmp_path, phantom):
    done = run_kitsbench("predict", "feed", scan_of(phantom), "-o", tmp_path, "--workdir", tmp_path)
    assert done.code == 2
    assert str(tmp_path) in done.err


def test_real_masks_and_real_scans_go_all_the_way(shared, tmp_path):
    """Synthetic images on real KiTS19 masks are trained on; real CT is segmented and scored."""
    anatomy = tmp_path / "masks"
    for case in range(4):
        source = next((shared / "data" / "kits19-masks-2mm").rglob(f"case_{case:05d}"))
        (anatomy / source.name).mkdir(parents=True)
        for file in source.iterdir():
            (anatomy / source.name / file.name).write_bytes(file.read_bytes())
    dataset, workdir = tmp_path / "synthetic", tmp_path / "work"
    made = run_kitsbench(
        "data", "phantom", dataset, "--anatomy", anatomy, "--spacing", "8", "--cases", "4"
    )
    assert made.code == 0, made.err
    done = run_kitsbench(
        "run",
        "residual_unet",
        "--dataset",
        dataset,
        *SMALL,
        "--folds",
        "0",
        "--seeds",
        "1",
        "--budget",
        "5steps",
        "--workdir",
        workdir,
        "--json",
    )
    assert done.code == 0, done.err
    (trial,) = done.json["trials"]
    page = (workdir / "report" / "index.html").read_text()
    assert "synthetic" in page.lower()
    for scan, truth in (
        ("amos-0018/ct.nii.gz", "amos-0018/kidneys.nii.gz"),
        ("totalsegmentator-example/ct_crop.nii.gz", "totalsegmentator-example/kidneys_crop.nii.gz"),
    ):
        image = nibabel.load(shared / "data" / scan)
        out = tmp_path / "out" / scan.split("/")[0]
        (found,) = predict((str(workdir), trial["id"]), [shared / "data" / scan], out)
        assert found.shape == image.shape
        np.testing.assert_array_equal(found.affine, image.affine)
        assert nibabel.aff2axcodes(found.affine) == nibabel.aff2axcodes(image.affine)
        # The truth counts left and right kidney apart; as one label it can be scored.
        kidneys = nibabel.load(shared / "data" / truth)
        one = (np.asarray(kidneys.dataobj) > 0).astype(np.uint8)
        folder = tmp_path / "truth" / scan.split("/")[0]
        folder.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(one, kidneys.affine), folder / next(out.iterdir()).name)
        scored = run_kitsbench("evaluate", out, folder, "--protocol", "kits19", "--json")
        assert scored.code == 0, scored.err
        summary = json.loads(scored.out)["summary"]
        dice = {(r["region"], r["metric"]): r["mean"] for r in summary}
        assert 0 <= dice["kidney_and_tumor", "dice"] <= 1
