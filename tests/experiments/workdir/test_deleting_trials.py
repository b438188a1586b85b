"""Deleting: told first, then done; never what somebody works on; whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from command_line import call_kitsbench
from stored_files import change, replan

from kitsbench.experiments.records import (
    JobRecord,
    Status,
    TrialIdentity,
    TrialRecord,
    experiment_file,
    find_experiment,
)
from kitsbench.experiments.trial import lease
from kitsbench.experiments.trial.lease import Lease
from kitsbench.experiments.workdir import places
from kitsbench.experiments.workdir.choose import Choice, choose_trials
from kitsbench.experiments.workdir.delete import delete, plan_deletion
from kitsbench.experiments.workdir.inventory import take_inventory

LATER = "2999-01-01T00:00:00+00:00"  # than any trial has ended


def delete_of(work, *words):
    return call_kitsbench("trials", "delete", "--workdir", work, *words)


def ids(work):
    return {path.name for path in (work / "trials").iterdir() if not path.name.startswith(".")}


def failed(work):
    (one,) = (t.id for t in take_inventory(work).trials if t.state == "failed")
    return one


def bytes_in(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_dry_run_says_what_would_go_and_who_would_lose_it(work):
    first = find_experiment(work)
    one, two = (trial.id for trial in first.trials[:2])
    second = replan(work, trials=first.trials[:1], endpoint="kidney_and_tumor:dice")
    before, size = ids(work), bytes_in(work / "trials" / one) + bytes_in(work / "trials" / two)
    told = delete_of(work, one[:9], work / "trials" / two)
    assert told.code == 0, told.err
    for words in (
        f"2 trials would be deleted: {size:,} bytes", f"Experiment {first.id} of 2026-11-21 would "
        "lose 2 of its 4 trials.", f"{second.id} of 2026-11-21 would lose 1 of its 1 trial.",
        "Nothing was deleted. Say --yes",
    ):  # fmt: skip
        assert words in told.out
    document = delete_of(work, one, two, "--json").json
    assert ids(work) == before
    assert (document["deleted"], document["bytes"]) == (False, size)
    assert {row["id"] for row in document["trials"]} == {one, two}
    done = delete_of(work, one, two, "--yes", "--json").json
    assert ids(work) == before - {one, two}
    assert done == {**document, "deleted": True, "trials": done["trials"]}
    assert list((work / "trials").glob(".*")) == []
    # What is gone is pending for whoever asks for it.
    assert call_kitsbench("report", work, "--experiment", first.id).code == 0


def test_trials_are_chosen_by_state_reason_or_use(work):
    lost = failed(work)
    for words in (("--state", "failed"), ("--reason", "out-of-memory")):
        rows = delete_of(work, *words, "--json").json["trials"]
        assert [row["id"] for row in rows] == [lost]
    assert delete_of(work, "--reason", "timeout", "--json").json["trials"] == []
    assert delete_of(work, "--unused", "--json").json["trials"] == []
    own = find_experiment(work)
    replan(work, trials=own.trials[:1])
    experiment_file(work, own.id).unlink()
    unused = {trial.id for trial in own.trials[1:]}
    assert {row["id"] for row in delete_of(work, "--unused", "--json").json["trials"]} == unused
    pruned = call_kitsbench("trials", work, "--prune", "unused", "--yes")
    assert pruned.code == 0, pruned.err
    assert ids(work) == {own.trials[0].id}


def test_what_an_ensemble_in_use_combines_is_used(work):
    own = find_experiment(work)
    member, ensemble = own.trials[0].id, own.trials[1].id
    record = TrialRecord.read(work / "trials" / ensemble / "trial.json")
    identity = record.identity.model_copy(update={"members": (member,)})
    made = TrialRecord.of(TrialIdentity.model_validate(dict(identity)), record.context)
    folder = work / "trials" / made.id
    shutil.copytree(work / "trials" / ensemble, folder)
    for name in ("status.json", "ledger.json", "scores.parquet"):
        (folder / name).unlink()
    change(folder / "environment.json", type(_environment(folder)), trial=made.id)
    made.write(folder / "trial.json")
    planned = own.trials[1].model_copy(update={"id": made.id})
    replan(work, trials=(planned,))
    experiment_file(work, own.id).unlink()
    inventory = take_inventory(work)
    chosen = {trial.id for trial in choose_trials(inventory, [], Choice(unused=True))}
    assert chosen == {trial.id for trial in own.trials} - {member}
    told = delete_of(work, member)
    assert f"Ensemble {made.id} would stay without networks of its own." in told.out


def _environment(folder):
    from kitsbench.experiments.records import EnvironmentRecord

    return EnvironmentRecord.read(folder / "environment.json")


def test_what_is_unused_is_not_guessed(work):
    experiment_file(work, find_experiment(work).id).write_text("{")
    done = delete_of(work, "--unused", "--yes")
    assert (done.code, len(ids(work))) == (2, 4)
    assert "Which trials are unused is not known" in done.err


def test_nothing_is_deleted_without_a_choice(work):
    done = delete_of(work, "--yes")
    assert (done.code, len(ids(work))) == (2, 4)
    assert "Name the trials to delete" in done.err


def test_what_somebody_works_on_stays(work):
    own = find_experiment(work)
    one, two = (trial.id for trial in own.trials[:2])
    with Lease(work / "trials" / one / "lease.json"):
        done = delete_of(work, one, two, "--yes")
    assert done.code == 1
    assert f"{one} stays: process {os.getpid()} on " in done.out
    assert ids(work) == {trial.id for trial in own.trials} - {two}
    # A run that goes on needs also what nobody works on at this moment.
    (work / "running").mkdir()
    with Lease(work / "running" / "run.json", own.id):
        done = delete_of(work, "--state", "failed", "--yes", "--json")
    assert (done.code, done.json["trials"]) == (1, [])
    assert f"works on experiment {own.id}, which needs it" in done.json["kept"][0]["why"]
    assert delete_of(work, "--state", "failed", "--yes").code == 0


def test_who_begins_a_trial_after_the_plan_keeps_it(work):
    inventory = take_inventory(work)
    plan = plan_deletion(inventory, inventory.trials)
    one = plan.trials[0]
    with Lease(one.folder.path / "lease.json"):
        ((kept, why),) = delete(plan)
    assert (kept.id, why) == (one.id, "a process has begun to work on it")
    assert ids(work) == {one.id}


def test_a_lease_of_another_machine_is_watched_before_anything_goes(work, monkeypatch):
    monkeypatch.setattr(lease, "STALE_AFTER", 0.3)
    own = failed(work)
    file = work / "trials" / own / "lease.json"
    record = lease.LeaseRecord(
        machine="elsewhere", host="node7", pid=1, born=None, token="t", experiment=None, beat="0"
    )
    file.write_text(record.model_dump_json())
    told = delete_of(work, own)
    assert "process 1 on node7 may work" in told.out
    assert delete_of(work, own, "--yes").code == 0  # it did not move
    assert own not in ids(work)


def test_damaged_and_foreign_things_can_go(work):
    one = find_experiment(work).trials[0].id
    (work / "trials" / one / "trial.json").write_text("{")
    (work / "trials" / "notes").mkdir()
    (work / "trials" / "file").write_text("mine")
    elsewhere = work.parent / "disk"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    (work / "trials" / "link").symlink_to(elsewhere)
    done = delete_of(work, "--state", "damaged", "--yes", "--json")
    assert done.code == 0, done.err
    assert {row["id"] for row in done.json["trials"]} == {one, "notes", "file", "link"}
    assert not ids(work) & {one, "notes", "file", "link"}
    assert (elsewhere / "kept").read_text() == "kept"


def test_folders_that_are_read_only_can_go(work):
    one = find_experiment(work).trials[0].id
    folder = work / "trials" / one
    for place in (folder / "checkpoint", folder):
        place.chmod(0o555)
    for file in folder.glob("*.json"):
        file.chmod(0o444)
    assert delete_of(work, one, "--yes").code == 0
    assert one not in ids(work)


class Killed(BaseException):
    """What a kill leaves is what an error nobody catches leaves."""


def test_a_kill_in_the_middle_leaves_no_half_of_a_trial(work, monkeypatch):
    own = find_experiment(work)
    one, two = (trial.id for trial in own.trials[:2])
    calls = []

    def killed(place, *arguments, **options):
        calls.append(place)
        os.unlink(next(path for path in Path(place).rglob("*") if path.is_file()))
        raise Killed

    inventory = take_inventory(work)
    plan = plan_deletion(inventory, choose_trials(inventory, [one], Choice()))
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(Killed):
            delete(plan)
    assert calls
    assert ids(work) == {trial.id for trial in own.trials} - {one}
    assert take_inventory(work).damaged_experiments == []
    assert [path.name[:9] for path in (work / "trials").glob(".*")] == [".removed-"]
    assert delete_of(work, two, "--yes").code == 0  # the next one cleans up
    assert list((work / "trials").glob(".*")) == []


@pytest.mark.parametrize("kind", [".removed-", ".coming-"])
def test_a_link_or_a_file_that_was_left_does_not_stop_the_next(work, kind):
    elsewhere = work.parent / "disk"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    (work / "trials" / f"{kind}link").symlink_to(elsewhere)
    (work / "trials" / f"{kind}file").write_text("")
    assert delete_of(work, "--state", "failed", "--yes").code == 0
    assert list((work / "trials").glob(".*")) == []
    assert [path.name for path in elsewhere.iterdir()] == ["kept"]


def test_what_was_left_and_cannot_be_removed_does_not_stop_the_next(work, monkeypatch):
    (work / "trials" / ".removed-old").mkdir()
    own, remove = failed(work), shutil.rmtree

    def refused(place, *arguments, **options):
        if place.name == ".removed-old":
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        remove(place, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", refused)
    assert delete_of(work, own, "--yes").code == 0
    assert own not in ids(work)


def test_who_works_behind_a_link_keeps_it(work, tmp_path):
    one = work / "trials" / failed(work)
    one.rename(tmp_path / "elsewhere")
    one.symlink_to(tmp_path / "elsewhere")
    with Lease(one / "lease.json"), pytest.raises(lease.LeaseTaken):
        places.remove_trial(one)
    assert one.is_dir()


def test_room_can_be_made_on_a_full_disk(work, monkeypatch):
    one = find_experiment(work).trials[0].id

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Lease, "_create", full)
    assert delete_of(work, one, "--yes").code == 0
    assert one not in ids(work)


def test_two_do_not_delete_at_the_same_time(work):
    with places.alone(work):
        done = delete_of(work, "--state", "failed", "--yes")
    assert done.code == 2
    assert f"process {os.getpid()} on " in done.err
    assert "at this moment" in done.err
    assert failed(work)


@pytest.mark.parametrize(("number", "shown"), [("4711", "4711"), (None, "kitsbench-ab")])
def test_what_a_job_may_still_begin_goes_only_by_its_name(work, number, shown):
    one = find_experiment(work).trials[0].id
    pending = {"status": "pending", "started": None, "finished": None, "host": None}
    change(work / "trials" / one / "status.json", Status, **pending)
    job = JobRecord(
        trial=one, cluster="slurm", name="kitsbench-ab", index=None, job=number, submitted=LATER
    )
    (work / "jobs").mkdir()
    job.write(work / "jobs" / f"{one}.json")
    other = failed(work)
    for words in (["--state", "pending"], ["--state", "pending", other]):
        done = delete_of(work, *words, "--yes")
        assert (done.code, one in ids(work)) == (1, True)
        assert f"{one} stays: job {shown} of slurm may still work on it (" in done.out
        assert "name the trial itself to delete it" in done.out
    assert other not in ids(work)
    done = delete_of(work, one[:9], "--yes")
    assert done.code == 0, done.out
    assert one not in ids(work)


def test_a_job_that_has_ended_keeps_nothing(work):
    own = failed(work)
    (work / "jobs").mkdir()
    file = work / "jobs" / f"{own}.json"
    long_ago = "2001-01-01T00:00:00+00:00"
    job = JobRecord(trial=own, cluster="slurm", name="k", index=None, job="7", submitted=long_ago)
    job.model_copy(update={"submitted": LATER}).write(file)  # to try it again
    assert delete_of(work, "--state", "failed", "--yes").code == 1
    file.write_text("{")
    told = delete_of(work, "--state", "failed", "--yes")
    assert (told.code, f"{own} stays: {file}" in " ".join(told.out.split())) == (1, True)
    job.write(file)
    assert delete_of(work, "--state", "failed", "--yes").code == 0
    assert own not in ids(work)


def test_a_status_of_a_process_that_is_gone_can_go(work):
    one = find_experiment(work).trials[0].id
    file = work / "trials" / one / "status.json"
    change(file, Status, status="running", finished=None)
    assert delete_of(work, "--state", "interrupted", "--yes").code == 0
    assert one not in ids(work)
