"""What `load_results` reads back from a working directory."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from reporting.workdirs import Plan, write_workdir
from stored_files import replan

from kitsbench.errors import DataError
from kitsbench.evaluation import score_failed_case
from kitsbench.experiments.collected import CURVE_COLUMNS, SCORE_COLUMNS
from kitsbench.experiments.records import PlannedTrial, ProfileRecord, find_experiment
from kitsbench.experiments.results import load_results
from kitsbench.experiments.tables import SCORES, read_table, write_table

FAILED = ("big", 1, 0, "out-of-memory")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    plan = Plan({"small": 0.0, "big": 0.05}, folds=2, failed=(FAILED,), predictions=False)
    return write_workdir(tmp_path_factory.mktemp("work"), plan)


@pytest.fixture(scope="module")
def results(workdir):
    return load_results(workdir)


def test_every_trial_is_there_and_only_one_failed(results):
    assert len(results.trials) == 8
    failed = [t for t in results.trials if t.state == "failed"]
    assert [(t.name, t.fold, t.seed) for t in failed] == [FAILED[:3]]
    assert failed[0].status.reason == "out-of-memory"
    assert failed[0].ledger is None


def test_scores_have_the_documented_columns_and_both_protocols(results):
    assert list(results.scores.columns) == SCORE_COLUMNS
    assert set(results.scores["protocol"]) == {"kits19", "labels"}
    assert set(results.scores["dataset"]) == {"phantom"}


def test_scores_equal_the_files_of_the_trials(results):
    trial = next(t for t in results.trials if t.state == "finished")
    stored = pd.read_parquet(trial.folder.scores)
    keys = {"architecture": trial.name, "fold": trial.fold, "seed": trial.seed}
    read = results.scores
    for column, value in keys.items():
        read = read[read[column] == value]
    assert list(read["value"]) == list(stored["value"])


def test_a_failed_trial_costs_zero_on_the_cases_its_fold_tests(results):
    scores = results.scores
    penalty = scores[scores["status"] == "failed"]
    peers = scores[(scores["fold"] == 1) & (scores["architecture"] == "small")]
    assert set(penalty["case"]) == set(peers["case"])
    assert len(penalty) == len(peers) / 2  # one seed of two
    assert (penalty["value"] == 0).all()


def test_failures_where_there_was_nothing_to_find_leave_recall_undefined(tmp_path):
    plan = Plan(
        {"small": 0.0, "big": 0.0},
        folds=2,
        seeds=1,
        failed=(("big", 1, 0, "killed"),),
        layout="kits23",
        predictions=False,
    )
    scores = load_results(write_workdir(tmp_path, plan)).scores
    cyst = scores[(scores["status"] == "failed") & (scores["region"] == "cyst")]
    assert (cyst[cyst["metric"].isin(("dice", "precision"))]["value"] == 0).all()
    # fold 1 of 2 tests the odd cases, which have no cyst
    assert all(math.isnan(v) for v in cyst[cyst["metric"] == "recall"]["value"])


def test_what_no_prediction_can_have_is_undefined_for_a_failed_one(tmp_path):
    """As ``kitsbench evaluate`` has it: a sheared grid has no surfaces, whoever failed on it."""
    plan = Plan({"a": 0.0, "b": 0.0}, folds=1, seeds=1, cases_per_fold=2, predictions=False)
    plan = Plan(**{**plan.__dict__, "failed": (("b", 0, 0, "timeout"),)})
    workdir = write_workdir(tmp_path, plan)
    file = next(workdir.glob("trials/*/scores.parquet"))
    row = {"protocol": "kits19", "region": "tumor", "metric": "surface_dice"}
    extra = pd.DataFrame(
        [
            {**row, "case": "case_00000", "value": math.nan, "status": "undefined"},
            {**row, "case": "case_00001", "value": 0.5, "status": "ok"},
        ]
    )
    write_table(file, pd.concat([pd.read_parquet(file), extra]), SCORES)
    scores = load_results(workdir).scores
    failed = scores[(scores["architecture"] == "b") & (scores["metric"] == "surface_dice")]
    failed = failed.set_index("case")
    assert failed["status"].to_dict() == {"case_00000": "undefined", "case_00001": "failed"}
    assert math.isnan(failed["value"]["case_00000"])
    assert failed["value"]["case_00001"] == 0
    truth = np.zeros((4, 5, 6), np.uint8)
    tilted = np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    rows = score_failed_case(truth, (1, 1, 1), "kits19", ["surface_dice"], tilted)
    assert {(row["value"], row["status"]) for row in rows} == {(None, "undefined")}


def test_distances_of_a_failed_trial_take_the_penalty_of_an_empty_prediction(tmp_path):
    plan = Plan({"a": 0.0, "b": 0.0}, folds=1, seeds=1, cases_per_fold=2, predictions=False)
    plan = Plan(**{**plan.__dict__, "failed": (("b", 0, 0, "timeout"),)})
    workdir = write_workdir(tmp_path, plan)
    file = next(workdir.glob("trials/*/scores.parquet"))
    table = pd.read_parquet(file)
    row = {"protocol": "kits19", "region": "tumor", "metric": "hd95_mm"}
    extra = pd.DataFrame(
        [
            {**row, "case": "case_00000", "value": 512.5, "status": "empty_prediction"},
            {**row, "case": "case_00001", "value": 3.5, "status": "ok"},
        ]
    )
    write_table(file, pd.concat([table, extra]), SCORES)
    scores = load_results(workdir).scores
    found = scores[(scores["status"] == "failed") & (scores["metric"] == "hd95_mm")]
    values = found.set_index("case")["value"]
    assert values["case_00000"] == 512.5
    assert math.isnan(values["case_00001"])  # no penalty is known for this scan: not invented


def test_a_scan_has_one_diagonal_whatever_was_missed_on_it(tmp_path):
    plan = Plan({"a": 0.0, "b": 0.0}, folds=1, seeds=1, cases_per_fold=1, predictions=False)
    plan = Plan(**{**plan.__dict__, "failed": (("b", 0, 0, "timeout"),)})
    workdir = write_workdir(tmp_path, plan)
    file = next(workdir.glob("trials/*/scores.parquet"))
    row = {"protocol": "labels", "case": "case_00000", "metric": "assd_mm"}
    extra = pd.DataFrame(
        [
            {**row, "region": "kidney", "value": 2.5, "status": "ok"},
            {**row, "region": "cyst", "value": 311.0, "status": "false_positive"},
        ]
    )
    write_table(file, pd.concat([pd.read_parquet(file), extra]), SCORES)
    scores = load_results(workdir).scores
    found = scores[(scores["status"] == "failed") & (scores["metric"] == "assd_mm")]
    assert found.set_index("region")["value"].to_dict() == {"kidney": 311.0, "cyst": 311.0}


def test_curves_and_profiles_are_labelled(results):
    assert list(results.curves.columns) == CURVE_COLUMNS
    assert set(results.curves["kind"]) == {"loss", "lr", "score"}
    assert set(results.profiles) == {"small", "big"}


def test_all_trials_failed_gives_empty_tables_with_columns(tmp_path):
    failed = tuple(("a", fold, 0, "non-finite loss") for fold in (0, 1))
    results = load_results(
        write_workdir(tmp_path, Plan({"a": 0.0}, folds=2, seeds=1, failed=failed))
    )
    assert results.scores.empty
    assert list(results.scores.columns) == SCORE_COLUMNS
    assert list(results.curves.columns) == CURVE_COLUMNS
    assert len(results.trials) == 2


def test_a_fold_on_which_nobody_finished_is_not_left_out(tmp_path):
    failed = tuple((label, 1, 0, "killed") for label in ("a", "b"))
    plan = Plan({"a": 0.0, "b": 0.0}, folds=2, seeds=1, failed=failed, predictions=False)
    scores = load_results(write_workdir(tmp_path, plan)).scores
    lost = scores[scores["fold"] == 1]
    assert set(lost["architecture"]) == {"a", "b"}
    assert set(lost["case"]) == {f"case_{i:05d}" for i in (1, 3, 5, 7)}
    assert (lost["value"] == 0).all()
    assert len(lost) == len(scores[scores["fold"] == 0])


def test_a_planned_trial_that_never_started_is_pending(tmp_path):
    workdir = write_workdir(tmp_path, Plan({"a": 0.0}, folds=2, seeds=1))
    more = PlannedTrial(id="0123456789abcdef", name="a", fold=1, seed=1)
    replan(workdir, seeds=2, trials=(*find_experiment(workdir).trials, more))
    last = load_results(workdir).trials[-1]
    assert (last.state, last.fold, last.seed, last.name) == ("pending", 1, 1, "a")
    assert (last.record, last.ledger, last.environment) == (None, None, None)


def test_a_folder_without_an_experiment_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no experiment, so"):
        load_results(tmp_path)


@pytest.mark.parametrize("name", ["status.json", "scores.parquet"])
def test_a_damaged_file_is_named(tmp_path, name):
    workdir = write_workdir(tmp_path, Plan({"a": 0.0}, folds=1, seeds=1))
    next(workdir.glob(f"trials/*/{name}")).write_text("[1,")
    with pytest.raises(DataError, match=name):
        load_results(workdir)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda t: t[t["case"] != t["case"].iloc[0]],
            "the column case lacks case_00000 for kits19",
        ),
        (lambda t: t.iloc[:0], "the column case lacks case_00000"),
        (
            lambda t: pd.concat([t, t.tail(1).assign(case="zz")]),
            "the column case has zz for labels",
        ),
        (lambda t: pd.concat([t, t]), "of case_00000 by kits19 stands there twice"),
        (
            lambda t: t.drop(index=t[(t["region"] == "tumor") & (t["metric"] == "dice")].index[0]),
            r"has the tumor:dice by \w+ of \d+ cases, and trial.json tests \d+",
        ),
    ],
)
def test_a_table_with_other_cases_than_the_trial_tests_is_refused(tmp_path, spoil, words):
    """A case less would be another mean, and nobody would see it."""
    workdir = write_workdir(tmp_path, Plan({"a": 0.0}, folds=1, seeds=1, predictions=False))
    (file,) = workdir.glob("trials/*/scores.parquet")
    write_table(file, spoil(pd.read_parquet(file)), SCORES)
    with pytest.raises(DataError, match=words) as refused:
        load_results(workdir)
    first, remedy = str(refused.value).splitlines()
    assert first.startswith(f"{file}")
    assert remedy.startswith("Delete the folder of this trial and run")


def test_a_trial_without_the_endpoint_that_others_have_is_refused(tmp_path):
    workdir = write_workdir(tmp_path, Plan({"a": 0.0, "b": 0.0}, folds=1, predictions=False))
    file = load_results(workdir).trials[0].folder.scores
    table = pd.read_parquet(file)
    rest = table[(table["region"] != "tumor") | (table["metric"] != "dice")]
    write_table(file, rest, SCORES)
    with pytest.raises(DataError, match=r"lacks the tumor:dice by \w+, which other trials have"):
        load_results(workdir)


def test_a_trial_without_the_scores_that_are_asked_for_has_failed(tmp_path):
    """By a protocol that it was not scored by, or any; never left out of a mean."""
    plan = Plan({"a": 0.0, "b": 0.0}, folds=2, seeds=1, predictions=False)
    workdir = write_workdir(tmp_path, plan)
    lost = load_results(workdir).trials[0]
    lost.folder.scores.unlink()
    found = load_results(workdir)
    (failed,) = [trial for trial in found.trials if trial.state == "failed"]
    assert (failed.id, failed.status.reason) == (lost.id, "scores are missing")
    assert failed.status.message.startswith("scores.parquet is missing. Neither its label maps")
    assert f"delete the folder trials/{lost.id} and run the same command" in failed.status.message
    own = found.scores[(found.scores["architecture"] == lost.name) & (found.scores["fold"] == 0)]
    assert set(own["case"]) == set(lost.record.context.test_cases)
    assert (own["value"] == 0).all()
    assert set(own["status"]) == {"failed"}
    replan(workdir, protocol="kits21", protocols=("kits21", "labels"))
    again = load_results(workdir)
    assert {trial.status.reason for trial in again.trials} == {"scores are missing"}
    assert all("by kits21" in trial.status.message for trial in again.trials[1:])
    assert again.trials[0].folder.read_status().status == "finished"  # to whom asks for others


def test_scores_by_protocols_that_others_asked_for_are_left_to_them(tmp_path):
    workdir = write_workdir(tmp_path, Plan({"a": 0.0}, folds=1, seeds=1, predictions=False))
    before = load_results(workdir)
    (file,) = workdir.glob("trials/*/scores.parquet")
    table = pd.read_parquet(file)
    more = table[table["protocol"] == "kits19"].assign(protocol="kits23", value=0.0)
    write_table(file, pd.concat([table, more]), SCORES)
    pd.testing.assert_frame_equal(load_results(workdir).scores, before.scores)


@pytest.mark.parametrize("name", ["ledger.json", "environment.json"])
def test_a_file_of_another_trial_is_refused(tmp_path, name):
    plan = Plan({"a": 0.0, "b": 0.0}, folds=1, seeds=1, predictions=False)
    workdir = write_workdir(tmp_path, plan)
    one, other = (trial.folder.path / name for trial in load_results(workdir).trials)
    one.write_bytes(other.read_bytes())
    with pytest.raises(DataError, match="the key trial is") as refused:
        load_results(workdir)
    assert str(refused.value).startswith(f"{one}: ")
    assert len(str(refused.value).splitlines()) == 2


@pytest.mark.parametrize("name", ["scores.parquet", "curve.parquet"])
def test_a_table_of_another_trial_is_refused(tmp_path, name):
    plan = Plan({"a": 0.0, "b": 0.0}, folds=1, seeds=1, predictions=False)
    workdir = write_workdir(tmp_path, plan)
    one, other = (trial.folder.path / name for trial in load_results(workdir).trials)
    one.write_bytes(other.read_bytes())
    with pytest.raises(DataError) as refused:
        load_results(workdir)
    first, second = str(refused.value).splitlines()
    found = f"is {other.parent.name}, which is not its folder's name."
    assert first == f"{one}: the trial that it is of {found}"
    assert second.startswith("Delete it and run")


def test_a_table_of_an_earlier_kitsbench_is_named_and_can_be_made_again(tmp_path):
    workdir = write_workdir(tmp_path, Plan({"a": 0.0}, folds=1, seeds=1))
    (file,) = workdir.glob("trials/*/scores.parquet")
    pd.read_parquet(file).to_parquet(file)
    with pytest.raises(DataError, match="is not said, as by an earlier kitsbench") as refused:
        load_results(workdir)
    assert str(refused.value).startswith(f"{file}: ")
    file.unlink()  # as the message has it
    (trial,) = load_results(workdir).trials
    assert trial.status.reason == "scores are missing"


@pytest.mark.parametrize("name", ["status.json", "ledger.json", "environment.json"])
def test_a_link_to_nothing_is_no_file_that_was_never_written(tmp_path, name):
    plan = Plan({"a": 0.0}, folds=1, seeds=1, failed=(("a", 0, 0, "killed"),), predictions=False)
    workdir = write_workdir(tmp_path, plan)
    file = load_results(workdir).trials[0].folder.path / name
    file.unlink(missing_ok=True)
    file.symlink_to(tmp_path / "nothing.json")
    with pytest.raises(DataError, match=f"{name} cannot be read"):
        load_results(workdir)


def test_a_profile_is_that_of_the_network_that_was_trained(tmp_path):
    """Another experiment may have measured another network of the same name."""
    workdir = write_workdir(tmp_path, Plan({"a": 0.0}, folds=1, seeds=1, predictions=False))
    mine = load_results(workdir).profiles["a"]
    other = mine.model_copy(update={"parameters": 7, "key": ("another spec", *mine.key[1:])})
    other.keep(workdir)
    assert load_results(workdir).profiles == {"a": mine}
    file = ProfileRecord.file(workdir, "a", mine.key)
    for wrong, words in (
        ({"name": "b"}, "the key name is 'b'"),
        ({"key": other.key}, "the key key is"),
        ({"train_step_ms": -1.0}, "the key train_step_ms is wrong"),
        ({"parameters": -1}, "the key parameters is wrong"),
    ):
        mine.model_copy(update=wrong).write(file)
        with pytest.raises(DataError, match=words) as refused:
            load_results(workdir)
        assert str(refused.value).startswith(f"{file}: ")


def test_an_infinite_score_is_damage(tmp_path):
    work = write_workdir(tmp_path, Plan({"a": 0.0}, folds=1, seeds=1, showcase=0, profiles=False))
    (file,) = work.glob("trials/*/scores.parquet")
    table = read_table(file, SCORES)
    table.loc[table.index[:2], "value"] = [float("inf"), float("-inf")]
    write_table(file, table, SCORES)
    with pytest.raises(DataError, match=r"scores\.parquet: 2 scores are infinite"):
        load_results(work)
