"""The processes of a trial that trains on several devices.

The trial's own process is the first of them; it starts the others, and they end with it.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from kitsbench.isolation import die_with_parent, exit_text, process_context
from kitsbench.training.failures import Reason, TrialFailure
from kitsbench.training.teams.distributed import SOLO, Team, is_lost_connection, join_team

LAST_WORDS = 5.0  # seconds in which another process may say why it ended

Explain = Callable[[BaseException], tuple[Reason, str]]


@contextlib.contextmanager
def open_team(
    devices: tuple[str, ...], body: Callable[[Any, int, Team], None], task: Any, explain: Explain
) -> Iterator[Team]:
    """Start the other processes of a trial and meet them.

    Parameters
    ----------
    devices : tuple of str
        One for each process; with a single one nothing is started.
    body : callable
        ``body(task, rank, team)`` is what the other processes do; importable from its module.
    task : object
    explain : callable
        Turns an exception into a reason and a sentence; importable from its module.

    Raises
    ------
    TrialFailure
        Another process failed; the reason is its own.
    """
    if len(devices) == 1:
        yield SOLO
        return
    context = process_context()
    with tempfile.TemporaryDirectory(prefix="kitsbench-team-") as folder:
        meeting = Path(folder) / "meeting"
        others = []
        for rank in range(1, len(devices)):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=_rank, args=(body, task, rank, devices, meeting, theirs, explain)
            )
            process.start()
            theirs.close()
            others.append((process, ours))
        try:
            with join_team(0, len(devices), torch.device(devices[0]), meeting) as team:
                yield team
        except Exception as error:
            if not is_lost_connection(error):
                raise  # its own: the others only see that it is gone
            # Another process has ended, and knows better what happened.
            raise _reason(others) or error from error
        finally:
            for process, pipe in others:
                process.join(LAST_WORDS)
                process.kill()
                process.join()
                pipe.close()


def _reason(others: list[tuple[Any, Connection]]) -> TrialFailure | None:
    """Why another process ended, if one did."""
    left, end = [pipe for _, pipe in others], time.monotonic() + LAST_WORDS
    while left and (ready := wait(left, timeout=max(end - time.monotonic(), 0))):
        for pipe in ready:
            assert isinstance(pipe, Connection)
            left.remove(pipe)
            with contextlib.suppress(EOFError, OSError):  # ended without a word, or lost another
                return TrialFailure(*pipe.recv())
    # One that has lost another ends with code 1 as well, and knows less than one with a signal.
    for code in sorted(p.exitcode for p, _ in others if p.exitcode not in (None, 0)):
        # Nobody ends a process from outside with an exit code.
        reason: Reason = "plugin error" if code > 1 else "killed"
        text = f"One of its training processes ended with {exit_text(code)}."
        return TrialFailure(reason, text)
    return None


def _rank(
    body: Callable[[Any, int, Team], None],
    task: Any,
    rank: int,
    devices: tuple[str, ...],
    meeting: Path,
    pipe: Connection,
    explain: Explain,
) -> None:
    """Body of another process."""
    die_with_parent()
    word = partial(_last_word, pipe, explain)
    # Inside as well: the others notice when the connection closes, and then ask for the reason.
    with (
        word(),
        join_team(rank, len(devices), torch.device(devices[rank]), meeting) as team,
        word(),
    ):
        body(task, rank, team)


@contextlib.contextmanager
def _last_word(pipe: Connection, explain: Explain) -> Iterator[None]:
    """Say why this process ends, unless that is only that another one has ended."""
    try:
        yield
    except BaseException as error:
        if not pipe.closed and not is_lost_connection(error):
            with contextlib.suppress(OSError):  # nobody is left to hear it
                pipe.send(explain(error))
            pipe.close()
        raise
