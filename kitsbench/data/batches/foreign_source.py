"""Transforms from outside in the loader, for recipes that need what the vocabulary does not have.

Libraries draw their parameters from torch's and NumPy's global generators, which training uses as
well. So their transforms run in a process of their own, where every sample is seeded by (seed,
step, sample): a batch stays a pure function of them, and the device does not wait. Functions get a
generator of their own, and run in the loader's threads.
"""

from __future__ import annotations

import itertools
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

from kitsbench.data.batches.foreign_transforms import (
    IMAGES,
    LABELS,
    apply_transform,
    call_function,
    make_transform,
)
from kitsbench.data.batches.patches import Batch, PatchSource, Planner, generator
from kitsbench.data.batches.prepared import Prepared
from kitsbench.errors import ContractError
from kitsbench.named import resolve
from kitsbench.transforms import Transform


@dataclass(frozen=True)
class Setting:
    """What the transforms have to know beside the batch.

    Parameters
    ----------
    transforms : tuple of Transform
        Those from outside, in order.
    spacing : dict of str to tuple of float
        {grid: mm, (z, y, x)}.
    seed : int
    """

    transforms: tuple[Transform, ...]
    spacing: Mapping[str, tuple[float, ...]]
    seed: int


class ForeignSource(PatchSource):
    """A source of batches whose patches libraries or functions have changed.

    Images are float32 in HU, labels stay labels. Voxel axes are (z, y, x) and the affine of a
    patch says where they point (head, front, right), so that world axes mean to torchio what they
    always do; the middle of the patch is the origin for all grids.

    Parameters
    ----------
    *arguments, **keywords
        Those of :class:`~kitsbench.data.batches.patches.PatchSource`.
    transforms : sequence of Transform
        Those of the vocabulary are left out.
    plugin : object, optional
        The architecture, for functions of its own.

    Raises
    ------
    ContractError
        A library is not installed, has no such transform, or refuses its arguments; or there is no
        such function.
    """

    _worker: subprocess.Popen[bytes] | None = None

    def __init__(
        self,
        *arguments: Any,
        transforms: Sequence[Transform],
        plugin: object = None,
        **keywords: Any,
    ):
        super().__init__(*arguments, **keywords)
        chosen = tuple(transform for transform in transforms if transform.is_foreign)
        self._functions = {}
        for number, transform in enumerate(chosen):
            if transform.library is None:
                self._functions[number] = resolve(transform.name, plugin)
            else:
                make_transform(transform, len(self.spec.grids))
        # In their order, those of libraries that follow each other together.
        runs = itertools.groupby(range(len(chosen)), key=lambda n: chosen[n].library is None)
        self._runs = [(own, tuple(numbers)) for own, numbers in runs]
        spacing = {name: tuple(store.spacing) for name, store in self.stores.items()}
        self.setting = Setting(chosen, spacing, self.seed)
        # A batch may be asked for while a thread draws another; questions and answers of the two
        # must not mix in the pipes.
        self._one_at_a_time = threading.Lock()

    def batch(self, step: int) -> Batch:
        """Draw the batch of a step; drawing it twice gives the same."""
        batch = super().batch(step)
        for own, numbers in self._runs:
            batch = self._own(batch, numbers) if own else self._through_worker(batch, numbers)
        return batch

    def _own(self, batch: Batch, numbers: Sequence[int]) -> Batch:
        """Apply functions to every sample."""
        values = frozenset((0, *(value for _, value in self.spec.labels)))
        images = {name: image.float() for name, image in batch.images.items()}
        labels = {name: label.clone() for name, label in batch.labels.items()}
        for sample in range(len(batch.cases)):
            for number in numbers:
                transform = self.setting.transforms[number]
                rng = generator(self.seed, 8, batch.step, batch.first + sample, number)
                if rng.random() >= transform.probability:
                    continue
                seen = {name: image[sample, 0].numpy().copy() for name, image in images.items()}
                marks = {name: label[sample].numpy().copy() for name, label in labels.items()}
                changed = call_function(
                    transform,
                    self._functions[number],
                    seen,
                    marks,
                    self.setting.spacing,
                    values,
                    rng,
                )
                for name in images:
                    images[name][sample, 0] = torch.from_numpy(changed[0][name])
                    labels[name][sample] = torch.from_numpy(changed[1][name])
        return replace(batch, images=images, labels=labels)

    def prepared(self, step: int, planner: Planner) -> Prepared:
        """The batch of a step with the host half of its augmentation."""
        # They see whole patches; what the augmentation takes is cut out of what they make.
        return planner.prepare(self.batch(step))

    def close(self) -> None:
        """End the process; the next batch starts another."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.communicate()
            self._worker = None

    def __del__(self) -> None:
        self.close()

    def _through_worker(self, batch: Batch, numbers: Sequence[int]) -> Batch:
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
                _send(self._worker.stdin, (batch, numbers))
                answer = pickle.load(self._worker.stdout)  # type: ignore[arg-type]
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            raise ContractError(
                "The process that applies the transforms of libraries died; "
                "the log of the trial shows what it wrote."
            ) from error
        if isinstance(answer, str):
            raise ContractError(answer)
        return answer


def change_batch(batch: Batch, setting: Setting, numbers: Sequence[int] | None = None) -> Batch:
    """Apply transforms of libraries to every sample, each seeded by (seed, step, sample).

    Parameters
    ----------
    batch : Batch
    setting : Setting
    numbers : sequence of int, optional
        Which of the setting's; by default all.

    Raises
    ------
    ContractError
        A transform fails, or changes the shape of a patch.
    """
    chosen = range(len(setting.transforms)) if numbers is None else numbers
    made = {n: make_transform(setting.transforms[n], len(batch.images)) for n in chosen}
    images = {name: image.float() for name, image in batch.images.items()}
    labels = {name: label.clone() for name, label in batch.labels.items()}
    for sample in range(len(batch.cases)):
        rng = generator(setting.seed, 3, batch.step, batch.first + sample, 2)
        subject = _subject(batch, setting, sample)
        for number, transform in enumerate(setting.transforms):
            # Drawn for those that are applied elsewhere, too: none depends on another.
            chance, seed = rng.random(), int(rng.integers(2**31))
            if number in made and chance < transform.probability:
                subject = apply_transform(transform, made[number], subject, seed)
        for index, name in enumerate(images):
            image = subject[f"{IMAGES}_{index}"].data[0]
            if image.shape != images[name].shape[2:]:
                raise ContractError(
                    f"The transforms of the recipe turn a patch of {tuple(images[name].shape[2:])} "
                    f"voxels into {tuple(image.shape)}; only those that keep its shape fit."
                )
            images[name][sample, 0] = image
            labels[name][sample] = subject[f"{LABELS}_{index}"].data[0].round()
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
        parts[f"{IMAGES}_{index}"] = torchio.ScalarImage(tensor=image.float(), affine=affine)
        parts[f"{LABELS}_{index}"] = torchio.LabelMap(tensor=label[None], affine=affine)
    return torchio.Subject(**parts)


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
            batch, numbers = pickle.load(source)
        except EOFError:  # whoever asked is gone
            return
        try:
            answer: Batch | str = change_batch(batch, setting, numbers)
        except ContractError as error:
            answer = str(error)
        _send(sink, answer)


# What a package prints, be it while it is imported, shall not end up among the answers.
_WORKER = """
import os
answers = os.dup(1)
os.dup2(2, 1)
from kitsbench.data.batches.foreign_source import answer_questions
answer_questions(answers)
"""
