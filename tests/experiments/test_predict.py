"""Prediction of scans: any orientation in, the same geometry out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from command_line import SMALL, call_kitsbench, run_kitsbench
from reporting.workdirs import Plan, write_workdir
from stored_files import replan

from kitsbench.experiments.predict import find_trials
from kitsbench.experiments.records import find_experiment


@pytest.fixture(scope="module")
def trial(finished) -> tuple[str, str]:
    """Working directory and id of a trained trial of architecture alpha."""
    _, workdir, done = finished
    found = next(t for t in done.json["trials"] if t["architecture"] == "alpha")
    return str(workdir), found["id"]


@pytest.fixture(scope="module", autouse=True)
def own(plugin) -> tuple[str, ...]:
    """The option that gives the plugin's file of architecture alpha."""
    OWN[:] = ["--plugin", str(plugin("alpha", "Smallest"))]
    return tuple(OWN)


OWN: list[str] = []


def predict(trial, images, out, *options):
    workdir, name = trial
    where = ("-o", out, "--workdir", workdir, *OWN)
    done = call_kitsbench("predict", name[:10], *images, *where, *options)
    assert done.code == 0, done.err
    return [nibabel.load(path) for path in sorted(out.glob("*.nii.gz"))]


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


@pytest.fixture(scope="module")
def unknown_scan(phantom, tmp_path_factory):
    """A scan that has the name of no case."""
    path = tmp_path_factory.mktemp("new") / "patient.nii.gz"
    path.write_bytes(scan_of(phantom).read_bytes())
    return path


def test_an_architecture_stands_for_the_mean_of_its_trials(finished, unknown_scan, tmp_path):
    """As the probabilities of its four networks, averaged by hand, say."""
    import torch

    from kitsbench.experiments.predict import open_trials
    from kitsbench.inference.native import decide_native

    _, workdir, done = finished
    command = ["predict", "alpha", unknown_scan, "-o", tmp_path / "out", "--workdir", workdir, *OWN]
    predicted = run_kitsbench(*command)
    assert predicted.code == 0, predicted.err
    assert "Mean of 4 trained networks of alpha" in predicted.err
    assert "Warning" not in predicted.err
    found = np.asarray(nibabel.load(tmp_path / "out" / "patient.nii.gz").dataobj)

    from kitsbench.data.preparation.volumes import load_case

    ids = [t["id"] for t in done.json["trials"] if t["architecture"] == "alpha"]
    total = 0
    for name in ids:
        opened = open_trials(
            [workdir / "trials" / name], torch.device("cpu"), plugins=[Path(OWN[1])]
        )
        ((spacing,),) = [tuple(grids.values()) for grids in opened.spacings]
        case = load_case("patient", unknown_scan, None, spacing).case
        (predictor,) = opened.trained.predictors
        total = total + predictor.probabilities({"image": case})["segmentation"]
    image = nibabel.load(unknown_scan)
    expected = decide_native(
        [{"segmentation": total / len(ids)}],
        [{"segmentation": case.affine}],
        np.asarray(image.affine),
        image.shape,
        lambda member: member[0]["segmentation"].argmax(0).to(torch.uint8),
    )
    assert (found == expected).mean() > 0.9999  # sums in another order may tip a tie


def test_folds_choose_among_the_networks_of_an_architecture(finished, unknown_scan, tmp_path):
    _, workdir, _ = finished
    command = ["predict", "alpha", unknown_scan, "-o", tmp_path, "--workdir", workdir, *OWN]
    done = call_kitsbench(*command, "--folds", "1")
    assert done.code == 0, done.err
    assert "Mean of 2 trained networks" in done.err
    missing = call_kitsbench(*command, "--folds", "7", "--overwrite")
    assert missing.code == 2
    assert "--folds" in missing.err


