"""Workers with their keepers, as the process sees them that starts them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import psutil

from kitsbench.errors import KitsbenchError
from kitsbench.isolation.keeper import KILL, LEAVE, Body, end_orphans, keep, send_signal
from kitsbench.isolation.messages import Inbox, from_json

# What takes seconds to import. The first step of any training would import torch._dynamo.
PRELOAD = [
    "torch",
    "torch._dynamo",
    "torch.utils.flop_counter",
    "pandas",
    "nibabel",
    "psutil",
    "pydantic",
    "kitsbench.experiments.executors.local",
    "kitsbench.isolation.server",
]
LAST_BREATH = 0.2  # seconds in which a worker that has answered ends by itself
ATTEMPTS = 5  # to start a process, where the server of processes was ended from outside
GONE = ("gone", psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
SUSPENDED = (psutil.STATUS_STOPPED,)  # not under a debugger, which is somebody at work
# Bytes of a folder that sockets can lie in: the whole path of one may have 103 on some systems,
# and multiprocessing adds 32.
SHORT = 70
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


def process_context() -> Any:
    """Way to start processes: forked from a server that has done the slow imports already.

    Where that is not possible they are spawned.

    Raises
    ------
    KitsbenchError
        There is no folder for the sockets of processes.
    """
    # Waiting threads that spin starve each other as soon as the machine has other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    with _choosing:
        _choose_socket_folder()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def begin_early() -> None:
    """Let the server import what processes need while this one imports its own."""
    process_context()
    if "forkserver" in multiprocessing.get_all_start_methods():
        forkserver.ensure_running()


def quick_context() -> Any:
    """Way to start processes soonest: from the server if it runs already, else spawned."""
    running = _helpers()[0] is not None
    return process_context() if running else multiprocessing.get_context("spawn")


_choosing = threading.Lock()


@cache
def _choose_socket_folder() -> None:
    """Let the sockets of processes lie where their paths are not too long, whatever TMPDIR is."""
    try:
        usual = tempfile.gettempdir()
    except OSError as error:
        raise KitsbenchError(
            f"There is no folder for temporary files: {error.strerror or error}.\nMake room in one "
            "of them, or set TMPDIR to a folder that you may write to."
        ) from error
    before = tempfile.tempdir
    try:
        for folder in (usual, *SHORT_FOLDERS):
            tempfile.tempdir = folder
            if len(os.fsencode(folder)) <= SHORT:
                with contextlib.suppress(OSError):
                    util.get_temp_dir()  # made once, and known to every process that comes
                    return
    finally:
        tempfile.tempdir = before
    raise KitsbenchError(
        f"No process can be started: its socket can lie neither in {usual} nor in "
        f"{', '.join(SHORT_FOLDERS)}, which are full or not writable, or whose paths are too long."
        f"\nSet TMPDIR to a folder that you may write to, of at most {SHORT} bytes."
    )


@dataclass(eq=False)
class Kept:
    """A worker with its keeper, as the process sees them that started them.

    Attributes
    ----------
    inbox : Inbox
        What the worker sends.
    output : Inbox or None
        What it prints, if that was asked for.
    pid : int or None
        Of the worker, once its keeper has told.
    code : int or None
        How the worker ended: its exit code, or minus a signal; None as long as it is not known.
    """

    process: BaseProcess
    inbox: Inbox
    word: Inbox
    output: Inbox | None = None
    pid: int | None = None
    code: int | None = None
    folder: str | None = None

    def ended(self) -> bool:
        """Whether the worker and what it started are gone, as far as that can be known."""
        for message in self.word.take():
            found = from_json(message)
            self.pid = found.get("pid", self.pid)
            self.folder = found.get("folder", self.folder)
            self.code = found.get("code", self.code)
        if self.code is None and self.word.ended and os.name != "posix":
            self.process.join()
            self.code = self.process.exitcode
        return self.code is not None or self.word.ended

    def sources(self) -> list[Any]:
        """What to wait on for news."""
        boxes = (self.inbox, self.word, self.output)
        return [box.connection for box in boxes if box is not None and not box.ended]

    def is_stopped(self) -> bool:
        """Whether the worker or its keeper was suspended, by itself or from outside."""
        return any(_state(pid) in SUSPENDED for pid in self._own())

    def terminate(self) -> None:
        """Ask the worker to end."""
        self.ended()  # its number may just have been told
        send_signal(self.pid or self.process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the worker and everything that it has started."""
        if not self.ended():
            known = self._descendants()
            # The worker alone first: its keeper then ends the rest, and knows of all of it.
            send_signal(self.pid, KILL)
            for pid in self._own():
                send_signal(pid, getattr(signal, "SIGCONT", signal.SIGTERM))
            end = time.monotonic() + (LEAVE if self.pid else 0.0)
            while not self.ended() and time.monotonic() < end:
                wait(self.sources() or [self.process.sentinel], timeout=0.1)
                if self.inbox.ended is False:
                    list(self.inbox.take())
            if not self.ended():
                for process in [*known, *self._descendants()]:
                    with contextlib.suppress(psutil.Error):
                        process.kill()
                send_signal(self.process.pid, KILL)

    def close(self) -> None:
        """Clean up after the end; ends it where it has not ended."""
        if not self.ended():
            wait([self.word.connection], timeout=LAST_BREATH)  # usually it is about to
        self.kill()
        if self.code is None:
            self._end_session()  # the keeper was ended from outside, and could not do its work
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        end_stopped_server()
        # Not for ever: who tells that it has ended is another process.
        self.process.join(LEAVE)
        for box in (self.inbox, self.word, self.output):
            if box is not None:
                box.close()

    def _own(self) -> list[int]:
        return [pid for pid in (self.process.pid, self.pid) if pid is not None]

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.Error:
            return []

    def _end_session(self) -> None:
        """End what is left in the worker's session."""
        if self.pid is None or not hasattr(os, "getsid"):
            return
        for pid in psutil.pids():
            with contextlib.suppress(OSError):
                if pid != os.getpid() and os.getsid(pid) == self.pid:
                    os.kill(pid, KILL)
        end = time.monotonic() + LEAVE
        while _state(self.pid) not in GONE and time.monotonic() < end:
            time.sleep(0.01)
        end_orphans(_helpers()[0])


