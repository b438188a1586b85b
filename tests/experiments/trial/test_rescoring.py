"""A trained trial is scored once more where scores are missing, and never trained for it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from architectures import Smallest
from experiments.small_requests import small_request

from kitsbench.evaluation import evaluate
from kitsbench.experiments.executors.events import ending
from kitsbench.experiments.experiment import plan_experiment
from kitsbench.experiments.records import (
    EnvironmentRecord,
    PartialScoresRecord,
    ScoreRow,
    Unscored,
    keep_experiment,
)
from kitsbench.experiments.results import load_results
from kitsbench.experiments.tables import SCORES, read_table
from kitsbench.experiments.trial.kept_scores import is_done, unscored
from kitsbench.experiments.trial.run import run_trial
from kitsbench.experiments.trial.scoring import CaseReader, _weights, score_trial
from kitsbench.experiments.trial.trained import load_trained
from kitsbench.inference.sliding import NonFiniteOutput
from kitsbench.scans.label_names import read_label_names
from kitsbench.training.failures import TrialFailure

KEYS = ["protocol", "case", "region", "metric"]


class PutsOutNan(Smallest):
    """Gives NaN wherever it is not trained, for one of the scans."""

    def build(self, spec):
        network = super().build(spec)
        network.register_forward_hook(
            lambda module, inputs, outputs: (
                outputs
                if module.training
                else {name: values * float("nan") for name, values in outputs.items()}
            )
        )
        return network


@pytest.fixture(scope="module")
def planned(plugin, phantom, tmp_path_factory):
    """Experiments of one trial each, planned: of a sound network and of one that puts out NaN."""
    found = []
    for name, base, module in (
        ("alpha", "Smallest", "architectures"),
        ("nan", "PutsOutNan", "experiments.trial.test_rescoring"),
    ):
        workdir = tmp_path_factory.mktemp("scored") / "work"
        request = small_request(workdir, phantom, (plugin(name, base, module),), steps=2)
        experiment = plan_experiment(request)
        keep_experiment(request.workdir, experiment.record)
        found.append(experiment)
    return found


@pytest.fixture(scope="module")
def trained(planned):
    (task,) = planned[0].tasks
    assert run_trial(task) == "finished"
    return task


@pytest.fixture
def task(trained, tmp_path):
    """The trained trial in a working directory of its own."""
    return replace(trained, workdir=shutil.copytree(trained.workdir, tmp_path / "work"))


def state_of(folder: Path) -> dict[Path, int]:
    """When each file was written, but those that scoring is there to write."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    written = ("scores.parquet", "environment.json")
    return {f: f.stat().st_mtime_ns for f in files if f.name not in written}


def scores(task) -> pd.DataFrame:
    return read_table(task.folder.scores, SCORES)


@pytest.mark.parametrize("lost", ["scores", "label maps too", "one label map damaged"])
def test_lost_scores_are_made_again_bit_for_bit(task, trained, lost):
    folder, before = task.folder, scores(trained)
    folder.scores.unlink()
    if lost == "label maps too":
        shutil.rmtree(folder.predictions)
    elif lost == "one label map damaged":
        map_ = next(folder.predictions.iterdir())
        map_.write_bytes(map_.read_bytes()[:100])
    kept = {f: t for f, t in state_of(folder.path).items() if f.parent != folder.predictions}
    del kept[folder.log]  # which says that it was scored again
    assert not is_done(task)
    assert ending(task) is None  # neither finished nor failed: nobody has tried
    (trial,) = load_results(task.workdir).trials
    assert (trial.state, trial.status.reason) == ("failed", "scores are missing")
    assert "it is scored from what is kept, and nothing is trained" in trial.status.message
    assert run_trial(task) == "finished"
    assert is_done(task)
    pd.testing.assert_frame_equal(scores(task), before, check_exact=True)
    assert {f: f.stat().st_mtime_ns for f in kept} == kept
    maps = [
        {m.name: m.read_bytes() for m in t.folder.predictions.iterdir()} for t in (task, trained)
    ]
    assert maps[0].keys() == maps[1].keys()
    assert ending(task).kind == "finished"
    assert [t.state for t in load_results(task.workdir).trials] == ["finished"]


def test_a_label_map_that_is_made_again_has_the_values_of_the_dataset(task, trained):
    """Here those of kidney and tumour are exchanged in its files."""
    context = task.trial.context.model_copy(update={"on_disk": ((1, 2), (2, 1))})
    other = replace(task, trial=task.trial.model_copy(update={"context": context}))
    shutil.rmtree(task.folder.predictions)
    for file in (task.folder.scores, task.folder.path / "dataset.json"):
        file.unlink()
    assert run_trial(other) == "finished"
    for case in task.test_cases:
        found, expected = (
            reader.label_map(one.folder.predictions / f"{case}.nii.gz", case)
            for one, reader in ((other, CaseReader(other)), (trained, CaseReader(trained)))
        )
        np.testing.assert_array_equal(found, expected)
    assert read_label_names(task.folder.path / "dataset.json").written() == other.names.written()


