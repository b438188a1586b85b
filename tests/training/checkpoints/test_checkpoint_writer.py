"""Checkpoints that a thread writes are those that training would have written itself."""

from __future__ import annotations

import errno
import os
import signal
import threading
from functools import partial

import pytest
import torch
from fake_cuda import a_device_for_each_thread
from torch import nn

from kitsbench.experiments.trial.run import explain
from kitsbench.isolation import process_context
from kitsbench.training import loop
from kitsbench.training.budget import Budget
from kitsbench.training.checkpoints import checkpoint
from kitsbench.training.checkpoints import writer as checkpoint_writer
from kitsbench.training.checkpoints.checkpoint import is_whole, latest_checkpoint, load_checkpoint
from kitsbench.training.checkpoints.snapshot import Snapshot, views_of
from kitsbench.training.checkpoints.writer import CheckpointWriter
from kitsbench.training.loop import train


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4)).to(
        memory_format=torch.channels_last_3d
    )


def moved(model, optimiser):
    model(torch.rand(2, 1, 5, 5, 5)).square().sum().backward()
    optimiser.step()


def is_equal(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_equal, one, other))
    return one == other


@pytest.fixture
def gate(monkeypatch):
    """Nothing is written before it opens."""
    opened = threading.Event()
    save = checkpoint.save_checkpoint

    def wait(*arguments):
        assert opened.wait(30)
        return save(*arguments)

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", wait)
    return opened