def start_kept(body: Body, *arguments: Any, daemon: bool = False, captured: bool = False) -> Kept:
    """Start a worker that calls ``body(outbox, *arguments)``.

    Parameters
    ----------
    body : callable
        Importable from its module; gets the :class:`~kitsbench.isolation.messages.Outbox` first.
    *arguments
        To be pickled.
    daemon : bool
        Whether it ends with this process at the latest; it can then start none by
        :mod:`multiprocessing`.
    captured : bool
        Whether what it prints comes here; else it goes where this process prints.

    Raises
    ------
    KitsbenchError
        No process can be started.
    """
    context = process_context()
    pipes = [context.Pipe(duplex=False) for _ in range(3 if captured else 2)]
    theirs = [end for _, end in pipes]
    process = context.Process(target=keep, args=(body, arguments, theirs), daemon=daemon)
    _start(process)
    # As long as this process has the sending ends too, a worker's end is no end of its pipes.
    for end in theirs:
        end.close()
    boxes = [Inbox(ours) for ours, _ in pipes]
    kept = Kept(process, boxes[0], boxes[1], boxes[2] if captured else None)
    if os.name != "posix":
        kept.pid = process.pid
    return kept


def _start(process: BaseProcess) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        started = threading.Event()
        # Asked beside: one that is suspended at this moment would be waited for for ever.
        threading.Thread(target=_end_stopped_until, args=(started,), daemon=True).start()
        try:
            process.start()
            return
        except (EOFError, ConnectionError, FileNotFoundError) as error:
            # Whoever forks processes was ended at this moment; the next attempt starts another.
            # It may be about to end, and answer nobody meanwhile. What it has started goes on.
            send_signal(_helpers()[0], KILL)
            time.sleep(0.2 * attempt)
            if attempt == ATTEMPTS:
                raise KitsbenchError(
                    "No process can be started: the server that forks them was ended from outside "
                    f"{ATTEMPTS} times. Run the same command again; what was finished is kept."
                ) from error
        finally:
            started.set()


def _end_stopped_until(over: threading.Event) -> None:
    while True:
        end_stopped_server()
        if over.wait(1.0):
            return


def end_stopped_server() -> None:
    """End a helper of :mod:`multiprocessing` that was suspended.

    Whoever asks one would wait for ever; one that is gone is replaced.
    """
    for pid in _helpers():
        if _state(pid) in SUSPENDED:
            send_signal(pid, KILL)


def _helpers() -> tuple[int | None, int | None]:
    """The server that forks processes, and the tracker of resources, as far as they run."""
    server = getattr(getattr(forkserver, "_forkserver", None), "_forkserver_pid", None)
    tracker = getattr(getattr(resource_tracker, "_resource_tracker", None), "_pid", None)
    return server, tracker


def _state(pid: int | None) -> str:
    try:
        return str(psutil.Process(pid).status()) if pid else "gone"
    except psutil.Error:
        return "gone"