def test_another_protocol_is_scored_beside_what_is_there(task, phantom):
    before, ledger = scores(task), task.folder.ledger.read_bytes()
    asked = replace(task, protocols=("kits21", "labels"))
    assert run_trial(asked) == "finished"
    table = scores(asked)
    assert set(table["protocol"]) == {"kits19", "kits21", "labels"}
    old = table[table["protocol"] != "kits21"].reset_index(drop=True)
    pd.testing.assert_frame_equal(old, before, check_exact=True)
    assert task.folder.ledger.read_bytes() == ledger
    found = evaluate(task.folder.predictions, phantom, "kits21", cases=list(task.test_cases))
    expected = found.frame.set_index(KEYS[1:])[["value", "status"]].sort_index()
    own = table[table["protocol"] == "kits21"].set_index(KEYS[1:])[["value", "status"]]
    pd.testing.assert_frame_equal(own.sort_index(), expected, check_exact=True)
    assert is_done(task)  # whoever asked for kits19 still has it


def test_what_cannot_be_scored_has_failed_for_whoever_asks_and_for_nobody_else(task):
    folder, asked = task.folder, replace(task, protocols=("kits21", "labels"))
    status = (folder.path / "status.json").read_bytes()
    shutil.rmtree(folder.predictions)
    shutil.rmtree(folder.checkpoints)
    assert run_trial(asked) == "failed"
    assert (folder.path / "status.json").read_bytes() == status
    assert Unscored.read(folder.unscored).reason == "scores are missing"
    event = ending(asked)
    assert event.kind == "failed"
    assert event.message.startswith("scores are missing: There are no scores by kits21. Neither")
    assert f"delete the folder trials/{task.id} and run the same command again" in event.message
    assert ending(task).kind == "finished"
    assert unscored(folder, task.trial, task.protocols) is None
    assert [t.state for t in load_results(task.workdir).trials] == ["finished"]


def test_a_label_map_that_does_not_fit_its_scan_is_made_again(task, trained):
    folder = task.folder
    one, other, *_ = sorted(folder.predictions.iterdir())
    other.unlink()
    one.write_bytes(b"no label map")
    folder.scores.unlink()
    assert run_trial(task) == "finished"
    pd.testing.assert_frame_equal(scores(task), scores(trained), check_exact=True)


def test_who_scores_has_a_share_in_the_numbers(task):
    file = task.folder.environment
    EnvironmentRecord.read(file).model_copy(update={"kitsbench": ("0.0.1",)}).write(file)
    task.folder.scores.unlink()
    run_trial(task)
    versions = EnvironmentRecord.read(file).kitsbench
    assert versions[0] == "0.0.1"
    assert len(versions) == 2


def test_a_network_that_puts_out_nan_has_failed_on_the_case_by_name(planned):
    experiment = planned[1]
    (task,) = experiment.tasks
    quiet = replace(
        task,
        trial=task.trial.model_copy(
            update={"context": task.trial.context.model_copy(update={"curve_cases": ()})}
        ),
    )
    assert run_trial(quiet) == "failed"
    status = task.folder.read_status()
    assert (status.status, status.reason) == ("failed", "non-finite")
    assert status.message.startswith(f"{task.test_cases[0]}: The network put out NaN")
    assert not task.folder.scores.exists()


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("image.npy", "trained"),
        ("label.npy", "trained"),
        ("foreground.npz", "trained"),
        ("image.npy", "tested"),
    ],
)
def test_a_prepared_volume_that_was_changed_is_neither_trained_on_nor_scored(
    trained, tmp_path, name, case
):
    (grid, store), *_ = trained.stores.items()
    copy = shutil.copytree(store, tmp_path / "store")
    task = replace(trained, workdir=tmp_path / "work", stores={grid: copy})
    chosen = task.train_cases[-1] if case == "trained" else task.test_cases[-1]
    file = copy / "cases" / chosen / name
    if name.endswith(".npy"):
        array = np.load(file)
        np.save(file, np.zeros_like(array))
    else:
        shutil.copy(copy / "cases" / task.train_cases[0] / name, file)
    assert run_trial(task) == "failed"
    status = task.folder.read_status()
    assert (status.status, status.reason) == ("failed", "data error")
    assert status.message.startswith(f"{file} was changed since it was prepared")
    assert "Delete the folder of this case and the store's manifest.json" in status.message
    assert case == "tested" or not task.folder.checkpoints.exists()


