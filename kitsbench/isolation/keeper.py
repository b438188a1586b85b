"""A process in which foreign code runs, and a keeper that ends with it whatever it has started.

The keeper is a small process between this one and the one that works. On Linux it adopts every
process that the foreign code leaves behind, also one in a session of its own, and ends them all.
If the keeper is killed, the kernel ends the worker; what is left is adopted by the server that
forks keepers, and ended by whoever started that. Only where keeper and server are killed together,
or the whole run is and a keeper with it, may such a process go on. On other systems of the Unix
family the worker's process group is ended, which holds for what has not left it. On Windows, where
nothing is forked, there is no keeper, and processes that foreign code starts may stay.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import psutil

from kitsbench.isolation.messages import Outbox, to_json

LEAVE = 5.0  # seconds in which a keeper ends what is left
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
SET_PDEATHSIG, SET_NAME, SET_CHILD_SUBREAPER = 1, 15, 36  # of Linux's prctl
KEEPER, WORKER = "kb-keeper", "kb-worker"  # names of processes, which their children inherit

Body = Callable[..., object]

_is_worker = False


def keep(body: Body, arguments: tuple[Any, ...], pipes: list[Connection]) -> None:
    """Body of the keeper; the worker is forked from it."""
    pipe, word = pipes[0], pipes[1]
    if not hasattr(os, "fork"):
        die_with_parent()
        _work(body, arguments, pipe, pipes[2:])
        return
    _name_process(KEEPER)  # before the session, by which orphans are told
    os.setsid()  # signals to the terminal's processes are for whoever started this
    adopt_orphans()
    signal.signal(signal.SIGCONT, signal.SIG_DFL)  # the server's is not for its children
    wake_when_orphaned()
    folder = _own_folder()
    keeper = os.getpid()
    worker = os.fork()
    if worker == 0:
        try:
            word.close()
            _name_process(WORKER)
            os.setsid()
            _prctl(SET_PDEATHSIG, KILL)
            if os.getppid() != keeper:
                os._exit(1)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            die_with_parent(keeper)
            if folder is not None:
                os.environ["TMPDIR"], tempfile.tempdir = folder, folder
            _work(body, arguments, pipe, pipes[2:])
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    for end in (pipe, *pipes[2:]):
        end.close()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: send_signal(worker, got))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        word.send_bytes(to_json(pid=worker, folder=folder))
    except OSError:  # whoever asked for it is gone
        send_signal(worker, KILL)
    code = _wait_for(worker)
    _end_children()
    if not sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            os.killpg(worker, KILL)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        word.send_bytes(to_json(code=code))


def _own_folder() -> str | None:
    """Folder for temporary files, which goes when the worker does."""
    try:
        return tempfile.mkdtemp(prefix="kitsbench-")
    except OSError:  # a full disk; whoever needs a file will say so
        return None


def _work(
    body: Body, arguments: tuple[Any, ...], pipe: Connection, output: list[Connection]
) -> None:
    """Call the body and end the process, whatever threads were left behind in it."""
    for end in output:
        os.dup2(end.fileno(), 1)
        os.dup2(end.fileno(), 2)
        end.close()
    speak_plainly()
    global _is_worker
    _is_worker = True
    code = 0
    try:
        body(Outbox(pipe), *arguments)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        code = 1
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        # No sys.exit: it would wait for threads, and run what foreign code has registered.
        os._exit(code & 0xFF)


def is_worker() -> bool:
    """Whether a keeper watches over this process; Ctrl-C is then for the process above both."""
    return _is_worker


def speak_plainly() -> None:
    """Print to whatever lies behind the numbers 1 and 2 by now; what is no text is escaped."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        raw = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
        text = io.TextIOWrapper(raw, "utf-8", errors="backslashreplace", line_buffering=True)
        setattr(sys, name, text)


def _wait_for(worker: int) -> int:
    """Wait until the worker has ended, or end it when nobody waits for it any more."""
    parent = multiprocessing.parent_process()
    sources: list[Any] = [] if parent is None else [parent.sentinel]
    pause = 0.05
    with contextlib.suppress(AttributeError, OSError):
        sources.append(os.pidfd_open(worker))
        pause = 1.0
    while True:
        try:
            while (found := os.waitpid(-1, os.WNOHANG))[0]:  # adopted ones, too
                if found[0] == worker:
                    return os.waitstatus_to_exitcode(found[1])
        except ChildProcessError:
            return 1
        ready = wait(sources, timeout=pause)
        if parent is not None and parent.sentinel in ready:
            send_signal(worker, KILL)


def _end_children() -> None:
    """End and bury every process that is a child of this one by now."""
    end = time.monotonic() + LEAVE
    while time.monotonic() < end:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
        time.sleep(0.01)


def adopt_orphans() -> None:
    """Become the parent of what the processes below leave behind when they end (Linux only)."""
    _prctl(SET_CHILD_SUBREAPER, 1)


def wake_when_orphaned() -> None:
    """Go on, if this process is suspended when its parent ends (Linux only).

    It then sees that nobody needs it any more, and ends too; a suspended one would stay for ever.
    """
    _prctl(SET_PDEATHSIG, getattr(signal, "SIGCONT", 0))


def end_orphans(server: int | None) -> None:
    """End what foreign code has left behind whose keeper was ended from outside.

    Parameters
    ----------
    server : int or None
        The process that forks keepers; what has lost its own becomes its child.
    """
    if server is None or not sys.platform.startswith("linux"):
        return
    ended = []
    with contextlib.suppress(psutil.Error, OSError):
        session = os.getsid(server)
        for child in psutil.Process(server).children():
            with contextlib.suppress(psutil.Error, OSError):
                # Other processes of a training have the server's session.
                if child.name() != KEEPER and os.getsid(child.pid) != session:
                    ended += [*child.children(recursive=True), child]
    for process in ended:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(ended, timeout=LEAVE)


def _name_process(name: str) -> None:
    _prctl(SET_NAME, ctypes.create_string_buffer(name.encode()))


def _prctl(option: int, value: Any) -> None:
    if sys.platform.startswith("linux"):
        number = value if isinstance(value, ctypes.Array) else ctypes.c_ulong(int(value))
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, number, 0, 0, 0)


def die_with_parent(keeper: int | None = None) -> None:
    """End this process when the one that started it is gone, however that died.

    Parameters
    ----------
    keeper : int, optional
        A process in between, whose end counts as well.
    """
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    def look() -> None:
        while os.getppid() == keeper:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, name="kitsbench-parent", daemon=True).start()
    if keeper is not None and not sys.platform.startswith("linux"):  # the kernel does it there
        threading.Thread(target=look, name="kitsbench-keeper", daemon=True).start()


def send_signal(pid: int | None, number: int) -> None:
    """Send a signal to a process, if it is there."""
    with contextlib.suppress(OSError):
        if pid:
            os.kill(pid, number)
