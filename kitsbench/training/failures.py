"""Ways in which a training run fails, each with the reason that tables show."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from kitsbench.errors import ContractError, Terminated, shorten, telling

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
    "out of memory",
    "can't allocate memory",
    "cannot allocate",
    "cudaerrormemoryallocation",
    "status_alloc_failed",  # cuDNN, cuBLAS
    "bad_alloc",  # C++
)


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
    return isinstance(error, RuntimeError) and any(
        words in telling(error).lower() for words in OUT_OF_MEMORY
    )


def memory_trouble(error: BaseException) -> str:
    """Sentence for a user about memory that ran out, which names whose memory it was."""
    said = shorten(telling(error).partition(": ")[2], 300)
    text = said.lower()
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
        if isinstance(error, ContractError):  # what it returned breaks a rule
            raise TrialFailure("plugin error", shorten(str(error))) from error
        raise TrialFailure("plugin error", f"{hook}() raised {telling(error)}") from error
