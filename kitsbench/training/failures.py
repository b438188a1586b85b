"""Ways in which a training run fails, each with the reason that tables show."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Reason = Literal[
    "out-of-memory",
    "non-finite loss",
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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on the device or the host."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):  # a mapped file, a new process
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in OUT_OF_MEMORY)


@contextmanager
def plugin_code(hook: str) -> Iterator[None]:
    """Turn any exception of a plugin's hook into a failure that names the hook."""
    try:
        yield
    except (TrialFailure, KeyboardInterrupt):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        text = str(error).strip().splitlines()
        detail = f"{type(error).__name__}: {text[-1] if text else 'no message'}"
        raise TrialFailure("plugin error", f"{hook}() raised {detail}") from error