def test_a_part_of_something_else_is_not_taken_for_what_was_scored_before_a_kill(task, trained):
    """By another trial, other weights or another protocol; what is damaged neither."""
    folder, before = task.folder, scores(trained)
    weights = _weights(task)
    rows = {
        case: tuple(ScoreRow(**{**row, "value": 0.5}) for row in part.to_dict("records"))
        for case, part in before.groupby("case")
    }
    own = PartialScoresRecord(trial=task.id, weights=weights, protocols=task.protocols, scored=rows)
    network = load_trained(task, torch.device("cpu"))
    for updates in (
        {"trial": "0123456789abcdef"},
        {"weights": ("others",)},
        {"protocols": ("kits21", "labels")},
        None,
    ):
        own.model_copy(update=updates or {}).write(folder.partial_scores)
        if updates is None:
            folder.partial_scores.write_bytes(folder.partial_scores.read_bytes()[:-20])
        table = score_trial(task, network, CaseReader(task), lambda stage, fraction: None)
        assert list(table["value"].astype(float)) == pytest.approx(
            list(before["value"]), nan_ok=True
        )
    own.write(folder.partial_scores)
    table = score_trial(task, network, CaseReader(task), lambda stage, fraction: None)
    assert set(table["value"]) == {0.5}


def spoilt(trained, fails_at, error):
    """The same network, whose pass over one of the scans raises."""
    (predictor,) = trained.predictors
    scans = []

    class Spoilt(torch.nn.Module):
        def forward(self, inputs):
            if len(scans) == fails_at + 1:
                raise error
            return predictor.network(inputs)

    class Counting(type(predictor)):
        def probabilities(self, volumes):
            scans.append(1)
            return super().probabilities(volumes)

    own = {**vars(predictor), "network": Spoilt()}
    return replace(trained, predictors=(Counting(**own),))


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*")}


def test_scores_do_not_depend_on_whether_cases_overlap(task):
    network = load_trained(task, torch.device("cpu"))
    folder, found = task.folder, []
    for overlap in (False, True):
        shutil.rmtree(folder.predictions)
        folder.partial_scores.unlink(missing_ok=True)
        told = []
        table = score_trial(
            task, network, CaseReader(task), lambda *event, told=told: told.append(event), overlap
        )
        found.append((table, files_of(folder.predictions), folder.partial_scores.read_bytes()))
        count = len(task.test_cases)
        assert told == [("score", index / count) for index in range(count)]
    pd.testing.assert_frame_equal(found[0][0], found[1][0])
    assert found[0][1:] == found[1][1:]
    assert len(found[0][1]) == len(task.test_cases)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("index", [0, 2])
def test_a_case_that_fails_leaves_the_scores_of_those_before_it(task, overlap, index):
    """And is named, with the same reason, whatever was under way."""
    network = load_trained(task, torch.device("cpu"))
    folder = task.folder
    shutil.rmtree(folder.predictions)
    before = list(task.test_cases[:index])
    bad = spoilt(network, index, NonFiniteOutput("NaN."))
    with pytest.raises(TrialFailure, match=rf"^{task.test_cases[index]}: NaN\.$") as caught:
        score_trial(task, bad, CaseReader(task), lambda *event: None, overlap)
    assert caught.value.reason == "non-finite"
    assert sorted(files_of(folder.predictions)) == [f"{case}.nii.gz" for case in before]
    if index:
        assert list(PartialScoresRecord.read(folder.partial_scores).scored) == before
    else:
        assert not folder.partial_scores.exists()
    # What was scored is not predicted again.
    passes = []
    again = replace(
        network, predictors=[replace(network.predictors[0], tick=lambda: passes.append(1))]
    )
    table = score_trial(task, again, CaseReader(task), lambda *event: None, overlap)
    tiles = len(passes) / (len(task.test_cases) - index)
    assert tiles == int(tiles) > 0
    assert list(table["case"].unique()) == list(task.test_cases)


@pytest.mark.parametrize("overlap", [False, True])
def test_a_hook_that_fails_is_named_whatever_was_under_way(task, overlap):
    class FailsLater(Smallest):
        calls = 0

        def postprocess(self, labels, maps, spacing, spec):
            type(self).calls += 1
            if self.calls == 2:
                raise ValueError("spoilt")
            return labels

    network = replace(load_trained(task, torch.device("cpu")), architecture=FailsLater())
    shutil.rmtree(task.folder.predictions)
    with pytest.raises(TrialFailure, match=r"^decode\(\) raised ValueError: spoilt$") as caught:
        score_trial(task, network, CaseReader(task), lambda *event: None, overlap)
    assert caught.value.reason == "plugin error"
    assert len(files_of(task.folder.predictions)) == 1
