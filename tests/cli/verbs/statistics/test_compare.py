"""``kitsbench compare`` as a user types it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, trained_elsewhere, write_workdir

from kitsbench.experiments.results import load_results
from kitsbench.reporting.analysis import analyse


@pytest.fixture
def scores(tmp_path):
    rng = np.random.default_rng(2)
    rows = [
        (name, case % 5, seed, f"case_{case:05d}", "tumor", metric, round(value, 4))
        for case, difficulty in enumerate(rng.uniform(0.4, 0.7, 60))
        for name, gain in (("[weak]", 0.0), ("strong", 0.2))
        for seed in range(2)
        for metric in ("dice", "recall")
        for value in [difficulty + gain + rng.normal(0, 0.02)]
    ]
    columns = ["architecture", "fold", "seed", "case", "region", "metric", "value"]
    file = tmp_path / "scores.csv"
    pd.DataFrame(rows, columns=columns).to_csv(file, index=False)
    return file


def invoke(*arguments):
    return call_kitsbench("compare", *arguments)


def test_a_reader_sees_ranking_sentences_and_the_detectable_gap(scores):
    result = invoke(scores)
    assert result.code == 0
    lines = result.out.splitlines()
    ranking = [line for line in lines if "│" in line]
    assert "strong" in ranking[0]
    # A name in square brackets is text, not a style.
    assert "[weak]" in ranking[1]
    sentences = [line for line in lines if line.startswith("• ")]
    assert len(sentences) == 1
    assert sentences[0].startswith("• strong scores higher than [weak] by 0.2")
    assert "exceeds the margin 0.02" in sentences[0]
    assert "Smallest gap that one comparison of this design detects" in result.out


def test_json_is_one_document(scores):
    result = invoke(scores, "--json", "--margin", "0.5", "--alpha", "0.1")
    found = result.json
    assert (found["margin"], found["alpha"], found["scope"]) == (0.5, 0.1, "L1")
    assert found["pairs"][0]["verdict"] == "better_negligible"
    assert [row["metric"] for row in found["secondary"]] == ["recall"]


def test_several_files_and_a_baseline(scores, tmp_path):
    table = pd.read_csv(scores)
    files = []
    for index, (_, part) in enumerate(table.groupby("architecture")):
        files.append(tmp_path / f"part{index}.csv")
        part.to_csv(files[-1], index=False)
    found = invoke(*files, "--baseline", "strong", "--json").json
    assert [(pair["a"], pair["b"]) for pair in found["pairs"]] == [("[weak]", "strong")]


def test_secondary_endpoints_on_request(scores):
    assert "Exploratory: " not in invoke(scores).out
    assert "• Exploratory: [weak] minus strong is -0.2" in invoke(scores, "--secondary").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--endpoint", "liver:dice"], "no scores of liver:dice"),
        (["--protocol", "kits21"], "for the protocol 'kits21'"),
        (["--margin", "0"], "margin of tumor:dice is 0"),
    ],
)
def test_wrong_requests_are_explained(scores, arguments, message):
    done = invoke(scores, *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_no_table_is_a_usage_error():
    assert invoke().code == 2


def test_of_an_experiment_who_may_know_the_test_scans_gets_neither_rank_nor_verdict(tmp_path):
    for allowed in (False, True):
        outside = trained_elsewhere(leak="nobody says what it was trained on", allowed=allowed)
        plan = Plan({"a": 0.0, "b": 0.1, "known": 0.2}, folds=4, elsewhere={"known": outside})
        done = invoke(write_workdir(tmp_path / str(allowed), plan), "--json")
        ranked = {row["architecture"] for row in done.json["ranking"]}
        pairs = {name for pair in done.json["pairs"] for name in (pair["a"], pair["b"])}
        assert ranked == pairs == ({"a", "b", "known"} if allowed else {"a", "b"})
        said = [one for one in done.json["warnings"] if "known may know the test scans" in one]
        assert bool(said) == (not allowed)


def test_of_an_experiment_no_seed_is_missing_that_was_not_planned(tmp_path):
    outside = {"made": trained_elsewhere()}
    plan = Plan({"a": 0.0, "b": 0.1, "made": 0.2}, folds=4, seeds=3, elsewhere=outside)
    workdir = write_workdir(tmp_path, plan)
    for warnings in (
        invoke(workdir, "--json").json["warnings"],
        analyse(load_results(workdir)).warnings,
    ):
        assert not [text for text in warnings if "missing" in text]
