"""Batches on their way to a device: in order, the same whoever draws them, one copy each."""

from __future__ import annotations

import threading
import time
from contextlib import closing, nullcontext
from itertools import islice

import pytest
import torch
from architectures import PATCH, Smallest

from kitsbench.architecture import Task, configure
from kitsbench.data.batches import upload
from kitsbench.data.batches.augmentation import Augmenter, needed_margin
from kitsbench.data.batches.patches import PatchSource
from kitsbench.data.batches.upload import feed, in_order, loader_threads
from kitsbench.errors import DataError
from kitsbench.recipe import Recipe, Transform

WINDOW = (-100.0, 300.0, 50.0, 0.01)
TRANSFORMS = (Transform("mirror", 0.5), Transform("rotation", 0.5), Transform("gamma", 0.5))
CPU = torch.device("cpu")


@pytest.fixture
def pair(coarse_store):
    """A source and the augmentation of its batches."""
    architecture = Smallest()
    spec = architecture.spec(configure(architecture), Task(patch=PATCH))
    recipe = Recipe(batch=2, augmentation=TRANSFORMS)
    margin = needed_margin(TRANSFORMS)
    source = PatchSource({"image": coarse_store}, coarse_store.cases, spec, recipe, 0, margin)
    return source, Augmenter(spec.grids, coarse_store.spacing, TRANSFORMS, WINDOW, 0)


def same(one, other) -> bool:
    return all(map(torch.equal, one.tensors(), other.tensors()))


@pytest.mark.parametrize("threads", [1, 4])
def test_batches_come_in_order_and_do_not_depend_on_the_threads(pair, threads):
    source, augment = pair
    with closing(feed(source, augment, CPU, first=4, threads=threads)) as batches:
        for step, batch in zip(range(4, 12), batches, strict=False):
            assert batch.step == step
            assert same(batch, source.prepared(step, augment))


def test_threads_end_with_the_iterator(pair):
    batches = feed(*pair, CPU, threads=3)
    next(batches)
    assert any("kitsbench-loader" in thread.name for thread in threading.enumerate())
    batches.close()
    assert not any("kitsbench-loader" in thread.name for thread in threading.enumerate())


def test_no_more_is_drawn_than_may_wait():
    drawn = []
    with closing(in_order(drawn.append, 0, threads=2, ahead=4)) as futures:
        for future in islice(futures, 3):
            future.result()
        time.sleep(0.05)
        assert sorted(drawn) == [0, 1, 2, 3, 4, 5]


def test_an_error_comes_with_its_batch(pair, monkeypatch):
    source, augment = pair
    whole = source.prepared

    def prepared(step, planner):
        if step == 2:
            raise DataError("case_1 is damaged")
        return whole(step, planner)

    monkeypatch.setattr(source, "prepared", prepared)
    with closing(feed(source, augment, CPU)) as batches:
        assert [next(batches).step for _ in range(2)] == [0, 1]
        with pytest.raises(DataError, match="damaged"):
            next(batches)


@pytest.mark.parametrize(
    ("cores", "device", "threads"),
    [(1, "cuda", 1), (2, "cuda", 2), (6, "cuda", 3), (64, "cuda", 4), (64, "cpu", 1)],
)
def test_threads_by_the_cores_of_the_process(monkeypatch, cores, device, threads):
    monkeypatch.setattr(upload.os, "sched_getaffinity", lambda process: range(cores), raising=False)
    assert loader_threads(torch.device(device)) == threads


