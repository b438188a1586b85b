"""One function over many cases in processes, and what becomes of them at a signal."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from kitsbench.data.preparation import pool
from kitsbench.data.preparation.pool import in_processes
from kitsbench.errors import DataError


class DiesBeforeItIsShut(ProcessPoolExecutor):
    """A pool whose processes get the same signal as their parent, and end before it is shut."""

    def shutdown(self, *arguments, **options):
        for process in (self._processes or {}).values():
            process.kill()
        thread = self._executor_manager_thread
        if thread is not None:
            thread.join(timeout=20)
        super().shutdown(*arguments, **options)


def triple(value):
    return 3 * value


def wait_a_little(value):
    time.sleep(0.1)
    return value


def die(value):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("jobs", [1, 3])
def test_results_come_in_order(jobs):
    assert list(in_processes(triple, range(7), jobs)) == [0, 3, 6, 9, 12, 15, 18]


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_killed_process_is_told_in_words():
    with pytest.raises(DataError, match=r"was killed, probably for memory\. Use fewer --jobs"):
        list(in_processes(die, range(4), 2))


def test_what_is_stopped_together_with_its_processes_leaves_no_traceback(monkeypatch):
    fallen = []
    monkeypatch.setattr(threading, "excepthook", fallen.append)
    monkeypatch.setattr(pool, "ProcessPoolExecutor", DiesBeforeItIsShut)
    results = in_processes(wait_a_little, range(60), 2)
    assert next(results) == 0
    results.close()
    assert fallen == []
