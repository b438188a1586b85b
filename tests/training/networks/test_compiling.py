"""A trial says that it was compiled only if compiled parts ran."""

from __future__ import annotations

import architectures
import pytest
import torch
import torch._dynamo
import torch._inductor.compile_fx
import torch._inductor.cpp_builder
import torch.utils._triton
from torch import nn

from kitsbench.errors import UsageError
from kitsbench.training import loop
from kitsbench.training.budget import Budget
from kitsbench.training.failures import TrialFailure
from kitsbench.training.loop import train
from kitsbench.training.networks.compiling import check_compiler, compiled

BUDGET = Budget(2, "steps")


@pytest.fixture(autouse=True)
def afresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def quick_compiler(monkeypatch):
    """A compiler that takes every graph as it is."""
    monkeypatch.setattr(
        torch._inductor.compile_fx, "compile_fx", lambda module, inputs: module.forward
    )


@pytest.fixture
def broken_compiler(monkeypatch):
    def fail(module, inputs):
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch._inductor.compile_fx, "compile_fx", fail)


def test_graphs_that_run_make_a_trial_compiled(make_job, quick_compiler):
    ledger = train(make_job(compile=True, budget=BUDGET)).ledger
    assert ledger.compiled
    assert not train(make_job(budget=BUDGET, folder="plain")).ledger.compiled


def test_a_trial_in_which_nothing_compiles_is_refused_with_the_reason(make_job, broken_compiler):
    spent = []
    with pytest.raises(TrialFailure, match=r"No working C\+\+ compiler.*Leave --compile out") as e:
        train(
            make_job(compile=True, budget=BUDGET),
            cut_short=lambda error, ledger, curve: spent.append(ledger),
        )
    assert e.value.reason == "plugin error"
    assert not spent[0].compiled


def test_a_network_that_keeps_the_compiler_out_is_refused(make_job, quick_compiler):
    class Disabled(architectures.Smallest):
        def build(self, spec):
            network = super().build(spec)
            network.forward = torch.compiler.disable(network.forward)
            return network

    with pytest.raises(TrialFailure, match="could take no part of it"):
        train(make_job(Disabled(), compile=True, budget=BUDGET))


def test_a_graph_counts_when_it_runs(quick_compiler):
    network, graphs = compiled(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    with pytest.raises(TrialFailure):
        graphs.check()
    network(torch.ones(1, 2))
    network(torch.ones(1, 2))
    assert graphs.runs == 2
    assert graphs.check()


def test_the_rehearsal_runs_what_is_not_compiled(make_job, quick_compiler, monkeypatch):
    monkeypatch.setattr(loop, "is_rehearsed", lambda device: True)
    found = []
    inner = loop.take_step

    def spy(job, network, *rest):
        found.append(isinstance(network, torch._dynamo.OptimizedModule))
        return inner(job, network, *rest)

    monkeypatch.setattr(loop, "take_step", spy)
    train(make_job(compile=True, budget=BUDGET))
    assert found == [False] + [True] * 2  # one step is rehearsed on a CPU


def test_a_machine_without_a_compiler_is_told_beforehand(monkeypatch):
    def fail():
        raise RuntimeError("no g++")

    monkeypatch.setattr(torch._inductor.cpp_builder, "get_cpp_compiler", fail)
    with pytest.raises(UsageError, match=r"needs a C\+\+ compiler.*no g\+\+.*leave --compile out"):
        check_compiler("cpu")


def test_a_gpu_needs_triton(monkeypatch):
    monkeypatch.setattr(torch._inductor.cpp_builder, "get_cpp_compiler", lambda: "g++")
    monkeypatch.setattr(torch.utils._triton, "has_triton", lambda: False)
    check_compiler("cpu")
    with pytest.raises(UsageError, match="needs triton"):
        check_compiler("cuda")