def test_an_architecture_is_that_of_one_experiment(tmp_path):
    plan = Plan({"alpha": 0.0, "beta": 0.1}, folds=2, seeds=2, predictions=False)
    workdir = write_workdir(tmp_path / "work", plan)
    first = find_experiment(workdir)
    kept = tuple(t for t in first.trials if t.name == "alpha" and t.fold == 0)
    later = replan(workdir, trials=kept)
    assert later.id != first.id
    for named, expected, count in ((None, later.id, 2), (first.id, first.id, 4)):
        chosen = find_trials("alpha", workdir, experiment=named)
        assert (chosen.experiment, len(chosen.folders)) == (expected, count)
    command = ["predict", "beta", tmp_path / "x.nii.gz", "-o", tmp_path, "--workdir", workdir]
    for options, words in (
        (("--experiment", later.id), f"'beta' is none of experiment {later.id}"),
        (("--experiment", "nothing"), "has no experiment 'nothing'; it has:"),
        (("--folds", "0"), f"'beta' is none of experiment {later.id}"),
    ):
        refused = call_kitsbench(*command, *options)
        assert refused.code == 2
        assert words in refused.err


def test_a_scan_that_was_trained_on_is_called_that(trial, finished, phantom, tmp_path):
    from kitsbench.experiments.records import TrialRecord

    _, workdir, _ = finished
    context = TrialRecord.read(workdir / "trials" / trial[1] / "trial.json").context
    seen, unseen = context.train_cases[0], context.test_cases[0]
    command = ["predict", trial[1], "--workdir", workdir, *OWN, "-o"]
    warned = call_kitsbench(*command, tmp_path / "a", scan_of(phantom, seen))
    assert warned.code == 0
    assert "is a scan that the trial trained on" in " ".join(warned.err.split())
    # Whoever scores the label map later is told, too.
    score = ("evaluate", tmp_path / "a", phantom, "--protocol", "kits19", "--cases", seen)
    refused = call_kitsbench(*score)
    assert refused.code == 2
    assert f"was trained on 1 of these 1 cases: {seen}" in refused.err
    marked = call_kitsbench(*score, "--json", "--allow-training-cases")
    assert marked.code == 0, marked.err
    assert marked.json["trained_on"] == [seen]
    assert "Warning" not in call_kitsbench(*command, tmp_path / "b", scan_of(phantom, unseen)).err
    # Another scan by the same name is none.
    other = tmp_path / f"{seen}.nii.gz"
    other.write_bytes(scan_of(phantom, unseen).read_bytes())
    assert "Warning" not in call_kitsbench(*command, tmp_path / "c", other).err


