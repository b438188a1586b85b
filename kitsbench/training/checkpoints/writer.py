"""Checkpoints written while the device trains on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from kitsbench.training.checkpoints.checkpoint import save_checkpoint
from kitsbench.training.checkpoints.snapshot import Snapshot


class CheckpointWriter:
    """Writes one checkpoint after the other.

    Parameters
    ----------
    folder : Path
        The trial's ``checkpoint`` folder.
    aside : bool
        Whether a thread serialises, hashes and writes while training goes on. On a CPU it must
        not: the thread would take its time from steps that are being timed.
    """

    def __init__(self, folder: Path, aside: bool):
        self.folder, self.aside = folder, aside
        self._snapshot = Snapshot()
        self._gpu: int | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, step: int, model: dict[str, Any], optimiser: Any, state: dict[str, Any]) -> None:
        """Write a checkpoint, as :mod:`kitsbench.training.checkpoints.checkpoint` does.

        Aside, it returns when the copies are asked for: the weights may move on. The plain data
        must not change any more.

        Raises
        ------
        Exception
            This one or, aside, the one before could not be written.
        """
        self.wait()  # one at a time: they share a block of memory, and each drops older ones
        if not self.aside:
            save_checkpoint(self.folder, step, model, optimiser, state)
            return
        get = self._snapshot.take((model, optimiser))
        # A new thread would take the first GPU, and open a context there when it waits for copies.
        self._gpu = torch.cuda.current_device() if torch.cuda.is_initialized() else None
        self._thread = threading.Thread(
            target=self._write, args=(step, get, state), name="checkpoint", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:  # the system has no thread left
            self._thread = None
            self._write(step, get, state)
            self.check()

    def _write(self, step: int, get: Callable[[], Any], state: dict[str, Any]) -> None:
        try:
            if self._gpu is not None:
                torch.cuda.set_device(self._gpu)
            model, optimiser = get()
            save_checkpoint(self.folder, step, model, optimiser, state)
        except BaseException as error:  # told by the thread that trains, in its own place
            self._error = error

    def check(self) -> None:
        """Raise what has gone wrong since, without waiting.

        Raises
        ------
        Exception
            A checkpoint could not be written.
        """
        error, self._error = self._error, None
        if error is not None:
            raise error

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk.

        Raises
        ------
        Exception
            It could not be written.
        """
        thread = self._thread
        if thread is not None:
            thread.join()
            self._thread = None
        self.check()
