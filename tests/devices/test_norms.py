"""Instance norms in kernels of their own: equal to torch's, and for nothing else than they do."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import instance_norm

from kitsbench.devices import norms
from kitsbench.devices.norms import (
    InstanceNorm3d,
    differentiable_gradients,
    fast_norms,
    norm_kernels,
)

CPU = torch.device("cpu")
LAST = torch.channels_last_3d


def network(channels=4):
    torch.manual_seed(0)
    layers = [nn.Conv3d(1, channels, 3, padding=1), nn.InstanceNorm3d(channels, affine=True)]
    layers += [nn.LeakyReLU(), nn.Conv3d(channels, channels, 3), nn.InstanceNorm3d(channels)]
    return nn.Sequential(*layers)


@pytest.fixture
def swapped(monkeypatch):
    """A network with the class, as on a GPU where the kernels work; it lies on the CPU."""
    monkeypatch.setattr(norms, "_working", {0: True})
    made = network()
    assert fast_norms(made, torch.device("cuda:0")) == 2
    return made


# ------------------------------------------------------------------ in triton's interpreter


@pytest.fixture(scope="module")
def interpreted():
    pytest.importorskip("triton")
    program = Path(__file__).with_name("interpreted_norms.py")
    found = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if "cannot interpret: " in found.stderr:
        pytest.skip(found.stderr)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


# What is allowed: some roundings of float32, or one of the precision; in the gradient of two
# places nearly everything cancels.
CASES = {
    "one tile": 1e-6,
    "odd channels": 1e-6,
    "groups of channels": 1e-3,
    "two places": 3e-5,
    "many chunks": 2e-6,
    "many tiles a chunk": 8e-3,
    "a large mean": 1e-4,
}


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("name", CASES)
def test_the_kernels_give_what_float64_gives(interpreted, name, last):
    found = interpreted[f"{name}, {last}"]
    assert max(found["ours"]) < CASES[name]
    assert found["strides"]
    chunks, tiles = found["cut"]
    assert chunks > 1 or name not in ("many chunks", "many tiles a chunk", "a large mean")
    assert tiles > 1 or name != "many tiles a chunk"


def test_precisions_are_those_of_the_map_and_of_the_weights(interpreted):
    found = interpreted["many tiles a chunk, True"]["dtypes"]
    assert found == ["torch.bfloat16", "torch.bfloat16", "torch.float32", "torch.float32"]


def test_gradients_of_gradients_and_of_a_part(interpreted):
    found = interpreted["others"]
    assert max(found["penalty"]) < 1e-5
    assert max(found["moved meanwhile"]) < 1e-5
    assert found["weight alone"] < 1e-5
    assert found["others are left"]
    assert not found["nothing to derive"]


# ------------------------------------------------------------------ who gets them


def test_a_network_on_a_cpu_stays_as_it_is():
    made = network()
    assert fast_norms(made, CPU) == 0
    assert not any(isinstance(module, InstanceNorm3d) for module in made)


def test_only_the_class_changes(swapped):
    plain = network()
    assert repr(swapped) == repr(plain)
    assert all(isinstance(swapped[at], nn.InstanceNorm3d) for at in (1, 4))
    assert swapped.state_dict().keys() == plain.state_dict().keys()
    twin = copy.deepcopy(swapped)
    assert type(twin[1]) is InstanceNorm3d
    assert twin.load_state_dict(plain.state_dict())
    assert fast_norms(swapped, torch.device("cuda:0")) == 0


def test_a_class_that_derives_from_torchs_is_its_authors(monkeypatch):
    class Own(nn.InstanceNorm3d):
        pass

    monkeypatch.setattr(norms, "_working", {0: True})
    made = nn.Sequential(Own(3), nn.InstanceNorm2d(3), nn.BatchNorm3d(3))
    assert fast_norms(made, torch.device("cuda:0")) == 0
    assert type(made[0]) is Own


@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels may work here")
def test_where_the_kernels_do_not_work_everything_is_torchs(monkeypatch):
    monkeypatch.setattr(norms, "_working", {})
    made = network()
    assert fast_norms(made, torch.device("cuda:0")) == 0
    assert type(made[1]) is nn.InstanceNorm3d
    assert norm_kernels(torch.device("cuda:0")) == "torch"


# ------------------------------------------------------------------ what is left to torch


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
def test_on_a_cpu_numbers_are_torchs_bit_for_bit(swapped, layout):
    x = torch.randn(2, 1, 6, 6, 6).to(memory_format=layout)
    results = []
    for made in (swapped, network()):
        y = made(x)
        results.append([y, *torch.autograd.grad(y.square().sum(), list(made.parameters()))])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_fake_tensors_of_a_gpu_run_no_kernel(monkeypatch):
    monkeypatch.setattr(norms, "_working", {0: True})
    monkeypatch.setattr(norms, "_Normalise", None)
    with FakeTensorMode():
        norm = nn.InstanceNorm3d(3, affine=True, device="cuda:0")
        assert fast_norms(nn.Sequential(norm), torch.device("cuda:0")) == 1
        assert type(norm) is InstanceNorm3d
        assert norm(torch.empty(2, 3, 4, 4, 4, device="cuda:0")).shape == (2, 3, 4, 4, 4)


@pytest.mark.parametrize(
    ("shape", "kind"), [((2, 4, 1, 1, 1), ValueError), ((2, 3, 4, 4, 4), ValueError)]
)
def test_errors_are_torchs(swapped, shape, kind):
    said = []
    for made in (swapped, network()):
        with pytest.raises(kind) as caught:
            made[1](torch.zeros(shape))
        said.append(str(caught.value))
    assert said[0] == said[1]


class Failing:
    """In place of the kernels' function."""

    def __init__(self, error):
        self.error = error

    def apply(self, *_):
        raise self.error


