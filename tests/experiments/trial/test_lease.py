"""Leases keep two processes off one trial, and void themselves when their holder is gone."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time

import pytest

from kitsbench.experiments.records import LeaseRecord
from kitsbench.experiments.trial import lease as leases
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.lease import Lease, LeaseTaken

ELSEWHERE = LeaseRecord(
    machine="another", host="another", pid=1, born=1, token="x", experiment=None, beat="0" * 12
).model_dump()


@pytest.fixture
def hasty(monkeypatch):
    """A minute without a heartbeat takes half a second."""
    monkeypatch.setattr(leases, "BEAT", 0.05)
    monkeypatch.setattr(leases, "STALE_AFTER", 0.5)


def test_a_second_process_cannot_take_a_held_lease(tmp_path):
    folder = TrialFolder(tmp_path, "trial")
    with folder.lease(), pytest.raises(LeaseTaken), TrialFolder(tmp_path, "trial").lease():
        pass
    with folder.lease():  # free again
        pass
    assert list(folder.path.iterdir()) == []


def hold_and_die(path):
    with TrialFolder(path, "trial").lease():
        os._exit(9)


def test_the_lease_of_a_dead_process_is_void_at_once(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=hold_and_die, args=(tmp_path,))
    process.start()
    process.join()
    folder = TrialFolder(tmp_path, "trial")
    assert (folder.path / "lease.json").exists()
    began = time.monotonic()
    with folder.lease():
        pass
    assert time.monotonic() - began < leases.STALE_AFTER / 2


def test_a_process_that_was_given_a_dead_ones_number_holds_nothing(tmp_path):
    file = tmp_path / "lease.json"
    reborn = {**ELSEWHERE, "machine": leases.machine(), "pid": os.getpid()}
    file.write_text(json.dumps(reborn))
    with Lease(file):
        pass


@pytest.mark.parametrize("jump", [-86_400, 0, 86_400])
def test_a_dead_holder_elsewhere_is_found_out_whatever_the_clocks_say(tmp_path, hasty, jump):
    file = tmp_path / "lease.json"
    file.write_text(json.dumps(ELSEWHERE))
    os.utime(file, (time.time() + jump,) * 2)
    began = time.monotonic()
    with Lease(file):
        assert time.monotonic() - began >= leases.STALE_AFTER
        assert json.loads(file.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("jump", [-86_400, 0, 86_400])
def test_a_living_holder_elsewhere_keeps_its_lease_whatever_the_clocks_say(tmp_path, hasty, jump):
    file = tmp_path / "lease.json"
    over = threading.Event()

    def live():
        beat = 0
        while not over.wait(0.05):
            beat += 1
            file.write_text(json.dumps({**ELSEWHERE, "beat": beat}))
            os.utime(file, (time.time() + jump,) * 2)

    file.write_text(json.dumps(ELSEWHERE))
    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(LeaseTaken), Lease(file):
            pass
    finally:
        over.set()
        thread.join()


def test_a_clock_that_jumps_while_a_lease_is_held_changes_nothing(tmp_path, hasty, monkeypatch):
    file = tmp_path / "lease.json"
    with Lease(file) as own:
        first = json.loads(file.read_text())["beat"]
        for jump in (1e6, -1e6):
            monkeypatch.setattr(time, "time", lambda jump=jump: 1.7e9 + jump)
            time.sleep(0.2)
            with pytest.raises(LeaseTaken), Lease(file):
                pass
        assert json.loads(file.read_text())["beat"] > first
        own.check()


def test_who_has_lost_its_lease_finds_out_and_leaves_the_new_one_alone(tmp_path, hasty):
    file = tmp_path / "lease.json"
    with Lease(file) as own:
        file.unlink()
        file.write_text(json.dumps(ELSEWHERE))
        time.sleep(0.3)
        with pytest.raises(LeaseTaken):
            own.check()
    assert json.loads(file.read_text()) == ELSEWHERE


def test_who_gives_up_has_a_last_word_only_while_nobody_else_has_the_trial(tmp_path, hasty):
    file, words = tmp_path / "lease.json", []
    with Lease(file) as own:
        own.give_up(lambda: words.append("mine"))
        assert words == ["mine"]
        assert not file.exists()
        file.write_text(json.dumps(ELSEWHERE))
        own.give_up(lambda: words.append("not mine"))
        assert words == ["mine"]
    assert json.loads(file.read_text()) == ELSEWHERE


def grab(file, barrier, results):
    barrier.wait()
    try:
        with Lease(file):
            results.put("held")
            barrier.wait()
    except LeaseTaken:
        results.put("taken")
        barrier.wait()


def test_of_many_that_find_a_dead_lease_one_takes_it_over(tmp_path):
    context = multiprocessing.get_context("fork")
    file = tmp_path / "lease.json"
    dead = {**ELSEWHERE, "machine": leases.machine(), "pid": 2**22 + 1}
    file.write_text(json.dumps(dead))
    barrier, results = context.Barrier(6), context.Queue()
    processes = [context.Process(target=grab, args=(file, barrier, results)) for _ in range(6)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(found) == ["held"] + ["taken"] * 5
