"""How far trials are, as somebody sees who only reads: whoever works on them, and if he lives."""

from __future__ import annotations

import json
import os
import shutil
import time
from datetime import datetime, timedelta

import pytest
from command_line import call_kitsbench
from reporting.workdirs import ENDED
from stored_files import change, replan

from kitsbench.errors import DataError
from kitsbench.experiments.records import (
    DeviceUse,
    JobRecord,
    LeaseRecord,
    Status,
    TrialProgress,
    TrialRecord,
    TuningPlace,
    TuningRecord,
    experiment_file,
    find_experiment,
)
from kitsbench.experiments.results import load_results
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.lease import Lease, machine
from kitsbench.experiments.workdir.watching import Watch


class Clock:
    """A steady clock that a test moves."""

    now = 1000.0

    def __call__(self):
        return self.now


def progress(trial, count=1, **known):
    usual = {
        "sitting": "abc",
        "stage": "train",
        "fraction": 0.25,
        "step": 10,
        "losses": {"loss": 0.7},
        "lr": 0.01,
        "patches_per_s": 5.0,
        "scores": {"tumor:dice": 0.4},
        "scored": 0,
        "elapsed_s": 20.0,
        "left_s": 60.0,
        "device": DeviceUse(name="cpu", load=0.9, memory_bytes=10**9),
    }
    return TrialProgress.model_validate({"trial": trial, "count": count, **usual, **known})


def works_on(work, name="a", fold=0, host="node7", beat=1, **known):
    """Let a process of another machine, or of a host that is given, work on a trial."""
    trial = next(t for t in find_experiment(work).trials if (t.name, t.fold) == (name, fold))
    folder = TrialFolder(work, trial.id)
    change(
        folder.path / "status.json", Status,
        status="running", reason=None, message=None, finished=None,
    )  # fmt: skip
    lease = LeaseRecord(
        machine=machine() if host is None else f"{host} boot",
        host=host or "here",
        pid=known.pop("pid", 4711),
        born=known.pop("born", 1),
        token="t",
        experiment=None,
        beat=f"{beat:012d}",
    )
    (folder.path / "lease.json").write_text(lease.model_dump_json() + "\n")
    progress(trial.id, beat, **known).write(folder.progress)
    return folder


def seen(watch, folder):
    return next(trial for trial in watch.look().trials if trial.id == folder.path.name)


def test_what_has_ended_is_told_with_its_score(work):
    found = Watch(work, find_experiment(work)).look()
    assert found.counts == {"finished": 3, "failed": 1}
    assert found.over
    assert found.share == 1.0
    scores = load_results(work).scores
    own = scores[(scores["protocol"] == "kits19") & (scores["region"] == "tumor")]
    own = own[own["metric"] == "dice"].groupby(["architecture", "fold"])["value"].mean()
    for trial in found.trials:
        if trial.state == "finished":
            assert trial.score == pytest.approx(own[trial.name, trial.fold])
            assert trial.took == 60.0
        else:
            assert (trial.reason, trial.message) == ("out-of-memory", "out-of-memory in step 3")


def test_a_process_of_another_machine_lives_as_long_as_its_files_change(work):
    clock = Clock()
    watch, folder = Watch(work, find_experiment(work), clock), works_on(work)
    os.utime(folder.path / "lease.json", (1.0, 1.0))  # its clock is of another decade
    assert seen(watch, folder).state == "training"
    for beat in range(2, 5):
        clock.now += 24.0
        works_on(work, beat=beat)
        assert seen(watch, folder).state == "training"
    clock.now += 24.0
    assert seen(watch, folder).state == "training"
    clock.now += 2.0
    one = seen(watch, folder)
    assert (one.state, one.message) == ("silent", "no sign of life from node7 for 26 s")
    clock.now += 35.0
    one = seen(watch, folder)
    assert one.state == "dead"
    assert one.progress.losses == {"loss": 0.7}
    works_on(work, beat=9)  # it was only the file system that was away
    assert seen(watch, folder).state == "training"


@pytest.mark.parametrize("hours", [-5, 5])
def test_clocks_that_are_hours_off_change_nothing(work, hours):
    plain = Watch(work, find_experiment(work)).look()
    folder, clock = works_on(work), Clock()
    began = datetime.fromisoformat(ENDED) + timedelta(hours=hours)
    change(folder.path / "status.json", Status, started=began.isoformat())
    for file in [*work.rglob("*")]:
        os.utime(file, (time.time() + 3600 * hours,) * 2)
    watch = Watch(work, find_experiment(work), clock)
    assert seen(watch, folder).state == "training"
    assert [t.took for t in watch.look().trials[1:]] == [t.took for t in plain.trials[1:]]
    assert watch.look().left_s == 60.0
    clock.now += 61
    assert seen(watch, folder).state == "dead"
    shown = call_kitsbench("trials", work, "--json").json["trials"]
    assert min(trial["age_s"] for trial in shown) >= 0


