"""Cases in three stages, so that a device predicts one while the host works on its neighbours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from typing import Generic, TypeVar

import torch

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Predicted = TypeVar("Predicted")
Done = TypeVar("Done")
Value = TypeVar("Value")


def one_by_one(
    items: Sequence[Item],
    load: Callable[[Item], Loaded],
    predict: Callable[[Item, Loaded], Predicted],
    finish: Callable[[Item, Predicted], Done],
    overlap: bool,
) -> Generator[Done]:
    """Load, predict and finish items, and give the results in their order.

    Parameters
    ----------
    items : sequence
    load, finish : callable
        What the host does before and after, each in a thread where stages overlap.
    predict : callable
        What the device does; always in the thread of whoever asks for the results, since a device
        is chosen a thread.
    overlap : bool
        Whether the next item is loaded, and the one before finished, while one is predicted. Never
        more than these three are in memory. On a CPU, where all stages share the same cores, that
        would cost memory and bring nothing.

    Yields
    ------
    object
        What ``finish`` returned.

    Raises
    ------
    BaseException
        What a stage raised, after the results of all items before. Who is interrupted does not
        wait for the threads, which end with the process.
    """
    if not overlap:
        for item in items:
            yield finish(item, predict(item, load(item)))
        return
    following: Job[Loaded] | None = Job(load, items[0]) if items else None
    finishing: Job[Done] | None = None
    for index, item in enumerate(items):
        assert following is not None
        try:
            loaded = following.result()
            following = Job(load, items[index + 1]) if index + 1 < len(items) else None
            predicted = predict(item, loaded)
            del loaded  # or it would be there until the next one is
        except Exception:
            # What was done before counts, as if nothing had overlapped.
            if finishing is not None:
                yield finishing.result()
            raise
        if finishing is not None:
            yield finishing.result()
        finishing = Job(finish, item, predicted)
        del predicted
    if finishing is not None:
        yield finishing.result()


class Job(Generic[Value]):
    """A call in a thread of its own.

    Not of an executor: the interpreter waits for the threads of those when it ends, and who stops
    a run does not want to wait until a case is scored.

    Parameters
    ----------
    work : callable
    arguments : object
    """

    def __init__(self, work: Callable[..., Value], *arguments: object):
        self._work, self._arguments = work, arguments
        self._value: Value
        self._error: BaseException | None = None
        # Whatever is called without a device means that of who asks. A new thread would take the
        # first GPU, and open a context there.
        self._gpu = torch.cuda.current_device() if torch.cuda.is_initialized() else None
        self._thread = threading.Thread(target=self._run, name="kitsbench-case", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            if self._gpu is not None:
                torch.cuda.set_device(self._gpu)
            self._value = self._work(*self._arguments)
        except BaseException as error:  # also sys.exit() in a plugin's hook
            self._error = error
        # What it worked on is large, and its result may wait for a while.
        del self._work, self._arguments

    def result(self) -> Value:
        """What the call returned; waits for it.

        Raises
        ------
        BaseException
            What the call raised.
        """
        while self._thread.is_alive():
            self._thread.join(0.5)  # in pieces: on Windows Ctrl-C does not wake who joins
        if self._error is not None:
            raise self._error
        return self._value
