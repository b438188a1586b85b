"""A system from its plan to the scans of a user, where its packages, files and code go wrong."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from command_line import call_kitsbench

from kitsbench.errors import UsageError
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.experiment import plan_experiment
from kitsbench.experiments.predict import _check_keys, open_trials
from kitsbench.experiments.records import TrialRecord
from kitsbench.experiments.trial.run import run_trial

SYSTEM = '''
import os

import numpy as np

from kitsbench.architecture import Key, System


class Plugin(System):
    """Whatever takes up much contrast; it fails on scans of some widths."""

    title = "Threshold"
    trained_on = "nothing"
    keys = {"above": Key.file("a number"), "other": Key.file("nothing")}

    def load(self, files, spec, device):
        if "THRESHOLD_OFF" in os.environ:
            raise OSError("no licence")
        self.above = float(files["above"].read_text())

    def predict(self, image, spacing, spec, device):
        if image.shape[-1] == 11:
            raise RuntimeError("too narrow")
        if image.shape[-1] == 12:
            raise MemoryError("too wide")
        if image.shape[-1] == 13:
            return np.zeros((1, 2, 3), dtype=np.uint8)
        return (image.numpy() > self.above).astype(np.uint8)
'''


@pytest.fixture(scope="module")
def run(phantom, tmp_path_factory):
    """A finished trial of the system, its plugin's file, and the file that it reads."""
    folder = tmp_path_factory.mktemp("system")
    code, file = folder / "threshold.py", folder / "above.txt"
    code.write_text(SYSTEM, encoding="utf-8")
    file.write_text("120", encoding="utf-8")
    request = Request(
        workdir=folder / "work",
        architectures=(f"{code}:above={file}",),
        dataset=str(phantom),
        spacing=(9.0, 9.0, 9.0),
        split="6",
        folds=(0,),
        seeds=1,
        device="cpu",
    )
    (task,) = plan_experiment(request).tasks
    assert run_trial(task) == "finished", task.folder.read_status()
    return task, code, file


def test_a_system_runs_with_the_packages_that_its_trial_is_named_by(run, tmp_path):
    task, code, file = run
    identity = task.trial.identity.model_copy(update={"packages": {"monai": "1.6.1"}})
    trial = TrialRecord.of(identity, task.trial.context)
    other = replace(task, trial=trial, workdir=tmp_path)
    assert run_trial(other) == "failed"
    status = other.folder.read_status()
    assert status.reason == "plugin error"
    assert "(monai 1.6.1 -> none): install the same ones everywhere" in status.message
    for folder, told in ((other.folder.path, 1), (task.folder.path, 0)):
        opened = open_trials([folder], torch.device("cpu"), plugins=[code], weights={"above": file})
        assert len(opened.remarks) == told


def scan(file, width=9):
    """A scan with a bright block."""
    hu = np.full((width, 8, 7), -100, np.int16)
    hu[2:6, 2:6, 2:5] = 200
    nibabel.save(nibabel.Nifti1Image(hu, np.diag([2.0, 2.0, 3.0, 1.0])), file)
    return file


def predict(run, images, out, *options):
    task, code, file = run
    return call_kitsbench(
        *("predict", task.id, *images, "-o", out, "--workdir", task.workdir, "--device", "cpu"),
        *("--plugin", code, *(options or ("--file", f"above={file}"))),
    )


def test_what_a_system_does_on_one_scan_leaves_the_others_alone(run, tmp_path):
    widths = {"raises": 11, "memory": 12, "shape": 13, "good": 9}
    images = [scan(tmp_path / f"{name}.nii.gz", width) for name, width in widths.items()]
    done = predict(run, images, tmp_path / "out")
    assert done.code == 2
    assert "1 of 4 label maps are in" in done.err
    said = " ".join(done.err.split())
    assert "raises.nii.gz was left out: predict() raised RuntimeError: too narrow" in said
    assert "shape.nii.gz was left out: predict() returned" in said
    assert "memory.nii.gz was left out: The memory of the machine ran out" in said
    made = np.asarray(nibabel.load(tmp_path / "out" / "good.nii.gz").dataobj)
    assert np.count_nonzero(made) == 48


def test_a_system_that_cannot_be_loaded_is_told_without_a_traceback(run, tmp_path, monkeypatch):
    monkeypatch.setenv("THRESHOLD_OFF", "1")
    done = predict(run, [scan(tmp_path / "a.nii.gz")], tmp_path / "out")
    assert (done.code, done.err) == (2, "Error: load() raised OSError: no licence\n")


def test_only_files_that_a_system_was_run_with_are_taken(run, tmp_path):
    task, _, file = run
    own, images = ("--file", f"above={file}"), [scan(tmp_path / "a.nii.gz")]
    for more, words in (
        ((*own, *own), "--file gives 'above' twice"),
        ((*own, "--file", f"others={file}"), "--file gives 'others', but"),
        # A key of the plugin for which the run had no file.
        ((*own, "--file", f"other={file}"), "was run with the files of above; give those alone"),
    ):
        done = predict(run, images, tmp_path / "out", *more)
        assert (done.code, words in done.err) == (2, True), done.err
    # The same task, as if it had trained.
    trained = replace(task, spec=replace(task.spec, trained_on=()))
    with pytest.raises(UsageError, match="reads no other file; leave --file out"):
        _check_keys(trained, ["above"])