def test_what_is_written_aside_is_what_it_was_when_it_was_asked_for(tmp_path, gate):
    model = network()
    optimiser = torch.optim.Adam(model.parameters())
    moved(model, optimiser)
    checkpoint.save_checkpoint(
        tmp_path / "own", 1, model.state_dict(), optimiser.state_dict(), {"step": 1}
    )
    writer = CheckpointWriter(tmp_path / "aside", aside=True)
    writer.save(1, model.state_dict(), optimiser.state_dict(), {"step": 1})
    moved(model, optimiser)  # training goes on before a byte is written
    assert latest_checkpoint(tmp_path / "aside") is None
    gate.set()
    writer.wait()
    found = [load_checkpoint(latest_checkpoint(tmp_path / name)) for name in ("own", "aside")]
    assert is_equal(*found)
    weights = [next((tmp_path / n).glob("*/model.safetensors")) for n in ("own", "aside")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_the_thread_means_the_gpu_of_the_training(tmp_path, monkeypatch):
    a_device_for_each_thread(monkeypatch, 3)
    seen = []
    monkeypatch.setattr(
        checkpoint_writer, "save_checkpoint", lambda *_: seen.append(torch.cuda.current_device())
    )
    writer = CheckpointWriter(tmp_path, aside=True)
    writer.save(1, {"weight": torch.ones(2)}, {}, {})
    writer.wait()
    assert seen == [3]


def test_one_is_written_at_a_time(tmp_path, gate):
    writer = CheckpointWriter(tmp_path, aside=True)
    save = partial(writer.save, model={"weight": torch.ones(2)}, optimiser={}, state={})
    save(1)
    threading.Timer(0.2, gate.set).start()
    save(2)  # waits for the first
    assert (tmp_path / "step-00000001").is_dir()
    writer.wait()
    assert latest_checkpoint(tmp_path).name == "step-00000002"


def written(aside):
    """What a training makes of its folder in place of its own choice by the device."""
    return lambda folder, **_: CheckpointWriter(folder, aside)


@pytest.mark.parametrize("aside", [False, True])
def test_a_full_disk_ends_the_training_with_its_reason(make_job, monkeypatch, aside):
    def full(folder, step, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", full)
    monkeypatch.setattr(
        loop, "CheckpointWriter", lambda folder, **_: CheckpointWriter(folder, aside)
    )
    with pytest.raises(OSError, match="No space") as caught:
        train(make_job(budget=Budget(4, "steps"), checkpoint_every=0.0))
    assert explain(caught.value)[0] == "disk error"


def test_a_checkpoint_that_fails_beside_another_error_is_told_with_it(make_job, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Stopped(Exception):
        pass

    def stop(fraction, ledger):
        if ledger.steps == 2:
            raise Stopped

    gate = threading.Event()

    def late(*arguments):
        gate.wait(30)
        full()

    monkeypatch.setattr(checkpoint_writer, "save_checkpoint", late)
    monkeypatch.setattr(
        loop, "CheckpointWriter", lambda folder, **_: CheckpointWriter(folder, True)
    )
    with pytest.raises(Stopped) as caught:
        train(
            make_job(budget=Budget(4, "steps"), checkpoint_every=0.0),
            report=stop,
            cut_short=lambda *_: gate.set(),
        )
    assert "No space left" in caught.value.__notes__[0]


def test_training_that_writes_aside_leaves_what_one_that_waits_leaves(make_job, monkeypatch):
    kept = {}
    for name, aside in (("own", False), ("aside", True)):
        monkeypatch.setattr(
            loop,
            "CheckpointWriter",
            lambda folder, aside=aside, **_: CheckpointWriter(folder, aside),
        )
        job = make_job(folder=name, budget=Budget(5, "steps"), checkpoint_every=0.0)
        train(job)
        kept[name] = [load_checkpoint(p)[:2] for p in sorted(job.folder.glob("step-*"))]
        assert len(kept[name]) == 2
    assert is_equal(kept["own"], kept["aside"])


def write_and_die(folder):
    """Body of a process that is killed while its thread writes the second checkpoint."""
    writer = CheckpointWriter(folder, aside=True)
    writer.save(1, {"weight": torch.ones(3)}, {}, {"step": 1})
    writer.wait()
    digest = checkpoint.file_digest

    def die(path):
        if path.name == "state.json":
            os.kill(os.getpid(), signal.SIGKILL)
        return digest(path)

    checkpoint.file_digest = die
    writer.save(2, {"weight": torch.zeros(3)}, {}, {"step": 2})
    writer.wait()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals of POSIX")
def test_a_kill_while_the_thread_writes_leaves_the_one_before_whole(tmp_path):
    process = process_context().Process(target=write_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert list(tmp_path.glob(".partial-*"))
    found = latest_checkpoint(tmp_path)
    assert found.name == "step-00000001"
    assert is_whole(found)


def test_tensors_find_room_in_one_block_by_their_own_order():
    tensors = [
        torch.rand(3, 2, 4, 4, 4).to(memory_format=torch.channels_last_3d),
        torch.tensor(7),
        torch.rand(5, 6).t(),  # neither order: laid out anew
        torch.zeros(0),
        torch.rand(3).double(),
        torch.tensor([True, False]),
    ]
    block = torch.empty(4096, dtype=torch.uint8)
    views = views_of(block, tensors)
    for view, tensor in zip(views, tensors, strict=True):
        view.copy_(tensor)
    for view, tensor in zip(views, tensors, strict=True):
        assert torch.equal(view, tensor)
        assert view.untyped_storage().data_ptr() == block.data_ptr()
    assert views[0].stride() == tensors[0].stride()


def test_a_copy_shares_nothing_and_keeps_what_is_no_tensor():
    content = {"a": [torch.ones(2), 3, None], "b": (torch.zeros(1), "word")}
    found = Snapshot().take(content)()
    content["a"][0].fill_(5)
    assert found["a"][0].tolist() == [1, 1]
    assert found["a"][1:] == [3, None]
    assert found["b"][1] == "word"


@pytest.mark.gpu
def test_a_device_that_trains_on_leaves_the_copy_as_it_was(tmp_path):
    device = torch.device("cuda")
    model = network().to(device)
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    images = torch.rand(2, 1, 64, 64, 64, device=device)

    def step():
        optimiser.zero_grad()
        model(images).square().mean().backward()
        optimiser.step()

    step()
    writer = CheckpointWriter(tmp_path, aside=True)
    for number in range(3):  # the block is used again
        expected = [
            {k: v.cpu() for k, v in model.state_dict().items()},
            [v.cpu() for s in optimiser.state_dict()["state"].values() for v in s.values()],
        ]
        writer.save(number, model.state_dict(), optimiser.state_dict(), {})
        for _ in range(20):
            step()
        writer.wait()
        weights, moments, _ = load_checkpoint(latest_checkpoint(tmp_path))
        assert is_equal(weights, expected[0])
        assert is_equal([v for s in moments["state"].values() for v in s.values()], expected[1])
