"""What a cluster tells a job about its end, by signals to all of its processes.

SIGUSR2 is the warning before the time limit (``sbatch --signal``): whoever does not handle it is
ended by it, the processes that keep a trial among them. So it is blocked in all of them, and one
thread hears it for this process. SIGTERM says that the job ends now, whatever the reason.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from kitsbench.isolation import BySignal

WARNING = getattr(signal, "SIGUSR2", None)


class Told(BySignal, Exception):
    """The cluster has told this job to end.

    It is no interrupt: whoever works on a trial may save what it has first.
    """

    @property
    def warned(self) -> bool:
        """Whether there is time left; else the job ends in seconds."""
        return self.number == WARNING


@contextlib.contextmanager
def heeding_cluster() -> Iterator[Callable[[], None]]:
    """Hear what the cluster tells this job; gives a function that raises :class:`Told` then.

    The signals themselves raise nothing: they come at any place, also where a process is being
    started that nobody would end then.
    """
    heard: list[int] = []

    def check() -> None:
        if heard:
            raise Told(heard[0])

    if threading.current_thread() is not threading.main_thread() or WARNING is None:
        yield check  # only the main thread may ask for signals
        return
    # As long as one thread does not block it, a signal to the process reaches the main thread's
    # handler. What is started from the main thread inherits that it is blocked.
    over = threading.Event()
    threading.Thread(target=over.wait, name="kitsbench-warning", daemon=True).start()
    signals = (WARNING, signal.SIGTERM)
    before = {one: signal.signal(one, lambda got, _: heard.append(got)) for one in signals}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {WARNING})
    try:
        yield check
    finally:
        over.set()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for one, handler in before.items():
            signal.signal(one, handler)
