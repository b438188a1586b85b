"""Transforms of torchio in the loader, for recipes that need what the vocabulary does not have.

torchio draws its parameters from torch's global generator, which training uses as well. So its
transforms run in a process of their own, where every sample is seeded by (seed, step, sample): a
batch stays a pure function of them, and the device does not wait.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from kitsbench.data.batches.patches import Batch, PatchSource, Planner, generator
from kitsbench.data.batches.prepared import Prepared
from kitsbench.errors import ContractError
from kitsbench.transforms import TORCHIO, Transform


@dataclass(frozen=True)
class Setting:
    """What the transforms have to know beside the batch.

    Parameters
    ----------
    transforms : tuple of Transform
        Those of torchio, in order.
    spacing : dict of str to tuple of float
        {grid: mm, (z, y, x)}.
    seed : int
    """

    transforms: tuple[Transform, ...]
    spacing: Mapping[str, tuple[float, ...]]
    seed: int


class TorchioSource(PatchSource):
    """A source of batches whose patches torchio has changed.

    Images are float32 in HU, labels stay labels. Voxel axes are (z, y, x) and the affine of a
    patch says where they point (head, front, right), so that world axes mean to torchio what they
    always do; the middle of the patch is the origin for all grids.

    Parameters
    ----------
    *arguments, **keywords
        Those of :class:`~kitsbench.data.batches.patches.PatchSource`.
    transforms : sequence of Transform
        Those that are not torchio's are left out.

    Raises
    ------
    ContractError
        torchio is not installed, has no such transform, or refuses its arguments.
    """

    _worker: subprocess.Popen[bytes] | None = None

    def __init__(self, *arguments: Any, transforms: Sequence[Transform], **keywords: Any):
        super().__init__(*arguments, **keywords)
        chosen = tuple(transform for transform in transforms if transform.is_torchio)
        for transform in chosen:
            make_transform(transform)
        spacing = {name: tuple(store.spacing) for name, store in self.stores.items()}
        self.setting = Setting(chosen, spacing, self.seed)
        # A batch may be asked for while a thread draws another; questions and answers of the two
        # must not mix in the pipes.
        self._one_at_a_time = threading.Lock()

    def batch(self, step: int) -> Batch:
        """Draw the batch of a step; drawing it twice gives the same."""
        return self._through_worker(super().batch(step))

    def prepared(self, step: int, planner: Planner) -> Prepared:
        """The batch of a step with the host half of its augmentation."""
        # torchio sees whole patches; what the augmentation takes is cut out of what it makes.
        return planner.prepare(self.batch(step))

    def close(self) -> None:
        """End the process; the next batch starts another."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.communicate()
            self._worker = None

    def __del__(self) -> None:
        self.close()

    def _through_worker(self, batch: Batch) -> Batch:
        try:
            with self._one_at_a_time:
                if self._worker is None:
                    self._worker = subprocess.Popen(
                        [sys.executable, "-c", _WORKER],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        env={**os.environ, "OMP_NUM_THREADS": "1"},
                    )
                    _send(self._worker.stdin, self.setting)
                _send(self._worker.stdin, batch)
                answer = pickle.load(self._worker.stdout)  # type: ignore[arg-type]
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            raise ContractError(
                "The process that applies torchio's transforms died; "
                "the log of the trial shows what it wrote."
            ) from error
        if isinstance(answer, str):
            raise ContractError(answer)
        return answer


def make_transform(transform: Transform) -> Any:
    """Make torchio's transform that a recipe names, always applied.

    Raises
    ------
    ContractError
        torchio is not installed, has no such transform, or refuses its arguments.
    """
    try:
        import torchio
    except ImportError as error:
        raise ContractError(
            f"The recipe names {transform.name}, but torchio is not installed; "
            "run `pip install torchio`, or leave the transform out."
        ) from error
    made = getattr(torchio, transform.name.removeprefix(TORCHIO), None)
    if not (isinstance(made, type) and issubclass(made, torchio.Transform)):
        raise ContractError(f"torchio {torchio.__version__} has no transform '{transform.name}'.")
    try:
        arguments: dict[str, Any] = dict(transform.parameters)
        return made(**arguments)
    except Exception as error:
        raise ContractError(f"torchio refuses {transform.name}: {_last_line(error)}") from error


def change_batch(batch: Batch, setting: Setting) -> Batch:
    """Apply the transforms to every sample, each seeded by (seed, step, sample).

    Raises
    ------
    ContractError
        A transform fails, or changes the shape of a patch.
    """
    made = [(transform, make_transform(transform)) for transform in setting.transforms]
    images = {name: image.float() for name, image in batch.images.items()}
    labels = {name: label.clone() for name, label in batch.labels.items()}
    for sample in range(len(batch.cases)):
        rng = generator(setting.seed, 3, batch.step, batch.first + sample, 2)
        subject = _subject(batch, setting, sample)
        for transform, apply in made:
            chance, seed = rng.random(), int(rng.integers(2**31))
            if chance >= transform.probability:
                continue
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002 - some transforms of torchio draw from it
            try:
                subject = apply(subject)
            except Exception as error:
                raise ContractError(f"{transform.name} failed: {_last_line(error)}") from error
        for index, name in enumerate(images):
            image = subject[f"image_{index}"].data[0]
            if image.shape != images[name].shape[2:]:
                raise ContractError(
                    f"The transforms of torchio turn a patch of {tuple(images[name].shape[2:])} "
                    f"voxels into {tuple(image.shape)}; only those that keep its shape fit."
                )
            images[name][sample, 0] = image
            labels[name][sample] = subject[f"label_{index}"].data[0].round()
    return replace(batch, images=images, labels=labels)


def _subject(batch: Batch, setting: Setting, sample: int) -> Any:
    """One sample with all its grids, the middle of the patch at the origin of the world."""
    import torchio

    parts: dict[str, Any] = {}
    for index, name in enumerate(batch.images):
        image, label = batch.images[name][sample], batch.labels[name][sample]
        z, y, x = spacing = np.array(setting.spacing[name])
        affine = np.zeros((4, 4))
        affine[0, 2], affine[1, 1], affine[2, 0], affine[3, 3] = x, y, z, 1
        middle = (np.array(image.shape[1:]) - 1) / 2 + batch.offsets[name][sample].numpy()
        affine[:3, 3] = -(middle * spacing)[::-1]
        parts[f"image_{index}"] = torchio.ScalarImage(tensor=image.float(), affine=affine)
        parts[f"label_{index}"] = torchio.LabelMap(tensor=label[None], affine=affine)
    return torchio.Subject(**parts)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _send(pipe: Any, value: Any) -> None:
    pickle.dump(value, pipe, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.flush()


def answer_questions(answers: int) -> None:
    """Body of the process: a setting, then batches, each answered by one or by an error's text.

    Parameters
    ----------
    answers : int
        File descriptor that the answers go to; questions come from standard input.
    """
    import SimpleITK

    torch.set_num_threads(1)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    source, sink = sys.stdin.buffer, os.fdopen(answers, "wb")
    setting = pickle.load(source)
    while True:
        try:
            batch = pickle.load(source)
        except EOFError:  # whoever asked is gone
            return
        try:
            answer: Batch | str = change_batch(batch, setting)
        except ContractError as error:
            answer = str(error)
        _send(sink, answer)


# What a package prints, be it while it is imported, shall not end up among the answers.
_WORKER = """
import os
answers = os.dup(1)
os.dup2(2, 1)
from kitsbench.data.batches.torchio_source import answer_questions
answer_questions(answers)
"""
