"""Call a function in a process of its own, so that foreign code can harm nobody else."""

from __future__ import annotations

import contextlib
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import wait
from typing import Any, TypeVar

from kitsbench.errors import KitsbenchError, shorten, telling
from kitsbench.isolation.kept import Kept, start_kept
from kitsbench.isolation.messages import Outbox, unpickle_plain
from kitsbench.text import visible

A = TypeVar("A")
B = TypeVar("B")

HEARD = 2**16  # bytes of what foreign code prints that are kept
SHOWN = 4000  # characters of it that are shown
HINTS = {
    "SIGKILL": ", as when the system runs out of memory",
    "SIGBUS": ", as when the shared memory of the machine (/dev/shm) or a disk is full",
}

_live: set[Kept] = set()


class IsolatedFailure(KitsbenchError):
    """The call did not come back with a result; the message says why."""


class TooLong(IsolatedFailure):
    """The call was stopped at its time limit."""


class BySignal(BaseException):
    """A signal told this process to end; its text is the signal's name.

    Parameters
    ----------
    number : int
        Of the signal.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def code(self) -> int:
        """Exit code of a process that this signal ended."""
        return 128 + self.number


class Stopped(BySignal, KeyboardInterrupt):
    """A signal told this process to stop, as Ctrl-C does."""


def call_isolated(
    function: Callable[..., Any],
    *arguments: Any,
    timeout: float = 300.0,
    hear: Callable[[Any], object] | None = None,
) -> Any:
    """Call ``function(*arguments)`` in another process and return its result.

    What the function prints goes to stderr when it is over, cut and without control characters.

    Parameters
    ----------
    function : callable
        Importable from its module, as are the arguments' classes. What it returns is plain data,
        or of kitsbench's own classes.
    timeout : float
        Seconds after which the process is stopped; counted anew with each thing that is heard.
    hear : callable, optional
        The function gets a callable as its first argument, and whatever it passes to that, while
        it works, is passed on to this.

    Raises
    ------
    IsolatedFailure
        The function raised, the process died, or the time was over.
    """
    began = start_kept(_answer, function, arguments, hear is not None, daemon=True, captured=True)
    _live.add(began)
    printed = bytearray()
    try:
        kind, content = _listen(began, printed, timeout, hear)
    finally:
        _live.discard(began)
        began.close()
        text = _visible(printed)
        if text:
            print(text, file=sys.stderr, flush=True)
    if kind == "error":
        raise IsolatedFailure(str(content))
    return content


def _listen(
    kept: Kept, printed: bytearray, timeout: float, hear: Callable[[Any], object] | None
) -> tuple[str, Any]:
    left, looked = timeout, time.monotonic()
    while True:
        over = kept.ended()  # asked first, so that its last word is in the box by then
        _collect(kept, printed)
        for message in kept.inbox.take():
            try:
                kind, content = unpickle_plain(message)
            except ValueError as error:
                raise IsolatedFailure(f"its answer cannot be read: {error}.") from None
            if kind != "told":
                return kind, content
            left = timeout
            if hear is not None:
                hear(content)
        if over:
            said = _last_line(printed)
            raise IsolatedFailure(
                f"its process ended with {exit_text(kept.code)} and no answer{said}."
            )
        # Not by the clock alone: this process may have been suspended meanwhile.
        left -= min(time.monotonic() - looked, 1.0)
        looked = time.monotonic()
        if left <= 0:
            raise TooLong(f"it took longer than {timeout:g} s and was stopped.")
        wait(kept.sources(), timeout=min(left, 0.5))


def _collect(kept: Kept, printed: bytearray) -> None:
    if kept.output is not None:
        printed += kept.output.raw()[: HEARD - len(printed)]


def _last_line(printed: bytearray) -> str:
    lines = _visible(printed).strip().splitlines()
    return f" ({lines[-1][:200]})" if lines else ""


def _visible(printed: bytearray) -> str:
    """What was printed, without what a terminal would take for commands."""
    text = printed.decode("utf-8", "backslashreplace").rstrip()
    cut = f"\n[{len(printed)} bytes or more were printed]" if len(text) > SHOWN else ""
    return visible(text[:SHOWN]) + cut


def _answer(
    outbox: Outbox, function: Callable[..., Any], arguments: tuple[Any, ...], hears: bool
) -> None:
    """Body of the worker."""

    def say(content: Any) -> None:
        outbox.send(pickle.dumps(("told", content)))

    try:
        answer = pickle.dumps(("result", function(*((say,) if hears else ()), *arguments)))
    except KitsbenchError as error:  # its text is made for people
        answer = pickle.dumps(("error", shorten(str(error))))
    except BaseException as error:
        answer = pickle.dumps(("error", telling(error)))
    outbox.send(answer)


def each_isolated(function: Callable[[A], B], items: Iterable[A], jobs: int) -> Iterator[B]:
    """Results of a function that waits for isolated calls, several at a time, in order.

    If this process is told to stop, the calls are ended and not waited for.
    """
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        try:
            yield from pool.map(function, items)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for kept in list(_live):
                kept.kill()
            raise


@contextlib.contextmanager
def prints_on_stderr() -> Iterator[None]:
    """Send what foreign code prints to stderr: stdout is for what a verb answers."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def stops_at_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP stop this process as Ctrl-C does, so that it can leave its files.

    Raises
    ------
    Stopped
        Inside the block, when such a signal comes. Those that follow it are ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may ask for signals
        return
    heeded = [
        number
        for name in ("SIGTERM", "SIGHUP")
        if (number := getattr(signal, name, None)) is not None
        and signal.getsignal(number) is not signal.SIG_IGN  # nohup
    ]

    def stop(number: int, frame: object) -> None:
        for other in heeded:
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_text(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None:
        return "a signal from outside"
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        return f"signal {name}{HINTS.get(name, '')}"
    return f"exit code {code}"
