"""What makes planned trials other ones than those that have finished."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from reporting.workdirs import Plan, trial_record, write_workdir

from kitsbench.experiments.plan.changes import changes
from kitsbench.experiments.records import TrialRecord, find_experiment
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.spec import Spec
from kitsbench.training.budget import Budget

PLAN = Plan({"a": 0.0, "b": 0.1}, folds=2, seeds=1, predictions=False)
FILE, OTHER = (f"sha256:{digit * 64}" for digit in "12")


def task_of(workdir, record: TrialRecord, **fields) -> TrialTask:
    return TrialTask(
        **{
            "workdir": workdir,
            "trial": record,
            "location": record.context.location,
            "spec": Spec(config=tuple(record.identity.config.items())),
            "recipe": record.context.recipe,
            "budget": Budget(*record.identity.budget),
            "stores": {},
            "train_cases": (),
            "test_cases": (),
            "cases": {},
            "window": record.context.window,
            "protocols": (),
            **fields,
        }
    )


def other(record: TrialRecord, context=None, **identity) -> TrialRecord:
    return TrialRecord.of(
        record.identity.model_copy(update=identity),
        record.context.model_copy(update=context or {}),
    )


@pytest.fixture
def planned(tmp_path):
    """Make the tasks of a plan, each with something of its identity changed."""
    workdir = write_workdir(tmp_path / "work", PLAN)
    trials = find_experiment(workdir).trials

    def plan(files=None, context=None, kept=(), **identity):
        records = [TrialRecord.read(workdir / "trials" / t.id / "trial.json") for t in trials]
        tasks = [
            task_of(workdir, r if r.name in kept else other(r, context, **identity))
            for r in records
        ]
        return workdir, [replace(task, files=files or {}) for task in tasks]

    return plan


def said(planned, **fields):
    """What is said of the first architecture, without its name."""
    workdir, tasks = planned(**fields)
    (first, *_) = changes(tasks, workdir)
    start = "a: 2 new trials beside finished ones, since "
    assert first.startswith(start)
    return first.removeprefix(start)


def test_a_plan_whose_trials_have_finished_says_nothing(planned):
    workdir, tasks = planned()
    assert changes(tasks, workdir) == []
    assert changes(tasks, workdir / "elsewhere") == []


@pytest.mark.parametrize(
    ("identity", "sentence"),
    [
        ({"packages": {"monai": "1.7.0"}}, "monai none -> 1.7.0."),
        ({"config": {"size": "tiny", "width": 0.5}}, "width 0.25 -> 0.5."),
        ({"version": "0.2.0"}, "kitsbench-plugins 0.1.0 -> 0.2.0."),
        ({"source_hash": "0" * 16}, "its source changed."),
        ({"dataset": "0" * 16}, "the files of phantom changed."),
        ({"split": "0" * 16}, "the split changed."),
        ({"precision": "bfloat16"}, "precision float32 -> bfloat16."),
        ({"compile": True}, "compile False -> True."),
        ({"pretrained_on": "BTCV"}, "pretrained on none -> BTCV."),
        ({"preparation": {"image": "0" * 16}}, "its volumes are prepared otherwise."),
        ({"spec": "0" * 16}, "its spec changed."),
        (
            {"packages": {"monai": "1"}, "version": "2", "source_hash": "0", "split": "1"},
            "monai none -> 1, kitsbench-plugins 0.1.0 -> 2, its source changed and 1 more.",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_changed_is_said_in_a_few_words(planned, identity, sentence):
    assert said(planned, **identity) == sentence


def test_a_recipe_is_compared_word_by_word(planned):
    old = planned()[1][0].recipe
    recipe = replace(old, batch=7, optimiser=replace(old.optimiser, lr=0.5))
    sentence = said(planned, context={"recipe": recipe}, recipe=recipe.digest())
    assert sentence == (
        f"recipe's batch {old.batch} -> 7, recipe's optimiser.lr {old.optimiser.lr:g} -> 0.5."
    )


def test_a_file_that_changed_is_named_as_it_is_called_now(planned, tmp_path):
    config = {"size": "tiny", "width": 0.25}
    files = {"weights": Path("/some/where/liver.pt")}
    workdir, tasks = planned(files=files, config={**config, "weights": FILE})
    assert changes(tasks, workdir)[0].endswith("since weights none -> liver.pt.")
    for task in tasks:
        task.trial.write(task.folder.trial)
        task.folder.set_status("finished")
    again = [replace(t, trial=other(t.trial, config={**config, "weights": OTHER})) for t in tasks]
    assert changes(again, workdir)[0].endswith("since file liver.pt changed.")


def test_what_is_planned_itself_is_no_earlier_trial(planned):
    """Two widths that were asked for together are no change of one into the other."""
    workdir, tasks = planned()
    record = trial_record(PLAN, "a", 0, 0)
    wide = task_of(workdir, other(record, {"name": "a:width=1"}, config={"width": 1.0}))
    assert changes([*tasks, wide], workdir) == []
    assert changes([wide], workdir) == [
        "a:width=1: 1 new trial beside finished ones, since width 0.25 -> 1, size tiny -> none."
    ]


def test_trials_that_have_little_in_common_are_not_compared(planned):
    changed = {"dataset": "0", "split": "1", "source_hash": "2", "version": "3"}
    workdir, tasks = planned(**changed, packages={"x": "1"}, precision="float16")
    assert changes(tasks, workdir) == []
    for context in ({"dataset_name": "another"}, {"location": "/elsewhere/a.py"}):
        workdir, tasks = planned(context=context, dataset="0")
        assert changes(tasks, workdir) == []
