"""Every architecture is tuned by the same number of trials, on cases of the training set."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from experiments.small_requests import small_request
from stored_files import damage, experiment_of, put

from kitsbench.cli.views.dry_run import print_plan
from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.asked.search_space import Dimension, read_tuning
from kitsbench.experiments.executors.choose import choose_executor
from kitsbench.experiments.experiment import plan_experiment, run_experiment
from kitsbench.experiments.plan.tuning import settings_of, with_settings
from kitsbench.experiments.records import (
    ExperimentRecord,
    LedgerRecord,
    TrialRecord,
    find_experiment,
)
from kitsbench.experiments.results import load_results
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.reporting.build import build_report
from kitsbench.training.recipes import MATCHED_CPU

pytest.importorskip("optuna")


@pytest.fixture(scope="module")
def request_(plugin, phantom, tmp_path_factory):
    return small_request(
        tmp_path_factory.mktemp("tuning") / "work",
        phantom,
        (plugin("alpha", "Smallest"), plugin("beta", "Regions")),
        steps=3,
        tuning=read_tuning(3, {"budget": "2steps"}),
    )


def carry_out(request):
    events = []
    experiment = plan_experiment(request)
    done = run_experiment(
        experiment, choose_executor(request, experiment.machine), lambda event: events.append(event)
    )
    return done, [event for event in events if event.kind == "started"]


@pytest.fixture(scope="module")
def tuned_run(request_):
    before = plan_experiment(request_)
    return before, *carry_out(request_)


def test_every_architecture_tries_as_many_settings_of_the_same_space(tuned_run):
    _, done, started = tuned_run
    tuning = find_experiment(done.request.workdir).tuning
    assert tuning == done.record.tuning
    assert [len(study.trials) for study in tuning.studies] == [3, 3]
    first, second = tuning.studies
    assert [t.parameters for t in first.trials] == [t.parameters for t in second.trials]
    assert first.trials[0].parameters == {}  # the recipe itself
    for trial in first.trials[1:]:
        assert set(trial.parameters) == set(tuning.space)
        for name, value in trial.parameters.items():
            assert tuning.space[name].low <= value <= tuning.space[name].high
    assert len(started) == 6 + 2


def test_what_a_search_spent_has_every_key(tuned_run, tmp_path):
    _, done, _ = tuned_run
    file = tmp_path / "experiment.json"
    file.write_bytes(experiment_of(done.request.workdir).read_bytes())
    place = "tuning.studies.0.ledger.device_seconds"
    damage(file, lambda content: put(content, place))
    with pytest.raises(DataError, match=f"the key {place} is missing"):
        ExperimentRecord.read(file)


def test_settings_are_judged_on_training_cases_only(tuned_run):
    _, done, _ = tuned_run
    tests = set(done.split.test(0))
    for study in done.record.tuning.studies:
        for number, row in enumerate(study.trials):
            context = TrialRecord.read(TrialFolder(done.request.workdir, row.id).trial).context
            assert (context.tuning.fold, context.tuning.number) == (0, number)
            used = [*context.train_cases, *context.test_cases]
            assert sorted(used) == sorted(done.split.train(0))
            assert not tests & set(used)


def test_the_best_settings_train_the_network_and_are_charged_apart(tuned_run):
    before, done, _ = tuned_run
    results = load_results(done.request.workdir)
    assert {t.id for t in results.trials} == {t.id for t in done.tasks}
    for study in done.record.tuning.studies:
        scores = [trial.score for trial in study.trials]
        assert scores[study.best] == max(scores)
        (task,) = [t for t in done.tasks if t.name == study.name]
        (plain,) = [t for t in before.tasks if t.name == study.name]
        assert task.recipe == with_settings(plain.recipe, study.parameters)
        assert (task.id == plain.id) == (study.parameters == {})
        assert study.ledger.steps == 3 * 2
        assert LedgerRecord.read(task.folder.ledger).steps == 3
        assert study.ledger.device_seconds > 0


def test_the_report_tells_what_tuning_spent_and_chose(tuned_run, tmp_path):
    _, done, _ = tuned_run
    page = build_report(done.request.workdir, tmp_path / "report").read_text()
    assert "Tuning" in page
    assert "3 settings" in page
    assert "lr_factor" in page


def test_the_same_tuning_again_trains_nothing_and_more_trials_add_to_it(tuned_run, request_):
    _, done, _ = tuned_run
    again, started = carry_out(request_)
    assert started == []
    assert [t.id for t in again.tasks] == [t.id for t in done.tasks]
    plan = plan_experiment(replace(request_, tuning=read_tuning(4, {"budget": "2steps"})))
    assert [study.ask(plan.planner).id for study in plan.studies] == [
        study.tasks[0].id for study in again.studies
    ]


def test_a_dry_run_counts_the_trials_of_the_tuning(tuned_run, request_, capsys):
    plan = plan_experiment(replace(request_, tuning=read_tuning(5, {"budget": "2steps"})))
    print_plan(plan, True)
    document = json.loads(capsys.readouterr().out)
    assert document["tuning"]["trials"] == 10
    assert document["tuning"]["open_trials"] == 4
    assert {row["id"] for row in document["trials"]} == {None}


def test_a_configuration_file_changes_the_space():
    found = read_tuning(
        None, {"trials": 4, "lr_factor": [0.5, 2], "weight_decay": False, "warmup": [0.0, 0.1]}
    )
    assert found.trials == 4
    assert found.space == {
        "lr_factor": Dimension(0.5, 2.0),
        "warmup": Dimension(0.0, 0.1, log=False),
    }
    assert read_tuning(None, {}) is None
    assert read_tuning(0, {"trials": 4}) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"colour": [0, 1]}, "cannot be tuned"),
        ({"lr_factor": [2, 1]}, "low < high"),
        ({"lr_factor": [0, 1]}, "0 < low"),
        ({"lr_factor": "wide"}, "is none"),
        ({"lr_factor": False, "weight_decay": False}, "empty"),
        ({"trials": 1}, "a whole number from 2 to"),
    ],
)
def test_a_wrong_space_is_refused(given, words):
    with pytest.raises(UsageError, match=words):
        read_tuning(None, {"trials": 4, **given})


def test_settings_go_where_the_recipe_has_them():
    values = {
        "lr_factor": 2.0,
        "weight_decay": 0.03,
        "warmup": 0.1,
        "clip_gradient": 1.0,
        "foreground": 0.25,
    }
    recipe = with_settings(MATCHED_CPU, values)
    assert recipe.optimiser.lr == 2 * MATCHED_CPU.optimiser.lr
    assert settings_of(recipe) == {**values, "lr_factor": 1.0}
    assert recipe.name == "matched"
    assert with_settings(MATCHED_CPU, {}) == MATCHED_CPU
