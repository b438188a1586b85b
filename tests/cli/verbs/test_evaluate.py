"""``kitsbench evaluate`` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from command_line import call_kitsbench


def save(path, labels, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([0.8, 0.8, 3.0, 1.0]) if affine is None else affine
    nib.save(nib.Nifti1Image(labels.astype(np.uint8), affine), path)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep what the command caches out of the home folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folders(tmp_path):
    """Four cases; in the last one the tumor is missed."""
    for case in range(4):
        truth = np.zeros((12, 12, 8))
        truth[2:9, 2:9, 2:6] = 1
        truth[4:7, 4:7, 3:5] = 2
        prediction = np.roll(truth, case % 3, axis=0)
        if case == 3:
            prediction = np.minimum(truth, 1)
        save(tmp_path / "predictions" / f"case_{case:05d}.nii.gz", prediction)
        save(tmp_path / "truth" / f"case_{case:05d}" / "segmentation.nii.gz", truth)
    return [str(tmp_path / "predictions"), str(tmp_path / "truth")]


def evaluate(folders, *options):
    return call_kitsbench("evaluate", *folders, "--jobs", "1", *options)


def test_json_is_the_only_thing_on_stdout(folders):
    code, out, err = evaluate(folders, "--protocol", "kits19", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["regions"] == ["kidney_and_tumor", "tumor"]
    rows = {(r["case"], r["region"], r["metric"]): r for r in found["cases"]}
    assert rows["case_00000", "tumor", "dice"]["value"] == 1
    # Moved by one of three voxels: two thirds of the tumor overlap.
    assert rows["case_00001", "tumor", "dice"]["value"] == pytest.approx(2 / 3)
    assert rows["case_00003", "tumor", "dice"] == {
        "case": "case_00003",
        "region": "tumor",
        "metric": "dice",
        "value": 0.0,
        "status": "empty_prediction",
    }
    summary = {(r["region"], r["metric"]): r for r in found["summary"]}
    assert summary["tumor", "dice"]["mean"] == pytest.approx((1 + 2 / 3 + 1 / 3 + 0) / 4)
    assert summary["tumor", "dice"]["n"] == 4


def test_the_same_predictions_under_all_protocols(folders, tmp_path):
    from kitsbench.statistics import read_scores

    outputs = [tmp_path / f"scores{suffix}" for suffix in (".csv", ".parquet", ".json")]
    options = [part for path in outputs for part in ("-o", path)]
    options += ["--architecture", "a", "--fold", "0", "--seed", "0", "--json"]
    code, out, _ = evaluate(folders, "--protocol", "all", *options)
    assert code == 0
    document = json.loads(out)
    assert document == json.loads(outputs[2].read_text())
    assert document["protocol"] == "all"
    found = {
        (r["protocol"], r["case"], r["region"], r["metric"]): r["value"] for r in document["cases"]
    }
    for protocol in ("kits19", "kits21", "kits23", "labels"):
        _, out, _ = evaluate(folders, "--protocol", protocol, "--json")
        for row in json.loads(out)["cases"]:
            key = (protocol, row["case"], row["region"], row["metric"])
            assert found.pop(key) == row["value"]
    assert not found
    for path in outputs[:2]:
        scores = read_scores([path])
        assert len(scores) == len(document["cases"])
        assert set(scores.protocol) == {"kits19", "kits21", "kits23", "labels"}
    code, out, err = evaluate(folders, "--protocol", "all")
    assert code == 0
    header = next(line for line in out.splitlines() if line.startswith("region"))
    assert header.split() == ["region", "metric", "kits19", "kits21", "kits23", "labels"]
    assert "kits23: kidney_and_mass = labels 1, 2, 3; mass = labels 2, 3" in out
    assert "sampled annotations" in err


def test_the_variant_of_a_distance_is_named(folders):
    options = ["--protocol", "kits23", "--metrics", "hd95_mm,hd95_pooled_mm"]
    code, out, _ = evaluate(folders, *options)
    assert code == 0
    assert "hd95_mm: larger of the two directed 95th percentiles" in out
    assert "hd95_pooled_mm: 95th percentile of both" in out


def test_what_an_interrupted_run_did_is_kept_without_an_output_file(folders, cache, monkeypatch):
    import kitsbench.evaluation.pool as pool

    options = ["--protocol", "kits19", "--json"]
    _, expected, _ = evaluate(folders, *options)
    assert not list(cache.rglob("*.partial"))
    seen = []

    def interrupt(files, task):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(files.case)
        return score_files(files, task)

    score_files = pool.score_files
    monkeypatch.setattr(pool, "score_files", interrupt)
    code, out, err = evaluate(folders, *options)
    assert (code, out) == (130, "")
    (partial,) = cache.rglob("*.partial")
    assert f"2 of 4 cases are kept in {partial}" in err
    seen.clear()
    monkeypatch.setattr(pool, "score_files", lambda *a: seen.append(a[0].case) or score_files(*a))
    assert evaluate(folders, *options)[:2] == (0, expected)
    assert seen == ["case_00002", "case_00003"]
    assert not partial.exists()


def test_where_nothing_can_be_cached_scores_are_printed_all_the_same(
    folders, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    code, out, _ = evaluate(folders, "--protocol", "kits19", "--json")
    assert code == 0
    assert len(json.loads(out)["cases"]) == 24


def test_people_get_a_table(folders):
    code, out, _ = evaluate(folders, "--protocol", "kits23")
    assert code == 0
    for word in ("kidney_and_mass", "mass", "tumor", "surface_dice", "4 cases"):
        assert word in out
    assert "tumor: predicted in 3 of 4 cases with it; 3 of 4 lesions found" in out
    assert "0.00 false positives per case" in out


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_scores_are_written_as_a_table_that_compare_reads(folders, tmp_path, suffix):
    from kitsbench.statistics import read_scores

    path = tmp_path / f"scores{suffix}"
    options = ["--architecture", "unet3d", "--fold", "0", "--seed", "1", "-o", path]
    code, out, err = evaluate(folders, "--protocol", "kits19", "--json", *options)
    assert code == 0
    assert f"24 scores to {path}" in err
    frame = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    assert frame.to_dict("records") == [
        {"architecture": "unet3d", "fold": 0, "seed": 1, "protocol": "kits19", **row}
        for row in json.loads(out)["cases"]
    ]
    assert len(read_scores([path])) == 24


def test_metrics_can_be_chosen(folders):
    options = ["--protocol", "labels", "--metrics", "hd95_mm, volume_error_ml", "--json"]
    code, out, _ = evaluate(folders, *options)
    assert code == 0
    found = json.loads(out)["cases"]
    assert {row["metric"] for row in found} == {"hd95_mm", "volume_error_ml"}
    tumor = {
        r["case"]: r["value"] for r in found if r["region"] == "tumor" and "hd95" in r["metric"]
    }
    assert tumor["case_00001"] == pytest.approx(0.8)
    assert tumor["case_00003"] == pytest.approx(np.linalg.norm([12 * 0.8, 12 * 0.8, 8 * 3]))


def test_cases_can_be_named_on_the_line_or_in_a_file(folders, tmp_path):
    (tmp_path / "fold.txt").write_text("case_00001\ncase_00003\n")
    # As an editor and the shell of Windows save it.
    (tmp_path / "marked.txt").write_text("case_00001\ncase_00003\n", encoding="utf-8-sig")
    (tmp_path / "wide.txt").write_text("Case_00001.nii.gz\n00003\n", encoding="utf-16")
    files = [tmp_path / name for name in ("fold.txt", "marked.txt", "wide.txt")]
    for cases in ("case_00001,case_00003", *files):
        options = ["--protocol", "kits19", "--json", "--cases", cases]
        _, out, _ = evaluate(folders, *options)
        assert {r["case"] for r in json.loads(out)["cases"]} == {"case_00001", "case_00003"}


def test_a_file_of_cases_that_is_no_text_is_named(folders, tmp_path):
    (tmp_path / "cases.txt").write_bytes(b"\xe9t\xe9")
    code, _, err = evaluate(folders, "--protocol", "kits19", "--cases", tmp_path / "cases.txt")
    assert code == 2
    assert "cases.txt is no text in UTF-8" in " ".join(err.split())


def test_missing_and_extra_predictions(folders, tmp_path):
    case = tmp_path / "predictions" / "case_00002.nii.gz"
    case.rename(case.with_name("case_00777.nii.gz"))
    code, out, err = evaluate(folders, "--protocol", "kits19", "--json")
    assert (code, out) == (2, "")
    assert "case_00002" in err
    assert "--missing background" in err
    code, out, err = evaluate(folders, "--protocol", "kits19", "--json", "--missing", "background")
    assert code == 0
    assert "background, for want of a prediction: case_00002" in err
    assert "without a truth, not scored: case_00777" in err
    statuses = {r["status"] for r in json.loads(out)["cases"] if r["case"] == "case_00002"}
    assert statuses == {"empty_prediction"}


def test_a_wrong_grid_stops_before_anything_is_written(folders, tmp_path):
    moved = np.diag([0.8, 0.8, 3.0, 1.0])
    moved[0, 3] = 5
    save(tmp_path / "predictions" / "case_00001.nii.gz", np.zeros((12, 12, 8)), moved)
    path = tmp_path / "scores.csv"
    code, out, err = evaluate(folders, "--protocol", "kits19", "-o", path)
    assert (code, out) == (2, "")
    assert not path.exists()
    assert err.startswith("Error: case_00001: prediction")
    assert "differ in affine" in err
    assert "Traceback" not in err


def test_a_damaged_file_is_named_and_the_other_scores_are_kept(folders, tmp_path):
    case = tmp_path / "predictions" / "case_00001.nii.gz"
    case.write_bytes(case.read_bytes()[:-20])
    path = tmp_path / "scores.csv"
    code, out, err = evaluate(folders, "--protocol", "kits19", "--json", "-o", path)
    assert code == 2
    assert str(case) in err
    frame = pd.read_csv(path)
    assert set(frame.case[frame.status == "failed"]) == {"case_00001"}
    assert frame.value[frame.status == "failed"].eq(0).all()
    assert frame.case.nunique() == 4
    (problem,) = json.loads(out)["problems"]
    assert (problem["case"], problem["file"]) == ("case_00001", str(case))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--protocol", "kit23"], ["kit23", "Did you mean 'kits23'", "labels"]),
        (["--protocol", "kits19", "--metrics", "dicee"], ["dicee", "Did you mean 'dice'"]),
        (["--protocol", "kits19", "--metrics", ","], ["No metric was named"]),
        (["--protocol", "kits19", "-o", "scores.xlsx"], ["scores.xlsx", ".csv, .parquet or .json"]),
        (["--protocol", "kits19", "--cases", "case_9"], ["case_9"]),
        ([], ["--protocol"]),
    ],
)
def test_wrong_options_say_what_is_right(folders, options, words):
    code, out, err = evaluate(folders, *options)
    assert (code, out) == (2, "")
    for word in words:
        assert word in err


def test_a_folder_that_is_not_there_is_named(folders, tmp_path):
    absent = str(tmp_path / "absent")
    for pair in ([absent, folders[1]], [folders[0], absent]):
        code, _, err = evaluate(pair, "--protocol", "kits19")
        assert code == 2
        assert absent in err


def test_neither_torch_nor_pandas_is_loaded_to_print_scores(folders):
    script = (
        "import sys\n"
        "from kitsbench.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "heavy = {'torch', 'pandas', 'monai', 'torchio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    arguments = ["evaluate", *folders, "--protocol", "kits23", "--json", "--jobs", "1"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["cases"]) == 4 * 3 * 4
