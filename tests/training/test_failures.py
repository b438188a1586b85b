"""Memory that runs out, on the host and on a device, is told from other errors."""

from __future__ import annotations

import errno
import mmap
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from architectures import broken

from kitsbench.errors import LONGEST, ContractError, Terminated
from kitsbench.experiments.trial.run import explain
from kitsbench.files import disk_trouble
from kitsbench.training import failures
from kitsbench.training.budget import Budget
from kitsbench.training.failures import (
    TrialFailure,
    can_be_smaller,
    device_trouble,
    is_out_of_memory,
    may_be_memory,
    memory_trouble,
    plugin_code,
)
from kitsbench.training.loop import train
from kitsbench.training.meters.memory import memory_left


@pytest.mark.parametrize(
    "ask",
    [
        lambda: torch.empty(1 << 58),
        lambda: bytearray(1 << 60),
        lambda: np.empty(1 << 58),
        lambda: mmap.mmap(-1, 1 << 56),
    ],
    ids=["torch", "bytes", "numpy", "system"],
)
def test_refused_memory_is_recognised(ask):
    with pytest.raises((RuntimeError, MemoryError, OSError)) as caught:
        ask()
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("shapes do not match"), OSError(errno.ENOSPC, "full"), ValueError("memory")],
)
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (MemoryError("too much"), "memory of the machine"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory of the machine"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory of the machine"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried ..."), "memory of the device"),
        (RuntimeError("cannot allocate shared memory(shm) for file </torch_1>"), "/dev/shm"),
    ],
)
def test_the_memory_that_ran_out_is_named(error, where):
    assert is_out_of_memory(error)
    assert where in memory_trouble(error)


NCCL = """NCCL error in: NCCLUtils.hpp:275, unhandled cuda error (run with NCCL_DEBUG=INFO)
ncclUnhandledCudaError: Call to CUDA function failed.
Last error:
Cuda failure 2 'out of memory'"""


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA driver error: out of memory",
        "cudaErrorMemoryAllocation: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "cuFFT error: CUFFT_ALLOC_FAILED",
        "MPS backend out of memory (MPS allocated: 8.89 GB, max allowed: 9.07 GB).",
        "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.",
        "Triton Error [CUDA]: out of memory",
        "hipErrorOutOfMemory",
        "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
        NCCL,
    ],
)
def test_every_library_below_torch_is_understood(text):
    error = RuntimeError(text)
    assert is_out_of_memory(error)
    assert can_be_smaller(error)
    assert device_trouble(error) is None
    assert "out of memory" in memory_trouble(error) or "out of memory" not in text


def test_a_block_that_is_too_large_for_the_chip_is_no_lack_of_memory():
    for text in (
        "out of resource: shared memory, Required: 262144, Hardware limit: 232448.",
        "No valid triton configs. OutOfMemoryError: out of resource: triton_red_fused_0",
    ):
        assert not is_out_of_memory(RuntimeError(text))
        assert not may_be_memory(RuntimeError(text))


MANY_CAUSES = [
    "GET was unable to find an engine to execute this computation",
    "FIND was unable to find an engine to execute this computation",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `cublasSgemm`",
    "could not create a primitive",
    "could not create a memory object",
]


@pytest.mark.parametrize("text", MANY_CAUSES)
@pytest.mark.parametrize(("left", "reason"), [(0, "out-of-memory"), (2**40, "plugin error")])
def test_what_has_many_causes_is_told_by_the_memory_that_was_left(text, left, reason, monkeypatch):
    monkeypatch.setattr(failures, "memory_left", lambda: left)
    assert not is_out_of_memory(RuntimeError(text))
    assert may_be_memory(RuntimeError(text))
    with pytest.raises(TrialFailure) as caught, plugin_code("forward"):
        raise RuntimeError(text)
    assert caught.value.reason == reason
    assert text in str(caught.value)
    # Smaller parts are tried in any case, and say more than any text.
    assert can_be_smaller(caught.value)


