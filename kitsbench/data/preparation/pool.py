"""One function over many cases, in processes of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from kitsbench.errors import DataError
from kitsbench.isolation.kept import quick_context

T = TypeVar("T")
R = TypeVar("R")


def in_processes(function: Callable[[T], R], work: Sequence[T], jobs: int) -> Iterator[R]:
    """Yield the results of a function for every item, in order.

    Parameters
    ----------
    function : callable
        Of one item; importable by name.
    work : sequence
        The items.
    jobs : int
        Processes; with one, or one item, all happens in this process.

    Raises
    ------
    DataError
        A process was killed.
    """
    if jobs <= 1 or len(work) <= 1:
        yield from map(function, work)
        return
    # Forking a process that runs threads (torch, OpenMP) can lock up; spawned ones cannot, nor can
    # those of a server, which has imported everything and runs nothing.
    pool = ProcessPoolExecutor(min(jobs, len(work)), mp_context=quick_context())
    try:
        try:
            futures = deque(pool.submit(function, item) for item in work)
        except (EOFError, ConnectionError) as error:
            raise DataError(
                "the process that starts others was ended from outside. Run the same command again."
            ) from error
        # Not by `pool.map`, which cancels what is left when its reader is stopped: the pool's own
        # thread does not expect that (Python 3.11), and ends in a traceback where its processes
        # are stopped as well, as by a signal to the whole group.
        while futures:
            yield futures.popleft().result()
    except BrokenProcessPool as error:
        raise DataError(
            "a process that works on cases was killed, probably for memory. Use fewer --jobs."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
