"""Stages of several cases overlap, and nobody can tell from the results."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from fake_cuda import a_device_for_each_thread

from kitsbench.errors import Terminated
from kitsbench.inference.pipeline import one_by_one

NAMES = ["a", "b", "c", "d", "e"]


class Stages:
    """Three stages that note what is in memory, and fail where they are told to."""

    def __init__(self, failing=None, error=None):
        self.failing, self.error = failing, error
        self.held, self.most, self.threads = set(), 0, {}
        self.lock = threading.Lock()

    def _do(self, stage, name):
        with self.lock:
            self.held.add(name)
            self.most = max(self.most, len(self.held))
            self.threads.setdefault(stage, set()).add(threading.current_thread())
        time.sleep(0.005)
        if self.failing == (stage, name):
            raise self.error

    def load(self, name):
        self._do("load", name)
        return [name]

    def predict(self, name, loaded):
        assert loaded == [name]
        self._do("predict", name)
        return [*loaded, "predicted"]

    def finish(self, name, predicted):
        assert predicted == [name, "predicted"]
        self._do("finish", name)
        with self.lock:
            self.held.discard(name)
        return name.upper()

    def run(self, names=NAMES, overlap=True):
        return one_by_one(names, self.load, self.predict, self.finish, overlap)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("names", [[], NAMES[:1], NAMES[:2], NAMES])
def test_results_come_in_order(names, overlap):
    assert list(Stages().run(names, overlap)) == [name.upper() for name in names]


def test_no_more_than_three_are_in_memory_and_the_device_stays_in_its_thread():
    stages = Stages()
    for _ in stages.run():
        time.sleep(0.01)  # whoever takes the results is slow
    assert 2 <= stages.most <= 3
    assert stages.threads["predict"] == {threading.current_thread()}
    others = stages.threads["load"] | stages.threads["finish"]
    assert threading.current_thread() not in others


def test_one_at_a_time_is_in_memory_without_overlap():
    stages = Stages()
    assert len(list(stages.run(overlap=False))) == 5
    assert stages.most == 1
    assert set.union(*stages.threads.values()) == {threading.current_thread()}


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("stage", ["load", "predict", "finish"])
@pytest.mark.parametrize("index", range(5))
def test_an_error_comes_after_the_results_of_all_before(stage, index, overlap):
    error = ValueError("broken")
    done, stages = [], Stages((stage, NAMES[index]), error)
    with pytest.raises(ValueError, match="broken") as caught:
        done.extend(iter_into(stages.run(overlap=overlap), done))
    assert caught.value is error
    assert done == [name.upper() for name in NAMES[:index]]


def iter_into(results, done):
    """Append each result as it comes."""
    for result in results:
        done.append(result)
    return []


def test_the_first_of_two_errors_counts():
    class Both(Stages):
        def predict(self, name, loaded):
            if name == "c":
                raise ValueError("later")
            return super().predict(name, loaded)

    stages = Both(("finish", "b"), KeyError("earlier"))
    with pytest.raises(KeyError, match="earlier"):
        list(stages.run())


def test_sys_exit_of_foreign_code_reaches_the_caller():
    stages = Stages(("finish", "b"), SystemExit(3))
    with pytest.raises(SystemExit) as caught:
        list(stages.run())
    assert caught.value.code == 3


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Terminated])
def test_who_interrupts_does_not_wait_for_the_threads(kind):
    free = threading.Event()

    class Slow(Stages):
        def predict(self, name, loaded):
            if name == "b":
                raise kind
            return super().predict(name, loaded)

        def finish(self, name, predicted):
            free.wait(60)
            return super().finish(name, predicted)

    began = time.monotonic()
    try:
        with pytest.raises(kind):
            list(Slow().run())
        assert time.monotonic() - began < 30
    finally:
        free.set()


def test_threads_mean_the_gpu_of_who_asks(monkeypatch):
    a_device_for_each_thread(monkeypatch, 3)
    seen = []

    def note(*_):
        seen.append(torch.cuda.current_device())

    assert len(list(one_by_one(NAMES, note, note, note, True))) == len(NAMES)
    assert seen == [3] * (3 * len(NAMES))