def test_memory_left_is_what_the_cap_leaves(monkeypatch):
    """A cap that is nearly reached counts, and what nobody uses of the allocator's is there."""
    for name, answer in {
        "is_initialized": True,
        "current_device": 0,
        "mem_get_info": (80, 100),
        "memory_reserved": 45,
        "memory_allocated": 44,
        "get_per_process_memory_fraction": 0.5,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer, raising=False)
    assert memory_left() == (50 - 45) + (45 - 44)


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        ("CUDA error: device-side assert triggered", "plugin error", "CUDA_LAUNCH_BLOCKING=1"),
        (
            "CUDA error: an illegal memory access was encountered",
            "plugin error",
            "illegal memory access was encountered. The device tells it late",
        ),
        ("CUDA error: misaligned address", "plugin error", "CUDA_LAUNCH_BLOCKING=1"),
        ("CUDA error: unspecified launch failure", "plugin error", "CUDA_LAUNCH_BLOCKING=1"),
        ("CUDA error: uncorrectable ECC error encountered", "killed", "GPU itself failed"),
        ("CUDA error: uncorrectable NVLink error detected", "killed", "nvidia-smi"),
        ("GPU 0000:17:00.0 has fallen off the bus", "killed", "Xid"),
    ],
)
@pytest.mark.parametrize("kind", [RuntimeError, getattr(torch, "AcceleratorError", RuntimeError)])
def test_errors_that_a_device_tells_late_name_what_helps(text, reason, words, kind):
    # As torch words them, with advice on lines of their own.
    error = kind(f"{text}\nCUDA kernel errors might be asynchronously reported at some other call.")
    assert not is_out_of_memory(error)
    found = device_trouble(error)
    assert found[0] == reason
    assert words in found[1]
    assert "\n" not in found[1]
    assert explain(error) == found  # where the harness asked the device
    with pytest.raises(TrialFailure) as caught, plugin_code("loss"):
        raise error  # where a hook did
    assert (caught.value.reason, str(caught.value)) == found


def test_the_disk_that_was_full_is_named():
    full = errno.ENOSPC, "No space left on device"
    assert "shm-size" in disk_trouble(OSError(*full, "/dev/shm/torch_1"))
    assert "/data/a.json" in disk_trouble(OSError(*full, "/data/a.json"))


class Wordless(RuntimeError):
    def __str__(self):
        raise ValueError("no words")


class Base(BaseException):
    pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("first\nsecond"), "loss() raised ValueError: first"),
        (SystemExit(3), "loss() raised SystemExit: 3"),
        (GeneratorExit(), "loss() raised GeneratorExit"),
        (StopIteration(), "loss() raised StopIteration"),
        (Base("base"), "loss() raised Base: base"),
        (Wordless(), "loss() raised Wordless: its message cannot be had"),
        (ValueError("\ud800"), "loss() raised ValueError: \\ud800"),
        (ValueError("x" * 5_000_000), "loss() raised ValueError: xxx"),
        (ContractError("label 9 does not exist."), "label 9 does not exist."),
    ],
)
def test_whatever_a_hook_raises_is_its_own_fault_in_one_line(error, words):
    with pytest.raises(TrialFailure) as caught, plugin_code("loss"):
        raise error
    assert caught.value.reason == "plugin error"
    assert str(caught.value).startswith(words)
    assert len(str(caught.value).encode()) <= LONGEST + 20


@pytest.mark.parametrize("error", [Terminated, KeyboardInterrupt, MemoryError])
def test_what_is_not_a_hooks_doing_passes(error, monkeypatch):
    # A shell that starts the tests in the background has them ignore Ctrl-C.
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.default_int_handler)
    with pytest.raises(error), plugin_code("loss"):
        raise error


def test_training_passes_it_on_as_it_is(make_job):
    with pytest.raises(RuntimeError) as caught:
        train(make_job(broken.EatsMemory()))
    assert is_out_of_memory(caught.value)


@pytest.mark.gpu
def test_a_device_out_of_memory_is_recognised_and_leaves_it_usable(make_job):
    device = torch.device("cuda")
    with pytest.raises(torch.OutOfMemoryError) as caught:
        train(make_job(broken.EatsMemory(), device=device, folder="hungry"))
    assert is_out_of_memory(caught.value)
    assert train(make_job(device=device, budget=Budget(2, "steps"))).ledger.steps == 2


@pytest.mark.gpu
def test_peak_memory_is_what_the_allocator_says(make_job):
    device = torch.device("cuda")
    torch.cuda.reset_peak_memory_stats(device)
    ledger = train(make_job(device=device, budget=Budget(5, "steps"))).ledger
    expected = torch.cuda.memory_stats(device)["allocated_bytes.all.peak"]
    assert ledger.peak_memory_bytes == pytest.approx(expected, rel=0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process's data")
def test_a_process_with_a_limit_gets_that_much_and_no_more():
    code = """
import torch
from kitsbench.training.failures import is_out_of_memory
from kitsbench.training.meters.memory import cap_memory
cap_memory(torch.device("cpu"), 256 * 2**20)
held = torch.ones(128 * 2**18)
print(held.numel())
try:
    torch.ones(192 * 2**18)
except RuntimeError as error:
    print(is_out_of_memory(error))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(128 * 2**18), "True"]


@pytest.mark.gpu
def test_an_index_beyond_the_end_is_a_fault_of_the_plugin_with_its_hint():
    """In a process of its own, since the device answers nothing afterwards."""
    code = """
import torch
from kitsbench.experiments.trial.run import explain
values = torch.zeros(4, device="cuda")
try:
    values[torch.tensor([9], device="cuda")]
    torch.cuda.synchronize()
except RuntimeError as error:
    print(*explain(error))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("plugin error"), done.stderr
    assert "CUDA_LAUNCH_BLOCKING=1" in done.stdout
