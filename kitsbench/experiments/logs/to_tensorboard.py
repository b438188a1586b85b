"""Runs of TensorBoard: a folder of event files for each trial, by torch's own writer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kitsbench.experiments.logs.scalars import Run, Scalar

FOLDER = "tensorboard"


class TensorBoard:
    """Writes ``WORKDIR/tensorboard``.

    Parameters
    ----------
    workdir : Path
    """

    def __init__(self, workdir: Path):
        self._root = Path(workdir) / FOLDER
        self.place = f"tensorboard --logdir {self._root}"
        self._writers: dict[str, Any] = {}

    def known(self, run: Run) -> dict[str, int]:
        """The last step of each tag, as TensorBoard itself reads it."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        folder = self._root / run.folder
        if not folder.is_dir():
            return {}
        found = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
        tags = found.Tags()["scalars"]
        return {tag: max((one.step for one in found.Scalars(tag)), default=-1) for tag in tags}

    def write(self, run: Run, scalars: Sequence[Scalar]) -> None:
        """Append to the run's event file, which is made when there is something to write."""
        if run.id not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            self._writers[run.id] = SummaryWriter(str(self._root / run.folder))
        writer = self._writers[run.id]
        for one in scalars:
            # The axis of relative time is that of the device, whenever this is written.
            writer.add_scalar(one.tag, one.value, one.step, walltime=run.began + one.seconds)
        writer.flush()

    def end(self, run: Run, status: str) -> None:
        """Close the run's file."""
        if run.id in self._writers:
            self._writers.pop(run.id).close()

    def close(self) -> None:
        """Close all files."""
        writers, self._writers = self._writers, {}
        for writer in writers.values():
            writer.close()
