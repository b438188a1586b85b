"""Ways in which a training run fails, each with the reason that tables show."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from kitsbench.errors import ContractError, Terminated, shorten, telling
from kitsbench.training.meters.memory import memory_left

Reason = Literal[
    "out-of-memory",
    "non-finite loss",
    "non-finite",  # what the trained network put out
    "scores are missing",
    "timeout",
    "plugin error",
    "killed",
    "data error",
    "disk error",
    "wrong device",
    "member failed",
    "internal error",
]
"""Why a trial failed: a closed set, since tables, boards and programs sort by it."""

# What torch and the libraries below it say in a RuntimeError, in small letters.
OUT_OF_MEMORY = (
    "out of memory",  # torch's allocators on CUDA and MPS, CUDA itself, NCCL by the error below it
    "outofmemory",
    "out_of_host_memory",  # SYCL and OpenCL, below Intel's devices
    "out_of_device_memory",
    "can't allocate memory",  # torch on a CPU; the next is what it says on Windows
    "not enough memory",
    "cannot allocate",
    "failed to allocate",
    "cudaerrormemoryallocation",
    "status_alloc_failed",  # cuDNN, cuBLAS, cuSPARSE
    "allocation_failed",  # cuDNN 9: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED
    "cufft_alloc_failed",
    "bad_alloc",  # C++
)

# What they also say where memory ran out while they prepared an operation, and for other reasons.
AMBIGUOUS = (
    "unable to find an engine",  # cuDNN, where no plan's workspace could be had
    "no valid execution plans",
    "status_not_initialized",  # cuBLAS and cuDNN, whose handles take memory of their own
    "status_internal_error",  # cuDNN, cuBLAS, cuSOLVER
    "cudnn_status_execution_failed",
    "cufft_internal_error",
    "could not create a primitive",  # oneDNN
    "could not create a memory",
)
# Of a block on the chip, which no smaller batch helps.
ON_CHIP = ("out of resource", "shared memory, required", "no valid triton configs")

# Errors of a kernel come up in whatever asks the device next, which need not have caused them.
OF_A_KERNEL = (
    "device-side assert",
    "illegal memory access",
    "misaligned address",
    "illegal instruction",
    "illegal address",
    "invalid program counter",
    "invalid address space",
    "unspecified launch failure",
    "the launch timed out",
    "hardware stack error",
)
OF_THE_HARDWARE = (
    "uncorrectable",  # ECC, NVLink
    "ecc error",
    "fallen off the bus",
    "gpu is lost",
    "gpu requires reset",
    "cudaerrorcontained",
    "or a hardware error",
)
ROOM = 2**28  # bytes; with less to be had an error that may mean a lack of memory does


class TrialFailure(Exception):
    """A trial cannot go on.

    Parameters
    ----------
    reason : str
        One of :data:`Reason`.
    message : str
        One sentence for the tables.
    """

    def __init__(self, reason: Reason, message: str):
        super().__init__(message)
        self.reason: Reason = reason


class Suspected(TrialFailure):
    """A hook failed in a way that may come of too little memory; smaller parts may succeed."""


class Elsewhere(Suspected):
    """Memory ran out in another process of the training, which knows how."""


def is_interruption(error: BaseException) -> bool:
    """Whether a user or the system stops this process; foreign code may raise the same classes."""
    if isinstance(error, KeyboardInterrupt):
        # In a trial's process, where Ctrl-C is ignored, only its own code can have raised it.
        return signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    return isinstance(error, Terminated)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on the device or the host."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):  # a mapped file, a new process
        return error.errno == errno.ENOMEM
    return _says(error, OUT_OF_MEMORY) and not _says(error, ON_CHIP)


def may_be_memory(error: BaseException) -> bool:
    """Whether an exception says what libraries also say for other reasons than a lack of memory."""
    return _says(error, AMBIGUOUS) and not is_out_of_memory(error)


def can_be_smaller(error: BaseException) -> bool:
    """Whether a step that an exception ended may succeed with fewer samples at a time."""
    return isinstance(error, Suspected) or is_out_of_memory(error)


def device_trouble(error: BaseException) -> tuple[Reason, str] | None:
    """Reason and sentences for an error that a CUDA device reported late, or of its hardware.

    Returns
    -------
    (str, str) or None
        None where the error is another one.
    """
    said = shorten(telling(error).partition(": ")[2], 300)
    if _says(error, OF_THE_HARDWARE):
        return (
            "killed",  # as by any other fault of the machine; a cluster goes on elsewhere
            f"The GPU itself failed: {said.rstrip('.')}. Look at it with nvidia-smi -q and at the "
            "kernel's log (Xid), then run the same command again.",
        )
    if _says(error, OF_A_KERNEL):
        return (
            "plugin error",
            f"An operation on the GPU failed: {said.rstrip('.')}. The device tells it late; run "
            "again with CUDA_LAUNCH_BLOCKING=1 to see where.",
        )
    return None


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    """Whether a library below torch says one of these; the telling line may not be the first."""
    if not isinstance(error, RuntimeError):
        return False
    try:
        text = str(error)[:20_000].lower()
    except BaseException:  # foreign code of its class
        return False
    return any(word in text for word in words)


def memory_trouble(error: BaseException) -> str:
    """Sentence for a user about memory that ran out, which names whose memory it was."""
    said = shorten(telling(error).partition(": ")[2], 300)
    text = said.lower()
    if "out of memory" not in text and _says(error, ("out of memory",)):
        said += " (out of memory)"  # NCCL names the cause lines below
    if "shm" in text or "shared memory" in text or "/torch_" in text:
        return f"The shared memory of the machine (/dev/shm) ran out; make it larger: {said}"
    if isinstance(error, (MemoryError, OSError)) or "cpuallocator" in text:
        return f"The memory of the machine ran out: {said}"
    return f"The memory of the device ran out: {said}"


@contextmanager
def plugin_code(hook: str) -> Iterator[None]:
    """Turn whatever a plugin's hook raises into a failure that names the hook."""
    try:
        yield
    except TrialFailure:
        raise
    except BaseException as error:  # a plugin may even call sys.exit()
        if is_interruption(error) or is_out_of_memory(error):
            raise
        if (trouble := device_trouble(error)) is not None:
            raise TrialFailure(*trouble) from error
        if may_be_memory(error):
            # Asked here, since what the failed try held is let go on the way up.
            if memory_left() < ROOM:
                raise Suspected("out-of-memory", memory_trouble(error)) from error
            raise Suspected("plugin error", f"{hook}() raised {telling(error)}") from error
        if isinstance(error, ContractError):  # what it returned breaks a rule
            raise TrialFailure("plugin error", shorten(str(error))) from error
        raise TrialFailure("plugin error", f"{hook}() raised {telling(error)}") from error
