"""Folders of label maps as entrants."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kitsbench.errors import UsageError
from kitsbench.experiments.asked.predictions import Predictions
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.experiment import plan_experiment
from kitsbench.experiments.plan.entrants import read_names


@pytest.mark.parametrize(
    ("architectures", "words"),
    [
        (("unet3d",), "that takes part"),
        (("residual_unet",), "which is an installed architecture"),
        ((), "which is an installed architecture"),
    ],
)
def test_label_maps_are_not_called_as_an_architecture_is(architectures, words):
    request = Request(
        Path("work"), architectures, predictions=(Predictions("unet3d", Path("maps")),)
    )
    with pytest.raises(UsageError, match=f"calls a folder 'unet3d', .*{words}"):
        read_names(request)


def test_a_label_map_names_the_trial_of_its_fold_alone(phantom, tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    for file in phantom.rglob("segmentation.nii.gz"):
        shutil.copy(file, maps / f"{file.parent.name}.nii.gz")
    request = Request(
        tmp_path / "work",
        dataset=str(phantom),
        spacing=(9.0, 9.0, 9.0),
        split="2",
        predictions=(Predictions("made", maps, ("nothing",)),),
        device="cpu",
    )
    first, second = plan_experiment(request).tasks
    (maps / f"{second.test_cases[0]}.nii.gz").unlink()
    same, other = plan_experiment(request).tasks
    assert same.id == first.id
    assert other.id != second.id
