"""A mean over folds from the command line: members are trained once, test cases are nobody's."""

from __future__ import annotations

import pytest
from command_line import SMALL, call_kitsbench

from kitsbench.experiments.records import TrialRecord
from kitsbench.experiments.results import load_results


@pytest.mark.slow
def test_a_mean_of_folds_is_scored_on_cases_that_no_member_saw(plugin, phantom, tmp_path):
    work, mean = tmp_path / "work", plugin("mean_of_folds", "MeanOfFolds")
    options = ("--dataset", phantom, *SMALL[:4], "--device", "cpu", "--seeds", "1")
    options = (*options, "--budget", "3steps", "--workdir", work, "--json")
    refused = call_kitsbench("run", mean, *options, "--split", "67:33")
    assert refused.code == 2
    assert "--split 67:33/5" in refused.err
    single = call_kitsbench("run", "residual_unet:size=tiny", *options, "--split", "67:33")
    assert single.code == 0, single.err
    done = call_kitsbench("run", mean, "residual_unet", *options, "--split", "67:33/2")
    assert done.code == 0, done.err
    trials = {t["architecture"]: t for t in done.json["trials"]}
    members = ["residual_unet+fold0", "residual_unet+fold1"]
    assert set(trials) == {"mean_of_folds", "residual_unet", *members}
    # Inner folds change nothing of who trains on the whole fold.
    assert trials["residual_unet"]["id"] == single.json["trials"][0]["id"]
    records = {
        name: TrialRecord.read(work / "trials" / trial["id"] / "trial.json")
        for name, trial in trials.items()
    }
    tested = records["mean_of_folds"].context.test_cases
    parts = [set(records[name].context.train_cases) for name in members]
    assert not parts[0] & parts[1]  # of two folds, each trains on the other
    assert parts[0] | parts[1] == set(records["residual_unet"].context.train_cases)
    assert not (parts[0] | parts[1]) & set(tested)
    assert records["mean_of_folds"].identity.members == tuple(trials[n]["id"] for n in members)
    results = load_results(work)
    own = results.scores[results.scores["architecture"] == "mean_of_folds"]
    keys = ["protocol", "region", "metric"]
    assert set(own.groupby(keys)["case"].nunique()) == {len(tested)}
    assert set(own.groupby([*keys, "case"]).size()) == {1}
    assert set(own["fold"]) == {0}
    page = (work / "report" / "index.html").read_text().replace("<wbr>", "")
    assert "sum of members" in page
    weights = {p: p.stat().st_mtime_ns for p in work.glob("trials/*/checkpoint/step-*")}
    again = call_kitsbench("run", mean, *options, "--split", "67:33/2")
    assert {t["id"] for t in again.json["trials"]} == {
        trials[name]["id"] for name in ("mean_of_folds", *members)
    }
    assert {p: p.stat().st_mtime_ns for p in work.glob("trials/*/checkpoint/step-*")} == weights
