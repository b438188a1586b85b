"""A mean over folds from plan to scores: members are trained once, test cases are nobody's."""

from __future__ import annotations

import pandas as pd
import pytest
from command_line import SMALL, call_kitsbench
from experiments.small_requests import small_request

from kitsbench.experiments.experiment import plan_experiment
from kitsbench.experiments.trial.run import run_trial


@pytest.fixture(scope="module")
def planned(plugin, phantom, tmp_path_factory):
    """A mean of two folds beside its network, every trial run in this process."""
    workdir = tmp_path_factory.mktemp("folds")

    def plan(split, *names):
        request = small_request(workdir, phantom, names, steps=2, split=split, folds=None)
        return plan_experiment(request, costs=False)

    mean = plugin("mean_of_folds", "MeanOfFolds")
    whole = plan("67:33/2", mean, "residual_unet")
    assert [run_trial(task) for task in whole.tasks] == ["finished"] * 4
    return whole, plan("67:33", "residual_unet"), plan("67:33/2", mean)


@pytest.mark.slow
def test_a_mean_of_folds_is_scored_on_cases_that_no_member_saw(planned):
    tasks = {task.name: task for task in planned[0].tasks}
    members = ["residual_unet+fold0", "residual_unet+fold1"]
    assert list(tasks) == ["residual_unet", *members, "mean_of_folds"]
    mean = tasks["mean_of_folds"]
    assert mean.trial.identity.members == tuple(tasks[name].id for name in members)
    parts = [set(tasks[name].train_cases) for name in members]
    assert not parts[0] & parts[1]  # of two folds, each trains on the other
    assert parts[0] | parts[1] == set(tasks["residual_unet"].train_cases)
    assert not (parts[0] | parts[1]) & set(mean.test_cases)
    assert {task.test_cases for task in tasks.values()} == {mean.test_cases}
    scores = pd.read_parquet(mean.folder.scores)
    keys = ["protocol", "region", "metric"]
    assert set(scores.groupby([*keys, "case"]).size()) == {1}
    assert set(scores.groupby(keys)["case"].nunique()) == {len(mean.test_cases)}


@pytest.mark.slow
def test_what_was_trained_is_used_by_whoever_names_it(planned):
    whole, alone, mean = planned
    ids = {task.name: task.id for task in whole.tasks}
    # Inner folds change nothing of who trains on the whole fold.
    assert [task.id for task in alone.tasks] == [ids["residual_unet"]]
    assert {task.name: task.id for task in mean.tasks} == {
        name: ids[name] for name in ids if name != "residual_unet"
    }
    assert [run_trial(task) for task in mean.tasks] == ["finished"] * 3
    rows = {row.name: row for row in whole.record.entrants}
    assert rows["mean_of_folds"].members == ("residual_unet+fold0", "residual_unet+fold1")
    assert not rows["residual_unet+fold0"].asked


def test_a_split_without_inner_folds_is_refused_before_anything_is_prepared(
    plugin, phantom, tmp_path
):
    mean = plugin("mean_of_folds", "MeanOfFolds")
    options = ("--dataset", phantom, *SMALL, "--workdir", tmp_path / "work")
    refused = call_kitsbench("run", mean, *options)
    assert refused.code == 2
    assert "train on what is scored" in refused.err
    assert "--split 2/5" in refused.err
    assert not (tmp_path / "work" / "prepared").exists()
