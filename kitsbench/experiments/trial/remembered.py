"""What the members of ensembles predicted, kept until their ensembles are scored.

An ensemble votes about, or averages, what its members have predicted of the same cases just before.
So they write their probabilities down, where these are small, and nothing is predicted twice.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kitsbench.data.preparation.store import PreparedCase
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.files import as_json, digest, read_json, write_atomic
from kitsbench.inference.case import Trained
from kitsbench.inference.sliding import Predictor
from kitsbench.recipe import Inference
from kitsbench.spec import Head
from kitsbench.training.checkpoints.checkpoint import latest_checkpoint

ROOM = 2**30  # bytes that one trial may keep; whole scans at fine voxels are predicted again


@dataclass(frozen=True)
class RememberingPredictor:
    """A predictor that finds what it predicted before.

    Parameters
    ----------
    predictor : Predictor
    folder : Path
        Where its probabilities are.
    made_by : str
        Hash of everything that they depend on but for the scan.
    room : int
        Bytes of a scan's probabilities that are written at most; 0 to only read.
    """

    predictor: Predictor
    folder: Path
    made_by: str
    room: int = 0

    @property
    def heads(self) -> list[Head]:
        """As of :class:`~kitsbench.inference.sliding.Predictor`."""
        return self.predictor.heads

    @property
    def rule(self) -> Inference:
        """As of :class:`~kitsbench.inference.sliding.Predictor`."""
        return self.predictor.rule

    def probabilities(self, volumes: Mapping[str, PreparedCase]) -> dict[str, Tensor]:
        """As of :class:`~kitsbench.inference.sliding.Predictor`."""
        file = self.folder / f"{next(iter(volumes.values())).id}.safetensors"
        with contextlib.suppress(OSError, SafetensorError), safe_open(file, "pt") as kept:
            if (kept.metadata() or {}).get("made_by") == self.made_by:
                self.predictor.tick()
                device = self.predictor.device
                return {head.name: kept.get_tensor(head.name).to(device) for head in self.heads}
        found = self.predictor.probabilities(volumes)
        if sum(values.numel() * values.element_size() for values in found.values()) <= self.room:
            whole = {name: values.cpu().contiguous() for name, values in found.items()}
            note = {"made_by": self.made_by}
            # On a full disk nothing is kept; the scores matter more.
            with contextlib.suppress(OSError, SafetensorError):
                write_atomic(file, lambda temporary: save_file(whole, temporary, note))
        return found


def remembering(task: TrialTask, trained: Trained) -> Trained:
    """The networks of a trial, or of an ensemble's members, that use what was predicted before.

    Parameters
    ----------
    task : TrialTask
        Trained; its checkpoint holds the weights.
    trained : Trained
        With a predictor for the task, or for each of its members.
    """
    if not (task.members or task.keep_probabilities):
        return trained
    room = ROOM // max(len(task.test_cases), 1) if task.keep_probabilities else 0
    found = [
        _remembering(own, predictor, room) if isinstance(predictor, Predictor) else predictor
        for own, predictor in zip(task.members or (task,), trained.predictors, strict=True)
    ]
    return replace(trained, predictors=found)


def _remembering(task: TrialTask, predictor: Predictor, room: int) -> RememberingPredictor:
    made_by = [
        task.id,
        weights_of(task),
        as_json(asdict(predictor.rule)),
        predictor.tiles,
        predictor.device.type,
        predictor.precision,
    ]
    return RememberingPredictor(predictor, task.folder.probabilities, digest(made_by), room)


def weights_of(task: TrialTask) -> str | None:
    """Hash of the weights that a trial has arrived at; None where it has no checkpoint."""
    newest = latest_checkpoint(task.folder.checkpoints)
    return None if newest is None else str(read_json(newest / "SHA256.json")["model.safetensors"])


def forget(tasks: Iterable[TrialTask]) -> None:
    """Remove the probabilities of trials whose ensembles are scored."""
    for task in tasks:
        shutil.rmtree(task.folder.probabilities, ignore_errors=True)