def test_kernels_that_fail_later_are_off_and_torch_goes_on(swapped, monkeypatch):
    monkeypatch.setattr(norms, "_covers", lambda *_: True)
    monkeypatch.setattr(norms, "_Normalise", Failing(RuntimeError("ptxas failed")))
    x = torch.randn(2, 1, 6, 6, 6)
    assert torch.equal(swapped(x), network()(x))
    assert norms._working[CPU.index] is False


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_a_lack_of_memory_is_told(swapped, monkeypatch, error):
    monkeypatch.setattr(norms, "_covers", lambda *_: True)
    monkeypatch.setattr(norms, "_Normalise", Failing(error))
    with pytest.raises(type(error)) as caught:
        swapped(torch.randn(2, 1, 6, 6, 6))
    assert caught.value is error
    assert norms._working == {0: True}


@pytest.mark.parametrize("affine", [True, False])
def test_gradients_in_torchs_operations_are_autograds(affine):
    x = torch.randn(2, 3, 4, 5, 6, requires_grad=True)
    weight, bias = (torch.randn(3, requires_grad=True) if affine else None for _ in range(2))
    dy = torch.randn(x.shape)
    leaves = [one for one in (x, weight, bias) if one is not None]
    right = torch.autograd.grad(instance_norm(x, None, None, weight, bias), leaves, dy)
    found = differentiable_gradients(dy, x, weight, 1e-5, (True, affine, affine))
    assert [one is not None for one in found] == [True, affine, affine]
    for one, other in zip(found, right, strict=False):
        assert torch.allclose(one, other, atol=1e-5)


# ------------------------------------------------------------------ on a card

GPU = torch.device("cuda:0")


@pytest.fixture
def card():
    """The device, where the kernels have to work."""
    pytest.importorskip("triton")
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("triton needs a C compiler")
    assert norm_kernels(GPU) == "triton"
    return GPU


