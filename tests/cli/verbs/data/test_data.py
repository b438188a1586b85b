"""``kitsbench data``: what a user types and sees."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from command_line import call_kitsbench


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    from kitsbench.data.phantom.dataset import write_phantom

    return write_phantom(tmp_path_factory.mktemp("cli") / "set", 2)


def test_phantom(tmp_path):
    code, out, err = call_kitsbench("data", "phantom", tmp_path / "p", "--cases", 1)
    assert (code, out) == (0, "")
    assert f"1 cases are in {tmp_path / 'p'}" in err
    assert (tmp_path / "p/data/case_00000/imaging.nii.gz").is_file()
    code, _, err = call_kitsbench("data", "phantom", tmp_path / "p", "--cases", 1, "--seed", 4)
    assert code == 2
    assert err.startswith("Error: ")
    assert "another phantom" in err


def test_verify(made, tmp_path):
    import shutil

    code, out, _ = call_kitsbench("data", "verify", made)
    assert code == 0
    assert "2 of 2 cases can be used, 0 errors" in out
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    mask = copy / "data/case_00001/segmentation.nii.gz"
    mask.write_bytes(mask.read_bytes()[:200])
    code, out, _ = call_kitsbench("data", "verify", copy)
    assert code == 2
    assert "error: case_00001: the file is cut off" in out
    code, out, _ = call_kitsbench("data", "verify", copy, "--json")
    assert code == 2
    found = json.loads(out)
    assert (found["n_usable"], found["n_errors"]) == (1, 1)
    assert found["findings"][0]["case"] == "case_00001"
    shutil.rmtree(copy / "data/case_00000")
    mask.unlink()
    code, out, _ = call_kitsbench("data", "verify", copy, "--json")
    assert (code, json.loads(out)["n_usable"]) == (2, 0)


def test_prepare_and_info(made, tmp_path):
    code, out, err = call_kitsbench(
        "data", "prepare", made, "-o", tmp_path, "--spacing", "6,5,5", "--json"
    )
    assert code == 0
    store = json.loads(out)
    assert store["spacing_mm"] == [6.0, 5.0, 5.0]
    assert store["n_cases"] == 2
    assert store["folder"] in err
    code, out, _ = call_kitsbench("data", "info", store["folder"], "--json")
    assert json.loads(out) == store
    code, out, _ = call_kitsbench("data", "info", made, "--json")
    about = json.loads(out)
    assert (about["layout"], about["n_cases"], about["synthetic"]) == ("kits19", 2, True)
    assert about["fingerprint"] == store["dataset"]["fingerprint"]
    assert 100 < about["volume_ml"]["kidney"]["p50"] < 1000
    assert about["orientations"] == ["IPL"]
    code, out, _ = call_kitsbench("data", "info", made)
    assert "synthetic: True" in out


def test_a_table_that_cannot_be_written_is_explained(made, tmp_path):
    code, _, err = call_kitsbench("data", "verify", made, "-o", tmp_path)
    assert code == 2
    assert f"Error: {tmp_path} cannot be written: Is a directory." in err


def test_a_store_has_no_figures(made, tmp_path):
    code, _, err = call_kitsbench("data", "prepare", made, "-o", tmp_path, "--spacing", "9")
    (store,) = tmp_path.iterdir()
    code, _, err = call_kitsbench("data", "info", store, "-o", tmp_path / "figures")
    assert code == 2
    assert "this is a prepared store" in err


def test_prepare_takes_the_median_spacing_by_default(made, tmp_path):
    code, _, err = call_kitsbench("data", "prepare", made, "-o", tmp_path)
    assert code == 0
    assert "2 cases at 4.5 x 4.5 x 4.5 mm" in err


def test_strict_refuses_what_would_be_left_out(made, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    (copy / "data/case_00001/imaging.nii.gz").unlink()
    code, _, err = call_kitsbench("data", "prepare", copy, "-o", tmp_path / "out")
    assert code == 0
    assert "left out case_00001: missing image" in err
    code, _, err = call_kitsbench("data", "prepare", copy, "-o", tmp_path / "out", "--strict")
    assert code == 2
    assert "missing image" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data", "verify", "nowhere"], "nowhere does not exist"),
        (["data", "info", "nowhere"], "nowhere does not exist"),
        (["data", "fetch", "kits19", "--cases", "210", "-o", "out"], "hidden test set"),
        (["data", "fetch", "kits20", "-o", "out"], "there are kits19, kits21, kits23"),
        (["data", "fetch", "kits19", "-o", "out", "--source", "nowhere"], "nowhere does not exist"),
        (
            ["data", "prepare", "nowhere", "-o", "out", "--spacing", "1,2"],
            "above 0 and below 100",
        ),
        (["data", "phantom", "p", "--spacing", "2"], "only for --anatomy"),
        (["data", "phantom", "p", "--anatomy", "nowhere"], "nowhere does not exist"),
    ],
)
def test_mistakes_are_explained(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = call_kitsbench(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_making_data_needs_no_torch(made, tmp_path):
    code = (
        "import sys; from kitsbench.cli import cli;"
        "cli.main(sys.argv[1:], standalone_mode=False);"
        "bad = {'torch', 'pandas', 'torchio'} & set(sys.modules); assert not bad, bad"
    )
    command = ["data", "prepare", str(made), "-o", str(tmp_path)]
    subprocess.run([sys.executable, "-c", code, *command], check=True)