class Cuda:
    """What the uploader asks of torch.cuda, noted; copies go to the CPU at once."""

    def __init__(self, monkeypatch, empty=torch.empty):
        self.log, self.full = [], False
        cuda = torch.cuda
        monkeypatch.setattr(cuda, "Stream", lambda device: f"copying stream of {device}")
        monkeypatch.setattr(cuda, "Event", lambda: self)
        monkeypatch.setattr(cuda, "stream", lambda stream: nullcontext(self.note("on", stream)))
        monkeypatch.setattr(cuda, "device", lambda device: nullcontext(self.note("in", device)))
        monkeypatch.setattr(cuda, "current_device", lambda: 2)
        monkeypatch.setattr(cuda, "current_stream", lambda device: self)
        monkeypatch.setattr(
            torch.Tensor, "record_stream", lambda tensor, stream: self.note("kept for", stream)
        )

        def room(size, dtype, device=None, pin_memory=False):
            if self.full and device is not None:
                raise torch.OutOfMemoryError("full")
            self.note("pinned" if pin_memory else f"room on {device}", size)
            return empty(size, dtype=dtype)

        monkeypatch.setattr(torch, "empty", room)

    def note(self, *words):
        self.log.append(words)

    def record(self, stream):
        self.note("recorded on", stream)

    def wait_event(self, event):
        self.note("waited for", event)


def packed(pair, steps):
    source, augment = pair
    return [source.prepared(step, augment).for_device() for step in steps]


def test_one_copy_a_batch_on_a_stream_of_its_own(pair, monkeypatch):
    expected = packed(pair, range(3))
    cuda, device = Cuda(monkeypatch), torch.device("cuda", 3)
    with closing(feed(*pair, device, threads=1)) as batches:
        found = [next(batches) for _ in range(3)]
    stream = "copying stream of cuda:3"
    copies = [words for words in cuda.log if words[0] in ("on", "recorded on")]
    assert copies[:6] == [("on", stream), ("recorded on", stream)] * 3
    rooms = [words[1] for words in cuda.log if words[0] == "room on cuda:3"]
    assert all(size % upload.ROUNDED == 0 for size in rooms)
    cuda.log.clear()
    for one, other in zip(found, expected, strict=True):
        assert same(one, other)
        assert one.arrival.buffer.data_ptr() == one.tensors()[0].data_ptr()
        # The step's stream waits, before anything is computed and each time that it is tried.
        for _ in range(2):
            assert one.to(device) is one
            assert cuda.log == [("waited for", cuda), ("kept for", cuda)]
            cuda.log.clear()


def test_a_batch_for_which_there_is_no_memory_is_copied_within_the_step(pair, monkeypatch):
    expected = packed(pair, range(2))
    cuda, device = Cuda(monkeypatch), torch.device("cuda", 0)
    cuda.full = True
    with closing(feed(*pair, device, threads=1)) as batches:
        found = [next(batches) for _ in range(2)]
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *where, **options: tensor.clone())
    for one, other in zip(found, expected, strict=True):
        assert one.arrival is None
        assert same(one.to(device), other)


def test_threads_pin_memory_for_the_device_that_is_current_where_batches_are_asked_for(
    pair, monkeypatch
):
    cuda = Cuda(monkeypatch)
    with closing(feed(*pair, torch.device("cuda"), threads=1)) as batches:
        next(batches)
    assert {words[1] for words in cuda.log if words[0] == "in"} == {torch.device("cuda", 2)}
    assert any(words[0] == "room on cuda:2" for words in cuda.log)


@pytest.mark.gpu
def test_a_cuda_device_gets_the_batches_that_were_prepared(pair):
    source, augment = pair
    device = torch.device("cuda")
    with closing(feed(source, augment, device)) as batches:
        for step, batch in zip(range(12), batches, strict=False):
            there = batch.to(device)
            assert {tensor.device.type for tensor in there.tensors()} == {"cuda"}
            expected = source.prepared(step, augment).for_device()
            for one, other in zip(there.tensors(), expected.tensors(), strict=True):
                assert torch.equal(one.cpu(), other)


@pytest.mark.gpu
def test_uploads_do_not_make_the_host_wait(pair):
    device = torch.device("cuda")
    with closing(feed(*pair, device)) as batches:
        for _ in range(3):
            pair[1](next(batches).to(device))
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(10):
                pair[1](next(batches).to(device))
        finally:
            torch.cuda.set_sync_debug_mode("default")