def on_card(norm, x, dy):
    x = x.detach().requires_grad_()
    y = norm(x)
    assert ("_Normalise" in str(y.grad_fn)) == (type(norm) is InstanceNorm3d)
    return [y.detach(), *torch.autograd.grad(y, [x, *norm.parameters()], dy)]


@pytest.mark.gpu
@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(2, 32, 40, 48, 64), (1, 30, 17, 19, 23), (3, 320, 4, 4, 4)])
def test_errors_on_a_card_are_no_larger_than_torchs(card, shape, dtype, layout):
    torch.manual_seed(0)
    norm = nn.InstanceNorm3d(shape[1], affine=True).to(card)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    x = (torch.randn(shape, device=card) * 2 + 3).to(dtype, memory_format=layout)
    dy = torch.randn(shape, device=card).to(dtype)
    exact = on_card(copy.deepcopy(norm).double(), x.double(), dy.double())
    theirs = on_card(norm, x, dy)
    assert fast_norms(nn.Sequential(norm), card) == 1
    ours, again = on_card(norm, x, dy), on_card(norm, x, dy)
    assert ours[0].stride() == ours[1].stride() == x.stride()
    for one, other, same, right in zip(ours, theirs, again, exact, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, same)
        size = right.abs().max()
        error, usual = ((made.double() - right).abs().max() / size for made in (one, other))
        assert error <= 1.5 * usual + 1e-5


@pytest.mark.gpu
def test_a_large_mean_keeps_its_digits(card):
    x = torch.randn(1, 8, 64, 64, 64, device=card) + 1000
    x[..., 0, 0, 0] = 0
    norm = nn.Sequential(nn.InstanceNorm3d(8))
    fast_norms(norm, card)
    assert torch.allclose(norm(x).double(), instance_norm(x.double()), atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
def test_a_network_trains_as_with_torchs_norms(card, layout):
    ends = []
    for swap in (False, True):
        made = network(16).to(card, memory_format=layout)
        assert not swap or fast_norms(made, card) == 2
        optimiser = torch.optim.SGD(made.parameters(), lr=0.01)
        torch.manual_seed(1)
        for _ in range(5):
            x = torch.randn(2, 1, 24, 24, 24, device=card).to(memory_format=layout)
            optimiser.zero_grad()
            with torch.autocast("cuda", torch.bfloat16):
                y = made(x)
            (y.float() - x[..., 1:-1, 1:-1, 1:-1]).abs().mean().backward()
            optimiser.step()
        ends.append(torch.cat([p.detach().flatten() for p in made.parameters()]))
    assert torch.allclose(*ends, atol=1e-3)


@pytest.mark.gpu
def test_a_penalty_on_a_gradient_is_torchs(card):
    norm = nn.InstanceNorm3d(3, affine=True).to(card)
    x, dy = torch.randn(2, 2, 3, 8, 8, 8, device=card)
    found = []
    for _ in range(2):
        leaf = x.clone().requires_grad_()
        slope = torch.autograd.grad(norm(leaf), leaf, dy, create_graph=True)[0]
        found.append(torch.autograd.grad(slope.square().sum(), leaf)[0])
        fast_norms(nn.Sequential(norm), card)
    assert torch.allclose(*found, atol=1e-4)


@pytest.mark.gpu
def test_memory_that_runs_out_on_a_card_is_told_and_the_kernels_stay(card):
    norm = nn.Sequential(nn.InstanceNorm3d(8))
    fast_norms(norm, card)
    torch.cuda.empty_cache()
    x = torch.zeros(1, 8, 128, 256, 256, device=card)  # 256 MiB, and as much for the result
    total = torch.cuda.get_device_properties(card).total_memory
    torch.cuda.set_per_process_memory_fraction(
        (torch.cuda.memory_reserved(card) + 2**26) / total, card
    )
    try:
        with pytest.raises(torch.OutOfMemoryError):
            norm(x)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, card)
    assert norm_kernels(card) == "triton"
    assert norm(x).shape == x.shape
