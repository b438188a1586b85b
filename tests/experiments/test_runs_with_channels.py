"""Networks that are shown more than the CT: check, run, predict and profile, end to end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pytest
from command_line import Finished, call_kitsbench
from two_phases import write_two_phases

from kitsbench.experiments.results import load_results
from kitsbench.reporting.drawing.inner_maps import draw_maps

OPTIONS = ("--patch", "16", "--split", "2", "--device", "cpu")
RUN = ("--spacing", "3", *OPTIONS, "--budget", "2steps", "--folds", "0", "--seeds", "1")
ONE = {"phases": "TwoPhases"}
EVERY = {**ONE, "places": "Coordinates", "whole": "WholeScan", "attention": "Attentive"}


class Done(NamedTuple):
    """A run: {name: plugin's file}, its working directory, and what it said."""

    files: dict[str, Path]
    workdir: Path
    run: Finished

    def trial(self, name: str) -> dict[str, Any]:
        (found,) = [t for t in self.run.json["trials"] if t["architecture"] == name]
        return found

    def identity(self, name: str) -> dict[str, Any]:
        file = self.workdir / "trials" / self.trial(name)["id"] / "trial.json"
        return json.loads(file.read_text())["identity"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_two_phases(tmp_path_factory.mktemp("data") / "Dataset001_Phases")


@pytest.fixture(
    scope="module", params=[ONE, pytest.param(EVERY, marks=pytest.mark.exhaustive)], ids=len
)
def done(request, plugin, dataset, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "work"
    files = {n: plugin(n, base, "architectures.seeing") for n, base in request.param.items()}
    run = ("run", *files.values(), "--dataset", dataset, *RUN, "--workdir", workdir, "--json")
    return Done(files, workdir, call_kitsbench(*run))


def test_they_are_trained_and_scored(done):
    assert done.run.code == 0, done.run.err
    assert [trial["status"] for trial in done.run.json["trials"]] == ["finished"] * len(done.files)


def test_a_scan_with_its_channels_beside_it_is_predicted_as_it_was_scored(done, dataset, tmp_path):
    for name, file in done.files.items():
        trial = done.trial(name)["id"]
        kept = sorted((done.workdir / "trials" / trial / "predictions").glob("*.nii.gz"))[0]
        images = sorted((dataset / "imagesTr").glob(kept.name.replace(".nii.gz", "_000?.nii.gz")))
        images = images if name == "phases" else images[:1]
        out = ("-o", tmp_path / name, "--workdir", done.workdir, "--plugin", file)
        predicted = call_kitsbench("predict", trial, *images, *out)
        assert predicted.code == 0, predicted.err
        (made,) = (tmp_path / name).glob("*.nii.gz")
        found, expected = (np.asarray(nibabel.load(path).dataobj) for path in (made, kept))
        np.testing.assert_array_equal(found, expected)


def test_a_scan_without_its_second_channel_is_left_out_with_the_reason(done, dataset, tmp_path):
    alone = shutil.copy(dataset / "imagesTr" / "case0_0000.nii.gz", tmp_path)
    out = ("-o", tmp_path / "out", "--workdir", done.workdir, "--plugin", done.files["phases"])
    predicted = call_kitsbench("predict", done.trial("phases")["id"], alone, *out)
    assert predicted.code == 2
    assert "sees the channel 'late' as well, and case0_0001.nii.gz is not there" in predicted.err


def test_the_prepared_channel_is_part_of_what_a_trial_is(done):
    for name in done.files:
        expected = ["image", "image:late:0001"] if name == "phases" else ["image"]
        assert sorted(done.identity(name)["preparation"]) == expected


def test_a_dataset_without_the_channel_keeps_the_network_out_before_anything_trains(
    done, dataset, tmp_path
):
    folder = tmp_path / "Dataset002_One"
    shutil.copytree(dataset, folder)
    for image in (folder / "imagesTr").glob("*_0001.nii.gz"):
        image.unlink()
    plan = ("run", *done.files.values(), "--dataset", folder, *RUN, "--dry-run")
    planned = call_kitsbench(*plan, "--workdir", tmp_path / "work", "--json")
    assert planned.code == 0, planned.err
    (broken,) = planned.json["broken"]
    assert "names no file 'late': its images are CT (0000)" in broken["error"]
    others = {trial["architecture"] for trial in planned.json["trials"]}
    assert others == {*done.files} - {"phases"}


@pytest.mark.exhaustive
def test_the_plugins_keep_the_contract_and_are_profiled(done, dataset):
    for name, file in done.files.items():
        checked = call_kitsbench("check", file)
        assert checked.code == 0, checked.out + checked.err
        profile = ("profile", file, "--dataset", dataset, "--patch", "16", "--device", "cpu")
        found = call_kitsbench(*profile, "--workdir", done.workdir, "--json")
        assert found.code == 0, found.err
        assert found.json[0]["patches_per_s_full"] > 0, name


@pytest.mark.exhaustive
def test_the_report_draws_the_attention_of_the_cases_that_it_shows(done):
    pictures, problems = draw_maps(load_results(done.workdir), list(done.files))
    assert problems == []
    if "attention" not in done.files:
        assert pictures == {}
        return
    kept = sorted((done.workdir / "trials" / done.trial("attention")["id"] / "maps").iterdir())
    assert sorted(pictures) == [folder.name for folder in kept]
    assert all(picture.png for picture in pictures.values())
    levels = np.asarray(nibabel.load(kept[0] / "attention.nii.gz").dataobj)
    assert (levels.min(), levels.max()) == (0, 255)