def test_one_look_waits_until_each_has_shown_that_it_lives(work):
    clock = Clock()
    one, two = works_on(work), works_on(work, "b")
    watch = Watch(work, find_experiment(work), clock)
    beats = iter(range(2, 100))

    def sleep(seconds):
        clock.now += seconds
        if clock.now >= 1003.0:
            works_on(work, beat=next(beats))

    found = {trial.id: trial.state for trial in watch.settle(sleep).trials}
    assert found[one.path.name] == "training"
    assert found[two.path.name] == "silent"
    assert clock.now < 1020.0


def test_nobody_waits_where_all_work_here(work):
    folder = works_on(work, host=None, pid=os.getpid(), born=0)
    (folder.path / "lease.json").unlink()

    def sleep(seconds):
        raise AssertionError("it waits")

    with Lease(folder.path / "lease.json"):
        found = Watch(work, find_experiment(work)).settle(sleep)
    assert found.counts["training"] == 1


def test_a_process_of_this_machine_that_is_gone_is_dead_at_once(work):
    folder = works_on(work, host=None, pid=2**22 - 1)
    one = seen(Watch(work, find_experiment(work)), folder)
    assert one.state == "dead"
    assert "is gone" in one.message
    (folder.path / "lease.json").unlink()
    assert seen(Watch(work, find_experiment(work)), folder).state == "dead"


def test_a_lease_that_a_dead_run_left_beside_what_has_ended_says_nothing(work):
    folder = works_on(work, host=None, pid=2**22 - 1)
    change(folder.path / "status.json", Status, status="finished", finished=ENDED)
    assert seen(Watch(work, find_experiment(work)), folder).state == "finished"


def test_half_a_file_and_anothers_say_nothing(work):
    clock = Clock()
    folder = works_on(work)
    watch = Watch(work, find_experiment(work), clock)
    for content in (b"", b"{", b"\xff\xfe", json.dumps({"stage": "train"}).encode()):
        folder.progress.write_bytes(content)
        assert seen(watch, folder).state == "starting"
    progress("f" * 16).write(folder.progress)
    assert seen(watch, folder).progress is None


def test_a_damaged_trial_is_told_as_damaged_and_the_others_as_they_are(work):
    first = find_experiment(work).trials[0].id
    (work / "trials" / first / "status.json").write_text("{")
    found = Watch(work, find_experiment(work)).look()
    assert found.counts == {"damaged": 1, "finished": 2, "failed": 1}
    assert "status.json" in found.trials[0].message


def test_what_waits_and_what_a_job_has(work):
    one, two = (t.id for t in find_experiment(work).trials[:2])
    for name in (one, two):
        shutil.rmtree(work / "trials" / name)
    job = JobRecord(trial=one, cluster="slurm", name="k", index=None, job="7", submitted=ENDED)
    (work / "jobs").mkdir()
    job.write(work / "jobs" / f"{one}.json")
    found = Watch(work, find_experiment(work)).look()
    assert [trial.state for trial in found.trials[:2]] == ["queued", "waiting"]
    assert not found.over
    assert found.left_s is None  # nobody works


def test_how_long_the_rest_takes_is_what_others_took(work):
    works_on(work, left_s=30.0)
    shutil.rmtree(work / "trials" / find_experiment(work).trials[1].id)
    found = Watch(work, find_experiment(work)).look()
    # A minute for the one that waits, after the one that runs.
    assert found.left_s == pytest.approx(90.0)
    assert found.share == pytest.approx((1 + 1 + 0.8 * 0.25) / 4)
    works_on(work, left_s=1.7e308)
    works_on(work, fold=1, left_s=1.7e308)
    assert Watch(work, find_experiment(work)).look().left_s is None


def test_runs_of_the_experiment_are_told(work):
    own = find_experiment(work).id
    (work / "running").mkdir()
    with Lease(work / "running" / "one.json", own), Lease(work / "running" / "two.json", "0" * 16):
        (holder,) = Watch(work, find_experiment(work)).look().runs
    assert holder.record.pid == os.getpid()


def test_while_settings_are_searched_for_their_trials_are_told(work):
    one, two = find_experiment(work).trials[:2]
    file = TrialFolder(work, one.id).trial
    place = TuningPlace(fold=0, number=5)
    change(file, TrialRecord, context=TrialRecord.read(file).context.model_copy(
        update={"tuning": place}))  # fmt: skip
    search = TuningRecord(
        trials=8, budget=None, space={}, objective="tumor:dice", inner_folds=4, studies=()
    )
    planned = replan(work, trials=(), tuning=search)
    watch = Watch(work, planned)
    found = watch.look()
    assert found.searching
    assert not found.over
    assert [(trial.id, trial.setting) for trial in found.trials] == [(one.id, 5)]
    # It ends, and its trials stand in the file from then on.
    planned.model_copy(update={"trials": (two,)}).write(experiment_file(work, planned.id))
    assert two.id in {trial.id for trial in watch.look().trials}


def test_a_working_directory_that_vanishes_ends_the_watch(work):
    watch = Watch(work, find_experiment(work, None))
    assert watch.look().counts["finished"] == 3
    work.rename(work.with_name("elsewhere"))
    with pytest.raises(DataError, match=r"json is gone: the working directory was moved"):
        watch.look()
