"""Reports over several working directories: put together, side by side, or refused."""

from __future__ import annotations

import dataclasses
import json

import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, write_workdir

from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.records import TrialRecord
from kitsbench.experiments.results import load_results
from kitsbench.experiments.workdir.join import join_results
from kitsbench.reporting import build_reports
from kitsbench.reporting.analysis import analyse
from kitsbench.reporting.asked.narrowing import Narrowing
from kitsbench.reporting.several.conditions import conditions_of, differences, grouped
from kitsbench.reporting.several.pages import analyses_of

SMALL = Plan({"a": 0.0, "b": 0.1}, folds=2, seeds=1, predictions=False, showcase=0, profiles=False)


def made(folder, plan=SMALL, **changes):
    return write_workdir(folder, dataclasses.replace(plan, **changes))


def test_equal_conditions_are_one_experiment(tmp_path):
    """Two directories that share trials give what one directory with all of them gives."""
    one = made(tmp_path / "one")
    more = made(tmp_path / "more", gaps={"a": 0.0, "b": 0.1, "c": 0.2}, seeds=2)
    page = build_reports([one, more], tmp_path / "out")
    whole = analyse(load_results(more))
    document = json.loads((page.parent / "report.json").read_text())
    assert document["comparison"]["ranking"] == whole.comparison["ranking"]
    assert document["comparison"]["pairs"] == whole.comparison["pairs"]
    assert len(document["trials"]) == len(whole.results.trials)
    assert len(document["experiment"]["joined"]) == 2
    text = page.read_text(encoding="utf-8")
    assert "Joined from 2 experiments" in text
    assert "kitsbench report WORKDIR_1 WORKDIR_2" in text
    links = [link.split('"')[0] for link in text.split('href="')[1:]]
    # It lies outside of them and may be sent away: a link to a folder would lead nowhere then.
    assert not [link for link in links if "/trials/" in link]
    assert all(trial.id in text for trial in whole.results.trials)


def test_other_entrants_and_seeds_come_together(tmp_path):
    one = load_results(made(tmp_path / "one", seeds=2))
    other = load_results(made(tmp_path / "other", gaps={"c": -0.1, "d": 0.2}, seeds=1))
    joined = join_results([one, other])
    assert [entrant.name for entrant in joined.experiment.entrants] == ["a", "b", "c", "d"]
    assert len(joined.trials) == len(one.trials) + len(other.trials)
    assert len(joined.scores) == len(one.scores) + len(other.scores)
    assert joined.experiment.seeds == 2
    assert len(joined.compare().pairs) == 6


def test_a_trial_that_failed_in_one_place_counts_where_it_finished(tmp_path):
    failed = made(tmp_path / "failed", failed=(("a", 0, 0, "out-of-memory"),))
    whole = made(tmp_path / "whole")
    for order in ([failed, whole], [whole, failed]):
        joined = join_results([load_results(workdir) for workdir in order])
        assert {trial.state for trial in joined.trials} == {"finished"}
        assert len(joined.trials) == 4


def test_two_outcomes_of_one_trial_are_refused_with_both_places(tmp_path):
    one = made(tmp_path / "one")
    other = made(tmp_path / "other", gaps={"a": 0.02, "b": 0.1})
    with pytest.raises(DataError) as caught:
        build_reports([one, other], tmp_path / "out")
    text = str(caught.value)
    assert str(one / "trials") in text
    assert str(other / "trials") in text
    assert "scores differ, by up to 0." in text
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory):
    place = tmp_path_factory.mktemp("several")
    one = made(place / "one")
    longer = made(place / "longer", budget=("400steps", 400.0, "steps"))
    (place / "out" / "conditions-3").mkdir(parents=True)  # of an older report
    done = call_kitsbench("report", one, longer, "-o", place / "out")
    assert done.code == 0, done.err
    return place / "out"


def test_other_conditions_stand_side_by_side(side_by_side):
    document = json.loads((side_by_side / "several.json").read_text())
    rows = {row["What differs"]: row for row in document["differences"]}
    assert rows["Budget"]["Conditions 1"] == "20 seconds"
    assert rows["Budget"]["Conditions 2"] == "400 steps"
    assert rows["Device class"]["Conditions 1"] == "cpu: Test CPU, 1 threads"
    assert "Recipe" not in rows
    assert not (side_by_side / "conditions-3").exists()
    page = (side_by_side / "index.html").read_text(encoding="utf-8")
    for number, part in enumerate(document["conditions"], start=1):
        assert f'href="conditions-{number}/index.html"' in page
        report = json.loads((side_by_side / part["report"]).read_text())
        assert [report["experiment"]["id"]] == part["experiments"]
        assert len(report["comparison"]["ranking"]) == 2  # never mixed
    assert "no number and no test is over more" in page
    assert "Traceback" not in page


def test_another_version_of_a_plugin_is_another_condition(tmp_path):
    one, other = load_results(made(tmp_path / "one")), load_results(made(tmp_path / "other"))

    def changed(trial):
        if trial.name != "b":
            return trial
        identity = trial.record.identity.model_copy(update={"source_hash": "cd" * 8})
        return dataclasses.replace(trial, record=TrialRecord.of(identity, trial.record.context))

    other = dataclasses.replace(other, trials=[changed(trial) for trial in other.trials])
    groups = grouped([one, other])
    assert len(groups) == 2
    (row,) = differences(groups)
    assert row[0] == "b"
    assert "source abababab" in row[1]
    assert "source cdcdcdcd" in row[2]


def test_the_device_counts_where_the_budget_is_in_seconds(tmp_path):
    timed = load_results(made(tmp_path / "timed"))
    steps = load_results(made(tmp_path / "steps", budget=("400steps", 400.0, "steps")))
    assert "Device class" in conditions_of(timed)
    assert "Device class" not in conditions_of(steps)


def test_a_directory_that_is_named_twice_is_refused(tmp_path):
    one = made(tmp_path / "one")
    (tmp_path / "link").symlink_to(one)
    with pytest.raises(UsageError, match="are one working directory"):
        build_reports([one, tmp_path / "link"], tmp_path / "out")


def test_what_is_narrowed_is_looked_for_in_all(tmp_path):
    one = load_results(made(tmp_path / "one", gaps={"a": 0.0, "b": 0.1, "c": 0.2}))
    steps = ("400steps", 400.0, "steps")
    other = load_results(made(tmp_path / "other", gaps={"a": 0.0, "c": 0.1}, budget=steps))
    groups = grouped([one, other])
    found = analyses_of(groups, Narrowing(architectures=("a,b",)))
    assert [analysis.names for analysis in found] == [["a", "b"], ["a"]]
    with pytest.raises(UsageError, match="has none of b"):
        analyses_of(groups, Narrowing(architectures=("b",)))
    with pytest.raises(UsageError, match="no architecture 'd'"):
        analyses_of(groups, Narrowing(architectures=("d",)))
