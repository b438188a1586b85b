"""A run that stops by itself: what it spends, what it decides, and that nothing takes it back.

Scores are drawn from what each trial is (:mod:`experiments.drawn_trials`); all else is real.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import call_kitsbench
from experiments.drawn_trials import Drawn
from experiments.small_requests import small_request

from kitsbench.errors import DataError, UsageError
from kitsbench.experiments import rounds
from kitsbench.experiments.asked.until import Until
from kitsbench.experiments.experiment import plan_experiment, run_experiment
from kitsbench.experiments.records import LooksRecord
from kitsbench.experiments.results import load_results
from kitsbench.experiments.workdir.inventory import take_inventory
from kitsbench.experiments.workdir.watching import Watch

GAPS = {"alpha": 0.0, "beta": 0.0002, "gamma": 0.05, "delta": 0.1}
SEEDS = 5


@pytest.fixture(scope="module")
def request_(plugin, phantom, tmp_path_factory):
    """Four architectures on three folds, five seeds at most."""
    return small_request(
        tmp_path_factory.mktemp("rounds") / "work",
        phantom,
        (plugin(name, "Smallest") for name in GAPS),
        steps=4,
        split="3",
        folds=None,
        seeds=None,
        until=Until(SEEDS, futility=0.0),  # two that are alike go on to the end
    )


@pytest.fixture(scope="module")
def planned(request_):
    """The experiment, planned once for all tests."""
    return plan_experiment(request_, costs=False)


def placed(experiment, workdir: Path, **request):
    """The same plan in another working directory."""

    def moved(task):
        return replace(task, workdir=workdir, members=tuple(map(moved, task.members)))

    asked = replace(experiment.request, workdir=workdir, **request)
    return replace(experiment, request=asked, tasks=[moved(task) for task in experiment.tasks])


def run(experiment, executor, tell=lambda text: None):
    """Run an experiment; returns what was looked at."""
    run_experiment(experiment, executor, lambda event: None, tell=tell)
    return LooksRecord.read(looks_file(experiment))


def family(content, look):
    """The one family of pairs of a look in a record as it is stored."""
    return content["looks"][look]["families"][0]


def looks_file(experiment) -> Path:
    return LooksRecord.file(experiment.request.workdir, experiment.record.id)


@pytest.fixture(scope="module")
def whole(planned, tmp_path_factory):
    """The run without any accident: its workdir, what it looked at, and what was run."""
    experiment = placed(planned, tmp_path_factory.mktemp("whole") / "work")
    executor = Drawn(GAPS)
    looks = run(experiment, executor)
    return experiment, looks, executor.ran


# -- what is spent and decided --------------------------------------------------------------


def test_what_is_decided_spends_nothing_any_more(whole):
    experiment, looks, ran = whole
    seeds = {name: 1 + max(seed for own, _, seed in ran if own == name) for name in GAPS}
    assert [look.seeds for look in looks.looks] == [2, 3, 4, 5]
    assert seeds["delta"] < SEEDS
    assert seeds["alpha"] == seeds["beta"] == SEEDS  # nobody can tell these two apart
    for name in GAPS:
        ended = next(look.seeds for look in looks.looks if name not in look.going)
        assert seeds[name] == ended
        before = next((look for look in looks.looks if look.seeds == ended - 1), None)
        if before is not None:  # it went on since one of its pairs was open
            assert any(name in pair.name and pair.state == "open" for pair in before.pairs)
    assert len(ran) == len({*ran}) < len(experiment.tasks)
    assert looks.over
    assert looks.known == 0


def test_its_trials_are_those_of_the_fixed_design(planned, request_):
    fixed = plan_experiment(replace(request_, until=None, seeds=SEEDS), costs=False)
    assert [task.id for task in fixed.tasks] == [task.id for task in planned.tasks]
    assert fixed.record.id != planned.record.id
    assert fixed.record.plan == planned.record.plan
    # Whatever decides when to stop makes another experiment of the same trials.
    other = plan_experiment(replace(request_, until=Until(SEEDS, futility=0.2)), costs=False)
    assert other.record.trials == planned.record.trials
    assert other.record.id not in (fixed.record.id, planned.record.id)


def test_a_fixed_design_takes_over_what_has_run(whole, request_, tmp_path):
    experiment, _, ran = whole
    shutil.copytree(experiment.request.workdir, tmp_path / "work")
    fixed = placed(plan_experiment(replace(request_, until=None, seeds=SEEDS)), tmp_path / "work")
    executor = Drawn(GAPS)
    run_experiment(fixed, executor, lambda event: None)
    every = {(task.name, task.trial.fold, task.trial.seed) for task in fixed.tasks}
    assert {*executor.ran} == every - {*ran}


def test_a_plan_shows_what_is_spared_and_takes_more_seeds_without_a_word_of_looks(whole):
    experiment, _, _ = whole
    workdir = str(experiment.request.workdir)
    known = load_results(experiment.request.workdir)
    spared = sum(trial.state == "spared" for trial in known.trials)
    assert spared
    plan = ("run", "--workdir", workdir, "--dry-run", "--json")
    again = call_kitsbench(*plan, "--experiment", experiment.record.id)
    states = [trial["status"] for trial in again.json["trials"]]
    assert (states.count("spared"), states.count("finished")) == (spared, len(states) - spared)
    assert again.json["estimate"]["open_trials"] == 0
    more = call_kitsbench(*plan, "--add", "--max-seeds", str(SEEDS + 1))
    assert more.code == 0, more.err
    assert f"{SEEDS + 1} seeds instead of {SEEDS}" in more.err
    told = f"{len(states) - spared} trials of the plan had finished before the looks were declared"
    assert any(line.startswith(told) for line in more.json["changed"])
    top = call_kitsbench(*plan, "--add", "--question", "top")
    assert "with the question 'which lead, and what is not among them' instead of" in top.err


def test_trials_that_were_never_run_are_no_failures(whole):
    experiment, _, ran = whole
    results = load_results(experiment.request.workdir)
    spared = [trial for trial in results.trials if trial.state == "spared"]
    assert len(spared) == len(experiment.tasks) - len(ran)
    (kept,) = take_inventory(experiment.request.workdir).experiments
    assert kept.states == {"finished": len(ran), "spared": len(spared)}
    for trial in spared:
        assert trial.spared.startswith("all its pairs are decided since the look after")
        assert trial.status.reason is None
    assert {*results.ledger["status"]} == {"finished", "spared"}
    seen = results.scores[["architecture", "fold", "seed"]].drop_duplicates()
    assert {tuple(row) for row in seen.itertuples(index=False)} == {*ran}


# -- nothing takes a look back --------------------------------------------------------------


@pytest.mark.parametrize("stops", [1, 24, 35])
def test_a_run_that_was_killed_takes_the_same_looks(planned, whole, tmp_path, stops):
    _, looks, ran = whole
    experiment = placed(planned, tmp_path / "work")
    first = Drawn(GAPS, stops_after=stops)
    with pytest.raises(KeyboardInterrupt):
        run(experiment, first)
    second = Drawn(GAPS)
    assert run(experiment, second) == looks
    assert looks_file(experiment).read_bytes() == looks_file(whole[0]).read_bytes()
    assert sorted([*first.ran, *second.ran]) == sorted(ran)


@pytest.mark.parametrize("number", [1, 2])
def test_a_run_that_was_killed_during_a_look_takes_it_again(
    planned, whole, tmp_path, monkeypatch, number
):
    experiment, calls = placed(planned, tmp_path / "work"), []
    true = rounds.take_look

    def killed(*arguments, **options):
        calls.append(options["number"])
        if len(calls) == number:
            raise KeyboardInterrupt
        return true(*arguments, **options)

    monkeypatch.setattr(rounds, "take_look", killed)
    first = Drawn(GAPS)
    with pytest.raises(KeyboardInterrupt):
        run(experiment, first)
    second = Drawn(GAPS)
    assert run(experiment, second) == whole[1]
    assert looks_file(experiment).read_bytes() == looks_file(whole[0]).read_bytes()
    assert not {*first.ran} & {*second.ran}


def test_the_order_in_which_trials_end_changes_no_look(planned, whole, tmp_path):
    experiment = placed(planned, tmp_path / "work")
    executor = Drawn(GAPS, backwards=True)
    run(experiment, executor)
    assert executor.ran != whole[2]
    assert looks_file(experiment).read_bytes() == looks_file(whole[0]).read_bytes()


def test_trials_of_later_rounds_that_are_there_already_change_no_look(
    planned, whole, tmp_path, request_
):
    fixed = plan_experiment(replace(request_, until=None, seeds=SEEDS), costs=False)
    fixed, experiment = (placed(one, tmp_path / "work") for one in (fixed, planned))
    run_experiment(fixed, Drawn(GAPS), lambda event: None)
    executor = Drawn(GAPS)
    looks = run(experiment, executor)
    assert not executor.ran
    assert looks.looks == whole[1].looks
    assert looks.known == len(fixed.tasks)  # somebody may have looked at them
    own, clean = (
        load_results(one.request.workdir, one.record.id).scores for one in (experiment, whole[0])
    )
    assert own.equals(clean)


def test_a_look_that_was_deleted_comes_out_the_same(whole, tmp_path):
    experiment = placed(whole[0], tmp_path / "work")
    shutil.copytree(whole[0].request.workdir, tmp_path / "work")
    looks_file(experiment).unlink()
    executor = Drawn(GAPS)
    looks = run(experiment, executor)
    assert not executor.ran
    assert looks.looks == whole[1].looks


def test_what_a_look_has_counted_as_failed_stays_so(planned, tmp_path):
    experiment = placed(planned, tmp_path / "work")
    broken = ("alpha", 1, 1)
    first = Drawn(GAPS, failing=[broken], stops_after=26)
    with pytest.raises(KeyboardInterrupt):
        run(experiment, first)
    (failed,) = (
        task.id
        for task in experiment.tasks
        if (task.name, task.trial.fold, task.trial.seed) == broken
    )
    taken = LooksRecord.read(looks_file(experiment))
    assert taken.looks[0].missed == (failed,)
    second = Drawn(GAPS)  # by now it would work
    looks = run(experiment, second)
    assert broken not in second.ran
    assert looks.looks[0] == taken.looks[0]
    assert all(look.missed == (failed,) for look in looks.looks)
    states = {trial.id: trial.state for trial in load_results(tmp_path / "work").trials}
    assert states[failed] == "failed"
    with pytest.raises(UsageError, match="had failed when a look counted it, and stays a failure"):
        run_experiment(experiment, Drawn(GAPS), lambda event: None, only={failed})


def test_a_trial_that_failed_in_a_round_without_a_look_is_tried_again(planned, whole, tmp_path):
    experiment = placed(planned, tmp_path / "work")
    first = Drawn(GAPS, failing=[("alpha", 0, 0)], stops_after=9)
    with pytest.raises(KeyboardInterrupt):
        run(experiment, first)
    second = Drawn(GAPS)
    assert run(experiment, second) == whole[1]
    assert ("alpha", 0, 0) in second.ran


@pytest.mark.parametrize("after", [27, 1000])
def test_a_trial_that_was_deleted_after_a_look_counted_it_is_run_again(
    planned, whole, tmp_path, after
):
    experiment = placed(planned, tmp_path / "work")
    with contextlib.suppress(KeyboardInterrupt):
        run(experiment, Drawn(GAPS, stops_after=after))
    gone = experiment.tasks[0]
    shutil.rmtree(gone.folder.path)
    second = Drawn(GAPS)
    assert run(experiment, second) == whole[1]
    assert second.ran[0] == (gone.name, gone.trial.fold, gone.trial.seed)
    assert load_results(tmp_path / "work").scores.equals(
        load_results(whole[0].request.workdir).scores
    )


# -- what is shown meanwhile ----------------------------------------------------------------


def test_before_the_first_look_nothing_is_compared(planned, tmp_path):
    experiment = placed(planned, tmp_path / "work")
    with pytest.raises(KeyboardInterrupt):
        run(experiment, Drawn(GAPS, stops_after=10))
    results = load_results(tmp_path / "work")
    assert results.scores.empty
    states = [trial.state for trial in results.trials]
    assert states.count("held") == 10
    assert "finished" not in states
    seen = Watch(tmp_path / "work", experiment.record).look()
    assert sum(trial.state == "finished" for trial in seen.trials) == 10
    assert {trial.score for trial in seen.trials} == {None}  # to watch is no look


def test_between_two_looks_the_last_one_is_shown(planned, whole, tmp_path):
    experiment = placed(planned, tmp_path / "work")
    with pytest.raises(KeyboardInterrupt):
        run(experiment, Drawn(GAPS, stops_after=27))
    results = load_results(tmp_path / "work")
    assert [look.seeds for look in results.looks.looks] == [2]
    assert results.scores["seed"].max() == 1
    assert sum(trial.state == "held" for trial in results.trials) == 3
    seen = Watch(tmp_path / "work", experiment.record).look()
    assert sum(trial.score is not None for trial in seen.trials) == 24  # as the look counted
    pairs = results.compare(secondary=False).pairs
    assert {pair["look"]["state"] for pair in pairs} == {"open"}
    assert {pair["verdict"] for pair in pairs} == {"inconclusive"}
    # A test that knows of no looks is surer by now, and stands beside it.
    assert all(pair["naive"]["p_adjusted"] < pair["p_adjusted"] for pair in pairs)


def test_verdicts_are_those_of_the_looks(whole):
    experiment, looks, _ = whole
    comparison = load_results(experiment.request.workdir).compare()
    last = {frozenset(pair.name): pair for pair in looks.looks[-1].pairs}
    kinds = {"difference": "better", "equivalence": "equivalent", "futile": "inconclusive"}
    assert len(comparison.pairs) == len(last) == 6
    for row in comparison.pairs:
        pair = last[frozenset((row["a"], row["b"]))]
        assert row["verdict"].startswith(kinds[pair.state])
        assert row["better"] == pair.better
        assert row["p_adjusted"] == pair.p_adjusted
        assert pair.reason in row["sentence"]
        assert row["naive"]["p_adjusted"] is not None
    groups = {row["architecture"]: row["group"] for row in comparison.ranking}
    assert groups["alpha"] == groups["beta"]
    assert len({groups["delta"], groups["gamma"], groups["alpha"]}) == 3
    assert {row["p_first"] for row in comparison.ranking} == {None}


def test_another_margin_is_another_question(whole):
    with pytest.raises(UsageError, match="looked at with the margin of its endpoint"):
        load_results(whole[0].request.workdir).compare(margin=0.05)


# -- hours ----------------------------------------------------------------------------------


def test_hours_are_asked_after_between_rounds_alone(planned, whole, tmp_path):
    hours = 20 / 3600  # of a trial that is drawn
    experiment = placed(planned, tmp_path / "work", max_hours=30 * hours)
    told = []
    executor = Drawn(GAPS)
    looks = run(experiment, executor, told.append)
    assert len(executor.ran) == 24  # one more round of twelve would have been too much
    assert looks.stopped.seeds == 2
    assert looks.stopped.hours == pytest.approx(24 * hours)
    assert looks.stopped.next_hours == pytest.approx(12 * hours)
    assert "--max-hours allows" in told[-1]
    states = {trial.state for trial in load_results(tmp_path / "work").trials}
    assert states == {"finished", "spared"}
    more = placed(planned, tmp_path / "work", max_hours=1000.0)
    with pytest.raises(KeyboardInterrupt):
        run(more, Drawn(GAPS, stops_after=1))
    states = {trial.state for trial in load_results(tmp_path / "work").trials}
    assert "spared" not in states  # what is run now is not spared any more
    assert run(more, Drawn(GAPS)) == whole[1]


def test_a_slower_call_takes_nothing_back_of_one_that_went_on(planned, whole, tmp_path):
    experiment = placed(planned, tmp_path / "work")

    def overtaken(text):
        if text.startswith("Look after 2 seeds"):
            run(experiment, Drawn(GAPS))

    assert run(experiment, Drawn(GAPS), overtaken) == whole[1]
    assert looks_file(experiment).read_bytes() == looks_file(whole[0]).read_bytes()


def test_hours_that_end_before_the_first_look_leave_what_ran_waiting(planned, tmp_path):
    experiment = placed(planned, tmp_path / "work", max_hours=13 * 20 / 3600)
    executor = Drawn(GAPS)
    looks = run(experiment, executor)
    assert (looks.stopped.seeds, looks.looks) == (1, ())
    results = load_results(tmp_path / "work")
    states = {(trial.name, trial.fold, trial.seed): trial.state for trial in results.trials}
    assert {own for own, state in states.items() if state == "held"} == {*executor.ran}
    assert {*states.values()} == {"held", "spared"}
    assert results.ledger["device_seconds"].sum() == pytest.approx(12 * 20)
    (kept,) = take_inventory(tmp_path / "work").experiments
    assert kept.states == {"finished": 12, "spared": 48}


def test_more_seeds_leave_the_question_as_it_was(planned, request_, tmp_path):
    experiment = placed(planned, tmp_path / "work")
    with pytest.raises(KeyboardInterrupt):
        run(experiment, Drawn(GAPS, stops_after=1))
    words = ("--until", "decided", "--max-seeds", "6", "--workdir", tmp_path / "work")
    told = call_kitsbench("run", "--add", *words, "--dry-run", "--json")
    assert told.code == 0, told.err
    asked = replace(request_, until=Until(6, futility=0.0))
    assert json.loads(told.out)["experiment"] == plan_experiment(asked, costs=False).record.id


# -- questions ------------------------------------------------------------------------------


def test_against_a_baseline_only_its_pairs_are_asked(request_, tmp_path):
    asked = replace(request_, until=Until(SEEDS, "baseline:alpha"))
    experiment = placed(plan_experiment(asked, costs=False), tmp_path / "work")
    looks = run(experiment, Drawn(GAPS))
    assert {pair.name for pair in looks.looks[0].pairs} == {
        (name, "alpha") for name in GAPS if name != "alpha"
    }
    comparison = load_results(tmp_path / "work").compare()
    assert len(comparison.pairs) == 3
    with pytest.raises(UsageError, match="asks about alpha"):
        load_results(tmp_path / "work").compare(baseline="beta")


def test_who_is_out_of_the_top_is_not_asked_any_more(request_, tmp_path):
    asked = replace(request_, until=Until(SEEDS, "top"))
    experiment = placed(plan_experiment(asked, costs=False), tmp_path / "work")
    executor = Drawn(GAPS)
    looks = run(experiment, executor)
    states = {pair.name: pair.state for pair in looks.looks[-1].pairs}
    assert states["alpha", "beta"] == "not asked"
    assert max(seed for name, _, seed in executor.ran if name in ("alpha", "beta")) < SEEDS - 1
    results = load_results(tmp_path / "work")
    groups = {row["architecture"]: row["group"] for row in results.compare().ranking}
    assert groups == {"alpha": None, "beta": None, "gamma": None, "delta": "a"}


def test_of_a_claim_each_step_is_tested_by_itself(request_, tmp_path):
    steps = (("delta", "alpha", "tumor:dice"), ("gamma", "beta", "tumor:dice"))
    asked = replace(request_, until=Until(SEEDS, "claim:CL-1", steps=steps))
    experiment = placed(plan_experiment(asked, costs=False), tmp_path / "work")
    looks = run(experiment, Drawn(GAPS))
    assert [family.pairs[0].name for family in looks.looks[0].families] == [
        ("delta", "alpha"),
        ("gamma", "beta"),
    ]
    assert {pair.better for pair in looks.looks[-1].pairs} == {"delta", "gamma"}
    other = Until(SEEDS, "claim:CL-1", steps=(("delta", "alpha", "kidney:dice"),))
    with pytest.raises(UsageError, match="The claim CL-1 compares kidney:dice, and the verdicts"):
        plan_experiment(replace(request_, until=other), costs=False)


def test_members_go_on_while_an_ensemble_needs_them(plugin, request_, tmp_path):
    names = tuple(str(plugin(*one)) for one in (("both", "Mean"), ("alpha", "Smallest")))
    asked = replace(request_, architectures=names)
    experiment = placed(plan_experiment(asked, costs=False), tmp_path / "work")
    executor = Drawn({"both": 0.001})
    looks = run(experiment, executor)
    (pair,) = looks.looks[0].pairs  # members that nobody asked for are asked about by nobody
    assert {*pair.name} == {"both", "alpha"}
    members = experiment.record.entrant("both").members
    last = looks.looks[-1].seeds
    for name in ("both", *members):
        assert {seed for own, _, seed in executor.ran if own == name} == {*range(last)}
    for member in members:  # before their ensemble, or it could not be predicted
        assert executor.ran.index((member, 0, 0)) < executor.ran.index(("both", 0, 0))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"seeds": 3}, "--seeds 3 is a fixed design"),
        ({"until": None, "max_hours": 2.0}, "--max-hours was given without --until decided"),
        ({"until": Until(1)}, "--max-seeds 1 on 3 folds allows no verdict"),
        ({"until": Until(2), "folds": (0,)}, "say --max-seeds 3 or more, or more --folds"),
        ({"until": Until(3, "baseline:omega")}, "no entrant has that name; choose one of alpha"),
    ],
)
def test_what_cannot_be_decided_is_refused_before_anything_runs(request_, changes, rule):
    with pytest.raises(UsageError) as refused:
        plan_experiment(replace(request_, **changes), costs=False)
    assert rule in str(refused.value)


# -- the record -----------------------------------------------------------------------------


def test_the_record_holds_what_the_statistics_found(planned, tmp_path, monkeypatch):
    found, true = [], rounds.take_look

    def watched(*arguments, **options):
        found.append(true(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(rounds, "take_look", watched)
    kept = run(placed(planned, tmp_path / "work"), Drawn(GAPS))
    assert [family for look in kept.looks for family in look.families] == found
    assert len(found) == 4


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda c: c["looks"][0]["families"][0]["pairs"][0].pop("p_value"), "p_value is missing"),
        (lambda c: c["looks"].pop(0), "the key looks"),
        (lambda c: c["looks"][1]["trials"].pop(0), "looks.1.trials lacks some"),
        (lambda c: c["looks"][3].update(going=["delta"]), "has delta, who had ended before"),
        (lambda c: c.update(experiment="0" * 16), "which is not its folder's name"),
        (lambda c: c["looks"][0].update(seeds=9), "its families have others"),
        (lambda c: family(c, 1).update(spent=-1.0), "a later look has spent less of alpha"),
        (lambda c: family(c, 3)["pairs"][4].update(state="open"), "had ended as difference"),
        (lambda c: family(c, 1)["pairs"].pop(), "the looks are not all at the same pairs"),
    ],
)
def test_a_damaged_record_is_two_lines_with_file_key_and_remedy(whole, tmp_path, spoil, told):
    experiment = placed(whole[0], tmp_path / "work")
    shutil.copytree(whole[0].request.workdir, tmp_path / "work")
    content = json.loads(looks_file(experiment).read_text())
    spoil(content)
    looks_file(experiment).write_text(json.dumps(content))
    if told == "the key looks":  # a look less is a whole record of a run that goes on
        assert run(experiment, Drawn(GAPS)).looks[0].seeds == 3
        return
    with pytest.raises(DataError) as refused:
        load_results(tmp_path / "work")
    first, second = str(refused.value).splitlines()
    assert str(looks_file(experiment)) in first
    assert told in first
    assert second.startswith("Delete it and run the same command again")
