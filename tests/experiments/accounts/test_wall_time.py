"""Where the wall time of a call goes: parts that add up, whatever trials do side by side."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from reporting.workdirs import Plan, trial_record, write_workdir

from kitsbench.experiments.accounts import clock as clocks
from kitsbench.experiments.accounts.clock import Clock
from kitsbench.experiments.executors.events import Event
from kitsbench.experiments.records import AccountsRecord, LedgerRecord, Sitting, in_all
from kitsbench.experiments.records.accounts import CALL_PARTS, PARTS
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.sitting import Stopwatch
from kitsbench.training.ledger import Ledger


@pytest.fixture
def time(monkeypatch):
    """A clock of the test's own, in seconds; it stands still between two words."""
    now = SimpleNamespace(seconds=100.0)
    counter = SimpleNamespace(perf_counter=lambda: now.seconds)
    monkeypatch.setattr(clocks, "time", counter)
    monkeypatch.setattr("kitsbench.experiments.trial.sitting.time", counter)
    return now


def sitting(wall: float, **parts: float) -> Sitting:
    rest = wall - sum(parts.values())
    return Sitting(
        began="2026-11-21T10:00:00.000+00:00",
        wall_s=wall,
        **{**dict.fromkeys(PARTS, 0.0), **parts, "rest_s": rest},
    )


class TwoSlots:
    """An executor in whose two slots trials run as its script says: (seconds, trial, what)."""

    def __init__(self, time, script, accounts):
        self.time, self.script, self.accounts = time, script, accounts

    def execute(self, tasks, notify):
        named = {task.id: task for task in tasks}
        for seconds, name, kind in self.script:
            self.time.seconds += seconds
            if kind in ("finished", "failed") and name in self.accounts:
                file = named[name].folder.ledger
                ledger = LedgerRecord.read(file)
                known = (*ledger.sittings, self.accounts[name])
                ledger.model_copy(update={"sittings": known}).write(file)
            notify(Event(named[name], kind))


@pytest.fixture
def tasks(tmp_path):
    plan = Plan({"a": 0.0, "b": 0.0, "c": 0.0}, folds=1, seeds=1, predictions=False, profiles=False)
    workdir = write_workdir(tmp_path / "work", plan)
    ids = [trial_record(plan, name, 0, 0).id for name in plan.gaps]
    return [SimpleNamespace(id=name, folder=TrialFolder(workdir, name)) for name in ids]


def test_what_trials_do_side_by_side_adds_up_to_the_wall_time(time, tasks, tmp_path):
    a, b, c = (task.id for task in tasks)
    script = [
        (5, a, "started"),  # the device is measured for 5 s
        (0, b, "started"),
        (10, a, "finished"),
        (1, c, "started"),
        (4, b, "failed"),
        (6, c, "finished"),
    ]
    accounts = {
        a: sitting(9.0, training_s=6.0, prediction_s=2.0),
        c: sitting(10.0, training_s=6.0, scoring_s=1.0),
    }
    clock, heard = Clock(already=3.0), []
    time.seconds += 1
    clock.enter("planning")
    with clock.spend("data"):
        time.seconds += 2
    clock.foresee(30.0)
    clock.watch(TwoSlots(time, script, accounts)).execute(tasks, heard.append)
    with clock.spend("report"):
        time.seconds += 4
    call = clock.keep(tmp_path / "work", "0" * 16)
    assert [event.kind for event in heard] == [kind for _, _, kind in script]
    assert call.wall_s == pytest.approx(3 + 1 + 2 + 5 + 21 + 4)
    spent = {part: getattr(call, f"{part}_s") for part in CALL_PARTS}
    assert {part: seconds for part, seconds in spent.items() if seconds} == {
        "starting": 4,
        "data": 2,
        "device": 5,
        "trials": 21,
        "report": 4,
    }
    assert call.left_over_s == pytest.approx(0)
    assert (call.slots, call.trials) == (2, 3)
    # Slots: a 10 s, a pause of 1 s, c 10 s; b 15 s without an account, and 6 s with no trial.
    slots = call.slot_seconds()
    assert sum(slots.values()) == pytest.approx(2 * call.trials_s)
    assert slots["training_s"] == 12
    assert slots["process_s"] == pytest.approx(1)
    assert slots["lost_s"] == pytest.approx(15)
    assert slots["idle_s"] == pytest.approx(7)
    assert (call.foreseen_s, call.foreseen_took_s) == (30.0, 30)


