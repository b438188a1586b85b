"""Leases keep two processes off one trial, and void themselves when their holder is gone."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import time

import pytest

from kitsbench.experiments.folder import STALE_AFTER, LeaseTaken, TrialFolder


def test_a_second_process_cannot_take_a_held_lease(tmp_path):
    folder = TrialFolder(tmp_path, "trial")
    with folder.lease(), pytest.raises(LeaseTaken), TrialFolder(tmp_path, "trial").lease():
        pass
    with folder.lease():  # free again
        pass
    assert not (folder.path / "lease.json").exists()


def hold_and_die(path):
    with TrialFolder(path, "trial").lease():
        os._exit(9)


def test_the_lease_of_a_dead_process_is_void(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=hold_and_die, args=(tmp_path,))
    process.start()
    process.join()
    folder = TrialFolder(tmp_path, "trial")
    assert (folder.path / "lease.json").exists()
    with folder.lease():
        pass


@pytest.mark.parametrize(("age", "void"), [(STALE_AFTER + 5, True), (STALE_AFTER - 20, False)])
def test_a_lease_of_another_host_is_void_without_a_heartbeat(tmp_path, age, void):
    folder = TrialFolder(tmp_path, "trial")
    folder.path.mkdir(parents=True)
    file = folder.path / "lease.json"
    file.write_text(json.dumps({"host": "elsewhere-" + socket.gethostname(), "pid": 1}))
    past = time.time() - age
    os.utime(file, (past, past))
    if void:
        with folder.lease():
            pass
    else:
        with pytest.raises(LeaseTaken), folder.lease():
            pass


def test_a_clock_that_jumped_back_does_not_void_a_lease(tmp_path):
    folder = TrialFolder(tmp_path, "trial")
    folder.path.mkdir(parents=True)
    file = folder.path / "lease.json"
    file.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    future = time.time() + 3600
    os.utime(file, (future, future))
    with pytest.raises(LeaseTaken), folder.lease():
        pass


def test_status_tells_when_a_trial_began_and_ended(tmp_path):
    folder = TrialFolder(tmp_path, "trial")
    assert folder.read_status()["status"] == "pending"
    folder.set_status("running")
    running = folder.read_status()
    assert running["started"]
    assert running["finished"] is None
    folder.set_status("failed", "out-of-memory", "too much")
    failed = folder.read_status()
    assert failed["started"] == running["started"]
    assert failed["finished"]
    assert (failed["reason"], failed["message"]) == ("out-of-memory", "too much")
