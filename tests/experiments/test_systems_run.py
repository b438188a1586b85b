"""A system from its plan to the scans of a user, where its packages, files and code go wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.experiment import plan_experiment
from kitsbench.experiments.predict import open_trials
from kitsbench.experiments.records import TrialRecord
from kitsbench.experiments.trial.run import run_trial

SYSTEM = '''
import numpy as np

from kitsbench.architecture import Key, System


class Plugin(System):
    """Whatever takes up much contrast; it fails on scans that are as bright as its file says."""

    title = "Threshold"
    trained_on = "nothing"
    keys = {"above": Key.file("a number"), "other": Key.file("nothing")}

    def load(self, files, spec, device):
        self.above = float(files["above"].read_text())

    def predict(self, image, spacing, spec, device):
        if image.max() > 20_000:
            raise MemoryError("bright")
        if image.max() > 10_000:
            raise RuntimeError("too bright")
        if image.max() > 5_000:
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