@pytest.mark.parametrize(
    ("image", "label", "case"),
    [
        ("D/imagesTr/kid7_0000.nii.gz", "D/labelsTr/kid7.nii.gz", "kid7"),  # nnU-Net
        ("D/imagesTr/kid_0000.NII.GZ", "D/labelsTr/kid_0000.nii.gz", "kid"),  # Decathlon
        ("K/data/patient 7/imaging.nii.gz", "K/data/patient 7/segmentation.nii.gz", "patient 7"),
        ("F/p7/image.nii.gz", "F/p7/label.nii.gz", "p7"),
        ("F/Mu\u0308ller.nii.gz", "G/M\u00dcLLER.nii.gz", "Mu\u0308ller"),
    ],
)
def test_what_predict_writes_is_what_evaluate_finds(trial, phantom, tmp_path, image, label, case):
    source = scan_of(phantom)
    paths = [tmp_path / image, tmp_path / label]
    for path, original in zip(
        paths, (source, source.with_name("segmentation.nii.gz")), strict=True
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(original, path)
    note = paths[0].with_name(f"._{paths[0].name}")
    note.write_bytes(b"\0\5\26\7Mac OS X")
    predict(trial, [note, paths[0]], tmp_path / "out")
    assert (tmp_path / "out" / f"{case}.nii.gz").is_file()
    truth = tmp_path / label.split("/")[0]
    scored = call_kitsbench("evaluate", tmp_path / "out", truth, "--protocol", "kits19", "--json")
    assert scored.code == 0, scored.err
    assert len({row["case"] for row in scored.json["cases"]}) == 1


def test_label_maps_that_would_be_one_file_are_refused_naming_both(trial, phantom, tmp_path):
    def refused(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        images = [tmp_path / name for name in names]
        command = ["predict", trial[1], *images, "-o", tmp_path / "out", "--workdir", trial[0]]
        done = call_kitsbench(*command)
        assert done.code == 2
        said = " ".join(done.err.split())
        assert all(str(image) in said for image in images)
        assert "would be one file" in said

    refused("a/scan/imaging.nii.gz", "b/scan/imaging.nii.gz")
    refused("c/kid.nii.gz", "c/kid_0000.nii.gz")
    refused("d/kid.nii.gz", "e/KID.nii.gz")
    refused("f/M\u00fc.nii.gz", "g/Mu\u0308.nrrd")
    assert not (tmp_path / "out").exists()


def test_hidden_files_alone_are_no_scans(trial, tmp_path):
    hidden = tmp_path / "._kid.nii.gz"
    hidden.touch()
    done = call_kitsbench("predict", trial[1], hidden, "-o", tmp_path / "o", "--workdir", trial[0])
    assert done.code == 2
    assert "is a hidden file" in done.err


def test_mirroring_at_test_time_can_be_asked_for(trial, unknown_scan, tmp_path):
    plain, again, mirrored = (
        np.asarray(predict(trial, [unknown_scan], tmp_path / name, *options)[0].dataobj)
        for name, options in (("a", ()), ("b", ("--tta", "none")), ("c", ("--tta", "mirror")))
    )
    np.testing.assert_array_equal(again, plain)
    assert (mirrored != plain).any()


def test_no_file_that_a_trials_folder_names_is_run(trial, finished, phantom, own, tmp_path):
    """Also not where everything else in the folder is in order."""
    _, whole, _ = finished
    workdir = shutil.copytree(whole, tmp_path / "work")
    evil, file = tmp_path / "alpha.py", workdir / "trials" / trial[1] / "trial.json"
    evil.write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n" + Path(own[1]).read_text())
    content = json.loads(file.read_text())
    content["context"]["location"] = str(evil)
    file.write_text(json.dumps(content))
    command = ["predict", trial[1], scan_of(phantom), "-o", tmp_path / "out", "--workdir", workdir]
    refused = call_kitsbench(*command)
    assert refused.code == 2
    assert "A file that a trial names is not run: give it with --plugin alpha.py" in refused.err
    # One that is given has to be the one that was trained with, before anything of it is run.
    other = call_kitsbench(*command, "--plugin", evil)
    assert other.code == 2
    assert "nothing of it was run" in other.err
    assert not (tmp_path / "run").exists()
    done = call_kitsbench(*command, *own)
    assert done.code == 0, done.err
    # A name is one of what is installed, whatever the folder says of where it is.
    content["context"]["location"] = "unet3d"
    file.write_text(json.dumps(content))
    unknown = call_kitsbench(*command, "--overwrite")
    assert unknown.code == 2
    assert "there is no architecture 'alpha'" in unknown.err


def test_trials_that_differ_in_more_than_fold_and_seed_are_not_averaged(finished, plugin):
    import torch

    from kitsbench.errors import UsageError
    from kitsbench.experiments.predict import open_trials

    _, workdir, done = finished
    first = {t["architecture"]: workdir / "trials" / t["id"] for t in done.json["trials"]}
    with pytest.raises(UsageError, match="architecture"):
        open_trials(
            list(first.values()),
            torch.device("cpu"),
            plugins=[plugin("alpha", "Smallest"), plugin("beta", "Regions")],
        )


def test_a_damaged_scan_is_named_and_the_others_are_done(trial, phantom, tmp_path):
    workdir, name = trial
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no scan")
    done = call_kitsbench(
        "predict", name, bad, scan_of(phantom), "-o", tmp_path / "out", "--workdir", workdir, *OWN
    )
    assert done.code == 2
    assert "bad.nii.gz" in done.err
    assert [p.name for p in (tmp_path / "out").glob("*.nii.gz")] == ["case_00000.nii.gz"]


def test_of_a_scan_that_is_not_there_nothing_else_is_said(trial, finished, tmp_path):
    from kitsbench.experiments.records import TrialRecord

    _, workdir, _ = finished
    context = TrialRecord.read(workdir / "trials" / trial[1] / "trial.json").context
    missing = tmp_path / context.train_cases[0] / "imaging.nii.gz"
    done = call_kitsbench(
        "predict", trial[1], missing, "-o", tmp_path / "out", "--workdir", workdir, *OWN
    )
    assert done.code == 2
    assert "no such file" in done.err
    assert "trained on" not in done.err


def test_nothing_is_overwritten_without_being_asked(trial, phantom, tmp_path):
    workdir, name = trial
    arguments = ["predict", name, scan_of(phantom), "-o", tmp_path, "--workdir", workdir, *OWN]
    assert call_kitsbench(*arguments).code == 0
    refused = call_kitsbench(*arguments)
    assert refused.code == 2
    assert "--overwrite" in refused.err
    assert call_kitsbench(*arguments, "--overwrite").code == 0


@pytest.mark.parametrize("name", ["feed", "/nowhere/feed", "**", "../feed"])
def test_an_unknown_trial_says_where_it_looked(tmp_path, phantom, name):
    done = call_kitsbench("predict", name, scan_of(phantom), "-o", tmp_path, "--workdir", tmp_path)
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
    made = call_kitsbench(
        "data", "phantom", dataset, "--anatomy", anatomy, "--spacing", "8", "--cases", "4"
    )
    assert made.code == 0, made.err
    done = call_kitsbench(
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
        nibabel.save(
            nibabel.Nifti1Image(one, kidneys.affine), folder / next(out.glob("*.nii.gz")).name
        )
        scored = call_kitsbench("evaluate", out, folder, "--protocol", "kits19", "--json")
        assert scored.code == 0, scored.err
        summary = json.loads(scored.out)["summary"]
        dice = {(r["region"], r["metric"]): r["mean"] for r in summary}
        assert 0 <= dice["kidney_and_tumor", "dice"] <= 1


def test_a_scan_may_have_any_format(trial, unknown_scan, tmp_path):
    """Two files of ITK beside the NIfTI file they were made from: one label map, one place."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(unknown_scan))
    for suffix in ("nrrd", "mha"):
        sitk.WriteImage(image, str(tmp_path / f"{suffix}.{suffix}"))
    folder = tmp_path / "empty"
    folder.mkdir()
    out = tmp_path / "out"
    first, *others = predict(
        trial, [unknown_scan, tmp_path / "nrrd.nrrd", tmp_path / "mha.mha"], out
    )
    assert {p.name for p in out.glob("*.nii.gz")} == {
        "patient.nii.gz",
        "nrrd.nii.gz",
        "mha.nii.gz",
    }
    for other in others:
        np.testing.assert_allclose(other.affine, first.affine, atol=1e-4)
        assert (np.asarray(other.dataobj) == np.asarray(first.dataobj)).mean() > 0.9999
    workdir, name = trial
    done = call_kitsbench("predict", name, folder, "-o", out, "--workdir", workdir, *OWN)
    assert done.code == 2
    assert "holds no DICOM series" in " ".join(done.err.split())


def test_a_trial_in_a_folder_of_another_name_is_refused(trial, finished, unknown_scan, tmp_path):
    """Its weights and scores may be another trial's."""
    workdir, name = trial
    copied = shutil.copytree(Path(workdir) / "trials" / name, tmp_path / "trials" / ("0" * 16))
    done = call_kitsbench("predict", copied, unknown_scan, "-o", tmp_path / "out")
    assert done.code == 2
    first, remedy = done.err.strip().splitlines()
    assert f"{copied / 'trial.json'}: the key id is '{name}'" in first
    assert remedy.startswith("Delete the folder of this trial")
