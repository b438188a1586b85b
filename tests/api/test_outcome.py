"""What an experiment left, from Python: the tables of its report, and its trials."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from reporting.workdirs import Plan, write_workdir

import kitsbench
from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.results import load_results
from kitsbench.reporting.analysis import analyse
from kitsbench.reporting.build import write_report

HOSTILE = "net<script>alert(1)</script>"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    plan = Plan(
        {"unet3d": 0.0, "msff_net": 0.06, HOSTILE: -0.2},
        failed=(("msff_net", 1, 0, "out-of-memory"),),
    )
    return write_workdir(tmp_path_factory.mktemp("work"), plan)


@pytest.fixture(scope="module")
def outcome(workdir):
    return kitsbench.load(workdir)


@pytest.fixture(scope="module")
def report(workdir, tmp_path_factory):
    return write_report(analyse(load_results(workdir)), tmp_path_factory.mktemp("report")).parent


@pytest.mark.parametrize("name", ["scores", "summary", "ledger"])
def test_tables_are_those_of_the_report(outcome, report, name):
    written = pd.read_csv(report / f"{name}.csv")
    table = getattr(outcome, name)
    assert len(table) == len(written) > 3
    shared = [column for column in table.columns if column in written.columns]
    assert {"architecture"} <= set(shared)
    for column in shared:
        if pd.api.types.is_float_dtype(table[column]):
            same = (table[column] - written[column]).abs().fillna(0)
            assert same.max() < 1e-9, column


def test_statistics_are_those_of_the_report(outcome, report):
    found = json.loads((report / "comparison.json").read_text(encoding="utf-8"))
    assert list(outcome.ranking["architecture"]) == [
        row["architecture"] for row in sorted(found["ranking"], key=lambda row: row["rank"])
    ]
    assert list(outcome.pairs["verdict"]) == [row["verdict"] for row in found["pairs"]]
    assert len(outcome.secondary) == len(found["secondary"])
    assert outcome.scope == found["scope"]
    assert outcome.endpoint == "tumor:dice"


def test_a_table_is_a_copy(outcome):
    table = outcome.scores
    table["value"] = -1.0
    assert outcome.scores["value"].max() > 0


def test_scores_go_into_compare(outcome):
    verdicts = kitsbench.compare(outcome.scores, protocol="kits19")
    mine = outcome.pairs.set_index(["a", "b"])["difference"]
    assert len(verdicts.pairs) == len(mine)
    for row in verdicts.pairs:
        assert row["difference"] == pytest.approx(mine[row["a"], row["b"]])


def test_a_trial_is_found_by_its_id_and_by_what_it_is(outcome):
    trial = outcome.trial("unet3d", fold=1, seed=0)
    assert (trial.name, trial.fold, trial.seed, trial.state) == ("unet3d", 1, 0, "finished")
    assert outcome.trial(trial.id[:10]).id == trial.id
    assert outcome.trial("msff_net", fold=1, seed=0).status.reason == "out-of-memory"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("unet3d",), "say fold= and seed="),
        (("nothing",), "it has unet3d"),
        (("",), "There is no trial ''"),
        (("unet3d", 99), "There is no trial 'unet3d', fold 99"),
    ],
)
def test_a_trial_that_is_not_there(outcome, words, said):
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        outcome.trial(*words)


def test_a_prediction_needs_a_trial_that_tests_the_case(outcome):
    case = outcome.scores["case"].iloc[0]
    with pytest.raises(UsageError, match="tests a case 'case_99999'"):
        outcome.prediction("case_99999", "unet3d")
    with pytest.raises(UsageError, match="say seed="):
        outcome.prediction(case, "unet3d")
    with pytest.raises(UsageError, match="There is no architecture 'nothing'"):
        outcome.prediction(case, "nothing", seed=0)


def test_a_notebook_shows_the_ranking_and_no_foreign_tags(outcome):
    shown = outcome._repr_html_()
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    for name in ("unet3d", "msff_net"):
        assert name in shown
    assert "trials finished" in repr(outcome)


def test_an_experiment_of_one_says_why_nothing_is_ranked(tmp_path):
    alone = kitsbench.load(write_workdir(tmp_path / "work", Plan({"unet3d": 0.0})))
    assert alone.ranking.empty
    assert {"architecture", "mean"} <= set(alone.ranking.columns)
    assert "Only one architecture" in alone.obstacle
    assert "Only one architecture" in alone._repr_html_()


def test_nothing_to_load(tmp_path):
    with pytest.raises(DataError, match="kitsbench run"):
        kitsbench.load(tmp_path)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        kitsbench.nothing  # noqa: B018
