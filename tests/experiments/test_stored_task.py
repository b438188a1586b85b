"""From a trial's folder to what predicts with it: a plugin that is another one by now."""

from __future__ import annotations

import json

import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, write_workdir

from kitsbench.errors import DataError
from kitsbench.experiments.records import TrialRecord
from kitsbench.experiments.stored_task import read_task
from kitsbench.registry import read_source_hash

NET = "from kitsbench.architecture import Architecture\n\nclass Net(Architecture):\n    pass\n"


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    pytest.importorskip("kitsbench_plugins")
    folder = write_workdir(
        tmp_path_factory.mktemp("stored"), Plan({"unet3d": 0.0}, folds=1, seeds=1, showcase=0)
    )
    (found,) = (folder / "trials").iterdir()
    return found


def test_a_changed_plugin_is_told_with_both_hashes_and_what_to_do(trial):
    then = json.loads((trial / "trial.json").read_text())["identity"]["source_hash"]
    with pytest.raises(DataError) as told:
        read_task(trial, {})
    first, second = str(told.value).splitlines()
    assert read_source_hash("unet3d") in first
    assert then in first
    assert trial.name in first
    # The same version: nothing that could be installed would help.
    assert "so its files were edited: take the edit back" in second
    assert second.endswith("or train again: kitsbench run unet3d")


def test_another_version_is_named(trial):
    record = TrialRecord.read(trial / "trial.json")
    then = record.identity.model_copy(update={"version": "0.0.9"})
    older = TrialRecord.of(then, record.context)
    folder = trial.parent / older.id
    folder.mkdir()
    older.write(folder / "trial.json")
    with pytest.raises(DataError, match=r"and then it was kitsbench-plugins 0\.0\.9: install that"):
        read_task(folder, {})


def test_a_file_is_compared_with_that_of_then(trial, tmp_path):
    file = tmp_path / "unet3d.py"
    file.write_text(NET)
    with pytest.raises(DataError, match=r"Give the file as it was then with --plugin, or train"):
        read_task(trial, {"unet3d": [file]})


@pytest.mark.parametrize("verb", [["predict"], ["export"]])
def test_predict_and_export_say_it(verb, trial, tmp_path):
    more = ["--to", "onnx"] if verb == ["export"] else [tmp_path / "scan.nii.gz"]
    done = call_kitsbench(*verb, trial, *more, "-o", tmp_path / "out")
    assert done.code == 2
    assert "take the edit back" in " ".join(done.err.split())
