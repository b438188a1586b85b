"""The processes beside the first one of a trial say why they end."""

from __future__ import annotations

import multiprocessing

import pytest
import torch.distributed as dist

from kitsbench.experiments.trial.ranks import _rank
from kitsbench.experiments.trial.run import explain
from kitsbench.training.failures import is_out_of_memory


def take_too_much(task, rank, team):
    raise MemoryError("three of them")


def explain_while_connected(error):
    assert dist.is_initialized()
    return explain(error)


def test_memory_that_runs_out_beside_is_told_before_the_others_lose_the_connection(tmp_path):
    ours, theirs = multiprocessing.Pipe(duplex=False)
    with pytest.raises(MemoryError):
        _rank(
            take_too_much, None, 0, ("cpu",), tmp_path / "meeting", theirs, explain_while_connected
        )
    assert not dist.is_initialized()
    assert ours.poll()
    reason, message = ours.recv()
    assert reason == "out-of-memory"
    assert "three of them" in message


def test_an_allocation_that_fails_in_cpp_is_a_lack_of_memory():
    assert is_out_of_memory(RuntimeError("std::bad_alloc"))