def test_each_call_that_ran_trials_is_kept_and_no_other(time, tasks, tmp_path):
    workdir, name = tmp_path / "work", "0" * 16
    assert Clock().keep(workdir, name) is None
    assert AccountsRecord.find(workdir, name) is None
    a = tasks[0].id
    for _ in range(2):
        clock = Clock()
        script = [(0, a, "started"), (2, a, "finished")]
        clock.watch(TwoSlots(time, script, {})).execute(tasks[:1], lambda event: None)
        clock._utc = clock._utc.replace(year=clock._utc.year + len(tasks))
        tasks.append(None)
        clock.keep(workdir, name)
        clock.keep(workdir, name)  # in the place of the one before
    assert len(AccountsRecord.find(workdir, name).calls) == 2
    # A trial that finished and wrote no account was trained before, and scored once more.
    assert clock.slots.sittings["scoring_s"] == pytest.approx(2)
    AccountsRecord.file(workdir, name).write_text("{}")
    assert AccountsRecord.find(workdir, name) is None  # nothing but past accounts is lost


def test_a_sitting_that_goes_on_counts_what_is_its_own(time, tasks):
    ledger = Ledger(device_seconds=50.0, evaluation_s=9.0, loader_wait_s=3.0, resumed=1)
    watch = Stopwatch(tasks[0].folder.ledger)
    time.seconds += 2
    watch.starts_training()
    time.seconds += 1  # the network is built, and the checkpoint read
    watch.steps(ledger)
    time.seconds += 20
    ledger.device_seconds, ledger.evaluation_s, ledger.loader_wait_s = 64.0, 13.0, 4.0
    watch.trained(ledger)
    began = watch.predicts()
    time.seconds += 10
    watch.predicted(began, scoring=4.0, predicting=5.0, beside=False)
    time.seconds += 1
    (own,) = watch.sittings()
    assert own.wall_s == pytest.approx(34)
    spent = {key: value for key, value in in_all([own]).items() if value and key != "wall_s"}
    assert spent == pytest.approx(
        {
            "start_s": 4,
            "training_s": 14,
            "loader_wait_s": 1,
            "evaluation_s": 4,
            "prediction_s": 6,
            "scoring_s": 4,
            "rest_s": 1,
        }
    )


def test_scoring_beside_a_device_counts_as_far_as_it_was_waited_for(time, tasks):
    watch = Stopwatch(tasks[0].folder.ledger)
    began = watch.predicts()
    time.seconds += 10
    watch.predicted(began, scoring=7.0, predicting=8.0, beside=True)
    (own,) = watch.sittings()
    assert (own.prediction_s, own.scoring_s) == pytest.approx((8, 2))


def test_two_devices_do_not_train_longer_than_the_wall_says(time, tasks):
    watch = Stopwatch(tasks[0].folder.ledger)
    watch.starts_training()
    time.seconds += 10
    watch.trained(Ledger(device_seconds=16.0, loader_wait_s=5.0), devices=2)
    (own,) = watch.sittings()
    assert (own.training_s, own.loader_wait_s, own.wall_s) == pytest.approx((8, 2, 10))


def test_a_run_accounts_for_its_wall_time_and_its_trials(finished):
    _, run, done = finished
    call = done.json["accounting"]
    assert call["trials"] == 8
    assert abs(call["left_over_s"]) <= 0.02 * call["wall_s"]
    assert all(call[f"{part}_s"] > 0 for part in CALL_PARTS)
    beside = sum(call["sittings"].values()) + call["process_s"] + call["lost_s"] + call["idle_s"]
    assert beside == pytest.approx(call["slots"] * call["trials_s"], rel=0.02)
    for trial in done.json["trials"]:
        account, ledger = trial["ledger"]["accounting"], trial["ledger"]
        assert account["training_s"] == pytest.approx(ledger["device_seconds"], rel=1e-6)
        assert account["evaluation_s"] == pytest.approx(ledger["evaluation_s"], rel=1e-6)
        told = account["prediction_s"] + account["scoring_s"]
        assert told == pytest.approx(ledger["prediction_s"], rel=0.05)
        assert sum(account[part] for part in PARTS) == pytest.approx(account["wall_s"])
    name = done.json["experiment"]
    (kept,) = AccountsRecord.find(run, name).calls
    assert kept.sittings == call["sittings"]
    written = json.loads((run / "experiments" / name / "report" / "accounting.json").read_text())
    assert len(written["trials"]) == 8
    assert written["wall_s"] == pytest.approx(kept.wall_s)
    assert sum(part["wall_s"] for part in written["parts"]) == pytest.approx(kept.wall_s)
