"""Call a function in a process of its own, so that foreign code can harm nobody else."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from kitsbench.errors import KitsbenchError


class IsolatedFailure(KitsbenchError):
    """The call did not come back with a result; the message says why."""


# What takes seconds to import. The first step of any training would import torch._dynamo.
PRELOAD = ["torch", "torch._dynamo", "pandas", "nibabel", "kitsbench.isolation"]


def process_context() -> Any:
    """Way to start processes: forked from a server that has done the slow imports already.

    Where that is not possible they are spawned.
    """
    # Waiting threads that spin starve each other as soon as the machine has other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def call_isolated(function: Callable[..., Any], *arguments: Any, timeout: float = 300.0) -> Any:
    """Call ``function(*arguments)`` in another process and return its result.

    Parameters
    ----------
    function : callable
        Importable from its module, as are the arguments' classes.
    timeout : float
        Seconds after which the process is stopped.

    Raises
    ------
    IsolatedFailure
        The function raised, the process died, or the time was over.
    """
    context = process_context()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_body, args=(function, arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(timeout):
            raise IsolatedFailure(f"it took longer than {timeout:g} s and was stopped.")
        kind, content = ours.recv()
    except EOFError:
        process.join()
        raise IsolatedFailure(f"its process ended with {exit_text(process.exitcode)}.") from None
    finally:
        process.kill()
        process.join()
        ours.close()
    if kind == "error":
        raise IsolatedFailure(content)
    return content


@contextlib.contextmanager
def prints_on_stderr() -> Iterator[None]:
    """Send what foreign code prints to stderr: stdout is for what a verb answers."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def exit_text(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = ", as when the system runs out of memory" if name == "SIGKILL" else ""
        return f"signal {name}{hint}"
    return f"exit code {code}"


def _body(function: Callable[..., Any], arguments: tuple[Any, ...], pipe: Connection) -> None:
    die_with_parent()
    # What foreign code prints must not end up in a JSON document on stdout.
    os.dup2(2, 1)
    try:
        answer = ("result", function(*arguments))
    except BaseException as error:
        answer = ("error", f"{type(error).__name__}: {error}")
    with contextlib.suppress(BrokenPipeError):
        pipe.send(answer)


def die_with_parent() -> None:
    """End this process when the one that started it is gone, however that died."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name="kitsbench-parent", daemon=True).start()
